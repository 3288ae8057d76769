"""Find the program that runs or obeys a file of the workspace, by the list of names and by this machine's
configuration.

A name alone is not enough. A folder is a bare repository because of its content, git's configuration names files, a
link with an obeyed name makes its target obeyed, and the running agentctl imports from the folders of its ``sys.path``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agentctl.core.autorun_files import AutorunFile, find_autorun
from agentctl.sandbox.git_files import GIT, GIT_FOLDER_PARTS, is_git_folder
from agentctl.sandbox.import_path import import_folders, is_importable
from agentctl.sandbox.select import configured_paths_in

_SEVERITY = {"never": 2, "asks": 1, "reported": 0}
_MOST_LINKS = 200


def find_autorun_at(workspace: Path, path: str) -> AutorunFile | None:
    """Return the program that would obey a file written at ``path``, or None.

    ``path`` is relative to ``workspace``, with its links resolved.
    """
    root = os.path.realpath(workspace)
    if _is_in_git_folder(root, path):
        return GIT
    found = [find_autorun(path, also=configured_paths_in(workspace))]
    if is_importable(path, import_folders(workspace)):
        found.append(
            AutorunFile("asks", "agentctl itself")
        )  # its next import of that name runs it, outside the sandbox
    found += _by_links(root, path)
    return max(filter(None, found), key=lambda one: _SEVERITY[one.policy], default=None)


def _is_in_git_folder(root: str, path: str) -> bool:
    """Return whether the file is in a folder that git takes for a repository, or would turn a folder into one.

    git recognises a bare repository by its content, whatever its name, and runs programs that its configuration names.
    """
    above = find_autorun(root.lstrip("/"))
    if above == GIT:
        return True
    folder = root
    for part in path.split("/"):
        names = {name for name in GIT_FOLDER_PARTS if os.path.lexists(f"{folder}/{name}")}
        names |= {name for name in GIT_FOLDER_PARTS if name.casefold() == part.casefold()}
        if is_git_folder(names):
            return True
        folder = f"{folder}/{part}"
    return False


def _by_links(root: str, path: str) -> Iterator[AutorunFile]:
    """Yield each program that obeys ``path`` because a link with an obeyed name leads to it, or to a folder around it.

    Only links in the workspace's top folder, and in the obeyed folders there, are considered.
    """
    real = f"{root}/{path}"
    count = 0
    for name, link in _links(root):
        autorun = find_autorun(name)
        if autorun is None or autorun.policy == "reported":
            continue
        count += 1
        if count > _MOST_LINKS:
            return
        target = os.path.realpath(link)
        if real == target or real.startswith(f"{target}/"):
            yield autorun


def _links(root: str) -> Iterator[tuple[str, str]]:
    """Yield the links in the top folder and in the obeyed folders there, each with its relative path."""
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield entry.name, entry.path
            elif entry.is_dir() and find_autorun(entry.name) is not None:
                with suppress(OSError), os.scandir(entry.path) as inner:
                    yield from ((f"{entry.name}/{one.name}", one.path) for one in inner if one.is_symlink())


__all__ = ["find_autorun_at"]
