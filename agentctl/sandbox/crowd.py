"""How many processes a command of root may have: its user id escapes the limit of others, a control group does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

MOST_PROCESSES = 1024
_NAME = "agentctl-"
_TRIES = 20  # a process leaves its group a moment after it is gone

JOIN = 'echo 0 >"$1/cgroup.procs" 2>/dev/null; shift; exec "$@"'
"""For ``sh -c``: enter the group named first, then become the rest."""


@contextmanager
def control_group(*, wanted: bool) -> Iterator[Path | None]:
    """Make a control group for one command of root; None where there is none to be had (then only time bounds it)."""
    made = None
    for above in _places() if wanted else ():
        folder = above / f"{_NAME}{os.getpid()}-{os.urandom(4).hex()}"
        try:
            folder.mkdir(mode=0o755)
            made = folder
            (folder / "pids.max").write_text(str(MOST_PROCESSES))
            break
        except OSError:
            if made is not None:
                with suppress(OSError):
                    made.rmdir()
            made = None
    try:
        yield made
    finally:
        _sweep(made)


async def until_empty(group: Path | None) -> None:
    """Wait until nobody is left in the group, a fifth of a second at most."""
    for _ in range(_TRIES if group is not None else 0):
        try:
            if group is None or not (group / "cgroup.procs").read_text():
                return
        except OSError:
            return
        await anyio.sleep(0.01)


def _sweep(made: Path | None) -> None:
    """Remove the group, and those of others that were killed before they could."""
    if made is None:
        return
    with suppress(OSError):
        made.rmdir()
    with suppress(OSError):
        for folder in made.parent.glob(f"{_NAME}*"):
            owner = folder.name.removeprefix(_NAME).partition("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                with suppress(OSError):
                    folder.rmdir()


def _places() -> Iterator[Path]:
    """Yield folders in which a group that counts processes can be made."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if "pids" in kinds.split(","):
            for mount in (f"/sys/fs/cgroup/{kinds}", "/sys/fs/cgroup/pids"):
                yield from (place for place in (Path(mount + path), Path(mount)) if place.is_dir())
        elif not kinds:
            own = Path("/sys/fs/cgroup" + path)
            for place in (own, own.parent):
                with suppress(OSError):
                    if "pids" in (place / "cgroup.subtree_control").read_text(encoding="utf-8").split():
                        yield place
