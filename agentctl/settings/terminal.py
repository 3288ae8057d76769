"""What the environment says of where we run: of the terminal, and whether a run started us."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agentctl.settings.names import CHILD_MARK


def is_dumb(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal says of itself that it cannot move its cursor (TERM is dumb, unknown or not set)."""
    said = (os.environ if environ is None else environ).get("TERM", "").strip().lower()
    return said in ("", "dumb", "unknown")


def is_inside_a_run(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a run's command started this process: it carries the run's mark."""
    return CHILD_MARK in (os.environ if environ is None else environ)
