"""Small disks for tests of what happens when one is full, read-only or another than the rest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import machine


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory on ``folder``, made if missing: ``small_disk(path, "size=1m")``."""
    folder.mkdir(parents=True, exist_ok=True)
    machine.need("mounts")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def fill_disk(disk: Path) -> Iterator[None]:
    """Leave no block free."""
    with (disk / "filler").open("wb") as filler:
        free = os.statvfs(disk)
        filler.write(b"x" * (free.f_bavail * free.f_frsize))
    yield
    (disk / "filler").unlink()
