"""Text that is safe to show and to keep: escapes made visible, secrets taken out, near names found."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable
from functools import cache, lru_cache

_REDACTED = "[redacted]"
_SHORTEST_SECRET = 8


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


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets of eight characters or more by ``[redacted]``.

    Each is also found URL-encoded, escaped as in JSON, and as Base64, alone or inside a longer text.
    """
    forms = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, _REDACTED)
    return text


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace ``secrets`` as ``mask`` does, and what has the shape of a well-known key, by ``[redacted]``."""
    text = mask(text, secrets)
    if any(mark in text for mark in _MARKS):
        text = _shapes().sub(_REDACTED, text)
    return text


@lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[str, ...]:
    """Spell a secret in each way in which tools pass it on."""
    from urllib.parse import quote, quote_plus  # noqa: PLC0415 - no secrets, no need

    raw = secret.encode("utf-8", "surrogatepass")
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    encoded = [quote(raw, safe=""), quote(raw), quote_plus(raw)]
    lowered = [re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded]
    base64 = [form for shift in range(3) for form in _base64_within(raw, shift)]
    return tuple(
        form
        for form in {secret, escaped, *encoded, *lowered, *base64}
        if len(form) >= _SHORTEST_SECRET and form not in _REDACTED
    )


def _base64_within(raw: bytes, shift: int) -> tuple[str, str]:
    """Return the characters that are the same whatever stands before (``shift`` bytes beyond a group) and after."""
    whole = b2a_base64(b"\0" * shift + raw, newline=False).decode("ascii")
    known = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
    return known, known.replace("+", "-").replace("/", "_")


_MARKS = (
    *("sk-", "sk_live_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "AKIA", "ASIA", "AIza"),
    *("xox", "hf_", "npm_", "pypi-", "dckr_pat_", "eyJ", "PRIVATE KEY", "://"),
)


@cache
def _shapes() -> re.Pattern[str]:
    """Keys that give themselves away; a tool's output may hold some that we were never told of."""
    return re.compile(
        r"""(?x)
        (?<![A-Za-z0-9]) (?:
            sk-(?=[\w-]*\d)[\w-]{20,} | sk_live_\w{16,}        # OpenAI, Anthropic and their like; Stripe
          | gh[pousr]_\w{30,} | github_pat_\w{30,} | glpat-[\w-]{20,}
          | (?:AKIA|ASIA)[0-9A-Z]{16} (?![0-9A-Z]) | AIza[\w-]{35}
          | xox[abeoprs]-[\w-]{10,} | hf_[A-Za-z0-9]{30,} | npm_[A-Za-z0-9]{30,} | pypi-[\w-]{40,} | dckr_pat_[\w-]{20,}
          | eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}              # JSON web tokens
        )
        | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
        | (?<=://) [^\s/:@"'<>]* : [^\s/@"'<>]+ (?=@)            # a password in an address
        """,
        re.DOTALL,
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` for the nearest known name, or an empty string."""
    import difflib  # noqa: PLC0415 - only an error asks for it

    near = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""
