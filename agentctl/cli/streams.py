"""stdout and stderr for scripts: every byte is written, or the failure is reported; a closed pipe is not one.

Python's text streams write once and ignore how much was taken: on a descriptor that takes a part (a small disk, a pipe
that somebody set to O_NONBLOCK) the rest is lost. So both streams are written here, by a loop on the descriptor. It
waits until the descriptor takes bytes: stdout as long as it takes, stderr for a while, after which a line is dropped.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import io
import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO, cast

from agentctl.cli.signals import end_if_stopped, stopped_for_s, writing
from agentctl.core.errors import ReaderGone, StateError

PATIENCE_S = 2.0  # how long a line on stderr waits for a reader that takes nothing
_PAID = "agentctl runs show   prints what the run has paid for"
_HINTS = {
    errno.ENOSPC: "free some space there, or write to another disk",
    errno.EDQUOT: "free some space there, or write to another disk",
    errno.EFBIG: "raise `ulimit -f`",
}
_PAUSE_S = 0.01
_SLICE_S = 0.1  # how often a wait for stdout's reader looks whether the run is to end
_LAST_WAIT_S = 3.0  # for a reader that takes nothing, once a signal has stopped the run or its time is over
_BLOCK = 32 * 1024
_GONE = frozenset({errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET})


def write_all(
    number: int,
    data: bytes,
    *,
    patience_s: float | None = None,
    gives_up: Callable[[float], bool] | None = None,
) -> bytes:
    """Write ``data`` to a descriptor until all of it is out, and return b"".

    ``patience_s`` is how long to wait while the descriptor takes nothing, None without limit; then return the rest.
    So does ``gives_up``, which is asked again and again while it waits: it gets the seconds waited so far.

    Raises:
        OSError: the descriptor cannot be written.
    """
    rest, blocked_at = memoryview(data), 0.0
    while rest:
        try:
            if gives_up is not None and os.get_blocking(number) and not _events(number, select.POLLOUT):
                raise BlockingIOError  # a write would wait where nothing can end it
            written = os.write(number, rest if gives_up is None else rest[: select.PIPE_BUF])
        except BlockingIOError:
            now = time.monotonic()
            if blocked_at:
                time.sleep(_PAUSE_S)  # it was ready, and yet took nothing
            blocked_at = blocked_at or now
            left = None if patience_s is None else blocked_at + patience_s - now
            if left is not None and left <= 0:
                break
            if gives_up is not None:
                if gives_up(now - blocked_at):
                    break
                left = _SLICE_S
            _events(number, select.POLLOUT, left)
            continue
        if not written:  # a device that takes nothing and reports no error
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest, blocked_at = rest[written:], 0.0
    return bytes(rest)


def _events(number: int, wanted: int, wait_s: float | None = 0.0) -> int:
    """Return the events that poll reports for a descriptor within ``wait_s``; 0 if there are none."""
    poll = select.poll()
    poll.register(number, wanted)
    return next((event for _, event in poll.poll(None if wait_s is None else wait_s * 1000)), 0)


class Stream:
    """A text stream, written to its descriptor; one without a descriptor (in memory) is written to itself.

    Characters that its encoding does not have are escaped. ``is_gone``: it cannot be written any more, and all output
    is discarded. ``is_used``: something was written. Several threads may use it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._number = _descriptor(stream)
        self._encoding = stream.encoding or "utf-8"
        self._encoder = codecs.getincrementalencoder(self._encoding)(stream.errors or "strict")
        self._turn = threading.RLock()
        self._is_terminal = self._number is not None and os.isatty(self._number)
        self.is_gone = False
        self.is_used = False
        with contextlib.suppress(OSError, ValueError):
            stream.flush()  # what was written before comes first

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> io.RawIOBase:
        """The stream for bytes; they are written in the same way."""
        return _Bytes(self)

    def write(self, text: str) -> int:
        """Write ``text``."""
        self.is_used = self.is_used or bool(text)
        self.write_bytes(self._encode(text))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what is still buffered."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether some bytes would be taken now, without waiting."""
        return self._number is None or bool(_events(self._number, select.POLLOUT))

    def has_reader(self) -> bool:
        """Return whether somebody may still read: False once the other end of a pipe or a socket is closed.

        True for a terminal: who closes it sends SIGHUP, and who ignores that (nohup) wants the run to go on.
        """
        if self._number is None or self._is_terminal:
            return True
        return not self.is_gone and not _events(self._number, 0) & (select.POLLERR | select.POLLHUP)

    def is_writable(self) -> bool:
        """Return whether the descriptor was opened for writing; a closed stdout is one that was not."""
        if self._number is None:
            return True
        return fcntl.fcntl(self._number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY

    def _encode(self, text: str) -> bytes:
        try:
            return self._encoder.encode(text)
        except UnicodeEncodeError:
            return self._encoder.encode(text.encode(self._encoding, "backslashreplace").decode(self._encoding))

    def _send(
        self,
        data: bytes,
        patience_s: float | None = None,
        gives_up: Callable[[float], bool] | None = None,
    ) -> bytes:
        if self._number is not None:
            return write_all(self._number, data, patience_s=patience_s, gives_up=gives_up)
        self._stream.write(data.decode(self._encoding))
        self._stream.flush()
        return b""


class StdoutStream(Stream):
    """stdout: waits for its reader as long as it takes, and reports any failure but a closed pipe.

    Lines to a terminal are written at once, all else in blocks. ``has_paid``: a journal has the output. ``ends_at`` is
    when the run's time is over, by the monotonic clock. A reader that takes nothing then, or after a signal, is soon
    treated as gone: it must not keep a run from ending.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.has_paid = False
        self.ends_at = math.inf
        self._has_waited = False
        self._buffered = bytearray()
        self._by_line = bool(getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes.

        Raises:
            StateError: the disk is full, or the like.
        """
        with self._turn:
            self._buffered += data
            if len(self._buffered) >= _BLOCK or (self._by_line and b"\n" in data):
                self.flush()

    def flush(self) -> None:
        """Write what is still buffered.

        Raises:
            StateError: the disk is full, or the like.
        """
        with self._turn:
            data = bytes(self._buffered)
            self._buffered.clear()
            if self.is_gone or not data:
                return
            self.is_gone = True  # after a failure in the middle nothing may follow
            try:
                with writing():
                    if self._send(data, gives_up=self._gives_up):
                        self._has_waited = True
                        return
            except OSError as error:
                if error.errno in _GONE or (error.errno == errno.EIO and self._is_terminal):
                    return
                hint = _PAID if self.has_paid else _HINTS.get(error.errno or 0, "check where stdout goes")
                raise StateError(f"stdout cannot be written: {error.strerror}", hint=hint) from error
            self.is_gone = False

    def has_reader(self) -> bool:
        """Return whether somebody may still read; True too after a wait that the end of the run has ended."""
        return self._has_waited or super().has_reader()

    def _gives_up(self, waited_s: float) -> bool:
        return min(waited_s, max(stopped_for_s(), time.monotonic() - self.ends_at)) >= _LAST_WAIT_S


class StderrStream(Stream):
    """stderr: lines that no reader takes within ``patience_s`` seconds are dropped, and no failure is reported.

    It is written again as soon as that is possible. Lines are dropped whole: the rest of one that was begun comes
    before the next, so that no line and no control sequence ends in its middle.
    """

    def __init__(self, stream: TextIO, *, patience_s: float = PATIENCE_S) -> None:
        super().__init__(stream)
        self._patience_s = patience_s
        self._line = bytearray()
        self._rest = b""
        self._dropped = 0
        self._is_stuck = False

    def write_bytes(self, data: bytes) -> None:
        """Write bytes at the end of a line."""
        with self._turn:
            self._line += data
            if b"\n" in data:
                self.flush()

    def flush(self) -> None:
        """Write what is still buffered, or drop it."""
        self._flush(0.0 if self._is_stuck else self._patience_s)

    def write_patiently(self, text: str) -> None:
        """Write ``text``, however long it takes."""
        with self._turn:
            self._line += self._encode(text)
            self._flush(None)

    def _flush(self, patience_s: float | None) -> None:
        with self._turn, contextlib.suppress(OSError, ValueError):
            data, begun = bytes(self._line), self._rest
            self._line.clear()
            self._rest = b""
            self._rest = rest = self._send(begun, patience_s)
            if not rest and data:
                whole = self._note() + data
                rest = self._send(whole, patience_s)
                if len(rest) < len(whole):
                    self._rest, self._dropped, data = rest, 0, b""
            if rest:
                self._dropped += data.count(b"\n")
            self._is_stuck = bool(rest)

    def _note(self) -> bytes:
        """Return the line that says how many lines were dropped; "" on a terminal, whose rows it would shift."""
        if not self._dropped or self._is_terminal:
            return b""
        lines = "1 line" if self._dropped == 1 else f"{self._dropped:,} lines"
        return self._encode(f"agentctl: {lines} left out here: stderr had no reader\n")


class _Bytes(io.RawIOBase):
    """The binary side of a ``Stream``."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._to = stream

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        taken = bytes(data)  # type: ignore[call-overload]
        self._to.write_bytes(taken)
        return len(taken)

    def flush(self) -> None:
        self._to.flush()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """Replace stdout and stderr by ``Stream`` objects while a command runs."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", StdoutStream(sys.stdout))
    sys.stderr = cast("TextIO", StderrStream(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def require_reader() -> None:
    """Check that somebody may still read stdout, before a call to a model is paid for.

    Raises:
        ReaderGone: the other end of the pipe or socket is closed.
        StateError: stdout was closed from the start, or opened for reading.
    """
    if not isinstance(sys.stdout, Stream):
        return
    if not sys.stdout.is_writable():
        raise StateError("stdout is not open for writing; no call was sent", hint="send it to a file, or to /dev/null")
    if not sys.stdout.has_reader():
        raise ReaderGone("stdout has no reader any more; no further call was sent", hint=_PAID)


def write_question(text: str) -> None:
    """Write a question to stderr, and wait until it can be seen; before that it must not be answered."""
    if isinstance(sys.stderr, StderrStream):
        sys.stderr.write_patiently(text)
    else:
        sys.stderr.write(text)
        sys.stderr.flush()


def end_waiting_at(ends_at: float) -> None:
    """Let stdout's reader delay the end of the command by a few seconds at most after this monotonic time."""
    if isinstance(sys.stdout, StdoutStream):
        sys.stdout.ends_at = ends_at


def is_ready(stream: TextIO) -> bool:
    """Return whether ``stream`` would take some bytes now, without waiting; True if that cannot be known."""
    return not isinstance(stream, Stream) or stream.is_ready()


def wait_for_more(out: TextIO, seconds: float) -> bool:
    """Sleep and return True, for a command that writes again and again; False as soon as ``out`` has no reader.

    Raises:
        KeyboardInterrupt: a signal stops the command.
    """
    end_if_stopped()
    number = _descriptor(out)
    if getattr(out, "is_gone", False):
        return False
    events = 0 if number is None else _events(number, 0, seconds)
    if events & (select.POLLERR | select.POLLHUP):
        return False
    if events or number is None:
        time.sleep(seconds)
    return True


def open_missing() -> None:
    """Open closed standard streams on /dev/null, so that no other file gets their descriptor.

    A closed stdout is opened for reading, so that writing to it fails and is reported.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays open
