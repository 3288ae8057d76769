"""stdout and stderr for scripts: a closed pipe is ignored, a full disk is an error."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import TextIO, cast

from agentctl.cli.signals import writing
from agentctl.core.errors import StateError


class Stream:
    """A wrapper of a text stream whose reader may go away.

    After a closed pipe, further output is discarded without an error. Any other failure raises StateError if
    ``loud``.
    """

    def __init__(self, stream: TextIO, *, loud: bool) -> None:
        self._stream = stream
        self._loud = loud
        self.is_gone = False  # checked by ``costs --watch``
        self.is_used = False
        self._writing = writing if loud else contextlib.nullcontext

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``; characters that its encoding does not have are escaped.

        Raises:
            StateError: the disk is full, or the like.
        """
        if text == "":  # an unbuffered empty write would fail on a full disk, unnoticed
            return 0
        self.is_used = True
        try:
            with self._writing():
                return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush the wrapped stream.

        Raises:
            StateError: the disk is full, or the like.
        """
        try:
            with self._writing():
                self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Discard all further output, so that no later write or flush fails.

        Raises:
            StateError: the stream is ``loud`` and the failure is not a closed pipe.
        """
        self.is_gone, closed = True, False  # ``closed``: the terminal is
        with contextlib.suppress(OSError, ValueError):
            closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self._stream.fileno()).st_mode)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        with contextlib.suppress(OSError):
            self._stream.flush()
        if self._loud and error.errno not in (errno.EPIPE, errno.ESHUTDOWN) and not closed:
            raise StateError(
                f"stdout cannot be written: {error.strerror}",
                hint="agentctl runs show   prints what the run has paid for",
            ) from error


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """Replace stdout and stderr by ``Stream`` objects while a command runs."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", Stream(sys.stdout, loud=True))
    sys.stderr = cast("TextIO", Stream(sys.stderr, loud=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


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
