"""The diff of a question about ``write_file``: right, bounded, without secrets, and binding."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ToolError
from agentctl.core.impact import Impact
from agentctl.core.redaction import Redactor
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.files.diff import unified_diff
from agentctl.tools.files.write import WriteFile, write_file
from agentctl.tools.tool import BoundTool
from agentctl.tools.toolbox import ToolContext

pytestmark = pytest.mark.anyio
SECRET = "sk-proj-" + "a1B2c3D4" * 6
LINES = st.lists(st.sampled_from(["a", "b", "c", "", "same"]), max_size=30)
HEADER = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def writer(folder: Path) -> BoundTool[WriteFile]:
    engine = DockerEngine(None, named_by="DOCKER_HOST")
    return write_file.at(ToolContext(folder, engine, lambda: datetime.now(UTC), redactor=Redactor((SECRET,))))


async def impact_of(folder: Path, path: str, text: str) -> Impact:
    tool = writer(folder)
    return await tool.look_up_impact(await tool.prepare({"path": path, "text": text}))


def patched(before: list[str], diff: list[str]) -> list[str]:
    """Return the lines that ``diff`` makes of ``before``, as ``patch`` would; each hunk must fit where it says."""
    made: list[str] = []
    place = 0
    rest = list(diff)
    while rest:
        header = HEADER.fullmatch(rest.pop(0))
        assert header is not None
        first, count, new_first, new_count = (int(part or 1) for part in header.groups())
        start = first - (count > 0)
        made += before[place:start]
        assert len(made) == new_first - (new_count > 0)
        place = start
        begun = len(made)
        while rest and not rest[0].startswith("@"):
            line = rest.pop(0)
            if line[0] in " -":
                assert before[place] == line[1:]
                place += 1
            if line[0] in " +":
                made.append(line[1:])
        assert (place - start, len(made) - begun) == (count, new_count)
    return made + before[place:]


@given(LINES, LINES)
def test_diff_makes_the_new_text_of_the_old_one(before: list[str], after: list[str]) -> None:
    diff = list(unified_diff(before, after))
    assert patched(before, diff) == after
    assert (diff == []) == (before == after)


def test_diff_has_three_lines_around_each_change_and_leaves_out_the_rest() -> None:
    before = [str(number) for number in range(1, 41)]
    after = [*before[:9], "ten", *before[10:30], *before[31:]]
    assert list(unified_diff(before, after)) == [
        *("@@ -7,7 +7,7 @@", " 7", " 8", " 9", "-10", "+ten", " 11", " 12", " 13"),
        *("@@ -28,7 +28,6 @@", " 28", " 29", " 30", "-31", " 32", " 33", " 34"),
    ]


def test_change_of_many_lines_is_one_replacement() -> None:
    """Its lines, matched one by one, took ``difflib`` half a minute."""
    shared = [f"x{number % 77}" for number in range(2000)]
    before = ["top", *(line for number, name in enumerate(shared) for line in (name, f"a{number}")), "end"]
    after = ["top", *(line for number, name in enumerate(shared) for line in (name, f"b{number}")), "end"]
    diff = list(unified_diff(before, after))
    assert patched(before, diff) == after
    assert diff[0] == "@@ -1,4002 +1,4002 @@"
    assert [line[0] for line in diff[1:]] == [" ", " ", *("-" * 3999), *("+" * 3999), " "]


async def test_question_about_an_existing_file_has_its_diff(tmp_path: Path) -> None:
    (tmp_path / ".envrc").write_text("one\ntwo\nthree\n")
    impact = await impact_of(tmp_path, ".envrc", "one\n2\nthree")
    assert impact.diff.split("\n") == [
        "@@ -1,3 +1,4 @@",
        *(" one", "-two", "+2", " three", "+\\ no newline at the end"),
    ]
    assert impact.does == f"writes {tmp_path}/.envrc (+1 -1 lines, 14 B become 11 B)"


@pytest.mark.parametrize(
    ("old", "new", "does"),
    [
        (None, "a\nb", "writes the new file PATH: 2 lines, 3 B"),
        (b"a\n", "a\n", "writes PATH: it stays as it is"),
        (b"\0\x01", "a\n", "replaces the binary file PATH: 2 B become 2 B"),
        (b"\xff\xfe", "a\n", "replaces the binary file PATH: 2 B become 2 B"),
        (b"x\n" * 8001, "a\n", "replaces the file PATH, which is too large to compare: 15.6 KB become 2 B"),
    ],
    ids=["new", "same", "NUL", "not UTF-8", "many lines"],
)
async def test_question_says_what_cannot_be_compared(tmp_path: Path, old: bytes | None, new: str, does: str) -> None:
    if old is not None:
        (tmp_path / "f").write_bytes(old)
    impact = await impact_of(tmp_path, "f", new)
    assert (impact.does, impact.diff) == (does.replace("PATH", f"{tmp_path}/f"), "")


async def test_long_diff_is_cut_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old\n" * 5000)
    impact = await impact_of(tmp_path, "f", "".join(f"{number} {'x' * 60}\n" for number in range(5000)))
    assert len(impact.diff) < 70_000
    assert re.search(r"\n\\ [\d,]+ more lines of the diff left out$", impact.diff)
    assert "(+5,000 -5,000 lines" in impact.does


async def test_secret_of_the_old_file_is_not_in_the_diff(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"KEY={SECRET}\n")
    impact = await impact_of(tmp_path, ".env", "KEY=\n")
    assert SECRET not in str(impact)
    assert re.search(r"^-KEY=\[redacted", impact.diff, re.MULTILINE)


@pytest.mark.parametrize("was", ["old\n", None], ids=["replaced", "new"])
async def test_file_that_changed_during_the_question_is_not_written(tmp_path: Path, was: str | None) -> None:
    path = tmp_path / "f"
    if was is not None:
        path.write_text(was)
    tool = writer(tmp_path)
    prepared = await tool.prepare({"path": "f", "text": "new\n"})
    impact = await tool.look_up_impact(prepared)
    path.write_text("meanwhile\n")
    with pytest.raises(ToolError, match="f has changed since the user was asked about it; nothing was written"):
        await tool({**prepared, **impact.pinned})
    assert path.read_text() == "meanwhile\n"
    if was is not None:
        path.write_text(was)
    else:
        path.unlink()
    await tool({**prepared, **impact.pinned})
    assert path.read_text() == "new\n"


async def test_path_that_is_no_file_is_not_asked_about(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(ToolError, match=name):
            await impact_of(tmp_path, name, "x")
