"""Files of the workspace: what is read, what is refused, and nothing from outside, whatever the path."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.core.errors import ToolError
from agentctl.tools.toolbox import toolbox


async def _ask(workspace: Path, tool: str, **arguments: object) -> str:
    return await toolbox(workspace=workspace).get(tool)(arguments)


async def _error(workspace: Path, tool: str, **arguments: object) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await _ask(workspace, tool, **arguments)
    return caught.value


async def test_a_file_is_read_whole_or_in_part(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthrée\nfour\n")
    assert await _ask(tmp_path, "read_file", path="a.txt") == "one\ntwo\nthrée\nfour"
    assert await _ask(tmp_path, "read_file", path="a.txt", first=2) == "one\ntwo"
    assert await _ask(tmp_path, "read_file", path="a.txt", last=2) == "thrée\nfour"
    assert await _ask(tmp_path, "read_file", path="./a.txt", first=1, last=1) == "one\n…\nfour"
    assert await _ask(tmp_path, "read_file", path=str(tmp_path / "a.txt"), first=99) == "one\ntwo\nthrée\nfour"
    assert await _ask(tmp_path, "read_file", path="a.txt", count_lines=True) == "4 lines in a.txt (20 B)"
    both = await _ask(tmp_path, "read_file", path="a.txt", last=1, count_lines=True)
    assert both == await _ask(tmp_path, "read_file", path="a.txt", last=1) + "\n\n4 lines in a.txt (20 B)"


async def test_the_last_line_counts_without_its_newline_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo")
    (tmp_path / "empty").touch()
    assert await _ask(tmp_path, "read_file", path="a", count_lines=True) == "2 lines in a (7 B)"
    assert await _ask(tmp_path, "read_file", path="a", last=1) == "two"
    assert await _ask(tmp_path, "read_file", path="empty", count_lines=True) == "0 lines in empty (0 B)"
    assert await _ask(tmp_path, "read_file", path="empty") == "empty is empty."
    assert await _ask(tmp_path, "read_file", path="empty", last=3) == "empty is empty."


async def test_a_large_file_shows_its_head_and_its_tail(tmp_path: Path) -> None:
    (tmp_path / "big").write_text("".join(f"line {number}\n" for number in range(100_000)))
    text = await _ask(tmp_path, "read_file", path="big")
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("\nline 99998\nline 99999")
    [(to, lines, onward)] = re.findall(
        r"to ([\d,]+) of ([\d,]+), are left out here; read_file\(path=\"big\", from_line=(\d+)", text
    )
    assert f"line {int(onward) - 2}\n[... " in text
    assert f"...]\nline {to.replace(',', '')}\n" in text, "the lines count from 1"
    assert lines == "100,000"
    assert len(text) < 64 * 1024
    assert "cut after 60 KB of the first 100,000 lines" in await _ask(tmp_path, "read_file", path="big", first=100_000)
    tail = await _ask(tmp_path, "read_file", path="big", last=50_000)
    assert tail.startswith("… only the last 60 KB of the last 50,000 lines …\nline ")
    assert tail.endswith("\nline 99999")


async def test_the_end_of_a_huge_file_is_read_from_its_end(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as handle:
        handle.truncate(5 * 1024**3)
        handle.seek(0, os.SEEK_END)
        handle.write(b"\nfirst\nsecond\nthird\n")
    assert await _ask(tmp_path, "read_file", path="huge", last=2) == "second\nthird"
    assert await _ask(tmp_path, "read_file", path="huge", first=1) == "<binary, 5368709140 bytes>"
    assert await _ask(tmp_path, "read_file", path="huge") == "<binary, 5368709140 bytes>"


async def test_endless_line_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "line").write_bytes(b"x" * 5_000_000)
    for arguments in ({}, {"first": 1}, {"last": 1}):
        assert len(await _ask(tmp_path, "read_file", path="line", **arguments)) < 64 * 1024
    assert (await _ask(tmp_path, "read_file", path="line", count_lines=True)).startswith("1 line in line")


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xfe\x01\x02" * 50, b"h\0i\0"])
async def test_binary_files_are_reported_with_their_size(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b").write_bytes(data)
    assert await _ask(tmp_path, "read_file", path="b") == f"<binary, {len(data)} bytes>"


@pytest.mark.parametrize(
    "data", [b"line\n" * 400 + b"\0" + b"needle here\n" * 200, b"\0needle here\n", b"a.py\0b.py\0needle here\0"]
)
async def test_a_few_nul_bytes_do_not_make_a_text_binary(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b").write_bytes(data)
    shown = data.decode().replace("\0", "\\x00")
    assert await _ask(tmp_path, "read_file", path="b") == shown.removesuffix("\n")
    assert await _ask(tmp_path, "read_file", path="b", first=1) == shown.partition("\n")[0]
    assert "needle here" in (await _ask(tmp_path, "search_files", text="needle", limit=1))
    assert "needle here" in (await _ask(tmp_path, "search_files", text="ne+dle", regex=True, limit=1))


async def test_text_that_is_not_utf8_or_moves_the_cursor_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("caf\xe9 \x1b[2J and much more text here".encode("latin-1"))
    assert await _ask(tmp_path, "read_file", path="latin") == "caf\\xe9 \\x1b[2J and much more text here"


async def test_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").touch()
    error = await _error(tmp_path, "read_file", path="src/mian.py")
    assert error.message == "src/mian.py does not exist"
    assert error.hint == 'did you mean "src/main.py"?'
    assert (await _error(tmp_path, "list_files", path="scr")).hint == 'did you mean "src"?'


async def test_missing_file_with_no_near_name_is_reported_with_the_names_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for name in ("app.log", "big.log", ".env"):
        (tmp_path / name).touch()
    error = await _error(tmp_path, "list_files", path="output")
    assert (error.message, error.hint) == ("output does not exist", "the workspace has app.log, big.log, src")
    assert (await _error(tmp_path, "read_file", path="src/x")).hint == "list the files of its folder"
    (tmp_path / "src" / "main.py").touch()
    assert (await _error(tmp_path, "read_file", path="src/x")).hint == "src has main.py"
    for number in range(8):
        (tmp_path / f"part{number}").touch()
    assert (await _error(tmp_path, "list_files", path="output")).hint == "list the files of its folder"


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd", "~/x", "..", "/"])
async def test_path_outside_the_workspace_is_refused_with_a_hint(tmp_path: Path, path: str) -> None:
    error = await _error(tmp_path, "read_file", path=path)
    assert f"{path} is outside the workspace" in error.message
    assert "--workdir" in error.hint


@contextmanager
def _tree(place: Path) -> Iterator[Path]:
    """A workspace with links in every direction; what lies outside says so."""
    work, out = place / "work", place / "work_outside"
    (work / "dir" / "deep").mkdir(parents=True)
    out.mkdir()
    (out / "secret").write_text("outside")
    (work / "file").write_text("inside")
    (work / "dir" / "file").write_text("inside")
    for name, target in {
        "rel_out": "../work_outside",
        "abs_out": str(out),
        "file_out": "../work_outside/secret",
        "chain": "dir/up",
        "dir/up": "../..",
        "dir/in": "../file",
        "dir/deep/in": "../../dir",
        "loop": "loop",
        "magic": "/proc/self/cwd",
    }.items():
        (work / name).symlink_to(target)
    yield work


PARTS = ["..", ".", "", "dir", "deep", "file", "secret", "rel_out", "abs_out", "file_out", "chain", "up", "in", "loop"]
PARTS += ["magic", "work", "work_outside", "~", "\0", "\udcff", "x" * 300]


@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=7), start=st.sampled_from(["", "/", "TOP", "~/"]))
@settings(max_examples=400)
def test_a_resolved_path_never_leaves_the_workspace(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], start: str
) -> None:
    place = tmp_path_factory.getbasetemp() / "tree"
    if not place.exists():
        with _tree(place):
            pass
    path = (f"{place}/work/" if start == "TOP" else start) + "/".join(parts)

    async def read() -> list[str]:
        found = []
        for tool, arguments in (
            ("read_file", {"path": path}),
            ("list_files", {"path": path}),
            ("search_files", {"path": path, "text": "outside"}),
        ):
            try:
                found.append(await _ask(place / "work", tool, **arguments))
            except ToolError as error:
                found.append("" if error.message else "an error without words")
        return found

    text, listed, matched = anyio.run(read)
    assert text in ("", "inside")
    assert "secret" not in listed or "No file" in listed
    assert matched == "" or matched.startswith("No match")


async def test_a_link_that_is_swapped_meanwhile_leads_nowhere_else(tmp_path: Path) -> None:
    with _tree(tmp_path) as work:
        over = threading.Event()

        def swap() -> None:
            while not over.is_set():
                (work / "other").symlink_to("rel_out")
                (work / "other").rename(work / "swapped")
                (work / "other").symlink_to("dir")
                (work / "other").rename(work / "swapped")

        (work / "dir" / "secret").write_text("inside")
        (work / "swapped").symlink_to("dir")
        thread = threading.Thread(target=swap)
        thread.start()
        seen: set[str] = set()
        try:
            for _ in range(1000):
                try:
                    seen.add(await _ask(work, "read_file", path="swapped/secret"))
                except ToolError as error:
                    seen.add("refused" if "leads outside" in error.message else error.message)
        finally:
            over.set()
            thread.join()
    assert seen <= {"inside", "refused"}


async def test_walks_never_follow_links(tmp_path: Path) -> None:
    with _tree(tmp_path) as work:
        listed = await _ask(work, "list_files", kind="any", limit=1000)
        found = await _ask(work, "search_files", text="outside")
        inside = await _ask(work, "search_files", text="inside")
    assert "rel_out@" in listed
    assert "secret" not in listed
    assert found.startswith("No match for 'outside'; 2 files searched")
    assert inside.splitlines()[:2] == ["file:1: inside", "dir/file:1: inside"]


async def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with anyio.fail_after(10):
        assert (await _error(tmp_path, "read_file", path="pipe")).message == "pipe is a pipe, not a regular file"
        assert "0 files searched" in await _ask(tmp_path, "search_files", text="x")


async def test_devices_folders_and_the_kernels_files_are_refused(tmp_path: Path) -> None:
    assert (await _error(Path("/dev"), "read_file", path="zero")).message == "zero is a device, not a regular file"
    assert (await _error(tmp_path.parent, "read_file", path=tmp_path.name)).hint == "list the files in it"
    for path in ("proc/self/environ", "proc/self/root/etc/passwd", "proc/1/environ"):
        assert (await _error(Path("/"), "read_file", path=path)).message


async def test_the_environment_of_a_process_cannot_be_read_by_way_of_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-to-be-seen")
    error = await _error(Path("/"), "read_file", path="proc/self/environ")
    assert error.message == "proc/self/environ is a file of the kernel, not a regular file"


async def test_file_without_permission_is_reported(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becomes someone else")
    work = Path("/tmp") / f"agentctl-unreadable-{os.getpid()}"
    work.mkdir(mode=0o755)
    try:
        (work / "private").write_text("secret")
        (work / "private").chmod(0o600)
        (work / "closed").mkdir(mode=0o700)
        os.seteuid(65534)
        try:
            error = await _error(work, "read_file", path="private")
            found = await _ask(work, "search_files", text="secret")
        finally:
            os.seteuid(0)
    finally:
        (work / "private").unlink()
        (work / "closed").rmdir()
        work.rmdir()
    assert error.message == "no permission for private"
    assert "2 could not be read" in found


async def test_odd_names_stay_on_their_line(tmp_path: Path) -> None:
    for name in (b"two\nlines", b"esc\x1b[2J", b"bad\xff", "schön".encode(), b"-rf"):
        (tmp_path / os.fsdecode(name)).write_text("needle")
    listed = await _ask(tmp_path, "list_files")
    assert len(listed.splitlines()) == 7
    assert {line.split("  ")[-1] for line in listed.splitlines()[1:-1]} == {
        "two\\nlines",
        "esc\\x1b[2J",
        "bad\\udcff",
        "schön",
        "-rf",
    }
    found = await _ask(tmp_path, "search_files", text="needle")
    assert len(found.splitlines()) == 6
    assert await _ask(tmp_path, "read_file", path="two\nlines") == "needle"


async def test_files_are_listed_by_pattern_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    for number, name in enumerate(["b.py", "a.txt", "src/c.py", "src/deep/d.py"]):
        (tmp_path / name).write_bytes(b"x" * 1000 * (number + 1))
        os.utime(tmp_path / name, (0, 1_000_000 * (4 - number)))

    async def names(**arguments: object) -> list[str]:
        listed = await _ask(tmp_path, "list_files", **arguments)
        return [line.split("  ")[-1] for line in listed.splitlines()[1:-1]]

    assert await names() == ["a.txt", "b.py", "src/c.py", "src/deep/d.py"]
    assert await names(recursive=False) == ["a.txt", "b.py"]
    assert await names(pattern="*.py") == ["b.py", "src/c.py", "src/deep/d.py"]
    assert await names(pattern="src/**/*.py") == ["src/c.py", "src/deep/d.py"]
    assert await names(path="src", pattern="*.py") == ["src/c.py", "src/deep/d.py"]
    assert await names(sort="size", limit=2) == ["src/deep/d.py", "src/c.py"]
    assert await names(sort="modified") == ["b.py", "a.txt", "src/c.py", "src/deep/d.py"]
    assert await names(min_size="2.5KB") == ["src/c.py", "src/deep/d.py"]
    assert await names(kind="folder") == ["src/", "src/deep/"]
    assert await names(kind="any", recursive=False) == ["a.txt", "b.py", "src/"]
    assert (await _ask(tmp_path, "list_files", limit=1)).splitlines()[-1] == "1 of 4 files shown, 9.8 KB"
    assert await _ask(tmp_path, "list_files", pattern="*.rs") == 'No file matching "*.rs" in .'
    assert "not a size" in (await _error(tmp_path, "list_files", min_size="big")).message


async def test_biggest_folders_are_listed_with_their_total_size(tmp_path: Path) -> None:
    for name, count in {"a/x": 1000, "a/deep/y": 5000, "node_modules/z": 9000}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * count)
    os.link(tmp_path / "a" / "x", tmp_path / "a" / "deep" / "same")
    rows = (await _ask(tmp_path, "list_files", kind="folder", sort="size")).splitlines()[1:-1]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        ("8.8", "node_modules/"),
        ("5.9", "a/"),
        ("4.9", "a/deep/"),
    ]
    top = (await _ask(tmp_path, "list_files", kind="folder", sort="size", recursive=False)).splitlines()[1:-1]
    assert [row.split()[-1] for row in top] == ["node_modules/", "a/"]


async def test_folders_full_of_what_others_made_are_left_out_and_named(tmp_path: Path) -> None:
    for name in (".git/config", "node_modules/m.js", "mine.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("needle")
    note = "not looked into: .git, node_modules"
    assert (await _ask(tmp_path, "list_files")).splitlines()[-1] == f"1 file, 6 B; {note}"
    assert (await _ask(tmp_path, "search_files", text="needle")).splitlines() == [
        "mine.js:1: needle",
        f"1 match in 1 file; 1 file searched; {note}",
    ]
    assert "m.js" in await _ask(tmp_path, "list_files", path="node_modules")


async def test_text_is_found_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n\ndef Straße() -> None:\n    return os.sep\n")
    (tmp_path / "b.txt").write_text("nothing\nos.sep")
    (tmp_path / "bin").write_bytes(b"\0\0\1\2os.sep")

    async def find(**arguments: object) -> list[str]:
        return (await _ask(tmp_path, "search_files", **arguments)).splitlines()[:-1]

    assert await find(text="os.sep") == ["a.py:4: return os.sep", "b.txt:2: os.sep"]
    assert await find(text="os.sep", pattern="*.py") == ["a.py:4: return os.sep"]
    assert await find(text="STRASSE", ignore_case=True) == ["a.py:3: def Straße() -> None:"]
    assert await find(text="STRASSE") == []
    assert await find(text=r"os\.\w+$", regex=True, limit=1) == ["a.py:4: return os.sep"]
    assert await find(text="IMPORT|NOTHING", regex=True, ignore_case=True) == ["a.py:1: import os", "b.txt:1: nothing"]
    text = await _ask(tmp_path, "search_files", text="os.sep", limit=1)
    assert text.splitlines()[-1] == "1 match in 1 file; 1 file searched; incomplete: stopped at 1 matches (limit)"


async def test_a_match_far_into_a_long_line_is_shown(tmp_path: Path) -> None:
    (tmp_path / "min.js").write_text("x" * 200_000 + "needle" + "y" * 200_000 + "\nneedle\n")
    rows = (await _ask(tmp_path, "search_files", text="needle")).splitlines()
    assert "needle" in rows[0]
    assert all(len(row) < 300 for row in rows)
    assert rows[1] == "min.js:2: needle"


async def test_invalid_regular_expression_is_reported(tmp_path: Path) -> None:
    error = await _error(tmp_path, "search_files", text="(", regex=True)
    assert "is not a regular expression: missing )" in error.message
    assert (await _error(tmp_path, "search_files", text="x", regex=True, path="..")).message.startswith(".. is outside")


@pytest.mark.slow
async def test_an_endless_regular_expression_is_ended_by_cancelling(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a" * 40 + "b\n")
    with anyio.move_on_after(1.0) as limit:
        await _ask(tmp_path, "search_files", text="(a+)+$", regex=True)
    assert limit.cancelled_caught


async def test_counting_lines_of_a_huge_file_can_be_cancelled(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as handle:
        handle.truncate(200 * 1024**3)
    with anyio.move_on_after(0.3) as limit:
        await _ask(tmp_path, "read_file", path="huge", count_lines=True)
    assert limit.cancelled_caught
