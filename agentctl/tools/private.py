"""Folders of agentctl's own that may lie in the workspace: keys, ledger and journals, where no tool looks or writes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from agentctl.errors import ToolError
from agentctl.sandbox.import_path import own_program

Identities: TypeAlias = frozenset[tuple[int, int]]
"""Device and inode of each folder: what it is, whatever its name."""


def identities(folders: Iterable[Path]) -> Identities:
    """Return what the folders are that are there."""
    found = set()
    for folder in folders:
        try:
            status = os.stat(folder)  # noqa: PTH116 - links of the user's own are followed
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def refuse_private(workspace: Path, folders: Iterable[Path], relative: str) -> None:
    """Refuse a path (relative to ``workspace``, its links followed) that lies in one of ``folders``, or is one.

    Raises:
        ToolError: it does.
    """
    real = os.path.join(os.path.realpath(workspace), relative)  # noqa: PTH118
    for folder in folders:
        own = os.path.realpath(folder)
        if real == own or real.startswith(f"{own}/"):
            raise ToolError(f"{relative} is agentctl's own", hint="do without it")


def program_in(workspace: Path) -> tuple[Path, ...]:
    """Return where agentctl itself is installed below ``workspace``: what is written there would run unbounded."""
    return tuple(map(Path, own_program(workspace)))


__all__ = ["Identities", "identities", "program_in", "refuse_private"]
