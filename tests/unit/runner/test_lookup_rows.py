"""The answer by a schema of a run without a language model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentctl import BuiltinProvider, ScriptedProvider
from agentctl.core.answer_schema import SchemaMismatch, read_answer_schema
from agentctl.runner.lookup_rows import answer_of_rows
from agentctl.tools.tables import collect_rows, facts, table

CONTAINERS: dict[str, Any] = {
    "type": "object",
    "properties": {"containers": {"type": "array", "items": {"type": "object", "required": ["name", "used_percent"]}}},
    "required": ["containers"],
}


def rows_of(schema: object, show: Callable[[], object], redact: Callable[[str], str] = str) -> object:
    with collect_rows() as tables:
        show()
    return answer_of_rows(read_answer_schema(schema), tables, redact)  # type: ignore[arg-type] # as the user gives it


def two() -> str:
    return table(("name", ">used %", "since"), iter([("web", 7, None), ("db\x1b", 2.5, "noon")]))


def test_rows_are_the_only_list_of_the_schema() -> None:
    found = rows_of(CONTAINERS, two)
    assert found == {
        "containers": [
            {"name": "web", "used_percent": 7, "since": None},
            {"name": "db\x1b", "used_percent": 2.5, "since": "noon"},
        ]
    }


def test_columns_that_the_schema_does_not_allow_are_left_out() -> None:
    items = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": items}}}
    assert rows_of(schema, two, lambda text: text.replace("web", "[redacted]")) == {
        "rows": [{"name": "[redacted]"}, {"name": "db\x1b"}]
    }


def test_facts_are_a_row() -> None:
    assert rows_of("ram_total:string,cores:int", lambda: facts([("RAM total", "7 GB"), ("cores", 4), ("x", None)])) == {
        "ram_total": "7 GB",
        "cores": 4,
    }


@pytest.mark.parametrize(
    ("schema", "show", "said"),
    [
        ("name:int", two, "no property of the schema can take them"),
        ({**CONTAINERS, "required": ["other"]}, two, "other"),
        (CONTAINERS, lambda: "a log", "the tool's result has no rows"),
        ("cores:string", lambda: facts([("cores", 4)]), "/cores"),
    ],
)
def test_rows_that_do_not_fit_are_an_error(schema: object, show: Callable[[], object], said: str) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        rows_of(schema, show)
    assert said in caught.value.message
    assert (caught.value.kind, caught.value.status) == ("schema", "failed")


def test_no_rows_are_collected_outside() -> None:
    assert two() == two()
    with collect_rows() as tables:
        pass
    two()
    assert (tables, BuiltinProvider().facts.metered, ScriptedProvider([]).facts.metered) == ([], False, True)
