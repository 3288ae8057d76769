"""A process that runs scripted ledger operations one by one: ``worker.do("hold", "a", 100)``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.errors import StateError, Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.clock import ClockReading
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from tests.support import fork_server
from tests.support.ledger.parts import HandClock, ask

ROOT = Path(__file__).parents[3]


class Puppet:
    """The process from outside; ``pid`` is what it knows itself by."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid: int = self.do("pid")

    def tell(self, deed: str, *words: object) -> None:
        """Send an operation without waiting for its result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([deed, *words]) + "\n")
        self.process.stdin.flush()

    def heard(self) -> Any:  # noqa: ANN401
        """Return the result of the next operation; a StateError as ``{"error": ..., "hint": ...}``."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def do(self, deed: str, *words: object) -> Any:  # noqa: ANN401
        """Run an operation and return its result."""
        self.tell(deed, *words)
        return self.heard()

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def puppet(path: Path, *before: str, clock: HandClock | None = None) -> Iterator[Puppet]:
    """Start a process on the ledger at ``path``, behind the words ``before``; ``clock`` stands still."""
    set_to = [] if clock is None else [str(clock.wall_s), str(clock.boot_s), clock.boot_id]
    line = [*before, sys.executable, "-m", "tests.support.ledger.scripted_process", str(path), *set_to]
    environ = {**os.environ, **fork_server.ENVIRON}
    started: Any = subprocess.Popen
    if not before and fork_server.can_fork(line[1:], environ):
        line, started = line[1:], fork_server.Forked
    with started(line, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Puppet(process)
        finally:
            process.kill()


class Strings:
    """The operations; the ledger is opened at the first that needs it."""

    def __init__(self, path: Path, clock: HandClock | None) -> None:
        self._path, self._clock = path, clock
        self._opened: LedgerSession | None = None
        self._syncs: Any = None
        self.patience_s = 30.0

    @property
    def _session(self) -> LedgerSession:
        if self._opened is None:
            store = Database(self._path, clock=self._clock, patience_s=self.patience_s)
            self._opened = LedgerSession(store, owner_id=os.urandom(8).hex(), pid=os.getpid())
        return self._opened

    def pid(self) -> int:
        return os.getpid()

    def become(self, user: int) -> None:
        """Be another user from now on; the checkout that this was loaded from may not be readable to them."""
        CostLimit()  # pydantic loads what it needs at the first use
        ask("any", "run")
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)

    def patience(self, seconds: float) -> None:
        self.patience_s = seconds

    def turn_clock(self, wall_s: float, boot_s: float, boot_id: str) -> None:
        assert self._clock is not None
        self._clock.wall_s, self._clock.boot_s, self._clock.boot_id = wall_s, boot_s, boot_id

    def open(self, run: str, limit: str | None = None) -> None:
        limits = CostLimit(max_cost_per_task=None if limit is None else Decimal(limit), max_tokens_per_task=None)
        self._session.open_run(run, limits, task="t", agent="a", labels={})

    def hold(
        self, name: str, tokens: int, *, run: str = "run", hour: str | None = None, deadline_s: float = 600.0
    ) -> object:
        hour_usd = None if hour is None else Decimal(hour)
        answer = self._session.reserve(ask(name, run, tokens=tokens, hour=hour_usd, deadline_s=deadline_s))
        if isinstance(answer, Verdict):
            return {"refused": answer.limit}
        return "held" if isinstance(answer, Hold) else "wait"

    def mark(self, name: str) -> bool:
        return self._session.mark_sent(name)

    def settle(self, name: str, tokens: int) -> str:
        return self._session.settle(name, Charge(Usage(10, tokens), tokens * 1_000_000, "m")).phase

    def spool(self, name: str, tokens: int) -> str:
        return self._session.spool(name, Charge(Usage(10, tokens), tokens * 1_000_000, "m"))

    def doubt(self, name: str) -> str:
        return self._session.doubt(name, "cut", ceiling=False, provider_fault=False).phase

    def void(self, name: str) -> None:
        self._session.void(name, "refused")

    def spend(self, run: str = "run") -> list[int]:
        """Return the run's amounts spent, in doubt and held, and the amount in the hour."""
        found = self._session.spend(run)
        return [found.run_nano.spent, found.run_nano.in_doubt, found.run_nano.held, found.hour_nano.total]

    def stay_in_the_queue(self) -> None:
        """Hang while holding the queue."""
        database = self._session._database
        assert isinstance(database, Database)
        clock = database._clock

        def hanging() -> ClockReading:
            print(json.dumps("in the queue"), flush=True)
            sys.stdin.readline()
            return clock()

        database._clock = hanging
        self._session.close_run("nothing", "done")
        database._clock = clock

    def syncs(self, failures: int, error: int) -> None:
        """Let so many syncs of the disk fail."""
        from tests.support.ledger.fsync_faults import Syncs

        self._syncs = self._syncs or Syncs()
        self._syncs.error, self._syncs.failures = error, failures

    def use_up_files(self, but: int) -> None:
        """Leave no descriptor free but so many."""
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            for fd in taken[:but]:
                os.close(fd)

    def child(self) -> int:
        """Start what a tool may start, and return its pid."""
        return subprocess.Popen(["sleep", "600"], close_fds=False, stdin=subprocess.DEVNULL).pid

    def close(self) -> None:
        self._session.close()


def main(path: str, *clock: str) -> None:
    """Run the operations read from stdin, and print each result."""
    hand = HandClock(float(clock[0]), float(clock[1]), clock[2]) if clock else None
    strings = Strings(Path(path), hand)
    for line in sys.stdin:
        deed, *words = json.loads(line)
        more = words.pop() if words and isinstance(words[-1], dict) else {}
        try:
            answer = getattr(strings, deed)(*words, **more)
        except StateError as error:
            answer = {"error": error.message, "hint": error.hint}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
