"""The tree of runs, with what each cost alone and with all below it; and that no sum counts a charge twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts, Hold
from agentctl.core.messages import Usage
from agentctl.ledger.report import CostQuery, costs_report, costs_window, tree_of
from tests.support.ledger.corrections import dies
from tests.support.ledger.nested_processes import Open, begin, dollars, spent
from tests.support.ledger.parts import FACTS, HandClock, ask


@pytest.fixture
def grown(owner: Open, clock: HandClock) -> Open:
    """A run with two children, the first of which has one; and a run elsewhere. All have spent."""
    for run, below in (("a", ""), ("b", "a"), ("d", "b"), ("c", "a"), ("x", "")):
        begin(owner(run), run, dollars("1"), below=below)
        clock.pass_by(1)
    for number, run in enumerate("abcdx"):
        spent(owner(run), f"of {run}", run, 2**number)
    return owner


def test_run_follows_its_parent_with_its_own_cost_and_that_of_its_tree(grown: Open, path: Path) -> None:
    sent = grown("d").reserve(ask("sent", "d", tokens=100))
    assert isinstance(sent, Hold)
    grown("d").mark_sent("sent")
    grown("d").doubt("sent", "cut", ceiling=False, provider_fault=False)
    assert isinstance(grown("c").reserve(ask("held", "c", tokens=50)), Hold)
    grown("b").close_run("b", "budget")
    dies(grown("d"), path, "d")
    for asked in "abcd":
        tree = tree_of(path, asked)
        assert [(one.run_id, one.parent_id, one.depth, one.status) for one in tree] == [
            ("a", None, 0, "running"),
            ("b", "a", 1, "budget"),
            ("d", "b", 2, "unfinished"),
            ("c", "a", 1, "running"),
        ]
        million = 1_000_000
        assert [(one.own, one.whole) for one in tree] == [
            (Amounts(1 * million), Amounts(15 * million, 100 * million, 50 * million)),
            (Amounts(2 * million), Amounts(10 * million, 100 * million)),
            (Amounts(8 * million, 100 * million), Amounts(8 * million, 100 * million)),
            (Amounts(4 * million, 0, 50 * million), Amounts(4 * million, 0, 50 * million)),
        ]
        assert not any(one.own_unknown or one.whole_unknown for one in tree)


def test_unknown_price_below_makes_the_tree_unknown_and_no_sibling(owner: Open, path: Path) -> None:
    for run, below in (("a", ""), ("b", "a"), ("c", "a")):
        begin(owner(run), run, below=below)
    spent(owner("a"), "1", "a", 10)
    assert isinstance(owner("b").reserve(ask("2", "b", facts=replace(FACTS, price=None))), Hold)
    owner("b").mark_sent("2")
    owner("b").settle("2", Charge(Usage(10, 10), None, "m"))
    assert [(one.run_id, one.own_unknown, one.whole_unknown) for one in tree_of(path, "a")] == [
        ("a", False, True),
        ("b", True, True),
        ("c", False, False),
    ]


def test_single_run_is_its_own_tree_and_an_unknown_run_has_none(grown: Open, path: Path) -> None:
    assert [one.run_id for one in tree_of(path, "x")] == ["x"]
    assert tree_of(path, "nobody") == tree_of(path.with_name("none.db"), "a") == ()


def test_a_charge_counts_once_in_windows_and_totals_however_deep_its_run_lies(grown: Open, path: Path) -> None:
    whole = 31_000_000
    assert costs_window(path, seconds=3600).hour == Amounts(whole)
    report = costs_report(path, CostQuery(by=("run",)))
    assert (report.total_nano, report.total.calls, report.runs) == (whole, 5, 5)
    assert {row.run_id: row.known_nano for row in report.rows} == {
        run: 2**number * 1_000_000 for number, run in enumerate("abcdx")
    }
    assert costs_report(path, CostQuery(by=("provider",))).rows[0].known_nano == whole


@pytest.mark.parametrize(("run", "runs", "nano"), [("a", "abcd", 15), ("b", "bd", 10), ("d", "d", 8), ("x", "x", 16)])
def test_the_costs_of_one_run_are_those_of_its_tree_each_charge_once(
    grown: Open, path: Path, run: str, runs: str, nano: int
) -> None:
    report = costs_report(path, CostQuery(run=run, by=("run",)))
    assert sorted(str(row.run_id) for row in report.rows) == list(runs)
    assert report.run is not None
    assert report.total_nano == report.run.nano.total == nano * 1_000_000
