"""A path outside the workspace whose last parts exist inside gets the path that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.errors import ActionDenied, ToolError
from tests.support.denied_paths import use

pytestmark = pytest.mark.anyio


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "logs" / "web").mkdir(parents=True)
    (work / "app.log").write_text("x\n")
    (work / "logs" / "web" / "a.log").write_text("x\n")
    (work / "conf").mkdir()
    (work / "conf" / "secret").write_text("x\n")
    (tmp_path / "elsewhere").write_text("x\n")
    (work / "out").symlink_to("../elsewhere")
    return work


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/home/user/app.log", "app.log"),
        ("/app.log", "app.log"),
        ("../app.log", "app.log"),
        ("~/app.log", "app.log"),
        ("/srv/logs/web/a.log", "logs/web/a.log"),
        ("/workspace/./logs//web/a.log", "logs/web/a.log"),
        ("/x/../y/app.log", "app.log"),
        ("PARENT/app.log", "app.log"),
    ],
)
@pytest.mark.parametrize("tool", ["read_file", "search_files", "write_file"])
async def test_path_outside_gets_the_one_inside_that_was_meant(
    workspace: Path, tool: str, path: str, meant: str
) -> None:
    more = {"search_files": {"text": "x"}, "write_file": {"text": "y"}}.get(tool, {})
    answer = await use(workspace, tool, {"path": path.replace("PARENT", str(workspace.parent)), **more}, ())
    assert isinstance(answer, ToolError)
    assert "outside the workspace" in answer.message
    assert answer.hint == f'did you mean "{meant}"?'
    assert (workspace / "app.log").read_text() == "x\n"


@pytest.mark.parametrize("tool", ["list_files", "git_status"])
async def test_folder_outside_gets_the_one_inside(workspace: Path, tool: str) -> None:
    for path, meant in (("/srv/logs", "logs"), ("/srv/work", "."), ("/x/logs/web/", "logs/web")):
        answer = await use(workspace, tool, {"path": path}, ())
        assert isinstance(answer, ToolError)
        assert answer.hint == f'did you mean "{meant}"?'


async def test_missing_path_inside_whose_last_parts_exist_gets_them(workspace: Path) -> None:
    for tool, path, meant in (("read_file", "work/app.log", "app.log"), ("list_files", "src/logs/web", "logs/web")):
        answer = await use(workspace, tool, {"path": path}, ())
        assert isinstance(answer, ToolError)
        assert (answer.message, answer.hint) == (f"{path} does not exist", f'did you mean "{meant}"?')


@pytest.mark.parametrize("path", ["/etc/passwd", "/", "..", "../..", "~", "/srv/out", "/x/a.log", "../elsewhere"])
async def test_nothing_is_suggested_for_what_is_not_inside(workspace: Path, path: str) -> None:
    answer = await use(workspace, "read_file", {"path": path}, ())
    assert isinstance(answer, ToolError)
    assert "did you mean" not in answer.hint


@pytest.mark.parametrize("path", ["/srv/conf/secret", "/secret", "../conf/secret", "x/conf/secret", "conf/secre"])
async def test_file_that_a_rule_hides_is_never_suggested(workspace: Path, path: str) -> None:
    answer = await use(workspace, "read_file", {"path": path}, ("read_file(path=conf/secret)",))
    assert isinstance(answer, (ToolError, ActionDenied))
    assert "secret" not in answer.hint.replace("secre's", "")
