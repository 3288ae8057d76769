"""Lines of a file by their numbers, in bounded memory, with an error where a number means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.context.truncation import find_mark
from agentctl.core.errors import ToolError
from agentctl.tools.toolbox import toolbox

pytestmark = pytest.mark.anyio


async def read(workspace: Path, path: str, **arguments: object) -> str:
    tool = toolbox(workspace=workspace).get("read_file")
    return await tool(await tool.prepare({"path": path, **arguments}))


async def refused(workspace: Path, path: str, **arguments: object) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await read(workspace, path, **arguments)
    return caught.value


@pytest.mark.parametrize("end", ["", "\n"])
async def test_lines_are_read_by_their_numbers(tmp_path: Path, end: str) -> None:
    (tmp_path / "a").write_text("one\ntwo\nthrée\nfour" + end)
    assert await read(tmp_path, "a", from_line=2, to_line=3) == "two\nthrée"
    assert await read(tmp_path, "a", from_line=3) == "thrée\nfour"
    assert await read(tmp_path, "a", to_line=2) == "one\ntwo"
    assert await read(tmp_path, "a", from_line=4, to_line=99) == "four"
    assert await read(tmp_path, "a", from_line=1, to_line=1) == "one"
    assert await read(tmp_path, "a", from_byte=8) == "thrée\nfour"
    assert await read(tmp_path, "a", from_byte=12) == "e\nfour", "no half of a character"


async def test_numbers_that_mean_nothing_are_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "empty").touch()
    assert (await refused(tmp_path, "a", from_line=3)).message == "a has 2 lines; from_line is 3"
    assert (await refused(tmp_path, "a", from_byte=8)).message == "a has 8 bytes; from_byte is 8"
    error = await refused(tmp_path, "a", from_line=3, to_line=2)
    assert error.message == "read_file: to_line=2 comes before from_line=3"
    assert "from_line is 1" in (await refused(tmp_path, "a", from_line=10**30)).message
    assert await read(tmp_path, "a", from_line=2, to_line=10**30) == "two"
    for more in ({"first": 1}, {"last": 1}, {"count_lines": True}, {"from_byte": 0}):
        assert "cannot be combined" in (await refused(tmp_path, "a", from_line=1, **more)).message
    for wrong in ({"from_line": 0}, {"to_line": -1}, {"from_byte": -1}, {"from_line": "x"}):
        assert "must be a whole number" in (await refused(tmp_path, "a", **wrong)).message
    assert await read(tmp_path, "empty", from_line=1) == "empty is empty."


async def test_an_empty_line_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n\n\nend")
    assert await read(tmp_path, "a", from_line=2, to_line=3) == "\n"
    assert await read(tmp_path, "a", from_line=4) == "end"


async def test_binary_data_is_reported_with_its_size_and_other_bytes_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"text\n\0\1\2\n")
    (tmp_path / "latin").write_bytes(b"first\ncaf\xe9 and more text\n")
    assert await read(tmp_path, "b", from_line=2) == "<binary, 9 bytes>"
    assert await read(tmp_path, "latin", from_line=2) == "caf\\xe9 and more text"


@pytest.mark.parametrize("text", ["line\n" * 50_000, "界" * 60_000, "x" * 200_000, ("界面" * 2000 + "\n") * 20])
async def test_long_result_says_how_to_read_on_and_reading_on_reads_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    found, wanted = b"", {"from_line": 1}
    for _ in range(20):
        said = await read(tmp_path, "a", **wanted)
        assert len(said.encode()) <= 60 * 1024
        mark = find_mark(said)
        if mark is None:
            found += said.encode()
            break
        found += mark.head
        wanted = {"from_byte": mark.byte} if mark.byte is not None else {"from_line": mark.line or 0}
    assert found == text.encode().removesuffix(b"\n")


@pytest.mark.parametrize("line", [b"caf\xe9 and more\n", "thr\xe9e\n".encode(), b"\n"])
async def test_a_file_without_its_middle_says_by_which_lines_to_read_on_whatever_its_bytes(
    tmp_path: Path, line: bytes
) -> None:
    count = 100 * 1024 // len(line)
    (tmp_path / "a").write_bytes(line * count)
    said = await read(tmp_path, "a")
    found = find_mark(said)
    assert found is not None
    assert found.line is not None
    assert len(said.encode()) <= 62 * 1024
    assert (found.head.count(b"\n") + 1, found.lines) == (found.line, count)
    assert found.tail.count(b"\n") + 1 == count - found.to
    if b"\xe9 " not in line:  # what is escaped is counted as it is shown
        assert found.characters == (found.to - found.line + 1) * len(line.decode())


async def test_an_endless_line_without_its_middle_is_read_on_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("界" * 60_000)
    found = find_mark(await read(tmp_path, "a"))
    assert found is not None
    assert found.head.decode() + "界" * found.characters + found.tail.decode() == "界" * 60_000
    onward = await read(tmp_path, "a", from_byte=found.byte)
    assert onward.startswith("界界")


@settings(max_examples=60)
@given(data=st.lists(st.sampled_from([b"", b"a", b"\xc3\xa9", b"b" * 70]), max_size=30), first=st.integers(1, 32))
def test_a_line_begins_where_counting_says(
    tmp_path_factory: pytest.TempPathFactory, data: list[bytes], first: int
) -> None:
    import anyio

    from agentctl.tools.files.read import line_start

    path = tmp_path_factory.getbasetemp() / "counted"
    path.write_bytes(b"\n".join(data))
    lines = path.read_bytes().splitlines(keepends=True)

    async def start() -> int | None:
        with path.open("rb") as handle:
            return await anyio.to_thread.run_sync(line_start, handle, first)

    wanted = len(b"".join(lines[: first - 1])) if first <= len(lines) else None
    assert anyio.run(start) == wanted
