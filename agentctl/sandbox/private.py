"""What root may read and others may not: inside a boundary root keeps its user id, and with it these files."""

from __future__ import annotations

import os
import stat
import time
from collections import deque

from agentctl.sandbox.cover import beneath

_ELSEWHERE = frozenset(
    {"proc", "sys", "dev", "run", "tmp", "home", "root"} | {"usr", "bin", "sbin", "lib", "lib32", "lib64"}
)
_OTHERS_WORK = frozenset({".git", ".venv", "__pycache__", "node_modules", "site-packages"})
_DEEPEST = 5
_MOST_ENTRIES = 20_000
_MOST_SECONDS = 0.25
_MANY = 12  # private files in one folder: the folder is covered instead


def private_to_root(workspace: str) -> tuple[str, ...]:
    """Return the folders and files outside ``workspace`` that root could read and any other user could not.

    Looked for from the top, for five levels, 20,000 entries, 0.25 s; what lies deeper in folders open to all stays.
    """
    found: list[str] = []
    pending = deque([("/", 0), ("/usr/local/etc", 2)])
    left, end = _MOST_ENTRIES, time.monotonic() + _MOST_SECONDS
    while pending and left > 0 and time.monotonic() < end:
        folder, depth = pending.popleft()
        try:
            with os.scandir(folder) as entries:
                here = list(entries)
        except OSError:
            continue
        left -= len(here)
        files = []
        for entry in here:
            if (folder == "/" and entry.name in _ELSEWHERE) or beneath(entry.path, workspace):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                if _is_private(status, 0o5):
                    found.append(entry.path)
                elif depth < _DEEPEST and status.st_mode & 0o1 and entry.name not in _OTHERS_WORK:
                    pending.append((entry.path, depth + 1))
            elif stat.S_ISREG(status.st_mode) and _is_private(status, 0o4):
                files.append(entry.path)
        found += files if len(files) <= _MANY or folder in ("/", "/etc") else [folder]
    return tuple(found)


def _is_private(status: os.stat_result, for_others: int) -> bool:
    """Whether root or its group may look at it, by its user id alone, and others may not."""
    mode = status.st_mode
    if mode & for_others:
        return False
    return bool((status.st_uid == 0 and mode & 0o500) or (status.st_gid == 0 and mode & 0o050))
