"""A Hypothesis state machine of the ledger; each answer and state is recomputed by an oracle after each step."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from tests.support.ledger.expected import FACTS
from tests.support.ledger.machine_base import Beside, Wish
from tests.support.ledger.oracle import SECOND_US, cost
from tests.support.ledger.process import Killed, Process, can_write_now

SLOTS = st.integers(0, 2)
PICKS = st.integers(0, 1_000)
HOURS = st.sampled_from([None, 0, 130_400_000, 200_000_000, 400_000_000])
PASSING = st.sampled_from([0.001, 0.3, 3.0, 11.0, 31.0, 599.0, 601.0, 2_900.0, 3_599.0, 3_600.0])
CUTS = st.sampled_from([False, False, True])
LASTING = st.sampled_from([0, 0, 5, 300, 599])
STEPS = st.sampled_from([-86_400, -7_200, 7_200, 86_400])
WISHES = st.builds(
    Wish,
    bound=st.sampled_from([0, 0, 50, 200]),
    least=st.sampled_from([1, 10, 50, 60]),
    more=st.sampled_from([0, 0, 20, 60]),
    provider=st.sampled_from(["p", "p", "q"]),
    deadline_s=st.sampled_from([30.0, 600.0]),
)


class Bookkeeping(Beside):
    """The rules: operations of three processes, their deaths, and changes of the clocks."""

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
        self.did(lambda: process.session.open_run(name, limits, task="", agent="", labels={}))
        self.expected.limits[name] = (nano, tokens)
        self.expected.open_runs.append(name)

    @rule(slot=SLOTS, pick=PICKS)
    def close_a_run(self, slot: int, pick: int) -> None:
        if (run := self.pick(self.expected.open_runs, pick)) is not None and len(self.expected.open_runs) > 1:
            self.did(lambda: self.processes[slot].session.close_run(run, "done"))
            self.expected.close_run(run)

    @rule(slot=SLOTS, hour=HOURS)
    def another_hour_limit(self, slot: int, hour: int | None) -> None:
        self.processes[slot].hour = hour

    @rule(slot=SLOTS, pick=PICKS, wish=WISHES)
    def ask(self, slot: int, pick: int, wish: Wish) -> None:
        if (asked := self.wanted(slot, pick, wish)) is not None:
            process = self.processes[slot]
            self.answered(process, asked, self.did(lambda: process.session.reserve(asked)))

    @rule(
        slot=SLOTS,
        pick=PICKS,
        wish=WISHES,
        part=st.integers(0, 4),
        cut=st.sampled_from([False, False, True]),
        lasting=LASTING,
    )
    def a_whole_call(self, slot: int, pick: int, wish: Wish, part: int, cut: bool, lasting: int) -> None:
        """The usual call: hold, sent, answered or cut off."""
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
        """Two processes reserve at once: the second waits for its turn, or its hold is in the first one's sums."""
        a, b = self.wanted(slots[0], pick, first), self.wanted(slots[1], pick, second)
        if a is None or b is None:
            return
        one, other = self.processes[slots[0]], self.processes[slots[1]]
        answers: list[Hold | Wait | Verdict] = []

        def amid() -> None:
            if not answers and can_write_now(self.path):
                answers.append(other.session.reserve(b))

        self.clock.amid = amid
        answer = self.did(lambda: one.session.reserve(a))
        self.clock.amid = None
        for early in answers:
            self.answered(other, b, early)
        self.answered(one, a, answer)
        if not answers:
            self.answered(other, b, self.did(lambda: other.session.reserve(b)))

    @rule(pick=PICKS)
    def ask_again(self, pick: int) -> None:
        """Waiters ask again; a process that did not receive its hold receives the same one."""
        if (name := self.pick(self.may_ask_again(), pick)) is None:
            return
        asked, process = self.asks[name][0], self.owner_of(name)
        assert process is not None
        self.answered(process, asked, self.did(lambda: process.session.reserve(asked)))

    @rule(pick=PICKS)
    def leave_the_queue(self, pick: int) -> None:
        name = self.pick(self.may_ask_again(), pick)
        process = None if name is None else self.owner_of(name)
        if name is not None and process is not None:
            self.did(lambda: process.session.leave_queue(name))
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

    @rule(pick=PICKS, part=st.integers(0, 4), over=st.sampled_from([0] * 9 + [1]))
    def settle(self, pick: int, part: int, over: int) -> None:
        """Settle a call, sometimes one in doubt, sometimes above its hold."""
        if (name := self.pick(self.mine("sent", "doubt", "settled", "void"), pick)) is not None:
            self.pay(name, part, over=over)

    @rule(pick=PICKS)
    def void(self, pick: int) -> None:
        name = self.pick(self.mine("held", "sent", "settled", "doubt", "void"), pick)
        process = None if name is None else self.owner_of(name)
        if name is not None and process is not None:
            self.did(lambda: process.session.void(name, "refused"))
            item = self.expected.items[name]
            if item.phase in ("held", "sent") or item.is_buried:  # its process lives, and knows that nothing left
                self.expected.end(name, "void")

    @rule(pick=PICKS, fault=st.booleans(), ceiling=st.sampled_from([False] * 6 + [True]))
    def doubt(self, pick: int, fault: bool, ceiling: bool) -> None:
        if (name := self.pick(self.mine("sent", "doubt", "settled", "void"), pick)) is not None:
            self.leave_in_doubt(name, fault=fault, ceiling=ceiling)

    @rule(slot=SLOTS)
    def kill_9(self, slot: int) -> None:
        dead = self.processes[slot]
        dead.kill()
        self.processes[slot] = Process(self.path, self.clock, dead.hour)

    @rule(slot=SLOTS, pick=PICKS, deed=st.sampled_from(["reserve", "mark_sent", "settle", "doubt"]))
    def kill_9_in_a_transaction(self, slot: int, pick: int, deed: str) -> None:
        """A transaction that was not committed has no effect."""
        name = self.pick(self.mine("held", "sent"), pick)
        process = self.processes[slot] if name is None else self.owner_of(name)
        assert process is not None

        def die() -> None:
            raise Killed

        session, charge = process.session, Charge(Usage(1, 1), cost(1, 1), "m")
        deeds: dict[str, Callable[[str], object]] = {
            "reserve": lambda _: session.reserve(Ask("never", self.expected.open_runs[0], FACTS["p"], 1, 1, 1, None)),
            "mark_sent": session.mark_sent,
            "settle": lambda it: session.settle(it, charge),
            "doubt": lambda it: session.doubt(it, "cut", ceiling=False, provider_fault=True),
        }
        self.clock.amid = die
        with pytest.raises(Killed):
            deeds["reserve" if name is None else deed](name or "")
        self.clock.amid = None
        process.kill()
        self.processes[self.processes.index(process)] = Process(self.path, self.clock, process.hour)

    @rule(slot=SLOTS)
    def taken_for_dead(self, slot: int) -> None:
        """A living process loses its lock file: that others declare it dead must be harmless."""
        self.processes[slot].lose_its_lock()

    @rule(seconds=PASSING)
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_by(seconds)

    @rule(pick=PICKS, off_us=st.sampled_from([-SECOND_US, -1, 0, SECOND_US]))
    def an_amount_is_about_to_leave_the_hour_or_a_hold_to_end(self, pick: int, off_us: int) -> None:
        """Move the clock to just before, exactly at, or just after that moment."""
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
