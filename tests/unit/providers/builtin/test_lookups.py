"""The lookup table: every row names a real tool and valid arguments, and describes itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.core.errors import AgentctlError
from agentctl.providers.builtin.change_requests import find_change
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.match import LOOKUPS, range_of
from agentctl.providers.builtin.provider import choose_lookup
from agentctl.tools.toolbox import toolbox

KINDS = {
    "name": ("string", "zork"),
    "number": ("integer", "7"),
    "path": ("string", "/srv/zork"),
    "file": ("string", "zork.txt"),
    "pattern": ("string", "*.zork"),
    "text": ("string", '"zork zork"'),
    "size": ("string", "5MB"),
    "since": ("string", "in the last 5 minutes"),
    "state": ("string", "paused"),
    "daemon": ("string", "sshd"),
    "health": ("string", "unhealthy"),
}
IN_COMMANDS = {"where": "src/", "text": "zork", "since": "5m"}
TYPES = {str: "string", int: "integer", bool: "boolean"}


def _properties(lookup: Lookup) -> Mapping[str, Mapping[str, object]]:
    spec = toolbox(workspace=Path()).get(lookup.tool).spec
    properties = spec.parameters["properties"]
    assert isinstance(properties, dict)
    return properties


def _required(lookup: Lookup) -> list[str]:
    required = toolbox(workspace=Path()).get(lookup.tool).spec.parameters.get("required", [])
    assert isinstance(required, list)
    return required


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_every_row_fits_its_tool(lookup: Lookup) -> None:
    properties = _properties(lookup)
    for name, value in lookup.fixed.items():
        assert properties[name]["type"] == TYPES[type(value)]
        assert value in properties[name].get("enum", [value])  # type: ignore[operator]
    for kind, name in lookup.slots.items():
        assert properties[name]["type"] == KINDS[kind][0]
    assert set(lookup.needs) <= set(lookup.slots.values())
    assert set(_required(lookup)) <= {*lookup.fixed, *lookup.needs}
    assert lookup.tool in {"git_status", "read_file", "list_files", "search_files"} or lookup.tool.startswith(
        ("compose_", "docker_", "journal_", "service_", "system_")
    )


def test_every_tool_of_the_table_only_reads() -> None:
    tools = toolbox(workspace=Path())
    named = {lookup.tool for lookup in LOOKUPS} | {"docker_inspect"}
    assert {name for name in named if tools.get(name).effect != "read"} == set()


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_no_example_speaks_of_a_change(lookup: Lookup) -> None:
    for example in (lookup.examples + "|" + lookup.causes).split("|"):
        assert find_change(re.sub(r"\{\w+\}", "zork", example.strip())) is None, example


def _filled(example: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda mask: KINDS[mask[1]][1], " ".join(example.split()))


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_every_example_is_answered_by_its_own_lookup(lookup: Lookup) -> None:
    missed: list[str] = []
    for example in filter(str.strip, f"{lookup.examples}|{lookup.causes}".split("|")):
        try:
            if choose_lookup(_filled(example)).lookup is not lookup:
                missed.append(example.strip())
        except AgentctlError:
            missed.append(example.strip())
    assert missed == []


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_every_command_line_of_the_table_is_answered_by_its_own_lookup(lookup: Lookup) -> None:
    missed: list[str] = []
    for command in filter(str.strip, lookup.commands.split("|")):
        line = re.sub(r"\{(\w+)\}", lambda mask: IN_COMMANDS.get(mask[1]) or KINDS[mask[1]][1], command.strip())
        try:
            if choose_lookup(line).lookup is not lookup:
                missed.append(line)
        except AgentctlError:
            missed.append(line)
    assert missed == []


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_command_line_of_a_lookup_has_every_argument_that_its_words_can_fill(lookup: Lookup) -> None:
    values = {name: 7 if kind == "number" else f"{name}-zork" for kind, name in lookup.slots.items()}
    line = lookup.command({**lookup.fixed, **values})
    missing = [name for name, value in values.items() if str(value) not in line and "-n 8" not in line]
    assert missing == [], line
    for given in ({**lookup.fixed, **values}, {**lookup.fixed, **{name: values[name] for name in lookup.needs}}):
        assert "  " not in lookup.command(given)
        assert "{" not in lookup.command(given)


def test_the_numbers_that_builtin_refuses_are_those_that_the_tools_refuse() -> None:
    for lookup in LOOKUPS:
        name = lookup.slots.get("number")
        if name is not None:
            schema = _properties(lookup)[name]
            whole = next((one for one in schema.get("anyOf", [schema]) if one.get("type") == "integer"), schema)  # type: ignore[attr-defined]
            assert (whole["minimum"], whole["maximum"]) == range_of(lookup.tool, name), (lookup.tool, name)


def test_the_table_is_about_sixty_questions_and_names_a_command_for_each() -> None:
    assert 55 <= len(LOOKUPS) <= 65
    assert all(lookup.command({**lookup.fixed, **dict.fromkeys(lookup.needs, "X")}) for lookup in LOOKUPS)
    assert len({lookup.about for lookup in LOOKUPS}) == len(LOOKUPS)


def test_a_command_is_quoted_so_that_it_can_be_pasted() -> None:
    lookup = next(lookup for lookup in LOOKUPS if lookup.tool == "search_files")
    assert lookup.command({"text": "a 'b' $c"}) == "grep -rnF 'a '\\''b'\\'' $c' ."
    assert lookup.command({"text": "-x", "path": "-y.log"}) == "grep -rnF -e -x ./-y.log"
