"""A file is written whole, inside the workspace, or not at all."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ToolError, UsageError
from agentctl.tools.files import paths as beneath
from agentctl.tools.files.write import write_file_async


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Make a workspace with a secret beside it and links of every kind in it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("old")
    place = tmp_path / "work"
    (place / "sub").mkdir(parents=True)
    (place / "sub/file").write_text("old")
    (place / "inner").symlink_to("sub")
    (place / "inner-file").symlink_to("sub/file")
    (place / "outer").symlink_to(tmp_path / "secret")
    (place / "outer-file").symlink_to(tmp_path / "secret/key")
    (place / "climbing").symlink_to("../secret")
    (place / "loop").symlink_to("loop")
    return place


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_symlink()}


async def test_a_new_file_gets_its_folders_and_the_usual_permissions(workspace: Path) -> None:
    written = await write_file_async("a/b/c.txt", "grün\r\n", workspace=workspace)
    assert written == workspace / "a/b/c.txt"
    assert written.read_bytes() == "grün\r\n".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert written.stat().st_mode & 0o777 == 0o666 & ~umask


async def test_an_old_file_is_replaced_and_keeps_its_permissions(workspace: Path) -> None:
    (workspace / "sub/file").chmod(0o750)
    await write_file_async(workspace / "sub/file", "new", workspace=workspace)
    assert (workspace / "sub/file").read_text() == "new"
    assert (workspace / "sub/file").stat().st_mode & 0o777 == 0o750
    assert names(workspace) == {"sub", "sub/file"}


async def test_the_current_folder_is_the_workspace_if_none_is_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    assert await write_file_async("here.txt", "x") == workspace / "here.txt"


async def test_a_link_is_followed_inside_the_workspace(workspace: Path) -> None:
    await write_file_async("inner/new", "x", workspace=workspace)
    assert (workspace / "sub/new").read_text() == "x"


@pytest.mark.parametrize(
    "path",
    [
        *("../secret/key", "/etc/agentctl-was-here", "outer/key", "outer/new", "climbing/key", "sub/../../secret/key"),
        *(
            "outer-file",
            "inner-file",
            "loop",
            "loop/x",
            "sub",
            ".",
            "",
            "new/",
            "sub/file/below",
            "~/agentctl-was-here",
        ),
        *("nul\0byte", "half-\ud800", "x" * 300, "outer/../secret/key", "/proc/self/cwd/x"),
    ],
)
async def test_path_that_leads_elsewhere_or_is_not_a_plain_file_is_refused(workspace: Path, path: str) -> None:
    before = names(workspace.parent)
    with pytest.raises(ToolError) as caught:
        await write_file_async(path, "new", workspace=workspace)
    assert caught.value.hint
    assert names(workspace.parent) == before
    assert (workspace.parent / "secret/key").read_text() == (workspace / "sub/file").read_text() == "old"


async def test_a_sibling_with_the_same_beginning_is_outside(workspace: Path) -> None:
    (workspace.parent / "work-evil").mkdir()
    with pytest.raises(ToolError, match="outside the workspace"):
        await write_file_async(workspace.parent / "work-evil/x", "new", workspace=workspace)


async def test_a_file_with_two_names_is_refused(workspace: Path) -> None:
    (workspace / "second").hardlink_to(workspace.parent / "secret/key")
    with pytest.raises(ToolError, match="2 names"):
        await write_file_async("second", "new", workspace=workspace)


async def test_file_that_is_not_regular_is_refused(workspace: Path) -> None:
    os.mkfifo(workspace / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(workspace / "socket"))
        for name in ("fifo", "socket"):
            with pytest.raises(ToolError, match="not a regular file"):
                await write_file_async(name, "new", workspace=workspace)


async def test_a_setuid_file_is_refused(workspace: Path) -> None:
    (workspace / "sub/file").chmod(0o4755)
    with pytest.raises(ToolError, match="owner's rights"):
        await write_file_async("sub/file", "new", workspace=workspace)


async def test_missing_workspace_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="does not exist"):
        await write_file_async("x", "new", workspace=tmp_path / "nowhere")


async def test_text_that_is_not_unicode_and_wrong_types_are_refused(workspace: Path) -> None:
    with pytest.raises(ToolError, match="not Unicode"):
        await write_file_async("x", "half \ud800", workspace=workspace)
    with pytest.raises(UsageError, match="text must be a string, not bytes"):
        await write_file_async("x", b"bytes", workspace=workspace)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="path cannot be 5"):
        await write_file_async(5, "x", workspace=workspace)  # type: ignore[arg-type]


async def test_write_stays_inside_when_a_folder_is_swapped_for_a_link(workspace: Path) -> None:
    folder, link = workspace / "sub", workspace / "link"
    link.symlink_to(workspace.parent / "secret")
    done = threading.Event()
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):
        pytest.skip("needs an atomic swap")

    def swap() -> None:
        here, exchange = -100, 2
        while not done.is_set():
            assert libc.renameat2(here, bytes(folder), here, bytes(link), exchange) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    written = refused = 0
    try:
        for _ in range(400):
            try:
                await write_file_async("sub/new", "x", workspace=workspace)
                written += 1
            except ToolError:
                refused += 1
    finally:
        done.set()
        thread.join()
    assert names(workspace.parent / "secret") == {"key"}
    assert written + refused == 400


OPENERS = {"kernel": beneath._openat2, "walk": beneath._walk}


@pytest.mark.skipif(not beneath._kernel_resolves(), reason="needs openat2")
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDONLY | os.O_NOFOLLOW, os.O_WRONLY | os.O_CREAT])
@pytest.mark.parametrize(
    "path",
    [
        *("sub/file", "inner/file", "inner-file", "outer/key", "outer-file", "climbing/key", "loop", "nowhere", "sub"),
        *("sub/../sub/file", "../secret/key", "/etc/passwd", ".", "sub/file/x", "sub/new", "inner/../sub/file"),
    ],
)
def test_walking_by_hand_agrees_with_the_kernel(workspace: Path, path: str, flags: int) -> None:
    root = beneath.open_workspace(workspace)
    verdicts: list[object] = []
    for opener in OPENERS.values():
        try:
            opened = opener(root, path, flags | os.O_CLOEXEC, 0o600 if flags & os.O_CREAT else 0)
            verdicts.append(os.fstat(opened).st_ino)
            os.close(opened)
        except OSError as error:
            verdicts.append(error.errno)
    os.close(root)
    assert verdicts[0] == verdicts[1]


@given(st.lists(st.sampled_from(["..", ".", "a", "sub", "", "~", "b c"]), max_size=8).map("/".join))
def test_a_worded_path_never_climbs(path: str) -> None:
    try:
        relative = beneath.resolve_relative(Path("/some/where"), path)
    except ToolError:
        return
    assert not relative.startswith("/")
    assert ".." not in relative.split("/")


def test_an_absolute_path_may_name_the_workspace_in_either_way(workspace: Path) -> None:
    (workspace.parent / "alias").symlink_to(workspace)
    for root in (workspace, workspace.parent / "alias"):
        for start in (workspace, workspace.parent / "alias"):
            assert beneath.resolve_relative(root, start / "sub/file") == "sub/file"
    assert beneath.resolve_relative(workspace, str(workspace)) == "."
