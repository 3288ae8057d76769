"""The toolbox, the check of arguments, and the plain columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ToolError, UsageError
from agentctl.protocols import Tool, Toolbox
from agentctl.tools.tables import cell, facts, parse_size, size, span, table
from agentctl.tools.tool import cut_middle
from agentctl.tools.toolbox import CHANGES as CHANGES_LISTED
from agentctl.tools.toolbox import MOST_BYTES, TOOLS, toolbox


def _box(*names: str) -> Toolbox:
    return toolbox(workspace=Path("/tmp"), names=names or None)


CHANGES = {
    "docker_start": "write",
    "docker_stop": "write",
    "docker_restart": "write",
    "docker_pause": "write",
    "docker_unpause": "write",
    "docker_run": "write",
    "docker_exec": "destructive",
    "docker_pull": "network",
    "docker_rm": "destructive",
    "docker_rmi": "destructive",
    "write_file": "write",
}


def test_tools_that_change_something_are_listed() -> None:
    assert {*CHANGES_LISTED} == {*CHANGES, "run_shell"}


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_declared_tool_exists_and_is_of_its_kind(name: str) -> None:
    tool: Tool = _box().get(name)
    spec = tool.spec
    assert spec.name == name
    assert spec.description
    assert tool.effect == CHANGES.get(name, "read")
    assert set(spec.parameters) <= {"type", "properties", "required", "additionalProperties"}
    assert '"title"' not in json.dumps(spec.parameters)
    assert "null" not in json.dumps(spec.parameters)
    assert len(json.dumps(spec.parameters)) < 1000


def test_a_toolbox_can_hold_some_tools_only() -> None:
    box = _box("docker_ps", "read_file")
    assert box.names == ("docker_ps", "read_file")
    with pytest.raises(ToolError) as caught:
        box.get("docker_p")
    assert caught.value.message == 'there is no tool "docker_p" here'
    assert caught.value.hint == 'did you mean "docker_ps"?'
    with pytest.raises(ToolError):
        box.get("git_status")


def test_a_toolbox_of_unknown_tools_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        _box("git_state")
    assert caught.value.hint == 'did you mean "git_status"?'


def test_the_schema_is_short_and_says_what_is_allowed() -> None:
    assert _box().get("system_processes").spec.parameters == {
        "type": "object",
        "properties": {
            "sort": {"type": "string", "enum": ["cpu", "memory", "name"], "default": "cpu"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 10},
            "name": {"type": "string", "description": "part of the name or command"},
        },
        "additionalProperties": False,
    }
    assert _box().get("read_file").spec.parameters["required"] == ["path"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("read_file", {}, 'read_file needs "path"'),
        ("read_file", {"pth": "x", "path": "y"}, 'read_file has no argument "pth", did you mean "path"?'),
        (
            "read_file",
            {"path": "x", "first": 0},
            "read_file: \"first\" must be a whole number from 1 to 100000, not '0'",
        ),
        ("system_processes", {"sort": "ram"}, '"sort" must be "cpu" or "memory" or "name", not \'ram\''),
        ("system_ports", {"port": "http"}, "\"port\" must be a whole number from 1 to 65535, not 'http'"),
        ("docker_logs", {"name": ["a"]}, '"name" must be text'),
        ("docker_ps", {"state": "\x1b[2J"}, "'\\x1b[2J'"),
    ],
)
async def test_wrong_arguments_are_named_with_what_is_allowed(
    tool: str, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(ToolError) as caught:
        await _box().get(tool)(arguments)
    assert said in caught.value.message
    assert caught.value.hint.startswith(f"{tool} takes: ")


async def test_none_counts_as_not_given() -> None:
    assert "RAM" in await _box().get("system_memory")({})
    assert "mounted on" in await _box().get("system_disks")({"path": None})


@given(st.text(max_size=3000), st.integers(200, 2000))
def test_cut_text_exceeds_the_cap_by_at_most_its_mark(text: str, most: int) -> None:
    shown = cut_middle(text, most)
    if len(text.encode(errors="backslashreplace")) <= most:
        assert shown == text
    else:
        assert len(shown.encode()) <= most + 100
        assert "left out" in shown


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    text = "\n".join(f"line {number}" for number in range(20_000))
    shown = cut_middle(text)
    assert len(shown.encode()) <= MOST_BYTES + 100
    assert shown.startswith("line 0\nline 1\n")
    assert shown.endswith("\nline 19999")


def test_columns_are_aligned_and_cells_stay_on_their_line() -> None:
    text = table(("name", ">size"), [("a\nb", 5), ("\x1b[2J", None), ("x" * 200, 12345)], most=20)
    assert text == (
        "name                   size\n"
        "a\\nb                      5\n"
        "\\x1b[2J                   -\n"
        "xxxxxxxxxxxxxxxxxxx…  12345"
    )
    assert facts([("a", 1), ("long", ""), ("bc", "x\ty")]) == "a   1\nbc  x\\ty"


@given(st.text())
def test_a_cell_is_one_bounded_line(text: str) -> None:
    shown = cell(text, 30)
    assert 0 < len(shown) <= 30
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (1048575, "1.0 MB"), (13207024435, "12.3 GB"), (None, "-")],
)
def test_sizes_are_formatted(count: int | None, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10MB", 10485760),
        ("1.5 gb", 1610612736),
        ("512k", 524288),
        ("300", 300),
        ("5 KiB", 5120),
        ("x", None),
        ("-1", None),
    ],
)
def test_sizes_are_parsed(text: str, count: int | None) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (277000, "3 d 4 h")])
def test_durations_are_formatted(seconds: float, words: str) -> None:
    assert span(seconds) == words
