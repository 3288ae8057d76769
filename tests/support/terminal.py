"""A command at a terminal of its own, and the person in front of it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from tests.support.command_line import Commands


def read_until(desk: int, text: bytes) -> bytes:
    """Return what a terminal showed up to ``text``; one read may return a part of what was written."""
    shown = b""
    while text not in shown:
        assert select.select([desk], [], [], 60)[0], shown
        shown += os.read(desk, 1024)
    return shown


class Typed(NamedTuple):
    """A command at a terminal: what to type on, and the command."""

    desk: int
    terminal: int
    process: subprocess.Popen[bytes]

    def types(self, text: str) -> None:
        os.write(self.desk, text.encode())

    def ended(self) -> tuple[int, bytes, str]:
        """Return how the command ended: its code, what it printed, what the terminal showed since it was last read."""
        out, _ = self.process.communicate(timeout=60)
        shown = b""
        while select.select([self.desk], [], [], 0)[0]:
            shown += os.read(self.desk, 4096)
        return self.process.returncode, out, shown.decode().replace("\r\n", "\n")

    def shown_until(self, text: bytes) -> bytes:
        """Return what the terminal showed up to ``text``."""
        return read_until(self.desk, text)

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)


@contextmanager
def at_a_terminal(
    agentctl: Commands,
    *words: str,
    stderr: int | None = None,
    script: str | None = None,
    early: str = "",
    env: Mapping[str, str] | None = None,
    blocking: bool = True,
) -> Iterator[Typed]:
    """Run a command whose stdin and stderr are a terminal; ``early`` is typed before it starts."""
    desk, terminal = pty.openpty()
    os.set_blocking(terminal, blocking)  # of the description that the command shares
    os.write(desk, early.encode())
    err = terminal if stderr is None else stderr
    process = agentctl.start(*words, script=script, stdin=terminal, stderr=err, env=env)
    try:
        with process:
            try:
                yield Typed(desk, terminal, process)
            finally:
                process.kill()  # gone already, unless the test failed
    finally:
        os.close(desk)
        os.close(terminal)
