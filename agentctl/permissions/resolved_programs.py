"""Resolve the programs that a shell command names to the files that would run.

Only a command of plain words shows which programs run. For any other command the question says that the shell decides.
Names are searched in the folders of the command's own ``PATH``, not in those of agentctl.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence

from agentctl.core.impact import Impact
from agentctl.core.text import list_names
from agentctl.permissions.known_programs import Words
from agentctl.permissions.program_words import unwrapped
from agentctl.permissions.shell_commands import NotPlain, plain_commands

_BUILTIN_NAMES = """
    . : [ alias bg break cd command continue echo eval exec exit export false fg getopts hash jobs kill local printf pwd
    read readonly return set shift test times trap true type ulimit umask unalias unset wait
"""
#: What the common shells behind /bin/sh do themselves, whatever file has that name.
_BUILTINS = frozenset(_BUILTIN_NAMES.split())
_CHANGE_FOLDER = frozenset({"cd", ".", "eval"})
_MOST = 8


def add_programs(impact: Impact, command: str) -> Impact:
    """Return the impact of a shell command with the programs that it runs, each with its real path."""
    try:
        parts = plain_commands(command)
    except NotPlain as error:
        return impact._replace(details=(f"it has {error}, so the shell decides what runs", *impact.details))
    names = tuple(dict.fromkeys(words[0] for words in parts))
    found = tuple(dict.fromkeys(_resolve_all(parts, impact)))
    more = [f"and {len(found) - _MOST} more programs"] if len(found) > _MOST else []
    return impact._replace(
        does=impact.does.replace("a command", list_names(names), 1), details=(*found[:_MOST], *more, *impact.details)
    )


def _resolve_all(parts: Sequence[Words], impact: Impact) -> Iterator[str]:
    """Yield a clause for the program of each part; that of a wrapper such as ``timeout`` and the one that it runs."""
    folder: str | None = impact.folder
    for words in parts:
        inner: Words | None = words
        while inner is not None:
            yield _resolve(inner[0], folder, impact.search_path)
            if inner[0] in _CHANGE_FOLDER:
                folder = None
            inner = unwrapped(inner)


def _resolve(name: str, folder: str | None, path: str) -> str:
    """Return a program's name with the file that it is: ``sh is /usr/bin/dash``.

    ``folder`` is where the command runs, None if it has left that.
    """
    if name in _BUILTINS:
        return f"{name} is part of the shell"
    if "/" not in name:
        found = shutil.which(name, path=path)
    elif folder is None and not name.startswith("/"):
        return f"{name} depends on the folder that the command goes to"
    else:
        where = os.path.join(folder or "/", name)  # noqa: PTH118 - not to be normalized
        found = where if os.access(where, os.X_OK) and os.path.isfile(where) else None  # noqa: PTH113
    return f"{name} is not there" if found is None else f"{name} is {os.path.realpath(found)}"
