"""Connections to SQLite: one that a test holds ends with the test, one that is dropped open is an error.

A test that leaves a ledger open stands for a process that dies. What nobody closes and nobody holds is a leak, of the
test or of agentctl; from Python 3.13 on SQLite's module warns of it, and warnings are errors. Before that it is an
error where the last reference goes, or where a test calls ``collect``: what else is collected may be of any test.
"""

from __future__ import annotations

import gc
import sqlite3
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest


class TrackedConnection(sqlite3.Connection):
    """A connection that warns when it is dropped open, on each Python."""

    _is_open = False

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - sqlite3.connect's own
        super().__init__(*args, **options)
        self._is_open = True
        _opened.append(weakref.ref(self))

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._is_open = False

    if sys.version_info < (3, 13):

        def __del__(self) -> None:
            if self._is_open and not _collecting:
                warnings.warn(f"unclosed database in {self!r}", ResourceWarning, stacklevel=1, source=self)


_opened: list[weakref.ref[TrackedConnection]] = []
_collecting: list[str] = []  # the phase, in a collection that nobody asked for


def _note_collection(phase: str, _: object) -> None:
    _collecting[:] = [phase] if phase == "start" else []


def collect() -> None:
    """Collect garbage, and warn of each connection in it that is open."""
    gc.callbacks.remove(_note_collection)
    try:
        gc.collect()
    finally:
        gc.callbacks.append(_note_collection)


@pytest.fixture(scope="session", autouse=True)
def tracked_connections() -> Iterator[None]:
    """Track each connection that this process opens."""
    connect: Any = sqlite3.connect
    gc.callbacks.append(_note_collection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=TrackedConnection, **options))
        yield


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """Close what a test has left open, as the end of a process does: nothing is written."""
    before = len(_opened)
    yield
    for reference in _opened[before:]:
        connection = reference()
        if connection is not None:
            with suppress(sqlite3.ProgrammingError):  # of a thread that has ended
                connection.close()
    del _opened[before:]
