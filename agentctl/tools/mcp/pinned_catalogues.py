"""The catalogues that the user has pinned, kept in the state folder to show what differs from them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from agentctl.core.errors import StateError
from agentctl.core.files import make_folder, replace_file

_FOLDER = "mcp-pins"
_MOST_BYTES = 32 * 1024 * 1024


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
