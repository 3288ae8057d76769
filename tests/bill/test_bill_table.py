"""The table of docs/budget.md: the command that makes it runs, and its output has the table's shape."""

from __future__ import annotations

import re

import pytest

from tests.bill.table import APART, FULL_HEADER, HEADER, ROOT, RULE, SCENARIOS, Came, line, main

DOLLARS = r"\d+\.\d\d"
ROW = re.compile(
    rf"\| ([^|]+) \| {DOLLARS} \| {DOLLARS} \| {DOLLARS}(?: \+ {DOLLARS} in doubt)? \| ({DOLLARS})"
    rf"(?: \| {DOLLARS} \| ({DOLLARS}))?"
    rf" \| {DOLLARS} \| {DOLLARS} \| {DOLLARS} \|"
)
NAMES = {scenario.name: scenario for scenario in SCENARIOS}


def assert_in_shape(lines: list[str]) -> None:
    """Check each row against the scenarios: none is over its limit unless an assumption is broken."""
    for said in lines:
        row = ROW.fullmatch(said)
        assert row is not None, said
        assert NAMES[row[1]].apart or {row[2], row[3]} <= {"0.00", None}, said


def test_benchmark_command_makes_the_table_by_real_runs_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "one run"])
    header, rule, *rows = capsys.readouterr().out.splitlines()
    assert (header, rule, len(rows)) == (HEADER, RULE, 1)
    assert_in_shape(rows)
    assert rows[0].endswith("| 0.12 | 0.12 | 0.02 |")  # the bare loop: over by one call


def test_a_row_says_what_is_over_and_what_is_in_doubt() -> None:
    said = line(SCENARIOS[0], Came(120_000_000, 80_000_000, 30_000_000), Came(90_000_000, 0))
    assert said == "| one run, and all is well | 0.10 | 0.12 | 0.08 + 0.03 in doubt | 0.02 | 0.09 | 0.00 | 0.00 |"
    with pytest.raises(AssertionError):
        assert_in_shape([said])


def test_a_row_of_the_full_table_says_what_was_billed_with_the_ledger_on_a_server() -> None:
    said = line(SCENARIOS[0], Came(80_000_000, 80_000_000), Came(90_000_000, 0), Came(120_000_000, 120_000_000))
    assert said == "| one run, and all is well | 0.10 | 0.08 | 0.08 | 0.00 | 0.12 | 0.02 | 0.09 | 0.00 | 0.00 |"
    assert said.count("|") == FULL_HEADER.count("|")
    with pytest.raises(AssertionError):
        assert_in_shape([said])


def test_the_table_of_the_budget_page_is_what_the_command_prints() -> None:
    """The amounts are not compared: how far the bare loop goes over its limit varies."""
    lines = (ROOT / "docs" / "budget.md").read_text().splitlines()
    rows = [said for said in lines if said.startswith(tuple(f"| {name} |" for name in NAMES))]
    if rows:
        assert lines.count(FULL_HEADER) == 2
        assert [ROW.fullmatch(said) and said.split(" | ")[0].removeprefix("| ") for said in rows] == list(NAMES)
        assert APART in lines
        assert "python -m tests.bill.table" in "\n".join(lines)
    assert_in_shape(rows)
