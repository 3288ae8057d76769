"""Ollama's chat: one JSON document a line, whole calls with arguments as objects, the window in each request. Pure.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentctl.core.messages import Message, Request
from agentctl.providers.wires.exchange import (
    Body,
    BodyFacts,
    CallPiece,
    Piece,
    arguments_of,
    mapping_of,
    mappings_of,
    stop_of,
    text_of,
    write_body,
)
from agentctl.providers.wires.openai_chat import tools_of

PATH = "/api/chat"

_EVENT = frozenset(
    {"model", "created_at", "message", "done", "done_reason", "error", "remote_model", "remote_host", "logprobs"}
    | {"total_duration", "load_duration", "prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration"}
    | {"eval_count", "eval_duration"}
)
_MESSAGE = frozenset({"role", "content", "thinking", "tool_calls", "images", "tool_name", "tool_call_id"})


def body(request: Request, facts: BodyFacts) -> Body:
    """Return the body of a request for a streamed answer."""
    content: dict[str, object] = {
        "model": facts.model,
        "messages": _messages(request.messages),
        "stream": True,
        "options": {
            "num_predict": facts.clamp,
            **({} if facts.temperature is None else {"temperature": facts.temperature}),
            **facts.model_options,
        },
        **({"tools": tools_of(request.tools)} if request.tools else {}),
        **({"format": request.answer_format.spec.parameters} if request.answer_format else {}),
        **facts.options,
    }
    return write_body(content)


def _messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_message(message, names) for message in messages]


def _message(message: Message, names: Mapping[str, str]) -> dict[str, object]:
    entry: dict[str, object] = {"role": message.role, "content": message.text}
    if message.role == "tool":
        id = message.tool_call_id or ""
        return {**entry, "tool_name": names.get(id, ""), "tool_call_id": id}
    if message.tool_calls:
        entry["tool_calls"] = [
            {"function": {"name": call.name, "arguments": call.arguments}} for call in message.tool_calls
        ]
    return entry


def piece(event: Mapping[str, object]) -> Piece | None:
    """Return the piece of an answer that an event holds, None for nothing."""
    message = mapping_of(event.get("message"))
    stop = text_of(event.get("done_reason")) or "stop" if event.get("done") is True else ""
    unknown = [f"field {name}" for name in event.keys() - _EVENT]
    unknown += [f"field message.{name}" for name in message.keys() - _MESSAGE]
    if stop and stop_of(stop) == "broken":
        unknown.append(f"reason {stop}")
    found = Piece(
        text=text_of(message.get("content")),
        thought=text_of(message.get("thinking")),
        calls=tuple(map(_call, mappings_of(message.get("tool_calls")))),
        stop=stop,
        unknown=tuple(unknown),
    )
    return None if found == Piece() else found


def _call(call: Mapping[str, object]) -> CallPiece:
    function = mapping_of(call.get("function")) or call
    return CallPiece(
        None, text_of(call.get("id")), text_of(function.get("name")), arguments_of(function.get("arguments"))
    )
