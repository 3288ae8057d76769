"""Real terminals: a pseudo-terminal to type into, and a tmux whose screen can be read."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0
# Make the pseudo-terminal the controlling one, so that Ctrl-C is a signal; then become the command.
BECOME = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
STORY = ("-m", "tests.support.screen.stories_cli")


def until(ready: Callable[[], object], what: str) -> None:
    """Wait for ``ready`` to be true."""
    end = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.01)


class Person:
    """A command at a pseudo-terminal, and what a person there sees and types."""

    def __init__(
        self, folder: Path, *argv: str, environ: Mapping[str, str], columns: int = 100, rows: int = 40
    ) -> None:
        self.folder, self.seen, self.raw, self.bytes = folder, "", "", b""
        self.terminal, slave = os.openpty()
        self._is_open = True
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        given: dict[str, Any] = {"cwd": folder, "stdin": slave, "stdout": slave, "stderr": slave}
        given["env"] = {**os.environ, **fork_server.ENVIRON, "TERM": "xterm-256color", **environ}
        self.process: subprocess.Popen[Any]
        if fork_server.can_fork(argv, given["env"]):
            self.process = fork_server.Forked(argv, terminal=True, **given)
        else:
            self.process = subprocess.Popen([sys.executable, "-c", BECOME, *argv], start_new_session=True, **given)
        os.close(slave)

    def sees(self, text: str) -> None:
        """Wait until ``text`` was shown, after what was waited for before."""
        end = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} never came; seen: {self.seen!r}"
            if not self._read(0.1):
                assert self.process.poll() is None, f"ended without {text!r}; seen: {self.seen!r}"
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def waits(self, ready: Callable[[], object], what: str) -> None:
        """Wait until ``ready`` is true, and read what is shown meanwhile: a full terminal holds the command up."""
        end = time.monotonic() + PATIENCE_S
        while not ready():
            assert time.monotonic() < end, f"{what} never came; seen: {self.seen!r}"
            if not self._read(0.01):
                assert self.process.poll() is None, f"ended without {what}; seen: {self.seen!r}"

    def waits_at(self, prompt: str) -> None:
        """Wait until ``prompt`` is the last that was shown, styles aside."""
        end = time.monotonic() + PATIENCE_S
        while not re.sub(r"\x1b\[[0-9;]*m", "", self.raw).endswith(prompt):
            assert time.monotonic() < end, f"{prompt!r} never came; seen: {self.raw!r}"
            if not self._read(0.1):
                assert self.process.poll() is None, f"ended without {prompt!r}; seen: {self.raw!r}"

    def types(self, keys: str) -> None:
        """Press keys."""
        os.write(self.terminal, keys.encode())

    def leaves(self) -> tuple[int, str]:
        """Wait for the end and return the exit code, and what was shown since, styles aside."""
        while self.process.poll() is None:
            self._read(0.1)
        while self._read(0):
            pass
        return self.process.returncode, re.sub(r"\x1b\[[0-9;]*m", "", self.seen.replace("\r\n", "\n"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Go away: the terminal is gone."""
        if self._is_open:
            os.close(self.terminal)
        self._is_open = False

    def _read(self, patience: float) -> bool:
        if not select.select([self.terminal], [], [], patience)[0]:
            return False
        try:
            piece = os.read(self.terminal, 65536)
        except OSError:  # the other end is closed
            return False
        self.bytes += piece
        self.seen += piece.decode("utf-8", "replace")
        self.raw += piece.decode("utf-8", "replace")
        return bool(piece)


class Screen:
    """A command in a tmux of its own, and what its screen looks like; ``above`` it are so many lines, as of a shell."""

    def __init__(self, folder: Path, *argv: str, columns: int, rows: int, environ: str, above: int = 0) -> None:
        self._name = f"agentctl-test-{os.getpid()}-{folder.name}"
        self.folder = folder
        command = (
            f"seq {above}; env PYTHONPATH={ROOT} {environ} {shlex.join([sys.executable, *argv])}; echo $? >ended; "
            "exec sleep 600"
        )
        size = ("-x", str(columns), "-y", str(rows))
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(folder), command)

    def text(self) -> str:
        """Return all that stands on the screen and above it, lines that the terminal broke put together again."""
        rows = self._tmux("capture-pane", "-p", "-J", "-S", "-").splitlines()
        return "\n".join(map(str.rstrip, rows)).rstrip()

    def rows(self) -> list[str]:
        """Return the rows of the screen as they stand there."""
        return [row.rstrip() for row in self._tmux("capture-pane", "-p", "-S", "-").splitlines()]

    def shows(self, text: str) -> None:
        """Wait until ``text`` stands there."""
        until(lambda: text in self.text(), text)

    @property
    def cursor_is_visible(self) -> bool:
        return self._tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def types(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def ended(self) -> int:
        """Wait for the end and return the exit code."""
        path = self.folder / "ended"
        until(lambda: path.exists() and path.read_text().endswith("\n"), "the end")
        return int(path.read_text())

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self._name, *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def at_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Person]]:
    """Start a story at a pseudo-terminal: ``at_terminal("remove", "run", "Remove it")``."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    people: list[Person] = []

    def start(story: str, *words: str, columns: int = 100, rows: int = 40, **environ: str) -> Person:
        people.append(Person(tmp_path, *STORY, story, *words, environ=environ, columns=columns, rows=rows))
        return people[-1]

    yield start
    for person in people:
        person.close()


@pytest.fixture
def on_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Screen]]:
    """Start a story in tmux: ``on_screen("restart", "run", "Restart it", columns=80)``."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    screens: list[Screen] = []

    def start(
        story: str,
        *words: str,
        columns: int = 80,
        rows: int = 30,
        environ: str = "",
        plain: bool = False,
        above: int = 0,
    ) -> Screen:
        argv, environ = words if plain else (*STORY, story, *words), f"LC_ALL=C.UTF-8 {environ}"
        screens.append(Screen(tmp_path, *argv, columns=columns, rows=rows, environ=environ, above=above))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()
