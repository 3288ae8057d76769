"""Processes that can be found again, by a token that nobody else has."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import machine


class Trace:
    """A number that stands in the environment or the arguments of every process of one test."""

    def __init__(self) -> None:
        self.token = str(random.randrange(10**11, 10**12))
        self.env = {"TRACE": self.token}

    def alive(self) -> list[str]:
        """Return the command lines of what still lives (zombies have none)."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    arguments, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                except OSError:
                    continue
                if arguments and self.token.encode() in arguments + environment:
                    found.append(f"{folder.name} {arguments!r}")
        return found


@pytest.fixture
def trace() -> Iterator[Trace]:
    machine.need("Linux")
    before = _guards()  # another test's sandbox may be open until it is collected
    yield Trace()
    assert _guards() - before == set()


def _guards() -> set[str]:
    """Return the process ids of this process's children that are guards."""
    while True:
        try:
            pids = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
            return {pid for pid in pids if b"agentctl-guard" in Path("/proc", pid, "cmdline").read_bytes()}
        except OSError:  # a thread or a child ended in between
            continue
