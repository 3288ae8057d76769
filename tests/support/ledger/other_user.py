"""A second user beside root: a home folder, and this process as that user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = 54321
root_only = pytest.mark.needs("root")


@contextmanager
def home_of_user() -> Iterator[Path]:
    """Give a folder that belongs to the user, and that the user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, USER, USER)
        yield Path(folder)


@contextmanager
def as_user() -> Iterator[None]:
    """Be the user for a while; root comes back."""
    os.setegid(USER)
    os.seteuid(USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def not_of_user(folder: Path) -> dict[str, int]:
    """Return what lies in a folder, at any depth, and does not belong to the user, with its owner."""
    found = ((path, path.lstat().st_uid) for path in (folder, *folder.rglob("*")))
    return {str(path.relative_to(folder)): uid for path, uid in found if uid != USER}
