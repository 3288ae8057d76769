"""The real command as a client that is stopped (SIGSTOP) at a chosen point, in a process of its own.

``python -m tests.support.postgres.stopped_client FILE POINT WORD...`` runs ``agentctl WORD...``. The boot clock is
ahead by the seconds in FILE, if it exists, as on a machine that was suspended. With POINT ``first byte`` it stops
itself right before the first byte of its first request would leave; otherwise somebody else stops it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.support import fork_server
from tests.support.postgres.fleet import Fleet
from tests.support.wire.server import WireServer

Point = Literal["hold", "mark", "first byte"]
PATIENCE_S = 60.0


class Watch:
    """Sees each step that the ledger has committed, before the client gets the answer, and stops the client after one.

    ``steps`` are the phases of all entries so far, with the number of requests that the model has heard until then.
    """

    def __init__(self, fleet: Fleet, model: WireServer, last: Sequence[str]) -> None:
        self._fleet, self._model, self._last = fleet, model, list(last)
        self._pid: int | None = None
        self._started, self._stopped = threading.Event(), threading.Event()
        self.steps: list[tuple[list[str], int]] = []

    def __call__(self) -> None:
        phases = [str(phase) for _, phase, _, _ in self._fleet.entries()]
        self.steps.append((phases, len(self._model.books.chat_requests)))
        if phases == self._last and not self._stopped.is_set():
            assert self._started.wait(PATIENCE_S)
            assert self._pid is not None
            fork_server.stop(self._pid)
            self._stopped.set()

    def stop(self, pid: int) -> None:
        """Wait until the client is stopped."""
        self._pid = pid
        self._started.set()
        assert self._stopped.wait(PATIENCE_S), self.steps


def wait_until_stopped(pid: int) -> None:
    """Wait until a process has stopped itself."""
    gives_up = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < gives_up, "it has not stopped"
        time.sleep(0.002)


@contextmanager
def started(
    asleep: Path, point: Point, *words: str, cwd: Path, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[Any]]:
    """Start the command; it is killed at the end, if it is still there."""
    environ = {**os.environ, **fork_server.ENVIRON, **environ}
    line = ["-m", "tests.support.postgres.stopped_client", str(asleep), point, *words]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    made: Any = fork_server.Forked
    if not fork_server.can_fork(line, environ):
        line, made = [sys.executable, *line], subprocess.Popen
    with made(line, cwd=cwd, env=environ, text=True, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def _sleep_along(asleep: Path) -> None:
    """Let the boot clock be ahead by what a file says."""
    real = time.clock_gettime

    def clock_gettime(clock: int) -> float:
        ahead = clock == time.CLOCK_BOOTTIME and asleep.exists()
        return real(clock) + (json.loads(asleep.read_text()) if ahead else 0.0)

    time.clock_gettime = clock_gettime


def _stop_before_first_byte() -> None:
    """Stop this process when its first request is about to leave."""
    from agentctl.providers.http_gate import Attempt

    trace, has_stopped = Attempt.trace, threading.Event()

    def trace_and_stop(self: Attempt, event: str, about: Mapping[str, Any]) -> None:
        if event == "http11.send_request_headers.started" and not has_stopped.is_set():
            has_stopped.set()
            os.kill(os.getpid(), signal.SIGSTOP)
        trace(self, event, about)

    Attempt.trace = trace_and_stop  # type: ignore[method-assign] # a process of its own


def main(asleep: str, point: str, *words: str) -> int:
    """Run the command."""
    _sleep_along(Path(asleep))
    if point == "first byte":
        _stop_before_first_byte()
    from agentctl.cli.app import main as agentctl

    return agentctl(words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
