"""The append-only file of a run: one event a line, on disk before the next step."""

from __future__ import annotations

from agentctl.journal.line import encode_record
from agentctl.journal.writer import Journal

__all__ = ["Journal", "encode_record"]
