"""Three processes on one ledger, and an oracle for the result of each operation and the invariants."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Amounts, Ask, Hold, PeakUsage, Spend, Wait
from agentctl.core.errors import Verdict
from agentctl.core.messages import Usage
from agentctl.ledger.ledger_session import PAUSE_S
from tests.support.ledger.expected import FACTS, Expected, Grant, Refused, Waits
from tests.support.ledger.oracle import INPUT_NANO, OUTPUT_NANO, SECOND_US, Sums, cost
from tests.support.ledger.process import IN_MEMORY, Process, TickingClock

T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """What an attempt asks for; some numbers meet limits exactly."""

    bound: int
    least: int
    more: int
    provider: str
    deadline_s: float


class Beside(RuleBasedStateMachine):
    """The ledger, its processes, a clock that can jump, and the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.path = Path(self.folder.name) / "ledger.db"
        self.clock = TickingClock()
        self.expected = Expected(pause_us=int(PAUSE_S * SECOND_US))
        self.processes = [Process(self.path, self.clock, hour) for hour in (None, 200_000_000, 400_000_000)]
        self.asks: dict[str, tuple[Ask, str]] = {}
        self.names = 0
        self.entries = 0
        self.look: sqlite3.Connection | None = None

    def teardown(self) -> None:
        if self.look is not None:
            assert self.look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            self.look.close()
        for process in self.processes:
            process.kill()
        self.folder.cleanup()

    def did(self, act: Callable[[], T]) -> T:
        """Run a writing operation, which advances the ledger's time."""
        answer = act()
        assert self.clock.taken is not None
        self.expected.tell(self.clock.taken)
        return answer

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names:04d}"

    def pick(self, among: list[str], pick: int) -> str | None:
        return sorted(among)[pick % len(among)] if among else None

    def owner_of(self, attempt: str) -> Process | None:
        owner = self.asks[attempt][1]
        return next((p for p in self.processes if p.owner == owner), None)

    def mine(self, *phases: str) -> list[str]:
        """Return attempts in these phases whose process still runs, even if declared dead."""
        items = self.expected.items
        return [name for name in items if items[name].phase in phases and self.owner_of(name) is not None]

    def wanted(self, slot: int, pick: int, wish: Wish) -> Ask | None:
        run = self.pick(self.expected.open_runs, pick)
        if run is None:
            return None
        process = self.processes[slot]
        asked = Ask(
            self.name("a"),
            run,
            FACTS[wish.provider],
            wish.bound,
            least=wish.least,
            most=wish.least + wish.more,
            hour_limit_nano=process.hour,
            deadline_s=wish.deadline_s,
        )
        self.asks[asked.attempt_id] = (asked, process.owner)
        return asked

    def may_ask_again(self) -> list[str]:
        """Return those who wait, and those who may not have heard of their hold."""
        soon = self.expected.now_us + 10 * 86_400 * SECOND_US
        held = [name for name in self.mine("held") if self.expected.items[name].deadline_us > soon]
        return [name for name in self.expected.waiters if self.owner_of(name)] + held

    def answered(self, process: Process, asked: Ask, answer: Hold | Wait | Verdict) -> None:
        """Compare an answer with the one that had to come."""
        expected = self.expected
        expected.swept(but=process.owner, dead=self.dead_owners())
        before = expected.items.get(asked.attempt_id)
        if before is not None and before.phase == "held":
            assert isinstance(answer, Hold)
            assert (answer.nano, answer.tokens) == (before.nano, before.tokens)
            return
        due = expected.answer_to(asked)
        match answer:
            case Hold():
                assert isinstance(due, Grant), f"granted {answer.granted_output}, but {due}"
                assert (answer.granted_output, answer.nano, answer.tokens) == (due.output, due.nano, due.tokens)
                expected.hold(asked, process.owner, due)
            case Wait():
                assert isinstance(due, Waits), f"made to wait, but {due}"
                assert answer.reason == due.reason
                expected.wait(asked, process.owner, due)
            case Verdict():
                assert isinstance(due, Refused), f"refused, but {due}"
                assert answer.limit in due.limits
                assert answer.doubtful == due.doubtful
                (told,) = [a for a in due.against if a.limit == answer.limit]
                assert (answer.ceiling, answer.spent, answer.in_doubt, answer.held) == (told.ceiling, *told.sums)
                expected.waiters.pop(asked.attempt_id, None)

    def mark(self, name: str, process: Process) -> None:
        item = self.expected.items[name]
        marked = self.did(lambda: process.session.mark_sent(name))
        ahead = item.deadline_us > self.expected.now_us
        assert marked == (
            item.phase == "held" and item.owner == process.owner and ahead and item.run in self.expected.open_runs
        )
        if marked:
            item.phase = "sent"

    def pay(self, name: str, part: int, *, over: int) -> None:
        process = self.owner_of(name)
        assert process is not None
        item, asked = self.expected.items[name], self.asks[name][0]
        granted = (item.hold_nano - asked.input_bound * INPUT_NANO) // OUTPUT_NANO
        used = Usage(asked.input_bound, granted * part // 4 + over * (granted + 1))
        charge = Charge(used, cost(used.input_tokens, used.output_tokens), "m")
        said = self.did(lambda: process.session.settle(name, charge))
        if item.phase == "settled":
            assert (said.nano, said.tokens) == (item.nano, item.tokens)
            return
        overrun = used.total_tokens > item.hold_tokens or (charge.nano or 0) > item.hold_nano
        assert said == Settlement("settled", charge.nano, used.total_tokens, overrun=overrun)
        self.expected.end(name, "settled", charge.nano or 0, used.total_tokens)
        if overrun:
            self.expected.overrun(item.provider, PeakUsage(used.input_tokens, used.output_tokens, charge.nano or 0))

    def leave_in_doubt(self, name: str, *, fault: bool, ceiling: bool) -> None:
        process = self.owner_of(name)
        assert process is not None
        self.did(lambda: process.session.doubt(name, "cut", ceiling=ceiling, provider_fault=fault))
        item = self.expected.items[name]
        nano, tokens = item.nano, item.tokens
        if ceiling and item.phase in ("sent", "doubt"):
            nano, tokens = self.expected.ceilings[name]
            self.expected.overrun(item.provider)
        is_raised = item.phase == "doubt" and (nano, tokens) != (item.nano, item.tokens)
        if item.phase == "sent" or is_raised:  # to doubt the same amount again changes nothing
            self.expected.end(name, "doubt", nano, tokens, fault=fault)

    def dead_owners(self) -> set[str]:
        owners = {item.owner for item in self.expected.items.values()}
        owners |= {one.owner for one in self.expected.waiters.values()}
        return owners - {p.owner for p in self.processes if p.locked}

    @invariant()
    def nothing_is_lost_and_the_sums_are_equal(self) -> None:
        if self.look is None:
            return
        rows = self.look.execute("SELECT id, phase, nano, tokens, run_id FROM attempts").fetchall()
        dead = self.dead_owners()
        for name, phase, *_ in rows:
            item = self.expected.items[name]
            if item.owner in dead and (item.phase, phase) in (("held", "void"), ("sent", "doubt")):
                self.expected.buried(item.owner)
        assert {name: tuple(row) for name, *row in rows} == {
            name: (i.phase, i.nano, i.tokens, i.run) for name, i in self.expected.items.items()
        }
        waiting = {name for (name,) in self.look.execute("SELECT attempt_id FROM waiters")}
        left = {n: one for n, one in self.expected.waiters.items() if n in waiting or one.owner not in dead}
        self.expected.waiters = left
        assert waiting == set(left)

        self.every_process_reads_the_same_sums()

    def every_process_reads_the_same_sums(self) -> None:
        process = self.processes[self.names % 3]
        for run in self.expected.limits:
            told = process.session.spend(run)
            assert self.clock.taken is not None
            now = self.expected.time_at(self.clock.taken)
            assert told == Spend(
                amounts(self.expected.of_run(run, tokens=False)),
                amounts(self.expected.of_run(run, tokens=True)),
                amounts(self.expected.of_hour(now)),
            )

    @invariant()
    def the_ledgers_time_and_its_history_only_go_on(self) -> None:
        if self.look is None:
            return
        entries = self.look.execute("SELECT id, at_us, attempt_id, phase FROM entries ORDER BY id").fetchall()
        assert [number for number, *_ in entries] == list(range(1, len(entries) + 1))
        assert len(entries) >= self.entries
        self.entries = len(entries)
        times = [at for _, at, *_ in entries]
        assert times == sorted(times)
        last = {name: phase for *_, name, phase in entries}
        assert last == {name: item.phase for name, item in self.expected.items.items()}


def amounts(sums: Sums) -> Amounts:
    """Return the oracle's sums as the ledger tells them."""
    return Amounts(sums.spent, sums.in_doubt, sums.held)
