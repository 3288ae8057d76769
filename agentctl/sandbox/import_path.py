"""Decide where a Python process of agentctl imports from: its installation, never a folder that a model can write to.

A file in a folder of ``sys.path`` shadows the module of the same name in every later folder. The workspace can be such
a folder: a script is in it, agentctl is installed in editable mode, or PYTHONPATH names it. Three answers, used in
three places: what a child process may import from (``child_imports``), which folders of agentctl's own program must be
read-only (``own_program``), and which files become code of the running process (``is_importable``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import NamedTuple

from agentctl.core.system_folders import is_beneath

_PACKAGE = os.path.realpath(Path(__file__).parents[1])
_DISTRIBUTION = "agentctl_cli-*.dist-info"


class ChildImports(NamedTuple):
    """The ``sys.path`` of a child, and agentctl's package folder where no entry of that path leads to it (else "")."""

    path: tuple[str, ...]
    package: str


def own_program(workspace: str | Path) -> tuple[str, ...]:
    """Return the folders below ``workspace`` that hold agentctl's program: its interpreter, packages and own package.

    Links are followed. The workspace itself is never one of them: a project must stay writable.
    """
    root = os.path.realpath(workspace)
    return tuple(place for place in _installation() if is_beneath(place, root) and place != root)


def child_imports(workspace: str | Path, path: Sequence[str] | None = None) -> ChildImports:
    """Return the folders that a child may import from: ``path`` (default ``sys.path``) without relative entries and the
    workspace.

    Entries below the workspace stay if ``own_program`` names them or a folder above them, since a model's commands
    cannot write there.
    """
    root, own = os.path.realpath(workspace), own_program(workspace)
    kept = []
    for entry in sys.path if path is None else path:
        real = os.path.realpath(entry)
        if entry.startswith("/") and (not is_beneath(real, root) or any(is_beneath(real, place) for place in own)):
            kept.append(entry)
    parent = os.path.dirname(_PACKAGE)  # noqa: PTH120
    found = any(os.path.realpath(entry) == parent for entry in kept)
    return ChildImports(tuple(kept), "" if found else _PACKAGE)


def import_folders(workspace: str | Path, path: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the folders of ``path`` (default ``sys.path``) in ``workspace``, relative to it; "." is the workspace.

    agentctl's own program is not among them: it is read-only anyway.
    """
    root, own = os.path.realpath(workspace), own_program(workspace)
    found: dict[str, None] = {}
    for entry in sys.path if path is None else path:
        real = os.path.realpath(entry)  # "" is the current folder, for Python and here
        if is_beneath(real, root) and not any(is_beneath(real, place) for place in own):
            found[os.path.relpath(real, root)] = None
    return tuple(found)


def is_importable(relative: str, folders: Sequence[str]) -> bool:
    """Return whether the file ``relative`` is a module, or starts a package, directly in one of ``import_folders``.

    Such a file runs inside agentctl as soon as something imports its name. Deeper files of a package do not count: they
    run only if the package was already there.
    """
    folder, _, name = relative.rpartition("/")
    stem = next((name.removesuffix(suffix) for suffix in _suffixes() if name.endswith(suffix)), "")
    if not stem:
        return False
    above, _, package = folder.rpartition("/")
    places = {os.path.normpath(place) for place in folders}
    return (folder or ".") in places or (stem == "__init__" and bool(package) and (above or ".") in places)


@cache
def _installation() -> tuple[str, ...]:
    """Return the folders that agentctl is installed in, in the workspace or not."""
    parent = Path(_PACKAGE).parent
    places = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, _PACKAGE]
    # pip install --target puts the dependencies beside our package. In a checkout the packages there are the user's
    # project. A package that cannot be read, as after a change of user, cannot be written to by commands, either.
    with suppress(OSError):
        if any(parent.glob(_DISTRIBUTION)):
            places.append(str(parent))
    return tuple(dict.fromkeys(map(os.path.realpath, places)))


@cache
def _suffixes() -> tuple[str, ...]:
    """Return the suffixes of importable files, the longest first."""
    return tuple(sorted(all_suffixes(), key=len, reverse=True))


__all__ = ["ChildImports", "child_imports", "import_folders", "is_importable", "own_program"]
