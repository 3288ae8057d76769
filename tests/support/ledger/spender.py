"""A process of the crowd: it holds, sends, is billed by a provider with its own record, and settles.

It imports nothing but the ledger's rooms, is forked by ``tests.support.ledger.crowd``, and can be killed at any point.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price, to_usd
from agentctl.ledger.clock import ClockReading
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession

INPUT_NANO, OUTPUT_NANO = 1_000, 1_000_000
FACTS = ModelFacts("p", "m", Price(Decimal(1), Decimal(1_000)), context_window=10_000, output_ceiling=10_000)
BOUND, LEAST, MOST = 100, 20, 100
POINTS = (
    "before hold",
    "holding",
    "held",
    "marking",
    "sent",
    "mid-stream",
    "usage seen",
    "settling",
    "settled",
)


@dataclass(frozen=True)
class Plan:
    """What one process does. ``hour_nano`` and ``run_nano`` are its limits; ``doubtful`` is the share of answers cut.

    ``exact``: it asks for and is billed the whole worst case. ``speed``: seconds of the ledger in one real second.
    ``restless``: after a refusal it opens another run, until told to stop. ``stop_at`` one of POINTS, in the call after
    ``stop_after`` others.
    """

    run: str
    calls: int
    hour_nano: int | None = None
    run_nano: int | None = None
    doubtful: float = 0.0
    exact: bool = False
    speed: int = 1
    restless: bool = False
    stop_at: str = ""
    stop_after: int = 0
    answer_s: float = 0.0


def append(path: Path, line: str) -> None:
    """Append a whole line and sync it, so that it survives a kill."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)


class RunningClock:
    """One boot clock for all processes, ``speed`` times real time; the wall clock follows it."""

    def __init__(self, speed: int) -> None:
        self._speed = speed
        self.looks = 0
        self.last_us = 0
        self.stall: Callable[[], None] | None = None

    def __call__(self) -> ClockReading:
        self.looks += 1
        if self.stall is not None:
            self.stall()
        self.last_us = self.now_us()
        return ClockReading(self.last_us + 10**15, self.last_us, "one boot")

    def now_us(self) -> int:
        """Return microseconds, also for the provider's ledgers."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) * self._speed // 1000


class Spender:
    """Follows its plan on the ledger in ``folder``; what it did goes to files there, what it reached to ``tell``."""

    def __init__(self, folder: Path, plan: Plan, tell: Callable[[str], None]) -> None:
        self.folder, self.plan, self.tell = folder, plan, tell
        self.clock = RunningClock(plan.speed)
        self.dice = random.Random(plan.run)
        store = Database(folder / "ledger.db", clock=self.clock, patience_s=120)
        self.session = LedgerSession(store, owner_id=os.urandom(8).hex(), pid=os.getpid(), pause_s=0.05)
        self.run, self.runs, self.made, self.doubted = plan.run, 0, 0, 0

    def reached(self, point: str) -> None:
        """Hang at the point where this process is to be killed."""
        if point == self.plan.stop_at and self.made >= self.plan.stop_after:
            self.tell(point)
            time.sleep(600)

    def stalling(self, point: str) -> None:
        """Hang inside the next transaction."""
        self.clock.stall = (lambda: self.reached(point)) if point == self.plan.stop_at else None

    def open_a_run(self) -> None:
        limit = None if self.plan.run_nano is None else to_usd(self.plan.run_nano)
        self.run = f"{self.plan.run}-{self.runs}"
        self.runs += 1
        limits = CostLimit(max_cost_per_task=limit, max_cost_per_hour=None, max_tokens_per_task=None)
        self.session.open_run(self.run, limits, task="", agent="", labels={})

    def follow(self) -> None:
        """Make the calls of the plan, and write down how it ended."""
        self.open_a_run()
        refused = ""
        while self.made < self.plan.calls and not (self.folder / "stop").exists():
            if (refused := self.call()) and not self.plan.restless:
                break
            if refused:
                time.sleep(0.1)
                if refused != "max_cost_per_hour":
                    self.session.close_run(self.run, "budget")
                    self.open_a_run()
        self.session.close()
        outcome = {"run": self.plan.run, "made": self.made, "doubted": self.doubted, "refused": refused}
        append(self.folder / "outcomes", json.dumps(outcome))

    def call(self) -> str:
        """Make one call; return the limit that refused it, or nothing."""
        self.reached("before hold")
        self.stalling("holding")
        hold = self.reserve()
        self.clock.stall = None
        if isinstance(hold, Verdict):
            return hold.limit
        self.reached("held")
        self.stalling("marking")
        sent = self.session.mark_sent(hold.id)
        self.clock.stall = None
        if not sent:
            return ""
        self.reached("sent")
        cut = self.dice.random() < self.plan.doubtful
        used = Usage(self.dice.randint(1, BOUND), self.dice.randint(1, hold.granted_output))
        if self.plan.exact:
            used = Usage(BOUND, hold.granted_output)
        nano = used.input_tokens * INPUT_NANO + used.output_tokens * OUTPUT_NANO
        append(self.folder / "bills", f"{hold.id} {nano} {used.total_tokens} {self.clock.now_us()}")
        self.reached("mid-stream")
        time.sleep(self.plan.answer_s)
        if cut:
            self.session.doubt(hold.id, "cut off", ceiling=False, provider_fault=True)
            self.doubted += 1
            return ""
        self.reached("usage seen")
        self.stalling("settling")
        self.session.settle(hold.id, Charge(used, nano, "m"))
        self.clock.stall = None
        self.made += 1
        self.reached("settled")
        return ""

    def reserve(self) -> Hold | Verdict:
        """Ask until there is an answer, for a minute; a refusal is written down with the time of asking."""
        least = MOST if self.plan.exact else LEAST
        hour = self.plan.hour_nano
        asked = Ask(os.urandom(8).hex(), self.run, FACTS, BOUND, least, MOST, hour, deadline_s=600.0 * self.plan.speed)
        gives_up = time.monotonic() + 60
        while isinstance(answer := self.session.reserve(asked), Wait):
            if time.monotonic() > gives_up:
                self.session.leave_queue(asked.attempt_id)
                append(self.folder / "given-up", json.dumps({"run": self.run, "reason": answer.reason}))
                raise SystemExit(3)
            time.sleep(min(answer.seconds, 0.02))
        if isinstance(answer, Verdict):
            told = {
                "at_us": self.clock.last_us + 10**15,
                "run": self.run,
                "hour": hour,
                "limit": answer.limit,
                "spent": answer.spent,
                "nano": BOUND * INPUT_NANO + least * OUTPUT_NANO,
                "tokens": BOUND + least,
            }
            append(self.folder / "refusals", json.dumps(told))
        return answer
