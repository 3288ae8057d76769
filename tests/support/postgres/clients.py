"""Clients that spend on a fleet's ledger, beside a provider that keeps its own books, and the check of both.

``python -m tests.support.postgres.clients PLAN``: one client as a process, which follows a plan (JSON) until it is told
to stop; what it sends is billed in a file before anything is settled.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.core.errors import StateError, Verdict
from agentctl.core.ledger_address import PostgresAddress
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.postgres import PostgresLedger
from tests.support.ledger.spender import BOUND, FACTS, INPUT_NANO, LEAST, MOST, OUTPUT_NANO, append
from tests.support.postgres.fleet import Fleet

WORST = BOUND * INPUT_NANO + MOST * OUTPUT_NANO
MOST_LATE_S = 5.0
FREE_HAND = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)


@dataclass(frozen=True)
class Plan:
    """What a client does: ``pace_s`` is how long the model answers, ``doubtful`` the share of answers that are cut.

    ``url``, ``state_dir``: its ledger. ``books``: the folder of what the provider billed and of the file ``stop``.
    """

    name: str
    url: str
    state_dir: str
    books: str
    hour_nano: int
    pace_s: float = 0.0
    doubtful: float = 0.1
    budget_wait_s: float = 60.0
    accept_lost_holds: bool = False
    pause_s: float = 0.0


class Client:
    """One client; ``outcomes`` counts what came of its calls, ``took`` has the seconds of each reserve and settle."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.dice = plan, random.Random(plan.name)
        self.outcomes: Counter[str] = Counter()
        self.took: list[float] = []
        self.longest_s = 0.0
        address = PostgresAddress(
            plan.url,
            Path(plan.state_dir),
            budget_wait_s=plan.budget_wait_s,
            accept_lost_holds=plan.accept_lost_holds,
        )
        self.ledger = PostgresLedger(address, pause_s=0.0)

    async def spend(self, is_over: Callable[[], bool]) -> None:
        """Call until told to stop, whatever happens to the server."""
        is_open = False
        while not is_over():
            began = time.monotonic()
            try:
                if not is_open:
                    await self.ledger.open_run(self.plan.name, FREE_HAND, task="", agent="", labels={})
                    is_open = True
                await self.call()
            except StateError as error:
                self.outcomes[f"{type(error).__name__}"] += 1
                await anyio.sleep(0.05)
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    async def call(self) -> None:
        """Make one call: hold, mark, be billed, settle; a conclusion that cannot be written goes to the spool."""
        hold = await self.reserve()
        if hold is None:
            return
        asked_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if not await self.ledger.mark_sent(hold.id):
            self.outcomes["unsent"] += 1
            return
        if time.clock_gettime(time.CLOCK_BOOTTIME) - asked_s > MOST_LATE_S:
            await self.ledger.void(hold.id, "it woke too late to send")
            self.outcomes["woke too late"] += 1
            return
        used = Usage(self.dice.randint(1, BOUND), self.dice.randint(1, hold.granted_output))
        nano = used.input_tokens * INPUT_NANO + used.output_tokens * OUTPUT_NANO
        append(Path(self.plan.books) / "bills", f"{hold.id} {nano} {used.total_tokens} {time.time_ns() // 1000}")
        self.outcomes["sent"] += 1
        await anyio.sleep(self.plan.pace_s)
        charge = Charge(used, nano, "m")
        try:
            began = time.perf_counter()
            if self.dice.random() < self.plan.doubtful:
                await self.ledger.doubt(hold.id, "cut", provider_fault=False, least=None)
                self.outcomes["doubt"] += 1
            else:
                await self.ledger.settle(hold.id, charge)
                self.outcomes["settled"] += 1
            self.took.append(time.perf_counter() - began)
        except StateError:
            await self.ledger.spool(hold.id, charge)
            self.outcomes["spooled"] += 1

    async def reserve(self) -> Hold | None:
        """Ask until there is an answer; None if the limit refuses."""
        asked = Ask(os.urandom(8).hex(), self.plan.name, FACTS, BOUND, LEAST, MOST, self.plan.hour_nano)
        while True:
            began = time.perf_counter()
            answer = await self.ledger.reserve(asked)
            if isinstance(answer, Hold):
                self.took.append(time.perf_counter() - began)
                return answer
            if isinstance(answer, Verdict):
                self.outcomes["refused"] += 1
                await anyio.sleep(0.05)
                return None
            assert isinstance(answer, Wait)
            if (Path(self.plan.books) / "stop").exists():
                await self.ledger.leave_queue(asked.attempt_id)
                return None
            await anyio.sleep(min(answer.seconds, 0.05))


class Bill(NamedTuple):
    """What the provider billed for an attempt, and when its first byte came, in microseconds of the wall clock."""

    nano: int
    at_us: int


def bills_of(books: Path) -> dict[str, Bill]:
    """Return what the provider billed, by attempt."""
    path = books / "bills"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    bills = {name: Bill(int(nano), int(at_us)) for name, nano, _, at_us in lines}
    assert len(bills) == len(lines), "an attempt was billed twice"
    return bills


def billed_nano(books: Path) -> int:
    """Return the sum of all bills."""
    return sum(bill.nano for bill in bills_of(books).values())


def wrongs(fleet: Fleet, books: Path, *, limit: int) -> list[str]:
    """Return what is wrong between the provider's books and the ledger, when all clients have ended.

    Everything billed is at most the limit; each billed request had one hold, which was marked sent before, and not long
    before; it counts at what was billed at least; rows are equal to their last entries, sub-totals to the sums of rows.
    """
    bills = bills_of(books)
    found = [] if billed_nano(books) <= limit else [f"billed {billed_nano(books)}, the limit is {limit}"]
    rows: dict[Any, tuple[Any, ...]] = {
        name: tuple(row) for name, *row in fleet.query("SELECT id, phase, nano, sent_us FROM agentctl.attempts")
    }
    steps: dict[Any, list[tuple[Any, Any]]] = {}
    for name, phase, nano, _ in fleet.entries():
        steps.setdefault(name, []).append((phase, nano))
    for name, bill in bills.items():
        phase, nano, sent_us = rows.get(name, ("missing", 0, 0))
        phases = [step for step, _ in steps.get(name, ())]
        if phases[:2] != ["held", "sent"] or set(phases[2:]) - {"doubt", "settled"}:
            found.append(f"billed {bill.nano}, but its steps are {phases}: {name}")
        elif nano < bill.nano or (phase == "settled" and nano != bill.nano):
            found.append(f"billed {bill.nano}, but it is {phase} at {nano}: {name}")
        elif not sent_us <= bill.at_us <= sent_us + (MOST_LATE_S + 1) * 1_000_000:
            found.append(f"sent {(bill.at_us - sent_us) / 1_000_000:.1f} s after its mark: {name}")
    for name, (phase, nano, _) in rows.items():
        if (phase, nano) != steps[name][-1]:
            found.append(f"the row is {phase} at {nano}, its last entry {steps[name][-1]}: {name}")
        if phase == "settled" and name not in bills:
            found.append(f"settled and never billed: {name}")
    return found + [f"the sub-total of {place} differs from its parts" for place in drift(fleet)]


def drift(fleet: Fleet) -> tuple[str, ...]:
    """Return the sub-totals that differ from the sums of their parts."""
    from agentctl.ledger.postgres.fleet_database import FleetDatabase
    from agentctl.ledger.sums import find_drift

    database = FleetDatabase(fleet.address(Path("/nonexistent")))
    try:
        with database.read() as tx:
            return find_drift(tx)
    finally:
        database.close()


async def _follow(plan: Plan) -> None:
    client = Client(plan)
    await client.spend((Path(plan.books) / "stop").exists)
    await client.ledger.aclose()
    told = {"name": plan.name, "outcomes": client.outcomes, "longest_s": client.longest_s}
    append(Path(plan.books) / "outcomes", json.dumps(told))


def as_words(plan: Plan) -> list[str]:
    """Return the command that runs a client as a process."""
    return [sys.executable, "-m", "tests.support.postgres.clients", json.dumps(asdict(plan))]


if __name__ == "__main__":
    anyio.run(_follow, Plan(**json.loads(sys.argv[1])))
