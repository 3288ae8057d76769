"""What the environment says of the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping


def is_dumb(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal says of itself that it cannot move its cursor (TERM is dumb, unknown or not set)."""
    said = (os.environ if environ is None else environ).get("TERM", "").strip().lower()
    return said in ("", "dumb", "unknown")
