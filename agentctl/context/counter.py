"""How a run counts tokens: cheaply while there is room, then by a vocabulary, calibrated by what its provider reports.

A calibration is a line, ``factor * own count + fixed``, fitted to the last reports and to the expected line, so that a
single outlier changes it little.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

from agentctl.context.tokens import Measure
from agentctl.core.messages import Message, ToolSpec, Usage

Count = Callable[[str], int]
Load = Callable[[], Count | None]
"""Loads a vocabulary, which takes a fraction of a second; None: it is not installed."""

_REPORTS = 16
_BEGIN, _NEED = 0.6, 0.75  # parts of the limit: where loading a vocabulary begins, and where the run waits for it
_NOTABLE, _NOTABLE_FIXED = 0.02, 20
_NOISE = 0.05  # the part by which a report may differ because its texts are of another kind
_MOST = 4.0  # times the least factor
_MOST_FIXED = 2000
_SURELY_LOW = 0.6  # part of the expected count; a lower report leaves something out
_SURELY_HIGH, _FRAME = 8, 4000  # our own count times this, plus tokens; a higher report is not of this request


@dataclass(frozen=True, slots=True)
class CountingMethod:
    """A way of counting before any report. ``margin_learned`` is its margin after one."""

    way: str
    expected: CalibrationPrior
    margin: float
    margin_learned: float

    def measure(self, count: Count, line: Calibration | None = None) -> Measure:
        """Return the measure by this method; ``line`` is the calibration learned from reports."""
        factor, fixed = self.expected.line if line is None else line
        way = self.way if line is None else f"{self.way}, calibrated"
        margin = self.margin if line is None else self.margin_learned
        return Measure(count=count, way=way, factor=factor, margin=margin, fixed=ceil(fixed))


@dataclass(slots=True)
class _MethodInUse:
    """A counting method with what this run has learned. ``before`` is what earlier runs have learned with it."""

    method: CountingMethod
    count: Count
    before: Calibration | None
    note: str = ""
    measure: Measure = field(init=False)
    line: Calibration | None = field(init=False)
    reports: deque[CountSample] = field(default_factory=lambda: deque(maxlen=_REPORTS))

    def __post_init__(self) -> None:
        self._set_calibration(self.before)

    def without_vocabulary(self) -> None:
        """Record that the vocabulary is missing, and not left out by choice."""
        self.note = " (its vocabulary is not installed)"
        self._set_calibration(self.line)

    def _set_calibration(self, line: Calibration | None) -> None:
        measure = self.method.measure(self.count, line)
        self.line, self.measure = line, measure._replace(way=measure.way + self.note)

    def learn(self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], tokens: int) -> bool:
        """Learn from a provider's count; return False if it is not plausible."""
        own = self.measure._replace(factor=1.0, fixed=0).request(messages, tools)
        report, expected = CountSample(own, tokens), self.method.expected
        if self.before is not None:
            expected = expected.after_runs(self.before)
        if not is_believable(report, self.line or expected.line, self.reports[-1] if self.reports else None):
            return False
        self.reports.append(report)
        self._set_calibration(fit_calibration(expected, self.reports))
        return True


class TokenCounter:
    """Chooses how to count. ``rough`` needs no vocabulary; ``exact`` does, and loads when a cut or a warning is near.

    ``known`` are the calibrations of earlier runs, by way of counting.
    """

    def __init__(
        self,
        rough: CountingMethod,
        rough_count: Count,
        *,
        exact: CountingMethod | None = None,
        load: Load | None = None,
        known: Mapping[str, Calibration] | None = None,
    ) -> None:
        self._known = known or {}
        self._method = _MethodInUse(rough, rough_count, self._known.get(rough.way))
        self._methods = [self._method]
        self._exact, self._load = exact, load
        self._found: list[Count | None] = []
        self._thread: threading.Thread | None = None
        self._heard: deque[tuple[tuple[Message, ...], tuple[ToolSpec, ...], int]] = deque(maxlen=_REPORTS)

    @property
    def measure(self) -> Measure:
        """The current way of counting."""
        return self._method.measure

    @property
    def new_calibrations(self) -> Mapping[str, Calibration]:
        """The calibrations that this run has added or changed, by way of counting."""
        return {
            used.method.way: used.line
            for used in self._methods
            if used.reports and used.line and _is_notable(used.line, used.before or used.method.expected.line)
        }

    async def choose_measure(self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], limit: int) -> Measure:
        """Return how to count a request that may have ``limit`` tokens; wait for the vocabulary if it may not fit.

        A request that certainly fills less than three fifths is counted roughly: it needs neither a cut nor a warning.
        """
        if self._load is not None and limit:
            most = self._most_tokens(messages, tools)
            if most > limit * _BEGIN and self._thread is None:
                self._thread = threading.Thread(
                    target=self._fetch, args=(self._load, messages, tools), name="vocabulary", daemon=True
                )
                self._thread.start()
            if most > limit * _NEED and self._thread is not None:
                import anyio.to_thread  # noqa: PLC0415 - counting alone needs no event loop

                await anyio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)
            if self._found:
                self._take_over(self._found[0])
        return self.measure

    def _most_tokens(self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...]) -> float:
        """Return the most tokens that a request may have; only what its provider has not counted yet is doubtful."""
        measure = self.measure
        ours, margin = measure.request(messages, tools), 1 + measure.margin
        if self._heard:
            before, their_tools, reported = self._heard[-1]
            if tools == their_tools and messages[: len(before)] == before:
                return min(ours * margin, reported + sum(map(measure.message, messages[len(before) :])) * margin)
        return ours * margin

    def learn(self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], usage: Usage | None) -> None:
        """Learn from a provider's report of a request (cached input included); ignore None."""
        if usage is None or not self._method.learn(messages, tools, usage.input_tokens):
            return
        if self._load is not None:  # the vocabulary will learn from it, too
            self._heard.append((messages, tools, usage.input_tokens))

    async def learn_again(
        self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], usage: Usage | None, way: str
    ) -> None:
        """Learn from a report of an earlier part of the run, whose request was counted in this ``way``."""
        if self._load is not None and self._exact is not None and way.startswith(self._exact.way):
            import anyio.to_thread  # noqa: PLC0415 - counting alone needs no event loop

            await anyio.to_thread.run_sync(self._fetch, self._load, messages, tools)
            self._take_over(self._found[0])
        self.learn(messages, tools, usage)

    def _fetch(self, load: Load, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...]) -> None:
        count = None
        with suppress(Exception):  # without a vocabulary the run continues as before
            count = load()
            if count is not None:
                Measure(count=count).request(messages, tools)  # fills the cache, so that no turn counts all of them
        self._found.append(count)

    def _take_over(self, count: Count | None) -> None:
        """Count by the vocabulary from now on, or record that there is none."""
        self._load = None
        if count is None or self._exact is None:
            self._method.without_vocabulary()
            return
        self._method = _MethodInUse(self._exact, count, self._known.get(self._exact.way))
        self._methods.append(self._method)
        for report in self._heard:
            self._method.learn(*report)
        self._heard.clear()


def _is_notable(line: Calibration, before: Calibration) -> bool:
    return (
        abs(line.factor - before.factor) > _NOTABLE * before.factor or abs(line.fixed - before.fixed) > _NOTABLE_FIXED
    )


class Calibration(NamedTuple):
    """A provider's count of a request: ``factor`` times our own, and ``fixed`` tokens."""

    factor: float = 1.0
    fixed: float = 0.0

    def of(self, own: float) -> float:
        """Return the provider's count for our own count ``own``."""
        return self.factor * own + self.fixed


class CountSample(NamedTuple):
    """A request's token count by us, and by the provider."""

    own: int
    theirs: int


@dataclass(frozen=True, slots=True)
class CalibrationPrior:
    """The calibration expected before any report: a line, and by how much either part may be off.

    No report brings the factor below ``least`` or the fixed part below ``least_fixed``, as the next text may be of
    another kind.
    """

    line: Calibration
    factor_doubt: float = 0.2
    fixed_doubt: float = 300.0
    least: float = 0.75
    least_fixed: float = -2000.0

    def after_runs(self, line: Calibration) -> CalibrationPrior:
        """Return this prior with the line that an earlier run learned, at half the uncertainty."""
        return replace(self, line=line, factor_doubt=self.factor_doubt / 2, fixed_doubt=self.fixed_doubt / 2)


def is_believable(report: CountSample, line: Calibration, before: CountSample | None) -> bool:
    """Return whether a report can be learned from; ``line`` is the expected one, ``before`` the last accepted report.

    Some servers leave cached tokens out of their report, which then is far too low, or below that of a shorter request.
    """
    own, theirs = report
    if theirs <= 0 or theirs < _SURELY_LOW * line.of(own) or theirs > _SURELY_HIGH * own + _FRAME:
        return False
    return before is None or own < before.own or theirs >= before.theirs


def fit_calibration(expected: CalibrationPrior, reports: Sequence[CountSample]) -> Calibration:
    """Return the likeliest line for ``reports``, within its bounds; if these allow, not below the last report."""
    if not reports:
        return expected.line
    most = _MOST * max(expected.least, 1.0)
    (factor, fixed), sure, sure_fixed = expected.line, expected.factor_doubt**-2, expected.fixed_doubt**-2
    a, b, c, p, q = sure, 0.0, sure_fixed, sure * factor, sure_fixed * fixed
    for own, theirs in reports:
        weight = (_NOISE * theirs) ** -2
        a, b, c = a + weight * own * own, b + weight * own, c + weight
        p, q = p + weight * own * theirs, q + weight * theirs
    factor = min(max((c * p - b * q) / (a * c - b * b), expected.least), most)
    fixed = min(max((q - b * factor) / c, expected.least_fixed), _MOST_FIXED)
    last = reports[-1]
    fixed = min(max(fixed, last.theirs - factor * last.own), _MOST_FIXED)
    if last.own and factor * last.own + fixed < last.theirs:
        factor = min((last.theirs - fixed) / last.own, most)
    return Calibration(factor, fixed)
