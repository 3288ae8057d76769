"""``agentctl schema``, and the schemas that ship: valid themselves, and strict enough to refuse a wrong document."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from agentctl.cli.schema.command import PRINTED_BY, SchemaName, schema_text
from agentctl.core.events import Event
from agentctl.journal.writer import event_name
from tests.support.command_line import Ended, loaded_modules
from tests.support.output_schemas import check_output, validate

Here = Callable[..., Ended]


@pytest.mark.parametrize("name", get_args(SchemaName))
def test_a_schema_is_printed_alone_and_is_valid_by_its_dialect(here: Here, name: str) -> None:
    ended = here("schema", name)
    assert (ended.code, ended.err, ended.out) == (0, "", schema_text(name))
    schema = ended.document
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == f"agentctl.{name}/1"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", get_args(SchemaName))
def test_a_schema_refers_to_nothing_outside_of_itself(name: str) -> None:
    def references(part: object) -> list[str]:
        if isinstance(part, list):
            return [one for inner in part for one in references(inner)]
        if not isinstance(part, dict):
            return []
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [one for inner in part.values() for one in references(inner)]

    schema = json.loads(schema_text(name))
    assert all(one.removeprefix("#/$defs/") in schema["$defs"] for one in references(schema))


def test_without_a_name_the_schemas_are_listed(here: Here) -> None:
    assert [line.split()[0] for line in here("schema").out.splitlines()] == list(PRINTED_BY)
    assert list(PRINTED_BY) == list(get_args(SchemaName))


def test_an_unknown_name_is_a_usage_error_with_the_names(here: Here) -> None:
    ended = here("schema", "runs")
    assert (ended.code, ended.out) == (2, "")
    assert "events" in ended.err


def test_printing_a_schema_loads_neither_settings_nor_a_validator() -> None:
    loaded = loaded_modules("schema", "run")
    assert loaded & {"jsonschema", "pydantic", "agentctl.settings", "litellm"} == set()
    assert loaded & {"agentctl.cli.document_types", "agentctl.cli.runs.run_documents"} == set()


def test_every_event_has_a_branch_of_its_own() -> None:
    schema = json.loads(schema_text("events"))
    branches = [one["if"]["properties"]["event"]["const"] for one in schema["allOf"]]
    assert branches == sorted(event_name(kind) for kind in get_args(Event))


def test_an_event_of_a_later_version_is_valid_for_those_who_read() -> None:
    schema = json.loads(schema_text("events"))
    later = {"event": "moon_landed", "run_id": "1", "seq": 1, "at": "2026-11-30T00:00:00.000Z", "more": 1}
    assert Draft202012Validator(schema).is_valid(later)
    assert not Draft202012Validator(schema).is_valid({**later, "seq": 0})


@pytest.mark.parametrize("words", [("run", "-q", "--json", "look"), ("costs", "--json"), ("costs", "--last", "--json")])
def test_a_document_that_differs_from_its_schema_is_refused(here: Here, words: tuple[str, ...]) -> None:
    document = here(*words, script="answer" if words[0] == "run" else None).document
    for name in document:
        lacking = {key: value for key, value in document.items() if key != name}
        if name != "schema":
            with pytest.raises(AssertionError, match="not valid by its schema"):
                check_output(json.dumps(lacking))
    with pytest.raises(AssertionError, match="not valid by its schema"):
        check_output(json.dumps({**document, "unheard_of": 1}))
    with pytest.raises(AssertionError, match="not valid by its schema"):
        check_output(json.dumps({**document, "status": "well"}))


def test_an_event_that_differs_from_its_schema_is_refused(here: Here) -> None:
    lines = here("run", "-q", "-o", "jsonl", "look around", script="tools").lines
    assert {"run_started", "call_settled", "tool_finished", "run_finished"} <= {line["event"] for line in lines}
    for line in lines:
        for name in line.keys() - {"event", "seq", "schema"}:
            lacking = {key: value for key, value in line.items() if key != name}
            with pytest.raises(AssertionError, match="not valid by its schema"):
                validate(lacking)
        for broken in _broken(line):
            with pytest.raises(AssertionError, match="not valid by its schema"):
                check_output(json.dumps(broken) + "\n")


def _broken(line: dict[str, Any]) -> list[dict[str, Any]]:
    moved = copy.deepcopy(line)
    moved["at"] = "yesterday"
    return [moved, {**line, "seq": "1"}, {**line, "unheard_of": None}]


def test_an_event_without_a_branch_is_refused_here() -> None:
    later = {"event": "moon_landed", "run_id": "1", "seq": 1, "at": "2026-11-30T00:00:00.000Z"}
    with pytest.raises(AssertionError, match="does not name the event moon_landed"):
        validate(later)


def test_the_journal_of_a_run_is_valid_line_by_line(here: Here) -> None:
    here("run", "-q", "look around", script="tools")
    lines = here("runs", "show", "-o", "jsonl").lines
    assert lines[-1]["event"] == "run_finished"
    assert "result" in lines[-1], "the journal's own form"


def test_a_failure_outside_of_a_run_is_valid(here: Here) -> None:
    document = here("runs", "show", "nosuch", "--json").document
    assert (document["schema"], document["status"]) == ("agentctl.error/1", "usage")
