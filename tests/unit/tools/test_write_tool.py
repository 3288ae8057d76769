"""write_file: rules and questions see the real target of the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.autorun_files import AutorunFile
from agentctl.core.errors import ToolError
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import Permissions
from agentctl.tools.toolbox import toolbox


async def real(workspace: Path, path: str, tool: str = "write_file") -> object:
    text = {"text": "x"} if tool == "write_file" else {}
    text = {"text": "x"} if tool == "search_files" else text
    return (await toolbox(workspace=workspace).get(tool).prepare({"path": path, **text}))["path"]


async def test_write_file_says_what_it_wrote(tmp_path: Path) -> None:
    tool = toolbox(workspace=tmp_path).get("write_file")
    assert (tool.effect, tool.contained) == ("write", True)
    assert await tool({"path": "a/b.txt", "text": "one\ntwö"}) == "a/b.txt is written: 8 bytes, 2 lines (new)"
    told = await tool({"path": "a/b.txt", "text": "x\n"})
    assert told == "a/b.txt is written: 2 bytes, 1 line (replaced, it had 8 bytes)"
    assert await tool({"path": "empty", "text": ""}) == "empty is written: 0 bytes, 0 lines (new)"
    assert (tmp_path / "a/b.txt").read_text() == "x\n"


async def test_path_is_resolved_through_dots_and_links_inside(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("sub")
    (tmp_path / "file").symlink_to("sub/target")
    (tmp_path / "all").symlink_to(".")
    for path, meant in {
        "./x/../.env": ".env",
        "all/all/.env": ".env",
        "link/.env": "sub/.env",
        "link/../.env": ".env",
        str(tmp_path / "link/new/y"): "sub/new/y",
    }.items():
        assert await real(tmp_path, path) == meant
    for tool in ("read_file", "list_files", "search_files"):
        assert await real(tmp_path, "link/../file", tool) == "sub/target"
        assert await real(tmp_path, "all", tool) == "."


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "out/x", "out/../../x", "", "a\0b", ".", "sub/"])
async def test_path_outside_is_refused_before_any_question(path: str, tmp_path: Path) -> None:
    workspace = tmp_path / "work"
    (workspace / "sub").mkdir(parents=True)
    (workspace / "out").symlink_to(tmp_path)
    with pytest.raises(ToolError):
        await real(workspace, path)


async def test_a_rule_on_a_path_holds_against_another_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "link").symlink_to("conf")
    permissions = Permissions(deny=(parse_rule("write_file(path=conf/*)"), parse_rule("read_file(path=conf/key)")))
    for tool, path in (("write_file", "link/a"), ("write_file", "x/../conf/a"), ("read_file", "link/key")):
        given = {"path": path, "text": "x"} if tool == "write_file" else {"path": path}
        resolved = await toolbox(workspace=tmp_path).get(tool).prepare(given)
        assert permissions.decide(tool, "write", given, resolved=resolved, contained=True).kind == "deny"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (".env", "a dotenv loader runs or obeys .env"),
        ("sub/.envrc", "direnv runs or obeys sub/.envrc"),
        (".bashrc", "bash runs or obeys .bashrc"),
        (".ssh/authorized_keys", "ssh runs or obeys .ssh/authorized_keys"),
        ("lib/x.pth", "python runs or obeys lib/x.pth"),
        ("venv/bin/python", "whoever uses the virtual environment runs or obeys venv/bin/python"),
        (".github/workflows/x.yml", "GitHub Actions runs or obeys .github/workflows/x.yml"),
        (".other", ".other may be obeyed by other programs later"),
        ("sub/.d/x", "sub/.d/x may be obeyed by other programs later"),
    ],
)
def test_a_file_that_is_obeyed_later_asks_unless_a_rule_allows_it(path: str, why: str) -> None:
    arguments = {"path": path, "text": "x"}
    decision = Permissions().decide("write_file", "write", arguments, contained=True)
    assert decision == ("ask", why)
    allowing = Permissions(allow=(parse_rule(f"write_file(path={path})"),))
    assert allowing.decide("write_file", "write", arguments, contained=True).kind == "allow"


@pytest.mark.parametrize("path", [".git/config", "sub/.git", ".GIT/hooks/x", ".agentctl.toml", "x/.agentctl/y"])
def test_no_rule_and_no_answer_lets_git_s_own_or_agentctl_s_own_file_be_written(path: str) -> None:
    rules = (parse_rule("*"), parse_rule(f"write_file(path={path})"))
    for permissions in (Permissions(), Permissions(allow=rules), Permissions(granted=rules), Permissions(ask=rules)):
        decision = permissions.decide("write_file", "write", {"path": path}, contained=True)
        assert decision.kind == "deny"
        assert decision.why.endswith(", and no tool may write it; continue without it")


def test_file_that_a_program_is_configured_to_use_asks_as_well() -> None:
    named = AutorunFile("asks", "git")
    for path in ("hooks/pre-push", "Makefile"):
        decision = Permissions().decide("write_file", "write", {"path": path}, contained=True, autorun=named)
        assert decision == ("ask", f"git runs or obeys {path}")
    own = Permissions().decide("write_file", "write", {"path": ".git/x"}, contained=True, autorun=named)
    assert own.kind == "deny"


@pytest.mark.parametrize("path", ["a.txt", "sub/b.env", "a..b/c", "x/env", "Makefile", "package.json"])
def test_any_other_file_of_the_workspace_does_not_ask(path: str) -> None:
    assert Permissions().decide("write_file", "write", {"path": path}, contained=True).kind == "allow"


@pytest.mark.parametrize("workspace", ["/", "/etc", "/usr", "/tmp", "/root", "~"])
async def test_write_in_a_workspace_that_is_not_a_project_folder_always_asks(
    workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = Path(workspace).expanduser()
    assert toolbox(workspace=place).get("write_file").contained is False
    assert toolbox(workspace=tmp_path / "nowhere").get("write_file").contained is False
    decision = Permissions().decide("write_file", "write", {"path": "notes.txt"}, contained=False)
    assert decision == ("ask", "the workspace is not a project folder: it holds other files too")
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to(place)
    assert toolbox(workspace=tmp_path / "project").get("write_file").contained is True
    assert toolbox(workspace=tmp_path / "link").get("write_file").contained is False
