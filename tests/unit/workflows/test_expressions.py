"""The interpreter of workflows: expressions, conditions, and the files that a step writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.workflows.expressions import UnknownExpression, evaluate, fill, is_met
from tests.support.workflows.github import Machine, commands_in, entries

CONTEXTS = {
    "github": {"event": {"number": 7, "names": ["a", "b"]}, "ref_name": "main"},
    "steps": {"one": {"outputs": {"a-b": "x"}}},
    "env": {"EMPTY": ""},
    "job": {"status": "success"},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("github.event.number", 7),
        ("github.event.names[1]", "b"),
        ("steps.one.outputs.a-b", "x"),
        ("steps['one'].outputs['a-b']", "x"),
        ("github.nothing.there", None),
        ("github.ref_name == 'MAIN'", True),
        ("github.event.number != 7 || !false", True),
        ("(1 < 2) && 'it''s'", "it's"),
        ("env.EMPTY || 'default'", "default"),
        ("env.EMPTY == 0", True),
        ("contains(github.event.names, 'a')", True),
        ("format('{0}-{1}', github.ref_name, 2)", "main-2"),
        ("fromJSON(toJSON(github.event)).number", 7),
        ("failure() || cancelled()", False),
    ],
)
def test_expression_has_its_value(expression: str, value: object) -> None:
    assert evaluate(expression, CONTEXTS) == value


@pytest.mark.parametrize("expression", ["secrets.KEY", "hashFiles('x')", "github.", "1 +", "github ref", "("])
def test_expression_that_is_not_known_is_an_error(expression: str) -> None:
    with pytest.raises((UnknownExpression, IndexError)):
        evaluate(expression, CONTEXTS)


def test_values_fill_a_text_once() -> None:
    hostile = {"inputs": {"task": "${{ github.token }} $(x)"}}
    assert fill("[${{ inputs.task }}]", hostile) == "[${{ github.token }} $(x)]"


@pytest.mark.parametrize(
    ("condition", "status", "met"),
    [
        (None, "success", True),
        (None, "failure", False),
        ("always()", "failure", True),
        ("${{ failure() }}", "failure", True),
        ("github.ref_name == 'main'", "success", True),
        ("github.ref_name == 'main'", "failure", False),
    ],
)
def test_condition_without_a_status_is_met_only_after_success(condition: str | None, status: str, met: bool) -> None:
    assert is_met(condition, {**CONTEXTS, "job": {"status": status}}) is met


def test_outputs_are_read_as_a_runner_reads_them() -> None:
    assert entries("a=1=2\nb<<E_1\nx\n\nE_2\nE_1\nc=\n") == {"a": "1=2", "b": "x\n\nE_2", "c": ""}
    for wrong in ("no sign\n", "a<<E\nx\n"):
        with pytest.raises(AssertionError):
            entries(wrong)


def test_commands_are_found_as_a_runner_finds_them() -> None:
    log = "::error title=a::b\n  ::group::c\ntext ::no::d\nx ##[warning]e\n"
    assert [tuple(one) for one in commands_in(log)] == [
        *(("error", "title=a", "b"), ("group", "", "c"), ("warning", "", "e"))
    ]


def test_what_the_interpreter_does_not_know_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.yml"
    for wrong in ("timeout-minutes: 5", "shell: python"):
        path.write_text(f"on: push\njobs:\n  a:\n    steps:\n      - run: 'true'\n        {wrong}\n")
        with pytest.raises((AssertionError, KeyError)):
            Machine(tmp_path / wrong[:3]).run(path)
