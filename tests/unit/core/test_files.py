"""Files that a user names: a regular one is replaced as a whole, a device or a pipe is never replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.files import write_atomically, write_output


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    """Make a pipe, and a link to it; never a device of the machine: if this goes wrong, it is replaced."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield reading
    os.close(reading)


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_is_not_replaced(tmp_path: Path, pipe: int, name: str) -> None:
    with pytest.raises(OSError, match="Not a regular file"):
        write_atomically(tmp_path / name, "text\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
    assert ((tmp_path / "pipe").is_fifo(), (tmp_path / "link").is_symlink()) == (True, True)


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_an_output_is_written_to_a_pipe(tmp_path: Path, pipe: int, name: str) -> None:
    write_output(tmp_path / name, "text\n")
    assert os.read(pipe, 100) == b"text\n"
    assert ((tmp_path / "pipe").is_fifo(), (tmp_path / "link").is_symlink()) == (True, True)


def test_an_output_is_added_to_an_open_file_of_this_process(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        log.write("answer\n")
        log.flush()
        write_output(Path(f"/dev/fd/{log.fileno()}"), "text\n")
    assert (tmp_path / "log").read_text() == "answer\ntext\n"


@pytest.mark.parametrize("name", [".", "/", "folder"])
def test_a_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_output(Path(name), "text\n")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_output_for_a_pipe_that_nobody_reads_fails_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        write_output(tmp_path / "pipe", "text\n")


def test_an_output_replaces_a_file_and_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old\n")
    (tmp_path / "link").symlink_to("old")
    for name in ("new", "link", "old"):
        write_output(tmp_path / name, "text\n", mode=0o644)
        assert ((tmp_path / name).read_text(), (tmp_path / name).is_symlink()) == ("text\n", False)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
