"""Answers event by event, in three formats, for what no script of the server says: thoughts, odd arguments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

Event = dict[str, Any]

MODEL = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "ollama": "llama3.1:latest"}
STOP = {"openai": "stop", "anthropic": "end_turn", "ollama": "stop"}


def spoken(format: str, *texts: str, stop: str = "", thoughts: Sequence[str] = (), **last: object) -> list[Event]:
    """Return the events of an answer in these pieces, after these thoughts; ``last`` is added to its last event."""
    make = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}[format]
    return make(texts, (), stop or STOP[format], thoughts, last)


def calling(format: str, *calls: tuple[str, Sequence[str]], text: str = "") -> list[Event]:
    """Return the events of an answer that makes calls: the name of each, and the pieces of its arguments."""
    make = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}[format]
    stop = {"openai": "tool_calls", "anthropic": "tool_use", "ollama": "stop"}[format]
    return make((text,) if text else (), calls, stop, (), {})


Calls = Sequence[tuple[str, Sequence[str]]]


def chunk(delta: Event | None = None, finish: str | None = None, **more: object) -> Event:
    """Return one chunk of OpenAI's stream."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL["openai"]}
    return {**head, "choices": [choice], **more}


def _openai(texts: Sequence[str], calls: Calls, stop: str, thoughts: Sequence[str], last: Event) -> list[Event]:
    found = [chunk({"role": "assistant", "content": ""})]
    found += [chunk({"reasoning_content": thought}) for thought in thoughts]
    found += [chunk({"content": text}) for text in texts]
    for place, (name, pieces) in enumerate(calls):
        begun = {"index": place, "id": f"call_abc{place}", "type": "function"}
        found.append(chunk({"tool_calls": [{**begun, "function": {"name": name, "arguments": ""}}]}))
        found += [chunk({"tool_calls": [{"index": place, "function": {"arguments": piece}}]}) for piece in pieces]
    usage = {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110}
    return [*found, chunk({}, stop), {**chunk(), "choices": [], "usage": usage, **last}]


def _anthropic(texts: Sequence[str], calls: Calls, stop: str, thoughts: Sequence[str], last: Event) -> list[Event]:
    usage = {"input_tokens": 90, "output_tokens": 1, "service_tier": "standard"}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL["anthropic"], "content": []}
    found: list[Event] = [
        {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    ]
    blocks: list[tuple[Event, list[Event]]] = []
    if thoughts:
        deltas: list[Event] = [{"type": "thinking_delta", "thinking": thought} for thought in thoughts]
        deltas.append({"type": "signature_delta", "signature": "c2lnbmVk"})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if texts:
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in texts]))
    for place, (name, pieces) in enumerate(calls):
        block = {"type": "tool_use", "id": f"toolu_abc{place}", "name": name, "input": {}}
        blocks.append((block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]))
    for index, (block, deltas) in enumerate(blocks):
        found.append({"type": "content_block_start", "index": index, "content_block": block})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": stop, "stop_sequence": None}
    found.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 20, **last}})
    return [*found, {"type": "message_stop"}]


def _ollama(texts: Sequence[str], calls: Calls, stop: str, thoughts: Sequence[str], last: Event) -> list[Event]:
    messages: list[Event] = [{"content": "", "thinking": thought} for thought in thoughts]
    messages += [{"content": text} for text in texts]
    for place, (name, pieces) in enumerate(calls):
        arguments = json.loads("".join(pieces))
        messages.append(
            {"content": "", "tool_calls": [{"function": {"index": place, "name": name, "arguments": arguments}}]}
        )
    head = {"model": MODEL["ollama"], "created_at": "2026-11-23T00:00:00Z"}
    found = [{**head, "message": {"role": "assistant", **message}, "done": False} for message in messages]
    counts = {"done_reason": stop, "prompt_eval_count": 90, "eval_count": 20, **last}
    return [*found, {**head, "message": {"role": "assistant", "content": ""}, "done": True, **counts}]


def written(format: str, events: Iterable[Event], *, escaped: bool = False) -> bytes:
    """Return events as their provider writes them; ``escaped`` writes what is not ASCII as escapes."""
    return b"".join(line(format, event, escaped=escaped) for event in events) + end(format)


def line(format: str, event: Event, *, escaped: bool = False) -> bytes:
    """Return one event as its provider writes it."""
    text = json.dumps(event, ensure_ascii=escaped, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if format == "ollama":
        return text + b"\n"
    named = f"event: {event['type']}\n".encode() if format == "anthropic" else b""
    return named + b"data: " + text + b"\n\n"


def end(format: str) -> bytes:
    """Return what a provider writes behind the last event."""
    return b"data: [DONE]\n\n" if format == "openai" else b""
