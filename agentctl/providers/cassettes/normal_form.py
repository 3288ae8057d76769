"""The normal form of a request, by which a recording is found: without what differs from run to run.

The ids of runs, the clock of the first message, the workspace's and the state folder's paths, and the ids of redaction
marks are replaced by fixed words; the ids of tool calls are numbered in their order. The order of members does not
count.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath

from agentctl.core.redaction import mask

_CLOCK = re.compile(r"\[It is \d{4}-\d\d-\d\d \d\d:\d\d UTC\.")
_MARK = re.compile(r"\[redacted:[a-z0-9-]{2,40}:[0-9a-f]{6}\]")
_RUN_FOLDER = re.compile(r"(?<=<state>/runs/)[0-9a-f]{12}\b")
_ID_NAMES = frozenset({"tool_call_id", "tool_use_id", "call_id"})
_CALL_TYPES = frozenset({"tool_use", "function_call", "function"})
_LEAST_PARTS = 3  # of a path that is replaced: "/", "/tmp" and "/root" are words of other texts, too


class NormalForm:
    """Makes the normal form of requests and of tool arguments; ``secrets`` are masked in them, exactly as they are."""

    def __init__(self, *, workdir: str = "", state_dir: str = "", secrets: tuple[str, ...] = ()) -> None:
        self._secrets = secrets
        self._words: dict[str, str] = {}
        for path, word in ((state_dir, "<state>"), (workdir, "<workdir>")):
            if len(PurePath(path).parts) >= _LEAST_PARTS:
                self._words[path.rstrip("/")] = word

    def name_run(self, run_id: str, word: str) -> None:
        """Replace the id of a run by ``word`` from here on."""
        self._words[run_id] = word

    def request(self, body: Mapping[str, object]) -> dict[str, object]:
        """Return the normal form of a request's body."""
        ids: dict[str, str] = {}
        return {name: self._value(value, ids) for name, value in body.items()}

    def arguments(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the normal form of the arguments of a tool call."""
        return {name: self._value(value, {}) for name, value in given.items()}

    def text(self, text: str) -> str:
        """Return the normal form of a text."""
        for given, word in self._words.items():
            if given in text:
                text = text.replace(given, word)
        text = _CLOCK.sub("[It is <now>.", text) if "[It is " in text else text
        text = _MARK.sub("[redacted]", text) if "[redacted:" in text else text
        text = _RUN_FOLDER.sub("<run>", text) if "<state>/runs/" in text else text
        return mask(text, self._secrets)

    def _value(self, value: object, ids: dict[str, str]) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(item, ids) for item in value]
        if not isinstance(value, dict):
            return value
        is_call = "function" in value or value.get("type") in _CALL_TYPES
        named = {
            name
            for name, item in value.items()
            if isinstance(item, str) and (name in _ID_NAMES or (name == "id" and is_call))
        }
        return {
            name: ids.setdefault(str(item), f"call_{len(ids) + 1}") if name in named else self._value(item, ids)
            for name, item in value.items()
        }


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its members, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
