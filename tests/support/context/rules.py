"""The rules of the three message formats, as strict as the strictest server of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Chat = Sequence[Mapping[str, Any]]


def broken_for_openai(messages: Chat) -> list[str]:
    """Return which rules of OpenAI's chat format are broken: answers right behind their calls, each once, by id."""
    return [*_roles(messages, {"system", "user", "assistant", "tool"}), *_pairs(messages, by_id=True)]


def broken_for_ollama(messages: Chat) -> list[str]:
    """Return which rules of Ollama's format are broken: as OpenAI's, but answers may go by their order."""
    by_id = all(call.get("id") for message in messages for call in message.get("tool_calls") or ())
    return [*_roles(messages, {"system", "user", "assistant", "tool"}), *_pairs(messages, by_id=by_id)]


def broken_for_anthropic(messages: Chat) -> list[str]:
    """Return which rules of Anthropic's format are broken, of messages without the system's.

    Messages of one role in a row are taken as one, as the API takes them; then both alternate, the user begins, and
    each call has its answer at the front of the next message, and each answer its call in the one before.
    """
    said: list[tuple[str, list[Mapping[str, Any]]]] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        if said and said[-1][0] == message["role"]:
            said[-1][1].extend(blocks)
        else:
            said.append((message["role"], blocks))
    wrong = [f"{role} is no role" for role, _ in said if role not in ("user", "assistant")]
    if said and said[0][0] != "user":
        wrong.append("the assistant begins")
    calls: list[str] = []
    for place, (role, blocks) in enumerate(said):
        kinds = [block["type"] for block in blocks]
        answers = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if role == "user" and sorted(answers) != sorted(calls):
            wrong.append(f"message {place} answers {answers}, and asked was {calls}")
        if kinds[: len(answers)] != ["tool_result"] * len(answers):
            wrong.append(f"message {place} has words before answers")
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"] if role == "assistant" else []
        if len(set(calls)) != len(calls):
            wrong.append(f"message {place} asks twice by one id")
    return wrong


def _roles(messages: Chat, known: set[str]) -> Iterator[str]:
    for place, message in enumerate(messages):
        if message["role"] not in known:
            yield f"message {place} has the role {message['role']}"
        if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
            yield f"message {place} has no content"
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            if not isinstance(json.loads(arguments) if isinstance(arguments, str) else arguments, dict):
                yield f"message {place} has arguments that are no object"


def _pairs(messages: Chat, *, by_id: bool) -> Iterator[str]:
    waiting: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            name = message.get("tool_call_id", "") if by_id else ""
            if name not in waiting:
                yield f"message {place} answers {name!r}, and asked was {waiting}"
            else:
                waiting.remove(name)
            continue
        if waiting:
            yield f"message {place} comes before the answers to {waiting}"
        waiting = [call.get("id", "") if by_id else "" for call in message.get("tool_calls") or ()]
        if by_id and len(set(waiting)) != len(waiting):
            yield f"message {place} asks twice by one id"
