"""Start bubblewrap for one command after the other: with what the commands of a run share, and a report on each.

Guard, launching thread and control group are made by the first command and serve until the run ends.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Self

from agentctl.sandbox.confinement import Launcher
from agentctl.sandbox.process import new_marker
from agentctl.sandbox.process_guard import SiblingGuard
from agentctl.sandbox.resource_limits import ControlGroup

_REPORT_BYTES = 64 * 1024


class Standby:
    """What the commands of a run share, one after the other: their guard, the thread that starts them, their control
    group; a context manager that ends all three.

    Raises:
        OSError: the guard cannot be started.
    """

    def __init__(self, program: str, most_memory: int) -> None:
        self._process = os.getpid()
        self.guard = SiblingGuard(new_marker())
        self.launcher = Launcher(program)
        self.group = ControlGroup(most_memory)

    @property
    def is_fit(self) -> bool:
        """Whether it can serve a further command: nobody killed the guard, and the group limits as at first."""
        return self.guard.is_alive and self.group.is_fit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._process:
            return  # the copy of a fork: the parent still uses them
        self.guard.__exit__()  # first: it kills what is left
        self.launcher.__exit__()
        self.group.close()

    def start(
        self, gate: tuple[int, int], options: bytes, popen: Callable[[], subprocess.Popen[bytes]]
    ) -> subprocess.Popen[bytes]:
        """Start bubblewrap, put it into the control group beside it, and then close ``gate``, both ends of a pipe.

        Until then bubblewrap waits: it reads more ``options`` from the pipe, each with a NUL at its end, mostly none.
        The kernel may need some time to change a group.
        """
        try:
            process = self.launcher.start(popen)
        except BaseException:
            _close(gate)
            raise
        self.launcher.begin(partial(self._admit, process.pid, gate, options))
        return process

    def _admit(self, process: int, gate: tuple[int, int], options: bytes) -> None:
        reader, writer = gate
        try:
            self.group.enter(process)
        finally:
            os.close(reader)  # bubblewrap's end is the last one: writing fails if it has ended
            try:
                with suppress(OSError):
                    while options:
                        options = options[os.write(writer, options) :]
            finally:
                os.close(writer)


def _close(gate: tuple[int, int]) -> None:
    for end in gate:
        os.close(end)


class ExitReport(ExitStack):
    """The pipe on which bubblewrap reports the exit of the command's first process."""

    def __init__(self) -> None:
        super().__init__()
        self._reader, self.writer = os.pipe()
        self._said = b""
        os.set_blocking(self._reader, False)
        for end in (self._reader, self.writer):
            self.callback(os.close, end)

    def has_ended(self) -> bool:
        """Return whether the command has ended, with all its processes: they are in its first one's namespace.

        bubblewrap does not report an exit if the command could not start, or if it was killed itself.
        """
        with suppress(BlockingIOError):
            self._said += os.read(self._reader, _REPORT_BYTES)
        return any(_is_exit(line) for line in self._said.splitlines())


def _is_exit(line: bytes) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and "exit-code" in said
