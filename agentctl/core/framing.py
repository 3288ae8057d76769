"""Lines of a stranger's text that look like agentctl's own, escaped: a backslash stands before each of them.

A result is read by a model as one text: what agentctl says of a call, and what a program, a file or a container wrote.
Without the backslash, a program could print how another call ended.
"""

from __future__ import annotations

import re
from functools import cache

_BLANK = r"[^\S\n]"


@cache
def _frames() -> re.Pattern[str]:
    """Match the beginning of what stands around the output of a command: how it ended, which stream, what to know."""
    return re.compile(
        rf"""(?xim)
        ^(?P<before>{_BLANK}*) (?= \\* (?:
            exit{_BLANK}+code\b | timed{_BLANK}+out\b | (?:stdout|stderr){_BLANK}*:{_BLANK}*$
          | (?:note|hint|error|denied){_BLANK}*: | (?:no{_BLANK}+output|it{_BLANK}+wrote{_BLANK}+nothing)\.?{_BLANK}*$
          | \d[\d,]*{_BLANK}+bytes{_BLANK}+of{_BLANK}+output{_BLANK}+left{_BLANK}+out
          | \[(?:agentctl|budget)\b
        ))"""
    )


@cache
def _notices() -> re.Pattern[str]:
    """Match the beginning of what agentctl adds to any result, and of a result that is a failure as a whole."""
    return re.compile(
        rf"(?i:(?:\A|(?<=\n))(?P<before>{_BLANK}*)(?=\\*\[(?:agentctl|budget)\b)"
        rf"|\A(?P<first>\s*)(?=\\*(?:error|denied){_BLANK}*:))"
    )


def escape_frames(text: str) -> tuple[str, int]:
    """Return the output of a command with a backslash before each line that looks like agentctl's, and their number."""
    return _frames().subn(r"\g<before>\\", text)


def frames_note(escaped: int) -> str:
    """Return a line that says what the backslashes are; empty where there are none."""
    if not escaped:
        return ""
    lines = "1 line" if escaped == 1 else f"{escaped:,} lines"
    return f"note: {lines} below, written by the program, would look like this one: a backslash stands before each"


def escape_notices(text: str) -> str:
    """Return what a tool returned with a backslash before each line that looks like a notice or a failure of the call.

    The lines that tools put around the output of a command stay: they are agentctl's.
    """
    return _notices().sub(lambda match: f"{match[0]}\\", text)


def unescape_notices(text: str, original: str) -> str:
    """Return ``text`` without the backslashes that ``escape_notices`` put into ``original``, which it replaces."""
    if "\\" not in text or escape_notices(original) == original:
        return text
    lines = set(original.split("\n"))

    def plain(line: str) -> str:
        bare = line.replace("\\", "", 1)
        is_escaped = line not in lines and bare in lines and escape_notices(bare) == line
        return bare if is_escaped else line

    return "\n".join(map(plain, text.split("\n")))
