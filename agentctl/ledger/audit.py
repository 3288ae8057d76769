"""The book read again from its first entry: what stood at each admission, and whether it fitted its limits. Pure."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from agentctl.core.limits import WINDOWS
from agentctl.ledger.clock import HOUR_US
from agentctl.ledger.sums_ import MINUTE_US

NAMES: tuple[str, ...] = (*WINDOWS, "max_calls_per_minute")  # what the replay keeps if it may be asked for it
ENDED = ("settled", "void", "doubt")


class RunCeilings(NamedTuple):
    """A run above another one: the ceilings that bind what is below it, by limit."""

    run_id: str
    ceilings: Mapping[str, int]


class HistoryEntry(NamedTuple):
    """One entry of the history with what its attempt's row says; nano-dollars (None: unknown), tokens, ledger time.

    ``run_id`` None: there is no such row. ``above`` are the runs above it.
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
    above: tuple[RunCeilings, ...] = ()


class _Counted(NamedTuple):
    """What an attempt counts now."""

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
    """What counts in one window of time: open amounts, and ended ones until they leave it. Entries come in order."""

    def __init__(self, window_us: int) -> None:
        self._after_us = window_us - HOUR_US
        self._counted: dict[str, tuple[int, int | None]] = {}
        self._leaving: list[tuple[int, str]] = []
        self._total = 0

    def put(self, attempt_id: str, nano: int, leaves_us: int | None) -> None:
        """Let an attempt count ``nano`` from now on, until a time that is given as it stands for the hour."""
        before = self._counted.pop(attempt_id, (0, None))
        self._total += nano - before[0]
        if nano:
            leaves = None if leaves_us is None else leaves_us + self._after_us
            self._counted[attempt_id] = (nano, leaves)
            if leaves is not None:
                heappush(self._leaving, (leaves, attempt_id))

    def total(self, now_us: int) -> int:
        """Return the sum at a time, which never runs back."""
        while self._leaving and self._leaving[0][0] <= now_us:
            leaves, attempt_id = heappop(self._leaving)
            counted = self._counted.get(attempt_id)
            if counted is not None and counted[1] == leaves:
                self._total -= counted[0]
                del self._counted[attempt_id]
        return self._total


class _Admission(NamedTuple):
    """A hold just granted, or a kept hold that grew; judged when all that its transaction did is known."""

    step: HistoryEntry
    run_id: str
    at_us: int
    limits: dict[str, tuple[int | None, int]]
    before: dict[str, int]


class Replay:
    """Takes every entry in order. ``proved`` admissions stood within their limits, ``free`` ones had none.
    ``kept`` counts what was set aside for last answers.

    ``names`` are the limits, beside a run's dollars and tokens, that an admission can name. ``wrong`` has a sentence
    for each that did not stand within its limits, or that cannot be believed.
    """

    def __init__(self, names: Collection[str] = NAMES) -> None:
        self.proved = self.free = self.kept = 0
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
        """Go on by one entry."""
        run_id = step.run_id
        if run_id is None:
            self.wrong.append(f"attempt {step.attempt_id}: its history is there, its row is not")
            return
        if step.at_us < self._now_us:
            self.wrong.append(f"entry {step.entry_id} of attempt {step.attempt_id}: its time lies before the last one")
        else:
            self._now_us = step.at_us
        counted = self._counted.get(step.attempt_id)
        self.kept += counted is None and step.phase == "kept"
        is_kept = step.phase == "kept" or (counted is not None and counted.kept)
        pending = self._pending
        if pending is not None and not (is_kept and pending.run_id == run_id and pending.step.at_us == step.at_us):
            self.finish()  # a kept hold makes way in the transaction of the one that it makes way for
        if step.phase == "held" or (step.phase == "kept" and (step.nano or 0) > (counted.nano if counted else 0)):
            self._admit(step, run_id, counted)
        if self._counts_calls:
            self._count_call(step, run_id)
        unchanged = _Counted(run_id, step.nano or 0, step.tokens, kept=False, above=step.above)
        if step.phase != "sent" or counted != unchanged:
            self._count(step, run_id)

    def finish(self) -> None:
        """Judge the last admission."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        step, wrong = pending.step, []
        kept = step.phase == "kept"
        for name, (ceiling, noted) in pending.limits.items():
            after = self._standing(name, pending.run_id, pending.at_us)
            if after is None:
                wrong.append(f"attempt {step.attempt_id}: admitted under {name}, which this agentctl does not know")
                continue
            if not kept and pending.before[name] != noted:  # a kept row's are those of its last size
                wrong.append(
                    f"attempt {step.attempt_id}: {name} stood at {pending.before[name]:,}, its row says {noted:,}"
                )
            if ceiling is not None and not after <= ceiling:
                wrong.append(f"attempt {step.attempt_id}: {name} was {ceiling:,}, and {after:,} was admitted")
        if step.nano or step.tokens:  # else nobody was asked who costs anything
            wrong += _left_out(step, pending.limits)
        if not kept:
            if (step.nano, step.tokens) != (step.hold_nano, step.hold_tokens):
                wrong.append(f"attempt {step.attempt_id}: its row says another hold than its history")
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
        if counted is not None:  # a kept hold that grows or is exchanged does not count beside itself
            self._forget(step.attempt_id)
            for window in self._windows.values():
                window.put(step.attempt_id, 0, None)
        before = {name: self._standing(name, run_id, self._now_us) or 0 for name in limits}
        self._pending = _Admission(step, run_id, self._now_us, limits, before)

    def _standing(self, name: str, run_id: str, at_us: int) -> int | None:
        """Return what stood against a limit (``limit@run``; the first schema names no run), None for an unknown one."""
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
        at = {"max_cost_per_task": 0, "max_tokens_per_task": 1}.get(limit)
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


def _left_out(step: HistoryEntry, limits: Mapping[str, tuple[int | None, int]]) -> Iterator[str]:
    """Yield a sentence for each limit of a run above that an admission was not held against."""
    for one in step.above:
        for limit, most in one.ceilings.items():
            ceiling, _ = limits.get(limit if limit in WINDOWS else f"{limit}@{one.run_id}", (None, 0))
            if ceiling is None or ceiling > most:
                yield f"attempt {step.attempt_id}: admitted without {limit} of run {one.run_id} above it"
