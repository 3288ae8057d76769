"""The append-only file of a run: one event a line, on disk before the next step."""

from __future__ import annotations

from agentctl.journal.line import as_line
from agentctl.journal.writer import Journal

__all__ = ["Journal", "as_line"]
