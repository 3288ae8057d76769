"""What is written to a descriptor that takes a part of it, or nothing for a while."""

from __future__ import annotations

import fcntl
import io
import os
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from agentctl.cli.streams import StderrStream, StdoutStream, write_all
from agentctl.core.errors import StateError


class Pipe(NamedTuple):
    """A pipe of 4 KiB whose writing end does not block."""

    reading: int
    stream: io.TextIOWrapper

    def fill(self) -> None:
        os.write(self.stream.fileno(), b"#" * 4096)

    def read(self) -> str:
        return os.read(self.reading, 1 << 16).decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w", encoding="utf-8", errors="strict") as stream:
        yield Pipe(reading, stream)
    os.close(reading)


def stderr(pipe: Pipe) -> StderrStream:
    return StderrStream(pipe.stream, patience_s=0.05)


def test_a_write_returns_what_nobody_took_in_time(pipe: Pipe) -> None:
    data = b"x" * 5000
    rest = write_all(pipe.stream.fileno(), data, patience_s=0.05)
    assert (len(rest), len(pipe.read())) == (5000 - 4096, 4096)
    assert write_all(pipe.stream.fileno(), rest, patience_s=0.05) == b""


def test_stdout_waits_for_its_reader_as_long_as_it_takes(pipe: Pipe) -> None:
    out, taken = StdoutStream(pipe.stream), bytearray()

    def read() -> None:
        while len(taken) < 200_000:
            taken.extend(os.read(pipe.reading, 999))

    reader = threading.Thread(target=read)
    reader.start()
    out.write("y" * 100_000)
    out.write("y" * 100_000)
    out.flush()
    reader.join(30)
    assert bytes(taken) == b"y" * 200_000


def test_lines_that_nobody_takes_are_dropped_and_counted(pipe: Pipe) -> None:
    err = stderr(pipe)
    pipe.fill()
    for number in range(3):
        err.write(f"line {number}\n")
    assert pipe.read() == "#" * 4096
    err.write("line 3\n")
    err.write("line 4\n")
    assert pipe.read() == "agentctl: 3 lines left out here: stderr had no reader\nline 3\nline 4\n"


def test_a_line_that_was_begun_is_finished_before_the_next(pipe: Pipe) -> None:
    err = stderr(pipe)
    err.write("a" * 5000 + "\n")
    err.write("dropped\n")
    err.write("dropped\n")
    assert pipe.read() == "a" * 4096
    err.write("last\n")
    assert pipe.read() == "a" * 904 + "\nagentctl: 2 lines left out here: stderr had no reader\nlast\n"


def test_a_begun_line_is_finished_at_the_end(pipe: Pipe) -> None:
    err = stderr(pipe)
    err.write("a" * 5000 + "\n")
    pipe.read()
    err.flush()
    assert pipe.read() == "a" * 904 + "\n"


def test_a_question_waits_until_somebody_can_see_it(pipe: Pipe) -> None:
    err = stderr(pipe)
    pipe.fill()
    asking = threading.Thread(target=err.write_patiently, args=("Allow it? ",))
    asking.start()
    asking.join(0.2)
    assert asking.is_alive()
    assert pipe.read() == "#" * 4096
    asking.join(30)
    assert pipe.read() == "Allow it? "


def test_stderr_is_written_again_after_a_failure(pipe: Pipe) -> None:
    err, nowhere = stderr(pipe), os.open(os.devnull, os.O_RDONLY)
    kept = os.dup(pipe.stream.fileno())
    os.dup2(nowhere, pipe.stream.fileno())  # as on a full disk, nothing can be written
    err.write("lost\n")
    os.dup2(kept, pipe.stream.fileno())
    err.write("seen\n")
    assert pipe.read() == "seen\n"
    os.close(nowhere)
    os.close(kept)


def test_stdout_takes_nothing_more_after_a_failure(pipe: Pipe) -> None:
    out = StdoutStream(pipe.stream)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, pipe.stream.fileno())
    os.close(nowhere)
    out.write("an answer\n")
    with pytest.raises(StateError, match="stdout cannot be written: Bad file descriptor"):
        out.flush()
    assert (out.is_gone, out.has_reader()) == (True, False)
    out.write("more\n")
    out.flush()


def test_stdout_has_a_reader_until_the_other_end_is_closed(pipe: Pipe) -> None:
    out = StdoutStream(pipe.stream)
    assert out.has_reader()
    pipe.fill()
    assert (out.has_reader(), out.is_ready()) == (True, False)
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, pipe.reading)
    os.close(other)
    assert not out.has_reader()


def test_a_terminal_that_was_closed_is_no_reader_that_left_and_no_failure() -> None:
    desk, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        out = StdoutStream(stream)
        os.close(desk)
        out.write("an answer\n")
        out.flush()
        assert (out.is_gone, out.has_reader()) == (True, True)


def test_letters_that_the_encoding_lacks_are_escaped() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="ascii", errors="strict") as stream, os.fdopen(reading, "rb") as taken:
        out = StdoutStream(stream)
        out.write("caf\u00e9 \ud83d\n")
        out.flush()
        assert taken.read1() == b"caf\\xe9 \\ud83d\n"


def test_bytes_and_text_keep_their_order(pipe: Pipe) -> None:
    out = StdoutStream(pipe.stream)
    out.write("one ")
    out.buffer.write(b"two ")
    out.write("three")
    out.flush()
    assert pipe.read() == "one two three"


def test_a_stream_in_memory_is_written_to_itself() -> None:
    memory = io.StringIO()
    out = StdoutStream(memory)
    out.write("42 containers\n")
    out.flush()
    assert (memory.getvalue(), out.has_reader(), out.is_ready()) == ("42 containers\n", True, True)


def test_reader_that_takes_nothing_is_left_once_the_run_is_over(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentctl.cli.streams._LAST_WAIT_S", 0.05)
    out = StdoutStream(pipe.stream)
    pipe.fill()
    out.ends_at = time.monotonic()
    out.write("an answer\n")
    out.flush()
    assert out.is_gone
