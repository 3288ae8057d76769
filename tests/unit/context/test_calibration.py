"""Calibration by a provider's reports: near the expected count, never far below the last report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.context.counter import Calibration, CalibrationPrior, CountSample, fit_calibration, is_believable

EXPECTED = CalibrationPrior(Calibration(1.1, 0.0), 0.22, 300.0, least=0.825)
OWN = st.integers(100, 200_000)
TRUE = st.builds(Calibration, st.floats(0.9, 1.6), st.floats(0.0, 600.0))


def reports_of(true: Calibration, owns: list[int]) -> list[CountSample]:
    return [CountSample(own, round(true.of(own))) for own in owns]


def test_estimate_without_a_report_is_the_expected_one() -> None:
    assert fit_calibration(EXPECTED, []) == EXPECTED.line


@given(TRUE, st.lists(OWN, min_size=1, max_size=16))
def test_estimate_meets_the_last_report_and_is_never_below_it(true: Calibration, owns: list[int]) -> None:
    reports = reports_of(true, owns)
    line = fit_calibration(EXPECTED, reports)
    assert line.of(reports[-1].own) >= reports[-1].theirs - 1e-6 * reports[-1].theirs


@given(TRUE, st.lists(st.floats(1.05, 1.6), min_size=3, max_size=12))
def test_a_conversation_that_grows_is_soon_counted_as_its_provider_counts(
    true: Calibration, steps: list[float]
) -> None:
    own, reports = 800.0, [CountSample(800, round(true.of(800)))]
    for number, step in enumerate(steps):
        own *= step
        line, truth = fit_calibration(EXPECTED, reports), true.of(own)
        assert truth <= 1.2 * line.of(own), "the stated margin after one report"
        if number > 1:
            assert line.of(own) <= 1.2 * truth, "and not far too much either"
        reports.append(CountSample(round(own), round(truth)))


@given(TRUE, st.integers(2000, 100_000), st.floats(0.3, 0.9))
def test_calibration_holds_after_a_cut(true: Calibration, own: int, left: float) -> None:
    reports = reports_of(true, [own // 3, own // 2, own])
    cut = own * left
    assert true.of(cut) <= 1.2 * fit_calibration(EXPECTED, reports).of(cut)


@given(st.lists(st.builds(CountSample, OWN, st.integers(1, 10**7)), max_size=16))
def test_factor_stays_within_its_bounds_whatever_is_reported(reports: list[CountSample]) -> None:
    line = fit_calibration(EXPECTED, reports)
    assert 0.825 <= line.factor <= 4.0
    assert -2000 <= line.fixed <= 2000
    bounded = fit_calibration(replace(EXPECTED, least=1.1, least_fixed=0.0), reports)
    assert bounded.factor >= 1.1
    assert bounded.fixed >= 0


def test_shorter_schemas_are_a_fixed_part_where_the_vocabulary_is_certain() -> None:
    sure = CalibrationPrior(Calibration(1.0, 0.0), 0.03, 400.0)
    line = fit_calibration(sure, [CountSample(1500, 1000), CountSample(2000, 1500)])
    assert line.of(6000) == pytest.approx(5500, rel=0.03)


def test_factor_learned_by_an_earlier_run_is_doubted_less() -> None:
    known = EXPECTED.after_runs(Calibration(1.4, 100.0))
    assert fit_calibration(known, []) == Calibration(1.4, 100.0)
    surprise = [CountSample(1000, 1100)]
    fresh = replace(EXPECTED, line=Calibration(1.4, 100.0))
    assert fit_calibration(known, surprise).factor > fit_calibration(fresh, surprise).factor


@pytest.mark.parametrize(
    ("report", "before", "believed"),
    [
        (CountSample(1000, 1100), None, True),
        (CountSample(1000, 0), None, False),
        (CountSample(1000, 500), None, False),  # cached tokens left out
        (CountSample(1000, 700), None, True),
        (CountSample(1000, 50_000), None, False),
        (CountSample(2000, 1500), CountSample(1000, 1600), False),  # less for more: cached tokens left out
        (CountSample(900, 1500), CountSample(1000, 1600), True),  # it was cut
    ],
)
def test_report_is_used_unless_something_was_left_out(
    report: CountSample, before: CountSample | None, believed: bool
) -> None:
    assert is_believable(report, Calibration(1.1, 0.0), before) is believed
