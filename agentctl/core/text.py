"""Make untrusted text safe for a screen, a log and a model; suggest the nearest known name. Pure.

``safe_text`` is for people: it makes control characters visible. ``escape_frames`` and ``escape_notices`` are for a
model, which reads a result as one text: agentctl's report of a call, and the output of a program, a file or a
container. Without a backslash before lines that look like agentctl's own, a program could forge the result of another
call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

_BLANK = r"[^\S\n]"


@cache
def _unsafe() -> re.Pattern[str]:
    """Match characters to escape; compiled on first use, as most text does not need it.

    C0 but tab and newline, DEL, C1; lone surrogates; characters without width or that change the writing direction:
    soft hyphen, joiners, fillers, bidirectional marks, line separators, interlinear and musical marks, TAG characters
    and the variation selectors behind them (both carry hidden text).
    """
    return re.compile(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
        "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    )


@cache
def _ci_command() -> re.Pattern[str]:
    """Match commands of a CI system: ``::name …::`` at a line's start, the others anywhere."""
    return re.compile(r"^([^\S\n]*):(?=:[A-Za-z][^\n]*::)|#(?=#(?:vso|teamcity)?\[)", re.MULTILINE)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _disarm(match: re.Match[str]) -> str:
    return "\\x23" if match[1] is None else f"{match[1]}\\x3a"


def safe_text(text: str) -> str:
    """Escape everything that could move a cursor, hide words or command a CI system.

    Newline and tab stay; CR LF becomes a newline.
    """
    if not (text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()):
        text = _unsafe().sub(_escape, text.replace("\r\n", "\n"))
    if "::" in text or "##" in text:
        text = _ci_command().sub(_disarm, text)
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the nearest known name, or an empty string."""
    import difflib  # noqa: PLC0415 - only an error asks for it

    near = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


@cache
def _frames() -> re.Pattern[str]:
    """Match the beginning of a line that frames a command's output: its exit, the stream's name, notes."""
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
    """Match the beginning of a line that agentctl adds to any result, and of a failed result."""
    return re.compile(
        rf"(?i:(?:\A|(?<=\n))(?P<before>{_BLANK}*)(?=\\*\[(?:agentctl|budget)\b)"
        rf"|\A(?P<first>\s*)(?=\\*(?:error|denied){_BLANK}*:))"
    )


def escape_frames(text: str) -> tuple[str, int]:
    """Put a backslash before each line of a command's output that looks like agentctl's; return their number, too."""
    return _frames().subn(r"\g<before>\\", text)


def frames_note(escaped: int) -> str:
    """Return a line that explains the backslashes; "" if there are none."""
    if not escaped:
        return ""
    lines = "1 line" if escaped == 1 else f"{escaped:,} lines"
    return f"note: {lines} below, written by the program, would look like this one: a backslash stands before each"


def escape_notices(text: str) -> str:
    """Put a backslash before each line of a tool's text that looks like a notice or a failure of the call.

    The lines that tools put around the output of a command stay: they are agentctl's.
    """
    return _notices().sub(lambda match: f"{match[0]}\\", text)


def unescape_notices(text: str, original: str) -> str:
    """Remove from ``text`` the backslashes that ``escape_notices`` put into ``original``, the text that it replaces."""
    if "\\" not in text or escape_notices(original) == original:
        return text
    lines = set(original.split("\n"))

    def plain(line: str) -> str:
        bare = line.replace("\\", "", 1)
        is_escaped = line not in lines and bare in lines and escape_notices(bare) == line
        return bare if is_escaped else line

    return "\n".join(map(plain, text.split("\n")))
