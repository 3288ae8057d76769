"""Verify a ledger from its rows alone: replay each admission, and recompute each charge. Pure.

The replay goes through the history from its first entry: it adds up the amounts that counted at each admission, and
checks its limits. A charge is recomputed if usage settled it; only those were computed from prices. One above its hold
is recomputed like any other, since it was recorded in full. An amount in doubt is the hold, or the worst case of a
report; it is not a charge.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from agentctl.core.limits import WINDOWS
from agentctl.core.messages import Usage
from agentctl.core.pricing import MOST_AMOUNT, Price, charge_nano
from agentctl.ledger.clock import HOUR_US
from agentctl.ledger.sums import MINUTE_US

NAMES: tuple[str, ...] = (*WINDOWS, "max_calls_per_minute")  # limits besides those of a run that an admission may name
ENDED = ("settled", "void", "doubt")
#: Why a charge cannot be recomputed. ``unrecorded``: it was settled before schema 2, which stores prices with it.
WhyNot = Literal["in_doubt", "unknown_price", "unrecorded", "export", "hand"]


class RunCeilings(NamedTuple):
    """A run above another one, and its ceilings by limit, which bind the runs below it."""

    run_id: str
    ceilings: Mapping[str, int]


class HistoryEntry(NamedTuple):
    """One entry of the history with the row of its attempt; nano-dollars (None: unknown), tokens, ledger time.

    ``run_id`` None: the attempt has no row. ``imported_us`` is set in the entry by which an import brought an attempt:
    when it was sent, 0 if it was not. ``above`` are the runs above its run.
    """

    entry_id: int
    attempt_id: str
    at_us: int
    phase: str
    nano: int | None
    tokens: int
    run_id: str | None
    admitted: str
    hold_nano: int | None
    hold_tokens: int
    deadline_us: int
    imported_us: int | None = None
    above: tuple[RunCeilings, ...] = ()


class _Counted(NamedTuple):
    """The amounts of an attempt that count now."""

    run_id: str
    nano: int
    tokens: int
    kept: bool
    above: tuple[RunCeilings, ...] = ()

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs in whose limits it counts."""
        return (self.run_id, *(one.run_id for one in self.above))


class _Window:
    """Adds up one window of time: open amounts, and ended ones until they leave it. Entries come in order."""

    def __init__(self, window_us: int) -> None:
        self._after_us = window_us - HOUR_US
        self._counted: dict[str, tuple[int, int | None]] = {}
        self._leaving: list[tuple[int, str]] = []
        self._total = 0

    def put(self, attempt_id: str, nano: int, leaves_us: int | None) -> None:
        """Set the amount of an attempt; ``leaves_us`` is when it leaves the hour's window, None while it is open."""
        before = self._counted.pop(attempt_id, (0, None))
        self._total += nano - before[0]
        if nano:
            leaves = None if leaves_us is None else leaves_us + self._after_us
            self._counted[attempt_id] = (nano, leaves)
            if leaves is not None:
                heappush(self._leaving, (leaves, attempt_id))

    def total(self, now_us: int) -> int:
        """Return the sum at a time; calls must come in the order of time."""
        while self._leaving and self._leaving[0][0] <= now_us:
            leaves, attempt_id = heappop(self._leaving)
            counted = self._counted.get(attempt_id)
            if counted is not None and counted[1] == leaves:
                self._total -= counted[0]
                del self._counted[attempt_id]
        return self._total


class _Admission(NamedTuple):
    """A new hold, or a reserve that grew; judged once all entries of its transaction are known."""

    step: HistoryEntry
    run_id: str
    at_us: int
    limits: dict[str, tuple[int | None, int]]
    before: dict[str, int]


class Replay:
    """Replays every entry in order. ``proved`` admissions were within their limits, ``free`` ones had none.

    ``kept`` counts the reserves for last answers, ``imported`` the attempts whose admission is proved in the ledger
    that they come from. ``names`` are the limits that an admission may name, besides a run's dollars and tokens.
    ``wrong`` has a sentence for each admission that was not within its limits or is inconsistent.
    """

    def __init__(self, names: Collection[str] = NAMES) -> None:
        self.proved = self.free = self.kept = self.imported = 0
        self.wrong: list[str] = []
        self._now_us = 0
        self._counted: dict[str, _Counted] = {}
        self._runs: dict[str, list[int]] = {}  # nano-dollars, tokens
        self._windows = {str(name): _Window(seconds * 1_000_000) for name, seconds in WINDOWS.items() if name in names}
        self._counts_calls = "max_calls_per_minute" in names
        self._sent: dict[str, deque[int]] = defaultdict(deque)  # when each run's last requests went out
        self._held: dict[str, set[str]] = defaultdict(set)  # and those it is about to send
        self._pending: _Admission | None = None

    def take(self, step: HistoryEntry) -> None:
        """Process the next entry."""
        run_id = step.run_id
        if run_id is None:
            self.wrong.append(f"attempt {step.attempt_id} has a history but no row")
            return
        if step.imported_us is not None:
            self._import(step, run_id, step.imported_us)
            return
        if step.at_us < self._now_us:
            self.wrong.append(f"entry {step.entry_id} of attempt {step.attempt_id} is earlier than the entry before it")
        else:
            self._now_us = step.at_us
        counted = self._counted.get(step.attempt_id)
        self.kept += counted is None and step.phase == "kept"
        is_kept = step.phase == "kept" or (counted is not None and counted.kept)
        pending = self._pending
        if pending is not None and not (is_kept and pending.run_id == run_id and pending.step.at_us == step.at_us):
            self.finish()  # a reserve is dropped in the transaction of the hold that needs its room
        if step.phase == "held" or (step.phase == "kept" and (step.nano or 0) > (counted.nano if counted else 0)):
            self._admit(step, run_id, counted)
        if self._counts_calls:
            self._count_call(step, run_id)
        unchanged = _Counted(run_id, step.nano or 0, step.tokens, kept=False, above=step.above)
        if step.phase != "sent" or counted != unchanged:
            self._count(step, run_id)

    def _import(self, step: HistoryEntry, run_id: str, sent_us: int) -> None:
        """Count an attempt from here on, at the time when it ended in the ledger that it comes from."""
        self.finish()
        self.imported += 1
        if self._counts_calls and sent_us:
            for scope in (run_id, *(one.run_id for one in step.above)):
                self._sent[scope] = deque(sorted((*self._sent[scope], sent_us)))
        self._count(step, run_id)

    def finish(self) -> None:
        """Judge the last admission."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        step, wrong = pending.step, []
        kept = step.phase == "kept"
        for name, (ceiling, noted) in pending.limits.items():
            after = self._amount_at(name, pending.run_id, pending.at_us)
            if after is None:
                wrong.append(f"attempt {step.attempt_id}: admitted under {name}, which this agentctl does not know")
                continue
            if not kept and pending.before[name] != noted:  # the row of a reserve has the amounts of its last size
                wrong.append(
                    f"attempt {step.attempt_id}: {name} was at {pending.before[name]:,}, but its row says {noted:,}"
                )
            if ceiling is not None and not after <= ceiling:
                wrong.append(f"attempt {step.attempt_id}: {name} was {ceiling:,}, but {after:,} was admitted")
        if step.nano or step.tokens:  # otherwise the call was free
            wrong += _missing_limits(step, pending.limits)
        if not kept:
            if (step.nano, step.tokens) != (step.hold_nano, step.hold_tokens):
                wrong.append(f"attempt {step.attempt_id}: the hold in its row differs from its history")
            self.proved += bool(pending.limits) and not wrong
            self.free += not pending.limits and not wrong
        self.wrong += wrong

    def _admit(self, step: HistoryEntry, run_id: str, counted: _Counted | None) -> None:
        self.finish()
        try:
            limits = {
                str(name): (None if pair[0] is None else int(pair[0]), int(pair[1]))
                for name, pair in json.loads(step.admitted).items()
            }
        except (ValueError, AttributeError, TypeError, IndexError):
            self.wrong.append(f"attempt {step.attempt_id}: the limits it was admitted under cannot be read")
            return
        if counted is not None:  # a reserve that grows or is exchanged does not count in addition to itself
            self._forget(step.attempt_id)
            for window in self._windows.values():
                window.put(step.attempt_id, 0, None)
        before = {name: self._amount_at(name, run_id, self._now_us) or 0 for name in limits}
        self._pending = _Admission(step, run_id, self._now_us, limits, before)

    def _amount_at(self, name: str, run_id: str, at_us: int) -> int | None:
        """Return the amount in a limit (``limit@run``; the first schema names no run), None for an unknown limit."""
        limit, _, scope = name.partition("@")
        run_id = scope or run_id
        window = self._windows.get(limit)
        if window is not None:
            return window.total(at_us)
        if limit == "max_calls_per_minute" and self._counts_calls:
            sent = self._sent[run_id]
            while sent and sent[0] <= at_us - MINUTE_US:
                sent.popleft()
            return len(sent) + len(self._held[run_id])
        at = {"max_cost_per_task": 0, "max_cost_per_lease": 0, "max_tokens_per_task": 1}.get(limit)
        return None if at is None else self._runs.get(run_id, (0, 0))[at]

    def _count_call(self, step: HistoryEntry, run_id: str) -> None:
        for scope in (run_id, *(one.run_id for one in step.above)):
            if step.phase == "held":
                self._held[scope].add(step.attempt_id)
            else:
                self._held[scope].discard(step.attempt_id)
            if step.phase == "sent":
                self._sent[scope].append(step.at_us)

    def _forget(self, attempt_id: str) -> None:
        counted = self._counted.pop(attempt_id, None)
        if counted is None:
            return
        for scope in counted.runs:
            run = self._runs[scope]
            run[0] -= counted.nano
            run[1] -= counted.tokens

    def _count(self, step: HistoryEntry, run_id: str) -> None:
        self._forget(step.attempt_id)
        nano, leaves = step.nano or 0, None
        if step.phase == "void":
            nano = 0
        else:
            counted = _Counted(run_id, nano, step.tokens, step.phase == "kept", step.above)
            self._counted[step.attempt_id] = counted
            for scope in counted.runs:
                run = self._runs.setdefault(scope, [0, 0])
                run[0] += nano
                run[1] += step.tokens
        if step.phase in ENDED:
            leaves = HOUR_US + (max(step.deadline_us, step.at_us) if step.phase == "doubt" else step.at_us)
        for window in self._windows.values():
            window.put(step.attempt_id, nano, leaves)


def _missing_limits(step: HistoryEntry, limits: Mapping[str, tuple[int | None, int]]) -> Iterator[str]:
    """Yield an error for each limit of an ancestor run that was not checked at an admission."""
    for one in step.above:
        for limit, most in one.ceilings.items():
            ceiling, _ = limits.get(limit if limit in WINDOWS else f"{limit}@{one.run_id}", (None, 0))
            if ceiling is None or ceiling > most:
                yield f"attempt {step.attempt_id}: admitted without {limit} of run {one.run_id} above it"


class ChargeRow(NamedTuple):
    """The columns of an attempt with its charge and prices."""

    id: str
    phase: str
    nano: int | None
    tokens: int
    settled_by: str | None
    model: str | None
    answered_model: str | None
    charged_by: str | None
    charged_model: str | None
    charged_tier: str | None
    charged_prices: str | None
    charged_dearest: int
    billed_nano: int | None
    hour_write_tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None

    @property
    def usage(self) -> Usage:
        """The tokens by class; a class without a value counts 0."""
        return Usage(
            self.input_tokens or 0,
            self.output_tokens or 0,
            self.cached_input_tokens or 0,
            self.cache_write_tokens or 0,
            self.reasoning_tokens or 0,
        )

    @property
    def was_recorded(self) -> bool:
        """Whether the row has the prices of the charge; an unknown price is recorded, too."""
        return self.charged_by is not None or (self.nano is None and self.hour_write_tokens is not None)

    @property
    def why_not(self) -> WhyNot | None:
        """Why the amount cannot be recomputed; None if it can."""
        if self.phase == "doubt":
            return "in_doubt"
        if self.settled_by == "export":
            return "export"
        if self.settled_by == "hand":
            return "hand"
        if not self.was_recorded:
            return "unrecorded"
        return "unknown_price" if self.nano is None else None


COLUMNS = ChargeRow._fields


@lru_cache(maxsize=4096)
def _price_in(written: str) -> Price:
    """Return the unit prices of a row; few of them differ.

    Raises:
        ValueError: they are not prices.
    """
    row = json.loads(written)
    if not isinstance(row, dict):
        raise ValueError("not a table of prices")
    return Price.from_row(row)


def disagreement(row: ChargeRow) -> str | None:
    """Recompute a charge from its row alone; return a sentence if the row differs, None if it agrees.

    The source of the amount is compared, too: the provider's bill if it is more than the price comes to, else the price
    of the requested model or of the one that answered. ``row.why_not`` must be None.
    """
    usage, hour_writes, billed = row.usage, row.hour_write_tokens or 0, row.billed_nano
    parts = (
        (usage.cached_input_tokens + usage.cache_write_tokens, usage.input_tokens, "input"),
        (hour_writes, usage.cache_write_tokens, "cache write"),
        (usage.reasoning_tokens, usage.output_tokens, "output"),
    )
    for part, whole, name in parts:
        if part > whole:
            return f"attempt {row.id}: parts of its {name} add up to {part:,} tokens of {whole:,}"
    try:
        price = _price_in(row.charged_prices or "")
    except (ValueError, RecursionError):
        return f"attempt {row.id}: its row has no prices, so the charge cannot be recomputed"
    counted = charge_nano(price, usage, hour_writes=hour_writes)
    is_billed = billed is not None and billed > counted
    if is_billed != (row.charged_by == "billed"):
        setter = "the provider's bill" if row.charged_by == "billed" else "a price"
        amounts = (
            f"the price comes to {counted:,} nano-dollars, the bill to {'none' if billed is None else f'{billed:,}'}"
        )
        return f"attempt {row.id}: its row says that {setter} set the charge, but {amounts}"
    of_setter = {"asked": row.model, "answered": row.answered_model}
    if row.charged_model != of_setter.get(row.charged_by or "", row.charged_model):
        return f"attempt {row.id}: its price is that of {row.charged_model}, not of the model that was charged"
    nano = min(billed if is_billed and billed is not None else counted, MOST_AMOUNT)
    if row.nano != nano:
        return f"attempt {row.id}: its row says a charge of {row.nano:,} nano-dollars, but it comes to {nano:,}"
    tokens = min(usage.total_tokens, MOST_AMOUNT)
    if row.tokens != tokens:
        return f"attempt {row.id}: its row says {row.tokens:,} tokens, but its token classes come to {tokens:,}"
    return None
