"""The answer that the ledger owes to an ask: the oracle's sums, the queue, the health of a provider, and the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from agentctl.budget.rules import Ask, PeakUsage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.clock import ClockReading
from tests.support.ledger.oracle import (
    INPUT_NANO,
    OUTPUT_NANO,
    SECOND_US,
    Against,
    Item,
    Oracle,
    cost,
    half_in_doubt,
    reasons_to_refuse,
)

CEILING_INPUT, CEILING_OUTPUT = 400, 130
PRICE = Price(Decimal(1), Decimal(1_000))
FACTS = {name: ModelFacts(name, "m", PRICE, CEILING_INPUT, CEILING_OUTPUT) for name in ("p", "q")}
SILENCE_US = 10 * SECOND_US
MOST_PAUSE_US = 30 * SECOND_US


class Grant(NamedTuple):
    """Output tokens, and the worst case with them."""

    output: int
    nano: int
    tokens: int


class Waits(NamedTuple):
    """What is waited for; ``nano`` and ``tokens`` are the least that suffices."""

    reason: str
    nano: int = 0
    tokens: int = 0


class Refused(NamedTuple):
    """The limits that may be named, and all that counts."""

    limits: list[str]
    doubtful: bool
    against: tuple[Against, ...]


@dataclass
class Waiter:
    """One in the queue: since when, and when it last asked."""

    owner: str
    run: str
    since_us: int
    seen_us: int
    nano: int
    tokens: int


@dataclass
class Expected(Oracle):
    """The whole state of a ledger as it must be. Times are the ledger's, in microseconds."""

    pause_us: int = 0
    now_us: int = 0
    last: ClockReading | None = None
    reached_us: int = 0
    open_runs: list[str] = field(default_factory=list)
    waiters: dict[str, Waiter] = field(default_factory=dict)
    overran: dict[str, PeakUsage] = field(default_factory=dict)
    ceilings: dict[str, tuple[int, int]] = field(default_factory=dict)

    def time_at(self, reading: ClockReading) -> int:
        """Return the ledger's time at a reading: on by the slower clock, never back.

        Across a boot it steps by what the wall clock is beyond what a right one has reached already.
        """
        if self.last is None:
            return reading.wall_us
        passed = reading.wall_us - self.reached_us
        if reading.boot_id == self.last.boot_id:
            passed = min(reading.wall_us - self.last.wall_us, reading.boot_us - self.last.boot_us)
        return self.now_us + max(passed, 0)

    def tell(self, reading: ClockReading) -> None:
        """Go on to a reading that was written down."""
        before_us, self.now_us = self.now_us, self.time_at(reading)
        passed = 0 if self.last is None else self.now_us - before_us
        self.last, self.reached_us = reading, max(self.reached_us + passed, reading.wall_us)

    # --- what becomes of attempts -----------------------------------------------------------------------------

    def hold(self, asked: Ask, owner: str, grant: Grant) -> None:
        """Enter what was granted, and what the model may do if it breaks its clamp."""
        seen = self.overran.get(asked.facts.provider)
        self.ceilings[asked.attempt_id] = self._at_ceiling(asked.input_bound, grant.output, seen)
        self.waiters.pop(asked.attempt_id, None)
        self.items[asked.attempt_id] = Item(
            asked.run_id,
            owner,
            asked.facts.provider,
            "held",
            grant.nano,
            grant.tokens,
            grant.nano,
            grant.tokens,
            self.now_us + round(asked.deadline_s * SECOND_US),
        )

    def wait(self, asked: Ask, owner: str, due: Waits) -> None:
        """Take a place in the queue, or leave it for a provider's sake."""
        if due.reason != "holds":
            self.waiters.pop(asked.attempt_id, None)
            return
        new = Waiter(owner, asked.run_id, self.now_us, self.now_us, due.nano, due.tokens)
        self.waiters.setdefault(asked.attempt_id, new).seen_us = self.now_us

    def end(self, name: str, phase: str, nano: int = 0, tokens: int = 0, *, fault: bool = False) -> None:
        """Conclude an attempt now."""
        item = self.items[name]
        item.phase, item.nano, item.tokens, item.ended_us = phase, nano, tokens, self.now_us
        item.fault, item.is_buried = fault, False

    def buried(self, owner: str) -> None:
        """Conclude the attempts of a dead process: held ones are void, sent ones in doubt."""
        for name, item in self.items.items():
            if item.owner == owner and item.phase == "held":
                self.end(name, "void")
            elif item.owner == owner and item.phase == "sent":
                self.end(name, "doubt", item.nano, item.tokens)
                item.is_buried = True
        self.waiters = {name: one for name, one in self.waiters.items() if one.owner != owner}

    def swept(self, *, but: str, dead: set[str]) -> None:
        """Conclude what is due before anything is summed up."""
        for owner in dead - {but}:
            self.buried(owner)
        for name, item in self.items.items():
            if item.phase == "held" and item.deadline_us <= self.now_us:
                self.end(name, "void")

    def close_run(self, run: str) -> None:
        """Close a run: nothing more is sent under it."""
        self.open_runs.remove(run)
        for name, item in self.items.items():
            if item.run == run and item.phase == "held":
                self.end(name, "void")
        self.waiters = {name: one for name, one in self.waiters.items() if one.run != run}

    # --- what is due ------------------------------------------------------------------------------------------

    def _health(self, provider: str) -> str:
        """Return "sound", "pause", "busy" or "probe"."""
        ended = [i for i in self.items.values() if i.provider == provider and i.phase in ("settled", "doubt")]
        ended = sorted((i for i in ended if i.phase == "settled" or i.fault), key=lambda i: -i.ended_us)
        doubts = 0
        for item in ended:
            if item.phase == "settled":
                break
            doubts += 1
        if doubts < 2:
            return "sound"
        if self.now_us < ended[0].ended_us + min(self.pause_us * 2 ** (doubts - 2), MOST_PAUSE_US):
            return "pause"
        under_way = [i for i in self.items.values() if i.provider == provider and i.phase in ("held", "sent")]
        return "busy" if under_way else "probe"

    def overrun(self, provider: str, seen: PeakUsage | None = None) -> None:
        """Remember that a provider broke its clamp, and what it reported then; None: nothing above its ceilings."""
        before, now = self.overran.get(provider, PeakUsage(0, 0, 0)), seen or PeakUsage(0, 0, 0)
        self.overran[provider] = PeakUsage(*map(max, before, now))

    @staticmethod
    def _at_ceiling(bound: int, output: int, seen: PeakUsage | None) -> tuple[int, int]:
        seen = seen or PeakUsage(0, 0, 0)
        most_in = max(bound, CEILING_INPUT, seen.input_tokens)
        most_out = max(output, CEILING_OUTPUT, seen.output_tokens)
        return max(cost(most_in, most_out), seen.nano), most_in + most_out

    def _ahead(self, asked: Ask) -> tuple[int, int, int]:
        """Return what those need who wait longer and still ask: in the run, in the hour, in the run's tokens."""
        own = self.waiters.get(asked.attempt_id)
        place = (own.since_us if own else self.now_us, asked.attempt_id)
        older = [
            one
            for name, one in self.waiters.items()
            if (one.since_us, name) < place and one.seen_us >= self.now_us - SILENCE_US
        ]
        same = [one for one in older if one.run == asked.run_id]
        return sum(o.nano for o in same), sum(o.nano for o in older), sum(o.tokens for o in same)

    def answer_to(self, asked: Ask) -> Grant | Waits | Refused:
        """Return the only right answer."""
        provider, most = asked.facts.provider, asked.most
        health = self._health(provider)
        if health in ("pause", "busy"):
            return Waits("provider")
        if health == "probe":
            most = asked.least
        against = self.against(asked.run_id, asked.hour_limit_nano, self.now_us)
        ahead = self._ahead(asked)
        bound = asked.input_bound
        nano, tokens = cost(bound, asked.least), bound + asked.least
        at_ceiling, seen = provider in self.overran, self.overran.get(provider)
        if at_ceiling:
            nano, tokens = self._at_ceiling(bound, most, seen)
        if reasons := reasons_to_refuse(against, nano, tokens):
            certain = [a for a in against if a.limit in reasons and a.passed_by(a.sums.spent, nano, tokens)]
            half = bool(half_in_doubt(against))
            return Refused(reasons, half or (not certain and not at_ceiling), against)
        room: list[int] = [most]
        for limit, queued in zip(against, ahead, strict=True):
            if limit.ceiling is not None and not at_ceiling:
                left = limit.ceiling - sum(limit.sums) - queued
                room.append(left - bound if limit.in_tokens else (left - bound * INPUT_NANO) // OUTPUT_NANO)
            elif limit.passed_by(sum(limit.sums) + queued, nano, tokens):
                room.append(-1)
        output = min(room)
        if output < asked.least:
            least_nano, least_tokens = nano, tokens
            if at_ceiling:
                least_nano, least_tokens = self._at_ceiling(bound, asked.least, seen)
            return Waits("holds", least_nano, least_tokens)
        held = self._at_ceiling(bound, output, seen) if at_ceiling else (cost(bound, output), bound + output)
        return Grant(output, *held)
