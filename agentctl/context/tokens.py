"""About how many tokens a text is where nobody knows better, and what beside texts is counted. Pure."""

from __future__ import annotations

import json

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
_written = json.JSONEncoder(ensure_ascii=False, default=str).encode  # made once: that costs as much as writing
LEAST_LEFT = 32  # tokens that a cut text keeps at least, its mark included

_LETTERS, _CAPITALS = b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KINDS = (  # tokens in a thousand bytes of a kind: dense text (hex, base64, tables of numbers) comes out about right
    (_LETTERS, 280),
    (_CAPITALS, 900),
    (b" \t\r\n", 150),
    (b"0123456789", 850),
    (bytes(byte for byte in range(33, 127) if not chr(byte).isalnum()), 650),
    (bytes(range(128, 256)), 500),
)
_OTHER = 1000


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: its UTF-8 bytes by four, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def rough_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is by the kinds of its characters: for prose too many, for noise too few.

    It takes a hundredth of the time that a vocabulary takes, and none to load.
    """
    data = text.encode("utf-8", "surrogatepass")
    left, thousandths = len(data), 0
    for kind, each in _KINDS:
        if not left:
            break
        data = data.translate(None, kind)
        thousandths += (left - len(data)) * each
        left = len(data)
    return -(-(thousandths + left * _OTHER) // 1000)


def as_json(value: object) -> str:
    """Return ``value`` as JSON for counting and showing; what JSON cannot write stands as its ``str()``."""
    return _written(value)
