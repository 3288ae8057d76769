"""From what a provider reports to how it counts: a line through its reports, near the one that was expected. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

_NOISE = 0.05  # part of a report by which texts of another kind move it
_MOST = 4.0  # times the least
_MOST_FIXED = 2000
_SURELY_LOW = 0.6  # of what was expected: something was left out of the report
_SURELY_HIGH, _FRAME = 8, 4000  # times our own count, and so many tokens more: no report of this request


class Calibration(NamedTuple):
    """A provider's count of a request: ``factor`` times our own, and ``fixed`` tokens."""

    factor: float = 1.0
    fixed: float = 0.0

    def of(self, own: float) -> float:
        """Return the provider's count where our own is ``own``."""
        return self.factor * own + self.fixed


class CountSample(NamedTuple):
    """Our own count of a request, and the provider's."""

    own: int
    theirs: int


@dataclass(frozen=True, slots=True)
class CalibrationPrior:
    """What is thought of a provider's counts before it reports any: a line, and by how much either part may be off.

    Nothing that is reported brings the factor below ``least`` or the fixed part below ``least_fixed``: the next text
    may be of another kind.
    """

    line: Calibration
    factor_doubt: float = 0.2
    fixed_doubt: float = 300.0
    least: float = 0.75
    least_fixed: float = -2000.0

    def known(self, line: Calibration) -> CalibrationPrior:
        """Return this with the line that an earlier run has learned: it is doubted half as much."""
        return replace(self, line=line, factor_doubt=self.factor_doubt / 2, fixed_doubt=self.fixed_doubt / 2)


def is_believable(report: CountSample, line: Calibration, before: CountSample | None) -> bool:
    """Return whether a report can be learned from; ``line`` is what was expected, ``before`` the last one believed.

    Some servers leave cached tokens out of what they report: that is far too low, or less than for a shorter request.
    """
    own, theirs = report
    if theirs <= 0 or theirs < _SURELY_LOW * line.of(own) or theirs > _SURELY_HIGH * own + _FRAME:
        return False
    return before is None or own < before.own or theirs >= before.theirs


def fit_calibration(expected: CalibrationPrior, reports: Sequence[CountSample]) -> Calibration:
    """Return the line that is likeliest after ``reports``, and not below the last of them, as far as its bounds go."""
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
