"""Shell commands as models write them: those that only read, those that get round a rule, and bash's own reading."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).parent

#: Each builtin of bash prints its words; so does each program, as none is found. In POSIX's mode bash's own ``exit``
#: and ``unset`` come before functions.
_PREAMBLE = r"""
exec 9>&1
command_not_found_handle() (
  POSIXLY_CORRECT=1; unset -f printf; printf '%s\0' "$#" "$@" >&9; exit "$STATUS"
)
functions=
for name in $(compgen -b); do
  [[ $name == '[' ]] || functions+="$name() { command_not_found_handle $name \"\$@\"; };"
done
eval "$functions"
PATH=/nonexistent
"""


def bypasses() -> tuple[str, ...]:
    """Return the commands that run, write or connect though they look like reads."""
    lines = [line for line in (_FOLDER / "bypasses.txt").read_text().splitlines() if not line.startswith("# ")]
    return tuple(ast.literal_eval(line) if line.startswith('"') and "\\" in line else line for line in lines)


def reads() -> tuple[str, ...]:
    """Return everyday commands that only read."""
    return tuple((_FOLDER / "reads.txt").read_text().splitlines())


def read_by_bash(commands: Sequence[str], status: int, cwd: Path) -> list[set[tuple[str, ...]]]:
    """Return the words of each simple command in each of ``commands``, as bash itself passes them on.

    Nothing is run: each program prints its words, and ends with ``status``. A program's name may have no slash.
    """
    script = [f"STATUS={status}", _PREAMBLE]
    for command in commands:
        script += ["next-command", command]
    done = subprocess.run(
        ["/bin/bash", "--norc", "--noprofile", "-s"],
        input="\n".join(script) + "\n",
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env={"LC_ALL": "C.UTF-8"},
        check=False,
    )
    texts = done.stdout.split("\0")
    found: list[set[tuple[str, ...]]] = []
    place = 0
    while texts[place]:
        words = tuple(texts[place + 1 : place + 1 + int(texts[place])])
        place += 1 + len(words)
        if words == ("next-command",):
            found.append(set())
        else:
            found[-1].add(words)
    return found
