"""Text that is safe to show and to keep: escapes made visible, secrets taken out, near names found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from agentctl.core.redaction import Redactor, has_mark, mask, redact


@cache
def _unsafe() -> re.Pattern[str]:
    """Compile on first need: most text never meets it.

    C0 but tab and newline, DEL, C1; lone surrogates; what has no width or turns the writing direction: soft hyphen,
    joiners, fillers, bidirectional marks, line separators, interlinear and musical marks, TAG characters and the
    variation selectors behind them (both carry hidden text).
    """
    return re.compile(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
        "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    )


@cache
def _ci_command() -> re.Pattern[str]:
    """Match what a CI system would obey: ``::name …::`` at a line's start, the others anywhere."""
    return re.compile(r"^([^\S\n]*):(?=:[A-Za-z][^\n]*::)|#(?=#(?:vso|teamcity)?\[)", re.MULTILINE)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _disarmed(match: re.Match[str]) -> str:
    return "\\x23" if match[1] is None else f"{match[1]}\\x3a"


def safe_text(text: str) -> str:
    """Return ``text`` with all that could move a cursor, hide words or command a CI system written as an escape.

    Newline and tab stay; CR LF becomes a newline.
    """
    if not (text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()):
        text = _unsafe().sub(_visible, text.replace("\r\n", "\n"))
    if "::" in text or "##" in text:
        text = _ci_command().sub(_disarmed, text)
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the nearest known name, or an empty string."""
    import difflib  # noqa: PLC0415 - only an error asks for it

    near = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


__all__ = ["Redactor", "did_you_mean", "has_mark", "mask", "redact", "safe_text"]
