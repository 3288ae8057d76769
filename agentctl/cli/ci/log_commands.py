"""The commands that CI systems read from a step's log: GitHub's workflow commands, GitLab's sections.

They go to stderr, which both systems read. ``core.text.safe_text`` breaks the commands in every other text.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

_MOST_MESSAGE = 4000  # characters of an annotation
_LEAST_MASK = 8  # shorter ones would blank words and numbers of the log
_RUNNER = "Runner."  # the programs of GitHub's runner: Runner.Worker starts the steps


def command(name: str, data: str = "", properties: Mapping[str, str] | None = None) -> str:
    """Return a workflow command of GitHub, on one line."""
    given = ",".join(f"{key}={_escape_property(value)}" for key, value in (properties or {}).items() if value)
    return f"::{name}{' ' if given else ''}{given}::{_escape_data(data)}"


def annotation(level: str, title: str, message: str) -> str:
    """Return the command for an annotation (``error`` or ``warning``); a long message is cut."""
    cut = message if len(message) <= _MOST_MESSAGE else f"{message[: _MOST_MESSAGE - 1]}…"
    return command(level, cut, {"title": title})


def mask_commands(secret: str) -> Iterator[str]:
    """Yield the commands that mask a secret in the log: one for each line of it, since a log has lines.

    Parts shorter than eight characters are left out, as in agentctl's own output: ``{`` of a key in JSON would be
    blanked everywhere.
    """
    lines = (line.strip() for line in re.split(r"[\r\n]+", secret))
    yield from (command("add-mask", line) for line in dict.fromkeys(lines) if len(line) >= _LEAST_MASK)


def section_start(name: str, title: str, *, at: int) -> str:
    """Return the line that begins a collapsed section of GitLab's log; ``at`` is in seconds since 1970."""
    return f"section_start:{at}:{name}[collapsed=true]\r\x1b[0K{title}"


def section_end(name: str, *, at: int) -> str:
    """Return the line that ends a section of GitLab's log."""
    return f"section_end:{at}:{name}\r\x1b[0K"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


@cache
def _headings() -> re.Pattern[str]:
    """Match where a line begins that Buildkite takes for a heading; it ignores colours."""
    return re.compile(r"^(?=(?:\x1b\[[\d;]*[mK])*(?:---|\+\+\+|~~~|\^\^\^)(?!\S))", re.MULTILINE)


def without_headings(text: str) -> str:
    """Return whole lines with a blank before each that Buildkite would take for a heading of the log."""
    return _headings().sub(" ", text)


def is_step_log(number: int) -> bool:
    """Return whether a descriptor of this process leads into the log of the step, and nowhere else.

    A mask is a key in plain: it must not end in a file, or in the pipe of a ``tee``. So the descriptor must be that of
    each process above, up to the runner's, or to the first process of a container. False if that cannot be known.
    """
    try:
        own = os.fstat(number)
        if stat.S_ISREG(own.st_mode):
            return False
        pid = os.getppid()
        while pid > 0:
            line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            name, _, fields = line.partition("(")[2].rpartition(")")
            if name.startswith(_RUNNER):
                return True
            above = Path(f"/proc/{pid}/fd/{number}").stat()
            if (above.st_dev, above.st_ino) != (own.st_dev, own.st_ino):
                return False
            pid = int(fields.split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return True
