"""A path that a deny rule names: no tool shows it, whatever it is called, and no sandboxed command reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.core.errors import ActionDenied, ToolError
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import Permissions
from agentctl.permissions.preview import preview_call
from agentctl.sandbox.denied_paths import DeniedPaths
from agentctl.tools.docker.run import RunContainer, create_request
from agentctl.tools.toolbox import TOOLS, toolbox
from tests.support.denied_paths import DENY, NFD, WORD, use

pytestmark = pytest.mark.anyio


PATHS = [
    "conf/secrets/key",
    "./conf/secrets/key",
    "conf//secrets/./key",
    "src/../conf/secrets/key",
    "conf/secrets/deep/key",
    "src/shortcut/key",
    "src/shortcut/deep/key",
    "src/pointer",
    "src/twin",
    "twin",
    NFD,
    "server.pem",
    "ABSOLUTE",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("tool", ["read_file", "search_files", "write_file"])
async def test_no_file_tool_takes_a_denied_file_by_any_of_its_names(workspace: Path, tool: str, path: str) -> None:
    given = str(workspace / "conf" / "secrets" / "key") if path == "ABSOLUTE" else path
    more = {"search_files": {"text": "word"}, "write_file": {"text": "x"}}.get(tool, {})
    answer = await use(workspace, tool, {"path": given, **more})
    assert isinstance(answer, ActionDenied), answer
    assert "is denied by a user rule" in answer.message
    assert (workspace / "conf/secrets/key").read_text() == f"{WORD}\n"


@pytest.mark.parametrize("regex", [False, True])
async def test_a_search_leaves_out_what_is_denied(workspace: Path, regex: bool) -> None:
    (workspace / "free").write_text(f"{WORD}\n")
    answer = await use(workspace, "search_files", {"text": WORD, "regex": regex})
    assert isinstance(answer, str)
    assert answer.splitlines()[0] == f"free:1: {WORD}"
    assert "1 match in 1 file" in answer
    assert "left out by a user's deny rule" in answer


@pytest.mark.parametrize("arguments", [{}, {"path": "conf"}, {"kind": "any"}, {"kind": "folder", "sort": "size"}])
async def test_a_list_leaves_out_what_is_denied(workspace: Path, arguments: dict[str, object]) -> None:
    answer = await use(workspace, "list_files", arguments)
    assert isinstance(answer, str)
    assert not any(name in answer for name in ("key", "twin", "server.pem", NFD, "deep")), answer


@pytest.mark.parametrize("arguments", [{}, {"path": "."}, {"path": "./"}, {"path": "src/.."}, {"path": None}])
async def test_a_rule_on_the_workspace_holds_for_a_call_that_leaves_the_path_out(
    workspace: Path, arguments: dict[str, object]
) -> None:
    deny = ("list_files(path=.)",)
    assert isinstance(await use(workspace, "list_files", arguments, deny), ActionDenied)
    assert isinstance(await use(workspace, "list_files", {"path": "src"}, deny), str)
    assert isinstance(await use(workspace, "read_file", {"path": "src/app.py"}, deny), str)


async def test_a_link_that_a_rule_names_is_its_target(workspace: Path) -> None:
    for deny in ("read_file(path=src/pointer)", "read_file(path=src/shortcut/*)", "read_file(path=src/shortcut)"):
        for path in ("src/pointer", "conf/secrets/key", "src/shortcut/key", "src/twin"):
            assert isinstance(await use(workspace, "read_file", {"path": path}, (deny,)), ActionDenied), (deny, path)


async def test_a_file_that_is_made_later_is_denied_too(workspace: Path) -> None:
    rules = tuple(map(parse_rule, DENY))
    denied = DeniedPaths(workspace, rules)
    assert denied.find().hides("conf/secrets/new")
    before = set(denied.find().places)
    (workspace / "src" / "late.pem").write_text("x")
    assert set(denied.find().places) - before == {str(workspace / "src" / "late.pem")}
    (workspace / "src" / "late.pem").unlink()
    assert set(denied.find().places) == before


def test_a_hard_link_to_a_denied_file_is_covered_too(workspace: Path) -> None:
    os.link(workspace / "server.pem", workspace / "src" / "other")
    covered = DeniedPaths(workspace, [parse_rule("read_file(path=*.pem)")]).to_cover()
    assert covered == (str(workspace / "server.pem"), str(workspace / "src" / "other"))


async def test_a_hard_link_that_is_made_later_is_denied_too(workspace: Path) -> None:
    denied = DeniedPaths(workspace, tuple(map(parse_rule, DENY)))
    denied.find()
    os.link(workspace / "server.pem", workspace / "src" / "later")
    os.link(workspace / "conf/secrets/deep/key", workspace / "src" / "even-later")
    assert {str(workspace / "src" / name) for name in ("later", "even-later")} <= set(denied.find().places)


async def test_a_workspace_with_something_denied_is_not_mounted_into_a_container(workspace: Path) -> None:
    rules = tuple(map(parse_rule, DENY))
    wanted = RunContainer.model_validate({"image": "busybox:local", "workspace": True})
    async with toolbox(workspace=workspace, denied=DeniedPaths(workspace, rules)) as box:
        with pytest.raises(ToolError, match="that a deny rule hides, and cannot be mounted"):
            create_request(box.get("docker_run").context, wanted, call="")  # type: ignore[attr-defined]
    other = (parse_rule("read_file(path=nothing/*)"),)
    async with toolbox(workspace=workspace, denied=DeniedPaths(workspace, other)) as box:
        assert create_request(box.get("docker_run").context, wanted, call="")["WorkingDir"] == "/workspace"  # type: ignore[attr-defined]


FILTERS = {
    ("docker_ps", "name"): "part of a name: it chooses among what may be listed",
    ("docker_images", "name"): "part of a name",
    ("system_processes", "name"): "part of a name",
    ("docker_run", "name"): "the name of a container that is not there yet",
    ("docker_run", "network"): "whether there is one",
    ("docker_run", "workspace"): "whether it is mounted",
}
TARGETS = {"name", "container", "image", "path", "file", "folder", "pid", "service", "network", "volume", "workspace"}


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_looks_up_what_it_acts_on_before_rules_are_judged(tmp_path: Path, name: str) -> None:
    tool = toolbox(workspace=tmp_path).get(name).tool  # type: ignore[attr-defined]
    for argument in tool.arguments.model_fields:
        if argument in TARGETS and (name, argument) not in FILTERS:
            assert tool.target is not None, f"{name} does not tell rules the other names of its {argument}"
            assert tool.target.argument == argument
            assert tool.resolve is not None or tool.effect == "read", f"{name} acts on a {argument} as it was spelled"


def test_policy_check_knows_a_calls_defaults_and_any_spelling_of_a_path(workspace: Path) -> None:
    box = toolbox(workspace=workspace)
    permissions = Permissions(deny=(parse_rule("list_files(path=.)"), parse_rule("read_file(path=secrets/*)")))
    for tool, arguments in (("list_files", {}), ("search_files", {"path": "./secrets//x", "text": "a"})):
        assert preview_call(permissions, "ask", box.get(tool), arguments).outcome == "denied"
    assert preview_call(permissions, "ask", box.get("list_files"), {"path": "src"}).outcome == "runs"
