"""The pin of a server's catalogue: a digest of all that a server says of its tools, and what differs from it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from agentctl.core.text import safe_text
from agentctl.tools.mcp.catalogue import SaidTool

_PARTS = {"description": "its description", "schema": "its parameters", "output_schema": "its results"}
_PARTS |= {"annotations": "its annotations"}
_LONGEST_TEXT = 200
_MOST_LINES = 50


def canonical(tools: Sequence[SaidTool]) -> str:
    """Return a catalogue as JSON that depends on nothing but its tools: sorted, without blanks."""
    said = sorted(json.dumps(tool._asdict(), sort_keys=True, separators=(",", ":")) for tool in tools)
    return f"[{','.join(said)}]"


def digest_of(tools: Sequence[SaidTool]) -> str:
    """Return the pin of a catalogue, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(tools).encode()).hexdigest()


def differences(pinned: str, tools: Sequence[SaidTool]) -> tuple[str, ...]:
    """Return what a catalogue has in other words than the ``pinned`` one, which is canonical text; a line each."""
    before = {str(tool["name"]): tool for tool in json.loads(pinned)}
    now = {tool.name: json.loads(json.dumps(tool._asdict())) for tool in tools}
    lines = [f"+ {_short(name)}: new" for name in sorted(now.keys() - before.keys())]
    lines += [f"- {_short(name)}: gone" for name in sorted(before.keys() - now.keys())]
    for name in sorted(now.keys() & before.keys()):
        for part, words in _PARTS.items():
            lines += _changes(name, words, before[name].get(part), now[name].get(part))
    return (*lines[:_MOST_LINES], *([f"{len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else ()))


def _changes(name: str, words: str, old: object, new: object) -> Sequence[str]:
    if old == new:
        return ()
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        old, new = ({key: part[key] for key in keys if key in part} for part in (old, new))
    return f"~ {_short(name)}: {words} changed", f"  - {_short(old)}", f"  + {_short(new)}"


def _short(value: object) -> str:
    text = safe_text(value if isinstance(value, str) else json.dumps(value, sort_keys=True))
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"
