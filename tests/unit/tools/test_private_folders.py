"""A workspace that holds agentctl's own folders: a home folder, say. No tool sees a key there or touches the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.core.errors import ToolError
from agentctl.permissions.decision import Permissions
from agentctl.runner.toolset import toolset_for
from agentctl.settings import load_settings
from agentctl.tools.docker.run import mountable_workspace
from agentctl.tools.toolbox import toolbox

pytestmark = pytest.mark.anyio
KEY = "OPENAI_API_KEY=sk-not-to-be-seen"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / ".env").write_text(KEY)
    (tmp_path / "own" / "ledger.db").write_text("every cent")
    (tmp_path / "notes.txt").write_text("sk-in-plain-sight\n")
    (tmp_path / "link").symlink_to("own")
    (tmp_path / "key").symlink_to("own/.env")
    return tmp_path


async def used(home: Path, tool: str, arguments: Mapping[str, object]) -> str:
    """Use a tool as a run does: prepared, then acted."""
    async with toolbox(workspace=home, private=(home / "own", home / "nowhere")) as box:
        found = box.get(tool)
        return await found(await found.prepare(arguments))


@pytest.mark.parametrize("path", ["own/.env", "./own/../own/.env", "link/.env", "key", "own/ledger.db", "own"])
@pytest.mark.parametrize("tool", ["read_file", "list_files", "search_files", "write_file"])
async def test_private_folder_is_refused_by_any_name(home: Path, tool: str, path: str) -> None:
    more = {"search_files": {"text": "sk"}, "write_file": {"text": "nothing is left"}}.get(tool, {})
    for given in (path, str(home / path)):
        with pytest.raises(ToolError, match=r"belongs to agentctl|is a folder|symbolic link") as caught:
            await used(home, tool, {"path": given, **more})
        assert "sk-not" not in str(caught.value)
    assert (home / "own" / ".env").read_text() == KEY
    assert (home / "own" / "ledger.db").read_text() == "every cent"


@pytest.mark.parametrize(
    "arguments", [{"text": "sk-"}, {"text": "sk-.*", "regex": True}, {"text": "SK-", "ignore_case": True}]
)
async def test_search_from_above_does_not_enter_a_private_folder(home: Path, arguments: dict[str, object]) -> None:
    found = await used(home, "search_files", arguments)
    assert "notes.txt:1: sk-in-plain-sight" in found
    assert "not-to-be-seen" not in found
    assert "not looked into: own" in found


@pytest.mark.parametrize("arguments", [{}, {"kind": "any"}, {"kind": "folder", "sort": "size"}])
async def test_listing_from_above_does_not_enter_a_private_folder(home: Path, arguments: dict[str, object]) -> None:
    found = await used(home, "list_files", arguments)
    assert "ledger.db" not in found
    assert "not looked into: own" in found


async def test_new_file_beside_a_private_folder_is_written(home: Path) -> None:
    assert "is written" in await used(home, "write_file", {"path": "owner/new.txt", "text": "x"})


def test_workspace_that_holds_a_private_folder_is_mounted_nowhere(home: Path) -> None:
    with pytest.raises(ToolError, match="holds agentctl's own"):
        mountable_workspace(home, (), (home / "link",))
    assert mountable_workspace(home / "own", (), (home / "elsewhere",)) == home / "own"


async def test_run_excludes_its_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("STATE", "CONFIG", "CACHE"):
        folder = tmp_path / kind.lower()
        folder.mkdir()
        (folder / "secret").write_text("x")
        monkeypatch.setenv(f"AGENTCTL_{kind}_DIR", str(folder))
    loaded = load_settings(flags={"workdir": str(tmp_path)})
    kit = await toolset_for(loaded, Permissions(), require_sandbox=False)(["read_file"], 8, "")
    for kind in ("state", "config", "cache"):
        with pytest.raises(ToolError, match="belongs to agentctl"):
            await kit.toolbox.get("read_file").prepare({"path": f"{kind}/secret"})
