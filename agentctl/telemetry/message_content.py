"""The content of messages and calls as attributes, cut: only with the standard switch for content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from agentctl.core.text import map_texts

Fields = Mapping[str, object]

MOST_TEXT = 4_000  # characters of one text
MOST_ATTRIBUTE = 64_000  # characters of one attribute


def cut_text(text: str) -> str:
    """Return a text of at most about ``MOST_TEXT`` characters: a longer one loses its middle, and says so."""
    if len(text) <= MOST_TEXT:
        return text
    half = MOST_TEXT // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters cut]\n{text[-half:]}"


def encode_value(value: object) -> str:
    """Return a value as JSON, each of its texts cut; a value that is still too long is left out."""
    encoded = json.dumps(map_texts(value, cut_text), ensure_ascii=False, separators=(",", ":"))
    return encoded if len(encoded) <= MOST_ATTRIBUTE else json.dumps(f"[{len(encoded)} characters cut]")


def encode_messages(messages: Sequence[Fields]) -> str:
    """Return the last messages that fit into one attribute, in the form of the conventions."""
    kept: list[str] = []
    size = 2
    for message in reversed(messages):
        encoded = encode_value(_message(message))
        if size + len(encoded) + 1 > MOST_ATTRIBUTE:
            break
        size += len(encoded) + 1
        kept.append(encoded)
    return f"[{','.join(reversed(kept))}]"


def encode_system(messages: Sequence[Fields]) -> str:
    """Return the system message in the form of the conventions, "" if there is none."""
    texts = [message.get("text") for message in messages if message.get("role") == "system"]
    return encode_value([{"type": "text", "content": text} for text in texts]) if texts else ""


def encode_answer(record: Fields) -> str:
    """Return an answer in the form of the conventions."""
    answer = _message({**record, "role": "assistant"})
    return encode_value([{**answer, "finish_reason": record.get("stop")}])


def _message(message: Fields) -> dict[str, object]:
    if message.get("role") == "tool":
        parts: list[object] = [
            {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("text")}
        ]
        return {"role": "tool", "parts": parts}
    parts = [{"type": "text", "content": message["text"]}] if message.get("text") else []
    calls = message.get("tool_calls")
    parts += [
        {"type": "tool_call", "id": call.get("id"), "name": call.get("name"), "arguments": call.get("arguments")}
        for call in (calls if isinstance(calls, (list, tuple)) else ())
        if isinstance(call, Mapping)
    ]
    return {"role": message.get("role"), "parts": parts}
