"""An oracle of the ledger, computed from the steps alone, without code of agentctl."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
INPUT_NANO, OUTPUT_NANO = 1_000, 1_000_000
"""What a token costs in the tests of the crowd: $1 and $1,000 a million."""


def cost(input_tokens: int, output_tokens: int) -> int:
    """Return nano-dollars."""
    return input_tokens * INPUT_NANO + output_tokens * OUTPUT_NANO


@dataclass
class Item:
    """The state of one attempt: the amount that counts now, and since when it is over."""

    run: str
    owner: str
    provider: str
    phase: str
    nano: int
    tokens: int
    hold_nano: int
    hold_tokens: int
    deadline_us: int
    ended_us: int = 0
    fault: bool = False
    is_buried: bool = False  # in doubt only because its process was taken for dead

    @property
    def leaves_us(self) -> int:
        """Return when a concluded amount leaves the hour: 3600 s after settlement; in doubt, after its deadline."""
        return HOUR_US + (max(self.deadline_us, self.ended_us) if self.phase == "doubt" else self.ended_us)

    def counts_in_the_hour(self, now_us: int) -> bool:
        """Whether it is in the hour at ``now_us``; an open hold is, however old."""
        if self.phase in ("held", "sent"):
            return True
        return self.phase in ("settled", "doubt") and now_us < self.leaves_us


class Sums(NamedTuple):
    """The sums that count against one limit, in its unit."""

    spent: int = 0
    in_doubt: int = 0
    held: int = 0

    @property
    def lasting(self) -> int:
        """The amount left if every hold were given back unspent."""
        return self.spent + self.in_doubt


class Against(NamedTuple):
    """A limit and what counts against it; ``ceiling`` None: no such limit."""

    limit: str
    ceiling: int | None
    sums: Sums

    @property
    def in_tokens(self) -> bool:
        """Whether it is counted in tokens."""
        return self.limit == "max_tokens_per_task"

    def named(self, run: str) -> str:
        """Return how the ledger names it in what it stores with each admission of a run."""
        return self.limit if self.limit == "max_cost_per_hour" else f"{self.limit}@{run}"

    def passed_by(self, taken: int, nano: int, tokens: int) -> bool:
        """Whether ``taken`` and one more call exceed the limit; reaching it is allowed."""
        return self.ceiling is not None and taken + (tokens if self.in_tokens else nano) > self.ceiling


@dataclass
class Oracle:
    """Every attempt and the limits of every run (nano-dollars, tokens), summed up with nothing but a loop."""

    items: dict[str, Item] = field(default_factory=dict)
    limits: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)

    def of_run(self, run: str, *, tokens: bool) -> Sums:
        """Return everything that a run ever took."""
        return self._sum([i for i in self.items.values() if i.run == run], tokens=tokens)

    def of_hour(self, now_us: int) -> Sums:
        """Return everyone's nano-dollars that are in the hour."""
        return self._sum([i for i in self.items.values() if i.counts_in_the_hour(now_us)], tokens=False)

    @staticmethod
    def _sum(items: list[Item], *, tokens: bool) -> Sums:
        taken = {"settled": 0, "doubt": 0, "held": 0, "sent": 0, "void": 0}
        for item in items:
            taken[item.phase] += item.tokens if tokens else item.nano
        return Sums(taken["settled"], taken["doubt"], taken["held"] + taken["sent"])

    def against(self, run: str, hour_nano: int | None, now_us: int) -> tuple[Against, Against, Against]:
        """Return the three limits that an attempt of ``run`` falls under."""
        nano, tokens = self.limits[run]
        return (
            Against("max_cost_per_task", nano, self.of_run(run, tokens=False)),
            Against("max_cost_per_hour", hour_nano, self.of_hour(now_us)),
            Against("max_tokens_per_task", tokens, self.of_run(run, tokens=True)),
        )


def admission_passes(limits: tuple[Against, ...], nano: int, tokens: int) -> list[str]:
    """Return the limits that a hold of ``nano`` and ``tokens`` passes, counting everything."""
    return [a.limit for a in limits if a.passed_by(sum(a.sums), nano, tokens)]


def half_in_doubt(limits: tuple[Against, ...]) -> list[str]:
    """Return the limits of the run, half of which is in doubt: there the design ends a run."""
    own = [a for a in limits if a.limit != "max_cost_per_hour" and a.ceiling]
    return [a.limit for a in own if a.ceiling is not None and 2 * a.sums.in_doubt >= a.ceiling]


def reasons_to_refuse(limits: tuple[Against, ...], nano: int, tokens: int) -> list[str]:
    """Return what makes a refusal necessary: the least would not fit even if every hold came back unspent."""
    return half_in_doubt(limits) or [a.limit for a in limits if a.passed_by(a.sums.lasting, nano, tokens)]
