"""Check that only this user can write to agentctl's own folders, which hold the ledger, settings and keys."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentctl.core.text import safe_text
from agentctl.settings.sources import Problem

_VARIABLES = {"config folder": "AGENTCTL_CONFIG_DIR", "cache folder": "AGENTCTL_CACHE_DIR"}


def folder_problems(folders: Sequence[tuple[str, Path, tuple[str, ...]]]) -> tuple[Problem, ...]:
    """Return the problems of ``folders`` (name, path, needs); a missing folder is judged by those above it.

    A folder must belong to this user or to root, and be writable by no other user. A folder above it may be written by
    others only if it is sticky, as /tmp is: they could put another folder in its place. Root may use another user's
    folder, as under sudo with that user's HOME.
    """
    found: dict[str, Problem] = {}
    for called, folder, needed_by in folders:
        wrong = _first_problem(called, os.path.abspath(folder))  # noqa: PTH100 - links stay: each is judged, too
        if wrong is not None:
            place, problem = (
                wrong[0],
                found.get(wrong[0], wrong[1]._replace(stops=())),
            )  # it may be above several of them
            found[place] = problem._replace(stops=(*problem.stops, *needed_by))
    return tuple(found.values())


def _first_problem(called: str, folder: str) -> tuple[str, Problem] | None:
    """Return the nearest folder on the path that has a problem, and the problem."""
    shown = safe_text(f"{called} {folder}")
    for place in _on_the_way(folder):
        try:
            status = os.stat(place)  # noqa: PTH116
        except OSError:
            continue  # missing or not accessible: the code that needs it reports that
        if not stat.S_ISDIR(status.st_mode):
            continue
        is_itself = os.path.realpath(place) == os.path.realpath(folder)
        quoted, me = safe_text(shlex.quote(place)), os.geteuid()
        if me != 0 and status.st_uid not in (me, 0) and (is_itself or not _may_be_roots(status.st_uid)):
            if is_itself:
                said = f"{shown} belongs to another user (uid {status.st_uid})"
                return place, Problem(said, f'sudo chown "$(id -u)" {quoted}')
            said = f"{shown} lies in {safe_text(place)}, which belongs to another user (uid {status.st_uid})"
            return place, Problem(said, f'export {_VARIABLES.get(called, "AGENTCTL_STATE_DIR")}="$HOME/.agentctl"')
        if not _others_may_write(status) or (not is_itself and status.st_mode & stat.S_ISVTX):
            continue
        sudo = "" if me in (0, status.st_uid) else "sudo "
        mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
        if is_itself:
            return place, Problem(f"other users can write to the {shown} {mode}", f"{sudo}chmod go-w {quoted}")
        said = f"other users can replace the {shown}: they can write to {safe_text(place)} {mode}"
        return place, Problem(said, f"{sudo}chmod +t {quoted}")
    return None


def _may_be_roots(uid: int) -> bool:
    """Return whether a user id is the one for unmapped ids in this user namespace, where root may be unmapped."""
    try:
        mapped = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
        return mapped[:3] != ["0", "0", "4294967295"] and uid == int(
            Path("/proc/sys/kernel/overflowuid").read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return False


def _on_the_way(folder: str) -> Iterator[str]:
    """Yield the folder and those above it, by name and by real path."""
    seen = set()
    for path in (folder, os.path.realpath(folder)):
        while path not in seen:
            seen.add(path)
            yield path
            path = os.path.dirname(path)  # noqa: PTH120


def _others_may_write(status: os.stat_result) -> bool:
    mode = status.st_mode
    if mode & stat.S_IWOTH:
        return True
    return bool(mode & stat.S_IWGRP) and not _is_own_group(status.st_uid, status.st_gid)


def _is_own_group(uid: int, gid: int) -> bool:
    """Return whether a group is the owner's private group: of the same name, without other members."""
    import grp  # noqa: PLC0415 - rarely needed
    import pwd  # noqa: PLC0415

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
