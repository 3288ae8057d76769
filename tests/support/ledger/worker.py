"""A process that spends: holds, sends, bills itself in a file of its own, settles. Run as a script by the tests.

worker.py spend LEDGER BILLS RUN HOUR_USD CALLS     spend until done or refused; prints the outcome as JSON
worker.py pause LEDGER BILLS RUN PHASE              go as far as PHASE, print it, and wait to be killed
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from decimal import Decimal
from pathlib import Path

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.clock import ClockReading, system_clock
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession

FACTS = ModelFacts("p", "m", Price(Decimal(1), Decimal(1_000)), context_window=100_000, output_ceiling=10_000)


def bill(path: Path, nano: int) -> None:
    """Write what the provider bills, as one line, before anybody can settle it."""
    with path.open("a") as file:
        file.write(f"{nano}\n")


def session(path: Path, clock: object = None) -> LedgerSession:
    """Open the ledger as a process of its own."""
    return LedgerSession(Database(path, clock=clock), owner_id=os.urandom(8).hex(), pid=os.getpid())  # type: ignore[arg-type]


def ask(run: str, hour: Decimal) -> Ask:
    """Ask for 20 to 100 output tokens: two to ten cents."""
    return Ask(os.urandom(8).hex(), run, FACTS, 1_000, least=20, most=100, hour_limit_nano=int(hour * 10**9))


def spend(path: Path, bills: Path, run: str, hour: Decimal, calls: int) -> dict[str, object]:
    """Make ``calls`` calls, waiting for others as long as it takes; stop at a refusal."""
    ledger, dice = session(path), random.Random(run)
    ledger.open_run(run, CostLimit(max_cost_per_task=None, max_tokens_per_task=None), task="", agent="", labels={})
    made = 0
    while made < calls:
        wanted = ask(run, hour)
        while isinstance(answer := ledger.reserve(wanted), Wait):
            time.sleep(0.02)
        if isinstance(answer, Verdict):
            ledger.close()
            return {"made": made, "refused_at": answer.would_be, "spent": answer.spent}
        assert isinstance(answer, Hold)
        assert ledger.mark_sent(answer.id)
        used = Usage(dice.randint(1, 1_000), dice.randint(1, answer.granted_output))
        nano = used.input_tokens * 1_000 + used.output_tokens * 1_000_000
        bill(bills, nano)
        ledger.settle(answer.id, Charge(used, nano, "m"))
        made += 1
    ledger.close()
    return {"made": made, "refused_at": None}


class Stall:
    """A clock that stops the world at its ``nth`` reading, inside the transaction."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.readings = 0
        self.real = system_clock()

    def __call__(self) -> ClockReading:
        self.readings += 1
        if self.readings == self.at:
            wait_to_be_killed("in the transaction")
        return self.real()


def wait_to_be_killed(phase: str) -> None:
    """Print the phase, then hang."""
    print(phase, flush=True)
    time.sleep(600)


def pause(path: Path, bills: Path, run: str, phase: str) -> None:
    """Go as far as ``phase`` and hang there."""
    clock = Stall()
    ledger = session(path, clock)
    ledger.open_run(run, CostLimit(max_cost_per_task=None, max_tokens_per_task=None), task="", agent="", labels={})
    if phase == "before hold":
        wait_to_be_killed(phase)
    if phase == "holding":
        clock.at = clock.readings + 1
    hold = ledger.reserve(ask(run, Decimal(100)))
    assert isinstance(hold, Hold)
    if phase == "held":
        wait_to_be_killed(phase)
    if phase == "marking":
        clock.at = clock.readings + 1
    assert ledger.mark_sent(hold.id)
    if phase == "sent":
        wait_to_be_killed(phase)
    bill(bills, 50_001_000)
    if phase == "usage seen":
        wait_to_be_killed(phase)
    if phase == "settling":
        clock.at = clock.readings + 1
    ledger.settle(hold.id, Charge(Usage(1, 50), 50_001_000, "m"))
    if phase == "settled":
        wait_to_be_killed(phase)


if __name__ == "__main__":
    deed, ledger_path, bills_path, run_id, *rest = sys.argv[1:]
    if deed == "spend":
        print(json.dumps(spend(Path(ledger_path), Path(bills_path), run_id, Decimal(rest[0]), int(rest[1]))))
    else:
        pause(Path(ledger_path), Path(bills_path), run_id, rest[0])
