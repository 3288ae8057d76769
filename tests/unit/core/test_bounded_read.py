"""Reading a descriptor to its end: its size, its time, and what it waits for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core import bounded_read
from agentctl.core.bounded_read import read_piece, read_to_end, wait_readable


@pytest.fixture(params=[True, False], ids=["blocking", "non-blocking"])
def pipe(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, request.param)
    yield reading, writing
    for number in (reading, writing):
        if Path(f"/proc/self/fd/{number}").exists():
            os.close(number)


def test_parts_of_a_pipe_are_read_to_its_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe

    def write() -> None:
        for part in (b"one ", b"two ", b"three"):
            os.write(writing, part)
            while wait_readable(reading, time.monotonic()):  # until the part is taken
                time.sleep(0.001)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_to_end(reading, most=100) == b"one two three"
    writer.join()


def test_reading_stops_one_byte_after_the_most(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"x" * 20)
    assert read_to_end(reading, most=10) == b"x" * 11


def test_silence_is_noticed_once_and_ends_with_the_time(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_read, "NOTICE_S", 0.01)
    reading, writing = pipe
    os.write(writing, b"abc")
    noticed: list[int] = []
    with pytest.raises(TimeoutError):
        read_to_end(reading, most=10, until=time.monotonic() + 0.1, late=noticed.append)
    assert noticed == [3]


def test_named_pipe_without_a_writer_is_not_at_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert not wait_readable(reading, time.monotonic() + 0.01)
    with (tmp_path / "fifo").open("wb") as writing:
        writing.write(b"abc")
    assert read_to_end(reading, most=10) == b"abc"
    os.close(reading)


def test_one_piece_is_waited_for(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = threading.Timer(0.05, lambda: os.write(writing, b"y\n"))
    writer.start()
    assert read_piece(reading, 10) == b"y\n"
    writer.join()
    os.close(writing)
    assert read_piece(reading, 10) == b""
