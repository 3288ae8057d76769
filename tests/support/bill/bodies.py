"""Bodies of answers byte by byte, for what no script says: pieces cut anywhere, types that no provider sends."""

from __future__ import annotations

import json
from typing import Any

USAGE = {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020}


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:  # noqa: ANN401
    """Return one event of OpenAI's stream, with what JSON can say and no provider would."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4-turbo"}
    return b"data: " + json.dumps({**head, "choices": [choice], **more}).encode() + b"\n\n"


def call(name: object = "system_memory", arguments: object = "{}", **more: object) -> dict[str, Any]:
    """Return a piece of an answer that asks for a tool."""
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function, **more}]}


def spoken(*deltas: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:  # noqa: ANN401
    """Return a whole answer of such events, with its usage."""
    said = [event(delta, **more) for delta in deltas]
    return b"".join([*said, event({}, finish, **more), event(choices=[], usage=USAGE), b"data: [DONE]\n\n"])


def in_pieces(format: str, *texts: str) -> bytes:
    """Return a whole answer that comes in exactly these pieces, at 1,000 and 20 tokens."""
    if format == "openai":
        return spoken(*({"content": text} for text in texts))
    return _anthropic(texts) if format == "anthropic" else _ollama(texts)


def _anthropic(texts: tuple[str, ...]) -> bytes:
    usage = {"input_tokens": 1000, "output_tokens": 1}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-5", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


def _ollama(texts: tuple[str, ...]) -> bytes:
    lines: list[dict[str, Any]] = [{"message": {"role": "assistant", "content": text}, "done": False} for text in texts]
    counts = {"done_reason": "stop", "prompt_eval_count": 1000, "eval_count": 20}
    lines.append({"message": {"role": "assistant", "content": ""}, "done": True, **counts})
    head = {"model": "llama3.1:latest", "created_at": "2026-11-23T00:00:00Z"}
    return b"".join(json.dumps({**head, **line}).encode() + b"\n" for line in lines)
