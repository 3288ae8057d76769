"""The pin of a server's catalogue: a digest of all that the server says of its tools.

A pinned catalogue is kept in the state folder, to show what has changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentctl.core.errors import StateError
from agentctl.core.files import make_folder, replace_file
from agentctl.core.text import safe_text
from agentctl.tools.mcp.catalogue import SaidTool

_FOLDER = "mcp-pins"
_MOST_BYTES = 32 * 1024 * 1024
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


def keep_pinned(state_dir: Path, text: str) -> str:
    """Keep a catalogue, which is canonical text, under its pin; return the pin.

    Raises:
        StateError: it cannot be written.
    """
    pin = hashlib.sha256(text.encode()).hexdigest()
    path = state_dir / _FOLDER
    try:
        make_folder(path)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace_file(folder, f"{pin}.json", text.encode(), mode=0o600)
        finally:
            os.close(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StateError(f"{path} cannot be written: {reason}", hint="set AGENTCTL_STATE_DIR") from error
    return pin


def find_pinned(state_dir: Path, pin: str) -> str | None:
    """Return the canonical catalogue of a pin, None if it is not kept here, or is not what it was."""
    if not re.fullmatch(r"[0-9a-f]{64}", pin):
        return None
    path = state_dir / _FOLDER / f"{pin}.json"
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return text if hashlib.sha256(text.encode()).hexdigest() == pin else None


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
