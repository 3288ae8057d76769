"""One walk of the machine for many sandboxes, which in the product walk each for itself.

Before its first command a sandbox looks at every folder outside its workspace: for what only root may read, and for
sockets. That takes some 80 ms, and the tests, whose files lie below /tmp, change nothing that it looks at. Tests of
the walks themselves have the mark ``own_walk``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import ClassVar

import pytest

from agentctl.sandbox import private_files, socket_files

_walk = socket_files._walk


class SharedPrivateFiles(private_files.PrivateFiles):
    """Starts with the result of an earlier walk of this process that excluded the same places."""

    _of_machine: ClassVar[dict[frozenset[str], tuple[str, ...]]] = {}

    def begin(self) -> None:
        """Start the walk, if none is under way."""
        if self._thread is None and (known := self._of_machine.get(self._kept_apart())) is not None:
            self._found, self._pending, self._thread = list(known), [], threading.current_thread()
            self._done.set()
        super().begin()

    def _walk(self) -> None:
        super()._walk()
        if not self._pending:
            self._of_machine[self._kept_apart()] = tuple(self._found)

    def _kept_apart(self) -> frozenset[str]:
        is_elsewhere = self._workspace.startswith(("/tmp/", "/home/", "/root/"))  # not walked anyway
        return self._apart - {self._workspace} if is_elsewhere else self._apart


@cache
def _beside(places: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_walk(places))


def _walk_workspace(places: Sequence[str]) -> Iterator[str]:
    workspace, *others = places
    yield from _walk((workspace,))
    yield from _beside(tuple(others))


def begin() -> None:
    """Walk now, so that processes forked from this one know it."""
    _beside(socket_files._open_places())
    if os.geteuid() == 0:
        SharedPrivateFiles("/tmp/none").places()


def share(patch: pytest.MonkeyPatch | None = None) -> None:
    """Let the sandboxes of this process share a walk, until ``patch`` is undone."""
    patch = pytest.MonkeyPatch() if patch is None else patch
    patch.setattr(private_files, "PrivateFiles", SharedPrivateFiles)
    patch.setattr(socket_files, "_walk", _walk_workspace)


@pytest.fixture
def shared_walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sandboxes of a test share the walk of those before it."""
    if request.node.get_closest_marker("own_walk") is None:
        share(monkeypatch)
