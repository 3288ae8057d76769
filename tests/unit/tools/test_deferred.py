"""Deferred tools: what is offered, what is found, and what a call of ``call_tool`` means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from agentctl.core.errors import ToolError
from agentctl.core.messages import ToolCall, ToolSpec
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import Permissions
from agentctl.protocols import Tool
from agentctl.tools.deferred import CALL_SPEC, FIND_SPEC, MOST_BYTES, MOST_OFFERED, DeferringToolbox, note_of
from tests.support.served_tools import ServedTool, deferring, served_tools

pytestmark = pytest.mark.anyio


def with_git(task: str = "", permissions: Permissions | None = None, first: tuple[str, ...] = ()) -> DeferringToolbox:
    box = deferring(*served_tools(("git", "filesystem")), task=task, permissions=permissions, first=first)
    assert isinstance(box, DeferringToolbox)
    return box


async def find(box: DeferringToolbox, query: str, **more: object) -> str:
    return await box.get("find_tools")({"query": query, **more})


def names_in(found: str) -> list[str]:
    return [line.partition(":")[0] for line in found.splitlines() if "__" in line.partition(":")[0]]


def real(box: DeferringToolbox, **arguments: object) -> tuple[str, Mapping[str, object]]:
    call = box.real_call(ToolCall("c1", "call_tool", arguments))
    return call.name, call.arguments


def test_the_two_fixed_tools_are_always_the_same_bytes() -> None:
    written = json.dumps([[*spec[:2], dict(spec.parameters)] for spec in (FIND_SPEC, CALL_SPEC)])
    assert hashlib.sha256(written.encode()).hexdigest()[:16] == "4f3c259c5e6bd65c"


def test_tools_that_fit_are_offered_as_they_are() -> None:
    box = deferring(*served_tools(("time", "brave", "fetch")))
    assert not isinstance(box, DeferringToolbox)
    assert note_of(box) == ""


def test_eight_tools_with_long_schemas_are_deferred_by_their_bytes() -> None:
    few = [replace(tool, spec=tool.spec._replace(description="x" * 1_000)) for tool in served_tools(("sqlite", "time"))]
    assert len(few) == MOST_OFFERED
    box = deferring(*few)
    assert isinstance(box, DeferringToolbox)
    sizes = [len(json.dumps(box.get(name).spec._asdict(), default=dict)) for name in box.offered]
    assert sum(sizes) <= MOST_BYTES
    assert len(box.offered) == 6


def test_what_is_offered_is_sorted_and_fits_the_task() -> None:
    box = with_git("switch to the branch of the release", first=("filesystem__edit_file",))
    assert len(box.offered) == MOST_OFFERED
    assert box.offered == tuple(sorted(box.offered))
    assert {"call_tool", "find_tools", "filesystem__edit_file", "git__git_checkout"} <= set(box.offered)
    assert note_of(box) == "\n\n19 more tools from: filesystem (11), git (8): find_tools"


def test_many_servers_are_counted_in_one_short_line() -> None:
    tools = [
        ServedTool(ToolSpec(f"s{server:02}__t{n}", "Does it.", {"type": "object"}), "read")
        for server in range(50)
        for n in range(2)
    ]
    note = note_of(deferring(*tools))
    assert note.endswith(", 27 others: find_tools")
    assert len(note) < 300


async def test_find_tools_returns_five_names_and_three_schemas() -> None:
    found = await find(with_git(), "create a new branch")
    assert len(names_in(found)) == 5
    assert found.count("  parameters: {") == 3
    assert names_in(found)[0] == "git__git_create_branch"
    schema = json.loads(found.splitlines()[1].removeprefix("  parameters: "))
    assert schema == dict(next(t.spec.parameters for t in served_tools(("git",)) if "create" in t.spec.name))


async def test_find_tools_knows_servers_and_names() -> None:
    box = with_git()
    assert {name.partition("__")[0] for name in names_in(await find(box, "list", server=" GIT "))} == {"git"}
    assert names_in(await find(box, "git__git_reset"))[0] == "git__git_reset"
    assert "no tool fits" in await find(box, "zzyzx")
    with pytest.raises(ToolError, match='no tools are from "gti"') as caught:
        await find(box, "list", server="gti")
    assert caught.value.hint == 'did you mean "git"?'
    with pytest.raises(ToolError, match="needs"):
        await find(box, "  ")


async def test_a_schema_that_is_too_long_is_told_by_its_names() -> None:
    properties = {f"field_{n}": {"type": "string", "description": "y" * 90} for n in range(60)}
    schema = {"type": "object", "properties": properties, "required": ["field_0"]}
    large = ServedTool(ToolSpec("big__one", "Frobs it.\x1b[31m", schema), "read")
    box = deferring(large, *served_tools(("git",)), task="git log")
    assert isinstance(box, DeferringToolbox)
    found = await find(box, "frobs")
    assert "field_59" in found
    assert "yyy" not in found
    assert "\x1b" not in found
    assert len(found) < 5_000


@pytest.mark.parametrize(
    ("permissions", "gone"),
    [
        (Permissions(read_only=True), "git__git_create_branch"),
        (Permissions(only=("git__git_log", "git__git_branch")), "git__git_create_branch"),
        (Permissions(deny=(parse_rule("git__git_create_*"),)), "git__git_create_branch"),
    ],
    ids=["read-only", "tools", "deny"],
)
async def test_what_may_never_run_is_neither_offered_nor_found(permissions: Permissions, gone: str) -> None:
    many = served_tools()
    box = deferring(*many, task="create a branch", permissions=permissions)
    assert gone in box.names, "a call of it is denied with the reason"
    if isinstance(box, DeferringToolbox):
        assert gone not in box.offered
        assert gone not in names_in(await find(box, "create a git branch", server="git"))


@pytest.mark.parametrize(
    ("written", "name", "arguments"),
    [
        ({"name": "git__git_log", "arguments": {"repo_path": "."}}, "git__git_log", {"repo_path": "."}),
        ({"name": "git__git_log", "arguments": '{"repo_path": "."}'}, "git__git_log", {"repo_path": "."}),
        ({"name": "git__git_log", "repo_path": "."}, "git__git_log", {"repo_path": "."}),
        ({"name": "git__git_log", "arguments": None}, "git__git_log", {}),
        ({"name": " functions.git__git_log ", "arguments": ""}, "git__git_log", {}),
        ({"name": "git_log", "arguments": {}}, "git__git_log", {}),
        ({"name": "find_tools", "arguments": {"query": "x"}}, "find_tools", {"query": "x"}),
    ],
)
def test_a_call_means_the_real_tool(written: Mapping[str, object], name: str, arguments: Mapping[str, object]) -> None:
    assert real(with_git(), **written) == (name, arguments)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"name": "git__git_lgo", "arguments": {}}, 'there is no tool "git__git_lgo"'),
        ({"name": "call_tool", "arguments": {"name": "git__git_log"}}, 'there is no tool "call_tool"'),
        ({"name": "git__git_log", "arguments": [1]}, '"arguments" must be an object'),
        ({"name": "git__git_log", "arguments": "{"}, '"arguments" must be an object'),
        ({"name": "git__git_log", "arguments": "[" * 100_000}, '"arguments" must be an object'),
        ({"name": 7, "arguments": {}}, 'needs "name"'),
        ({}, 'needs "name"'),
    ],
)
async def test_a_call_that_means_no_tool_says_why(written: Mapping[str, object], said: str) -> None:
    box = with_git()
    assert real(box, **written) == ("call_tool", written)
    tool: Tool = box.get("call_tool")
    with pytest.raises(ToolError, match=said):
        await tool.prepare(written)
    with pytest.raises(ToolError, match=said):
        await tool(written)


async def test_closing_it_closes_the_tools_and_an_unknown_name_is_told_the_nearest() -> None:
    box = with_git()
    with pytest.raises(ToolError, match="there is no tool") as caught:
        box.get("git__git_lgo")
    assert caught.value.hint == 'did you mean "git__git_log"?'
    await box.aclose()
    assert box._whole.closed == 1  # type: ignore[attr-defined]
