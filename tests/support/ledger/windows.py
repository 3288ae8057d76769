"""Hours of calls of 1 to 600 s on a clock turned by hand: in no 3600 s may the provider bill more than the limit."""

from __future__ import annotations

import heapq
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.audit import Bill, dearest_window
from tests.support.ledger.process import IN_MEMORY, TickingClock
from tests.support.ledger.spender import BOUND, FACTS, LEAST, MOST, OUTPUT_NANO

FREE_HAND = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
MOST_S = 600.0


class Hours:
    """``processes`` that call one after another; ``faults`` is the share of answers that never come.

    What is cut off may still be billed at any moment up to its deadline. Beside it the wall clock is set back and
    forth, and the machine sleeps.
    """

    def __init__(self, folder: Path, *, seed: int, processes: int, hour_nano: int, faults: float) -> None:
        self.dice, self.clock, self.hour_nano, self.faults = random.Random(seed), TickingClock(), hour_nano, faults
        self.began_us = self.clock.boot_us
        self.bills: list[Bill] = []
        self.calls = self.refused = self.early = 0
        self.books = []
        for n in range(processes):
            store = Database(folder / "ledger.db", clock=self.clock)
            session = LedgerSession(store, owner_id=f"process-{n}", pid=os.getpid())
            session.open_run(f"run-{n}", FREE_HAND, task="", agent="", labels={})
            self.books.append(session)

    @property
    def now_s(self) -> float:
        """Return true time since the beginning."""
        return (self.clock.boot_us - self.began_us) / 10**6

    def pass_until(self, at_s: float) -> None:
        """Let time go on; now and then somebody sets the wall clock."""
        self.clock.pass_by(max(at_s - self.now_s, 0))
        if self.dice.random() < 0.02:
            self.clock.wall_us += self.dice.choice([-86_400, -7_200, -60, 60, 7_200, 86_400]) * 10**6

    def process(self, number: int) -> Iterator[float]:
        """Make calls for ever; yield the seconds to sleep."""
        session, dice = self.books[number], self.dice
        wanted: Ask | None = None
        while True:
            wanted = wanted or self.ask(f"run-{number}")
            answer = session.reserve(wanted)
            if isinstance(answer, Wait):
                yield dice.uniform(5, 60)
                continue
            wanted = None
            if isinstance(answer, Verdict):
                self.refused += 1
                yield dice.uniform(1, 600)
                continue
            yield from self.call(session, answer)
            yield dice.choice([0.0, 0.0, 1.0, 30.0])

    def ask(self, run: str) -> Ask:
        least = self.dice.choice([LEAST, MOST // 2])
        return Ask(os.urandom(8).hex(), run, FACTS, BOUND, least, MOST, self.hour_nano, deadline_s=MOST_S)

    def call(self, session: LedgerSession, hold: Hold) -> Iterator[float]:
        """Send, be billed at any moment, and settle."""
        dice = self.dice
        held_s = self.now_s
        yield dice.choice([0.0, 0.0, 0.5, 20.0])
        if not session.mark_sent(hold.id):
            return
        self.calls += 1
        lasts = dice.choice([1.0, 5.0, dice.uniform(1, MOST_S), MOST_S - (self.now_s - held_s)])
        output = dice.choice([hold.granted_output, dice.randint(1, hold.granted_output)])
        nano = output * OUTPUT_NANO
        cut = dice.random() < self.faults
        latest = MOST_S - (self.now_s - held_s) if cut else lasts
        at_s = self.now_s + dice.choice([0.0, latest, dice.uniform(0, latest)])
        self.bills.append(Bill(nano, output, round(at_s * 10**6)))
        yield lasts
        if cut:
            session.doubt(hold.id, "cut off", ceiling=False, provider_fault=dice.random() < 0.5)
        else:
            session.settle(hold.id, Charge(Usage(0, output), nano, "m"))

    def go_on(self, calls: int) -> None:
        """Let all of them go on until so many calls were made."""
        todo = [(0.0, n, self.process(n)) for n in range(len(self.books))]
        heapq.heapify(todo)
        while self.calls < calls:
            at_s, number, process = heapq.heappop(todo)
            self.pass_until(at_s)
            heapq.heappush(todo, (self.now_s + next(process), number, process))
        for session in self.books:
            session.close()


def hours(*, seed: int, calls: int, processes: int = 12, hour_nano: int, faults: float = 0.05) -> dict[str, float]:
    """Return the dearest 3600 s by the provider's ledgers, and how much of the limit an hour used on average."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        made = Hours(Path(folder), seed=seed, processes=processes, hour_nano=hour_nano, faults=faults)
        made.go_on(calls)
    billed = sum(bill.nano for bill in made.bills)
    return {
        "calls": made.calls,
        "hours": made.now_s / 3600,
        "refused": made.refused,
        "limit": hour_nano,
        "dearest": dearest_window(made.bills),
        "used": billed / (made.now_s / 3600) / hour_nano,
    }
