"""The lookup table: every row names a real tool and valid arguments, and describes itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.providers.builtin.change_requests import find_change
from agentctl.providers.builtin.lookup import Lookup
from agentctl.providers.builtin.match import LOOKUPS
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
}
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
        ("docker_", "system_")
    )


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_no_example_speaks_of_a_change(lookup: Lookup) -> None:
    for example in (lookup.examples + "|" + lookup.causes).split("|"):
        assert find_change(re.sub(r"\{\w+\}", "zork", example.strip())) is None, example


def _filled(example: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda mask: KINDS[mask[1]][1], " ".join(example.split()))


@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.about)
def test_almost_every_example_is_answered_by_its_own_tool(lookup: Lookup) -> None:
    examples = [example for example in lookup.examples.split("|") if example.strip()]
    missed: list[str] = []
    for example in examples:
        try:
            if choose_lookup(_filled(example)).lookup.tool != lookup.tool:
                missed.append(example.strip())
        except Exception:  # noqa: BLE001 - which error it was does not matter here
            missed.append(example.strip())
    assert len(missed) <= max(1, 0.15 * len(examples)), missed


def test_the_table_is_about_forty_questions_and_names_a_command_for_each() -> None:
    assert 38 <= len(LOOKUPS) <= 55
    assert all(lookup.command({**lookup.fixed, **dict.fromkeys(lookup.needs, "X")}) for lookup in LOOKUPS)
    assert len({lookup.about for lookup in LOOKUPS}) == len(LOOKUPS)


def test_a_command_is_quoted_so_that_it_can_be_pasted() -> None:
    lookup = next(lookup for lookup in LOOKUPS if lookup.tool == "search_files")
    assert lookup.command({"text": "a 'b' $c"}) == "grep -rn 'a '\\''b'\\'' $c' ."
