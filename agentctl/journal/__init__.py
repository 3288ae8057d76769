"""The append-only file of a run: one event a line, on disk before the next step."""

from __future__ import annotations

from agentctl.journal.writer import Journal, encode_record

__all__ = ["Journal", "encode_record"]
