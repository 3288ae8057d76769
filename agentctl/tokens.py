"""About how many tokens a text is where nobody knows better, and what beside texts is counted. Pure."""

from __future__ import annotations

import json

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
_written = json.JSONEncoder(ensure_ascii=False, default=str).encode  # made once: that costs as much as writing
LEAST_LEFT = 32  # tokens that a cut text keeps at least, its mark included


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: its UTF-8 bytes by four, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def as_json(value: object) -> str:
    """Return ``value`` as JSON for counting and showing; what JSON cannot write stands as its ``str()``."""
    return _written(value)
