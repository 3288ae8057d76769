"""A small cassette, as a run would have recorded it."""

from __future__ import annotations

import json
from pathlib import Path

from agentctl.providers.cassettes.cassette_file import FORMAT
from agentctl.providers.cassettes.normal_form import digest

REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}


def write_cassette(path: Path) -> None:
    """Write a cassette of one request to a file."""
    provider = {"provider": "openai", "model": "gpt-4o-mini"}
    attempt = {"request": REQUEST, "sha256": digest(REQUEST), "status": 200, "headers": {}, "chunks": [[1, "{}"]]}
    lines: list[dict[str, object]] = [
        {"kind": "head", "format": FORMAT, "agentctl": "0.1.0", "recorded_at": "2026-11-01T12:00:00Z"},
        {"kind": "provider", **provider, "base_url": "", "client": "lean"},
        {"kind": "run", "task": "Hello", "agent": "system", "sandbox": None, "hour_nano": 0},
        {"kind": "attempt", **provider, **attempt, "end": "complete", "end_ms": 2, "error": None},
        {"kind": "end", "status": "done", "cost_nano": 1000},
    ]
    path.write_text("".join(json.dumps({"lane": "", **line}) + "\n" for line in lines))
