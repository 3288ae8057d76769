"""Redact an export by a pattern of the user's: in each text, argument, name and label that is exported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import TranscriptDocument, TurnFields

MARK = "[redacted]"


class PatternRedactor:
    """Replaces what matches a pattern by ``[redacted]``, and counts the matches. No pattern: nothing is replaced."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        self._pattern, self.count = pattern, 0

    def __call__(self, words: str) -> str:
        """Return the text without the matches."""
        return words if self._pattern is None else self._pattern.sub(self._mark, words)

    def value(self, value: object) -> object:
        """Return a JSON value without the matches in its texts, numbers and names."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {self(str(name)): self.value(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            before = self.count
            found = self(str(value))
            return value if self.count == before else found
        return value

    def _mark(self, match: re.Match[str]) -> str:
        if not match[0]:
            return ""
        self.count += 1
        return MARK


def redact_transcript(document: TranscriptDocument, redact: PatternRedactor) -> TranscriptDocument:
    """Return the document without what matches, and how often that was; a text that stands in it twice counts once."""
    turns = [_redact_turn(turn, redact) for turn in document["turns"]]
    before, error = redact.count, document["error"]
    answer = _redact_optional(document["answer"], redact)
    said = document["turns"][-1]["text"] if turns else ""
    if said.strip() == (document["answer"] or "").strip():
        redact.count = before  # the pages show it once, too
    found: TranscriptDocument = {
        **document,
        "task": redact(document["task"]),
        "agent": _redact_optional(document["agent"], redact),
        "provider": _redact_optional(document["provider"], redact),
        "model": _redact_optional(document["model"], redact),
        "labels": {redact(name): redact(value) for name, value in document["labels"].items()},
        "parts": [
            {**part, "words": redact(part["words"]), "changes": [redact(change) for change in part["changes"]]}
            for part in document["parts"]
        ],
        "turns": turns,
        "answer": answer,
        "error": None if error is None else {name: redact(str(words)) for name, words in error.items()},
    }
    return {**found, "redactions": redact.count}


def _redact_turn(turn: TurnFields, redact: PatternRedactor) -> TurnFields:
    return {
        **turn,
        "prompts": [redact(prompt) for prompt in turn["prompts"]],
        "calls": [{**call, "reason": _redact_optional(call["reason"], redact)} for call in turn["calls"]],
        "text": redact(turn["text"]),
        "tools": [
            {
                **tool,
                "name": redact(tool["name"]),
                "arguments": {redact(name): redact.value(value) for name, value in tool["arguments"].items()},
                "decision": _redact_optional(tool["decision"], redact),
                "result": _redact_optional(tool["result"], redact),
            }
            for tool in turn["tools"]
        ],
        "notes": [redact(note) for note in turn["notes"]],
    }


def _redact_optional(words: str | None, redact: PatternRedactor) -> str | None:
    return None if words is None else redact(words)
