"""Anything may happen to the book in any order; what it answers and holds is worked out anew after each step."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentctl.budget import Amounts, Ask, Charge, Hold, Settlement, Spend, Wait
from agentctl.errors import Verdict
from agentctl.ledger.book import PAUSE_S
from agentctl.limits import CostLimit
from agentctl.messages import Usage
from tests.ledger.expected import FACTS, Expected, Grant, Refused, Waits
from tests.ledger.oracle import INPUT_NANO, OUTPUT_NANO, SECOND_US, Sums, cost
from tests.ledger.process import IN_MEMORY, Killed, Process, TickingClock, can_write_now

T = TypeVar("T")
SLOTS = st.integers(0, 2)
PICKS = st.integers(0, 1_000)
HOURS = st.sampled_from([None, 0, 130_400_000, 200_000_000, 400_000_000])
PASSING = st.sampled_from([0.001, 0.3, 3.0, 11.0, 31.0, 599.0, 601.0, 2_900.0, 3_599.0, 3_600.0])
CUTS = st.sampled_from([False, False, True])
LASTING = st.sampled_from([0, 0, 5, 300, 599])
STEPS = st.sampled_from([-86_400, -7_200, 7_200, 86_400])


@dataclass(frozen=True)
class Wish:
    """What an attempt asks for; numbers that make limits be met exactly now and then."""

    bound: int
    least: int
    more: int
    provider: str
    deadline_s: float


WISHES = st.builds(
    Wish,
    bound=st.sampled_from([0, 0, 50, 200]),
    least=st.sampled_from([1, 10, 50, 60]),
    more=st.sampled_from([0, 0, 20, 60]),
    provider=st.sampled_from(["p", "p", "q"]),
    deadline_s=st.sampled_from([30.0, 600.0]),
)


class Bookkeeping(RuleBasedStateMachine):
    """Three processes on one file, a clock that does what clocks do, and an oracle beside them."""

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

    # --- deeds ------------------------------------------------------------------------------------------------

    def did(self, act: Callable[[], T]) -> T:
        """Do what writes; the ledger's time goes on with it."""
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
        """Return attempts in these phases whose process still runs, whatever others think of it."""
        items = self.expected.items
        return [name for name in items if items[name].phase in phases and self.owner_of(name) is not None]

    @initialize()
    def two_runs(self) -> None:
        for nano, tokens in ((300_000_000, None), (None, 500)):
            self.open_a_run(0, nano, tokens)
        self.look = sqlite3.connect(self.path, isolation_level=None)

    @rule(
        slot=SLOTS,
        nano=st.sampled_from([None, 0, 100_000_000, 150_000_000, 300_000_000]),
        tokens=st.sampled_from([None, 200, 500]),
    )
    def open_a_run(self, slot: int, nano: int | None, tokens: int | None) -> None:
        process, name = self.processes[slot], self.name("run")
        dollars = None if nano is None else Decimal(nano) / 10**9
        limits = CostLimit(max_cost_per_task=dollars, max_cost_per_hour=None, max_tokens_per_task=tokens)
        self.did(lambda: process.book.open_run(name, limits, task="", agent="", labels={}))
        self.expected.limits[name] = (nano, tokens)
        self.expected.open_runs.append(name)

    @rule(slot=SLOTS, pick=PICKS)
    def close_a_run(self, slot: int, pick: int) -> None:
        if (run := self.pick(self.expected.open_runs, pick)) is not None and len(self.expected.open_runs) > 1:
            self.did(lambda: self.processes[slot].book.close_run(run, "done"))
            self.expected.close_run(run)

    @rule(slot=SLOTS, hour=HOURS)
    def another_hour_limit(self, slot: int, hour: int | None) -> None:
        self.processes[slot].hour = hour

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

    @rule(slot=SLOTS, pick=PICKS, wish=WISHES)
    def ask(self, slot: int, pick: int, wish: Wish) -> None:
        if (asked := self.wanted(slot, pick, wish)) is not None:
            process = self.processes[slot]
            self.answered(process, asked, self.did(lambda: process.book.reserve(asked)))

    @rule(
        slot=SLOTS,
        pick=PICKS,
        wish=WISHES,
        part=st.integers(0, 4),
        cut=st.sampled_from([False, False, True]),
        lasting=LASTING,
    )
    def a_whole_call(self, slot: int, pick: int, wish: Wish, part: int, cut: bool, lasting: int) -> None:
        """What mostly happens: hold, sent, answered or cut off."""
        self.ask(slot, pick, wish)
        name = f"a{self.names:04d}"
        if cut:
            self.clock.pass_by(lasting)
        if name in self.mine("held"):
            self.mark(name, self.processes[slot])
        self.clock.pass_by(lasting)
        if name in self.mine("sent"):
            if cut:
                self.leave_in_doubt(name, fault=True, ceiling=False)
            else:
                self.pay(name, part, over=0)

    @rule(slots=st.permutations([0, 1, 2]), pick=PICKS, first=WISHES, second=WISHES)
    def two_ask_at_once(self, slots: list[int], pick: int, first: Wish, second: Wish) -> None:
        """While one is at the sums, another comes: it waits for its turn, or its hold is in those sums."""
        a, b = self.wanted(slots[0], pick, first), self.wanted(slots[1], pick, second)
        if a is None or b is None:
            return
        one, other = self.processes[slots[0]], self.processes[slots[1]]
        answers: list[Hold | Wait | Verdict] = []

        def amid() -> None:
            if not answers and can_write_now(self.path):
                answers.append(other.book.reserve(b))

        self.clock.amid = amid
        answer = self.did(lambda: one.book.reserve(a))
        self.clock.amid = None
        for early in answers:
            self.answered(other, b, early)
        self.answered(one, a, answer)
        if not answers:
            self.answered(other, b, self.did(lambda: other.book.reserve(b)))

    def may_ask_again(self) -> list[str]:
        """Return those who wait, and those who may not have heard of their hold."""
        soon = self.expected.now_us + 10 * 86_400 * SECOND_US
        held = [name for name in self.mine("held") if self.expected.items[name].deadline_us > soon]
        return [name for name in self.expected.waiters if self.owner_of(name)] + held

    @rule(pick=PICKS)
    def ask_again(self, pick: int) -> None:
        """Those who wait ask again; one who did not hear of its hold hears of the same hold."""
        if (name := self.pick(self.may_ask_again(), pick)) is None:
            return
        asked, process = self.asks[name][0], self.owner_of(name)
        assert process is not None
        self.answered(process, asked, self.did(lambda: process.book.reserve(asked)))

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

    @rule(pick=PICKS)
    def leave_the_queue(self, pick: int) -> None:
        name = self.pick(self.may_ask_again(), pick)
        process = None if name is None else self.owner_of(name)
        if name is not None and process is not None:
            self.did(lambda: process.book.leave_queue(name))
            self.expected.waiters.pop(name, None)
            if name in self.expected.items and self.expected.items[name].phase == "held":
                self.expected.end(name, "void")

    @rule(pick=PICKS, slot=SLOTS, anyone=st.sampled_from([False, False, False, True]))
    def mark_sent(self, pick: int, slot: int, anyone: bool) -> None:
        phases = ("held", "sent", "settled", "void", "doubt") if anyone else ("held",)
        name = self.pick(self.mine(*phases), pick)
        if name is None:
            return
        process = self.processes[slot] if anyone else self.owner_of(name)
        assert process is not None
        self.mark(name, process)

    def mark(self, name: str, process: Process) -> None:
        item = self.expected.items[name]
        marked = self.did(lambda: process.book.mark_sent(name))
        ahead = item.deadline_us > self.expected.now_us
        assert marked == (
            item.phase == "held" and item.owner == process.owner and ahead and item.run in self.expected.open_runs
        )
        if marked:
            item.phase = "sent"

    @rule(pick=PICKS, part=st.integers(0, 4), over=st.sampled_from([0] * 9 + [1]))
    def settle(self, pick: int, part: int, over: int) -> None:
        """Usage comes, now and then for what was in doubt, now and then above the hold."""
        if (name := self.pick(self.mine("sent", "doubt", "settled", "void"), pick)) is not None:
            self.pay(name, part, over=over)

    def pay(self, name: str, part: int, *, over: int) -> None:
        process = self.owner_of(name)
        assert process is not None
        item, asked = self.expected.items[name], self.asks[name][0]
        granted = (item.hold_nano - asked.input_bound * INPUT_NANO) // OUTPUT_NANO
        used = Usage(asked.input_bound, granted * part // 4 + over * (granted + 1))
        charge = Charge(used, cost(used.input_tokens, used.output_tokens), "m")
        said = self.did(lambda: process.book.settle(name, charge))
        if item.phase == "settled":
            assert (said.nano, said.tokens) == (item.nano, item.tokens)
            return
        overrun = used.total_tokens > item.hold_tokens or (charge.nano or 0) > item.hold_nano
        assert said == Settlement("settled", charge.nano, used.total_tokens, overrun=overrun)
        self.expected.end(name, "settled", charge.nano or 0, used.total_tokens)
        if overrun:
            self.expected.overran.add(item.provider)

    @rule(pick=PICKS)
    def void(self, pick: int) -> None:
        name = self.pick(self.mine("held", "sent", "settled", "doubt", "void"), pick)
        process = None if name is None else self.owner_of(name)
        if name is not None and process is not None:
            self.did(lambda: process.book.void(name, "refused"))
            if self.expected.items[name].phase in ("held", "sent"):
                self.expected.end(name, "void")

    @rule(pick=PICKS, fault=st.booleans(), ceiling=st.sampled_from([False] * 6 + [True]))
    def doubt(self, pick: int, fault: bool, ceiling: bool) -> None:
        if (name := self.pick(self.mine("sent", "doubt", "settled", "void"), pick)) is not None:
            self.leave_in_doubt(name, fault=fault, ceiling=ceiling)

    def leave_in_doubt(self, name: str, *, fault: bool, ceiling: bool) -> None:
        process = self.owner_of(name)
        assert process is not None
        self.did(lambda: process.book.doubt(name, "cut", ceiling=ceiling, provider_fault=fault))
        item = self.expected.items[name]
        if item.phase == "sent" or (item.phase == "doubt" and ceiling):
            nano, tokens = item.nano, item.tokens
            if ceiling:
                nano, tokens = self.expected.ceiling_of(self.asks[name][0], item)
                self.expected.overran.add(item.provider)
            self.expected.end(name, "doubt", nano, tokens, fault=fault)

    # --- what befalls them ------------------------------------------------------------------------------------

    def dead_owners(self) -> set[str]:
        owners = {item.owner for item in self.expected.items.values()}
        owners |= {one.owner for one in self.expected.waiters.values()}
        return owners - {p.owner for p in self.processes if p.locked}

    @rule(slot=SLOTS)
    def kill_9(self, slot: int) -> None:
        dead = self.processes[slot]
        dead.kill()
        self.processes[slot] = Process(self.path, self.clock, dead.hour)

    @rule(slot=SLOTS, pick=PICKS, deed=st.sampled_from(["reserve", "mark_sent", "settle", "doubt"]))
    def kill_9_in_a_transaction(self, slot: int, pick: int, deed: str) -> None:
        """What was not committed never was."""
        name = self.pick(self.mine("held", "sent"), pick)
        process = self.processes[slot] if name is None else self.owner_of(name)
        assert process is not None

        def die() -> None:
            raise Killed

        book, charge = process.book, Charge(Usage(1, 1), cost(1, 1), "m")
        deeds: dict[str, Callable[[str], object]] = {
            "reserve": lambda _: book.reserve(Ask("never", self.expected.open_runs[0], FACTS["p"], 1, 1, 1, None)),
            "mark_sent": book.mark_sent,
            "settle": lambda it: book.settle(it, charge),
            "doubt": lambda it: book.doubt(it, "cut", ceiling=False, provider_fault=True),
        }
        self.clock.amid = die
        with pytest.raises(Killed):
            deeds["reserve" if name is None else deed](name or "")
        self.clock.amid = None
        process.kill()
        self.processes[self.processes.index(process)] = Process(self.path, self.clock, process.hour)

    @rule(slot=SLOTS)
    def taken_for_dead(self, slot: int) -> None:
        """A living process loses its lock file: what others make of it must be harmless."""
        self.processes[slot].lose_its_lock()

    @rule(seconds=PASSING)
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_by(seconds)

    @rule(pick=PICKS, off_us=st.sampled_from([-SECOND_US, -1, 0, SECOND_US]))
    def an_amount_is_about_to_leave_the_hour_or_a_hold_to_end(self, pick: int, off_us: int) -> None:
        """Just before, just when, or just after it does."""
        items, now_us = self.expected.items, self.expected.now_us
        if (name := self.pick([n for n in items if items[n].counts_in_the_hour(now_us)], pick)) is not None:
            item = items[name]
            passing = (item.leaves_us if item.ended_us else item.deadline_us) - now_us + off_us
            self.clock.pass_by(max(passing, 0) / SECOND_US)

    @rule(seconds=STEPS)
    def the_wall_clock_is_set(self, seconds: int) -> None:
        self.clock.wall_us += seconds * SECOND_US

    @rule(off_s=st.sampled_from([5, 1_800, 7_200]), back=st.booleans())
    @precondition(lambda self: self.look is not None)
    def the_machine_starts_anew(self, off_s: int, back: bool) -> None:
        for slot in range(3):
            self.kill_9(slot)
        self.clock.boot(off_s if not back else -off_s)

    # --- what always holds ------------------------------------------------------------------------------------

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
            told = process.book.spend(run)
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
    """Return the oracle's sums as the book tells them."""
    return Amounts(sums.spent, sums.in_doubt, sums.held)
