"""A search may name one file instead of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.errors import ToolError
from agentctl.tools.toolbox import toolbox


@pytest.mark.parametrize("regex", [False, True])
async def test_search_of_one_file_reads_no_other(tmp_path: Path, regex: bool) -> None:
    (tmp_path / "sub").mkdir()
    for place in ("app.log", "sub/app.log", "other.log"):
        (tmp_path / place).write_text("an error\n")
    search = toolbox(workspace=tmp_path).get("search_files")
    found = await search({"text": "error", "path": "app.log", "regex": regex})
    assert found.splitlines()[:2] == ["app.log:1: an error", "1 match in 1 file; 1 file searched"]


async def test_a_file_outside_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    search = toolbox(workspace=tmp_path).get("search_files")
    with pytest.raises(ToolError):
        await search({"text": "root", "path": "../etc/passwd"})
    assert "root:" not in await search({"text": "root", "path": "link"})
