"""stdout and stderr for scripts: a closed pipe is silent, a full disk is an error."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast

from agentctl.core.errors import StateError


class Stream:
    """A text stream whose reader may go away; everything else is delegated to the wrapped stream.

    A closed pipe is no error: what follows is discarded. Any other failure is a StateError when ``loud``.
    """

    def __init__(self, stream: TextIO, *, loud: bool) -> None:
        self._stream = stream
        self._loud = loud
        self.is_gone = False  # ``costs --watch`` ends then

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``; characters that the encoding lacks are escaped.

        Raises:
            StateError: the disk is full, or the like.
        """
        if text == "":  # a probe: unbuffered, it would fail on a full disk where nobody hears it
            return 0
        try:
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
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Discard the rest, so that neither the next line nor the end of the process fails again."""
        self.is_gone = True
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        with contextlib.suppress(OSError):
            self._stream.flush()
        if self._loud and error.errno not in (errno.EPIPE, errno.ESHUTDOWN):
            raise StateError(
                f"stdout cannot be written: {error.strerror}",
                hint="what a run has paid for is in its journal: agentctl runs show",
            ) from error


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """Replace stdout and stderr by Streams, for as long as a command runs."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", Stream(sys.stdout, loud=True))
    sys.stderr = cast("TextIO", Stream(sys.stderr, loud=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def open_missing() -> None:
    """Open those of stdin, stdout and stderr that are closed on /dev/null, so that no other file takes their number.

    A closed stdout is opened for reading: what is written there fails and is reported, instead of being lost.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays open
