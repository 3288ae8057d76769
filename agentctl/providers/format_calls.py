"""Tool calls of a model without tools: each answer is one JSON object, whose shape the server enforces. Pure.

An Ollama whose model has no template for tools takes a JSON schema as ``format`` instead: a call of one of the tools,
or the answer. The tools stand in the instructions, and what was called and returned stands in the conversation as text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec

_RULES = """

Reply with one JSON object and nothing else. To use a tool: {"tool": NAME, "arguments": {...}}; its result comes in the
next message. To answer the user, once you know enough: {"answer": TEXT}. The tools, and their arguments as a schema:
"""
#: The parts of a schema that a grammar is made of; the others are for the reader.
_KEPT = frozenset({"type", "properties", "required", "items", "enum", "const", "anyOf", "additionalProperties"})
_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u])", re.DOTALL)
_PLAIN = re.compile(r'[^"\\]+')


def format_of(tools: Sequence[ToolSpec]) -> dict[str, object]:
    """Return the JSON schema of an answer: a call of one of these tools, or a text."""
    calls = [_object(tool={"const": tool.name}, arguments=_grammar(tool.parameters)) for tool in tools]
    return {"anyOf": [*calls, _object(answer={"type": "string"})]}


def settings_of(tools: Sequence[ToolSpec]) -> dict[str, object]:
    """Return what this form adds to a request, for its bound: the schema, and the tools as text."""
    return {"format": format_of(tools), "rules": _rules_of(tools)}


def _object(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _grammar(schema: object) -> object:
    """Return a schema without what no grammar needs; the names of properties are kept, whatever they are."""
    if isinstance(schema, (list, tuple)):
        return [_grammar(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: {key: _grammar(one) for key, one in part.items()}
        if name == "properties" and isinstance(part, Mapping)
        else part
        if name in ("enum", "const", "required", "type")
        else _grammar(part)
        for name, part in schema.items()
        if name in _KEPT
    }


def as_text(request: Request) -> Request:
    """Return a request whose conversation holds the tools, the calls and their results as text."""
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    messages = [_plain(message, names) for message in request.messages]
    rules = _rules_of(request.tools)
    place = next((place for place, one in enumerate(messages) if one.role == "system"), None)
    if place is None:
        messages.insert(0, Message("system", rules.lstrip()))
    else:
        messages[place] = replace(messages[place], text=messages[place].text + rules)
    return replace(request, messages=tuple(messages))


def without_calls(request: Request) -> Request:
    """Return a request without tools whose conversation holds the calls and their results as text."""
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    return replace(request, messages=tuple(_plain(message, names) for message in request.messages))


def _rules_of(tools: Sequence[ToolSpec]) -> str:
    return _RULES + "".join(_describe(tool) for tool in tools)


def _describe(tool: ToolSpec) -> str:
    return f"- {tool.name}: {tool.description} {_dump(tool.parameters)}\n"


def _plain(message: Message, names: Mapping[str, str]) -> Message:
    if message.role == "tool":
        return Message("user", f"Result of {names.get(message.tool_call_id or '', 'the tool')}:\n{message.text}")
    if message.role != "assistant":
        return message
    calls = [_dump({"tool": call.name, "arguments": call.arguments}) for call in message.tool_calls]
    if calls:
        return Message("assistant", "\n".join([*([message.text] if message.text.strip() else []), *calls]))
    return Message("assistant", _dump({"answer": message.text}))


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_as_plain)


def _as_plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (tuple, set, frozenset)) else str(value)


def read_completion(completion: Completion, tools: Sequence[ToolSpec]) -> Completion:
    """Return the completion that an answer in that form means: with its call, or with its text.

    A text in another form stays as it is: an old server ignores ``format``, and an answer may be cut.
    """
    value: object = None
    with suppress(ValueError, RecursionError):
        value = json.loads(completion.text, strict=False)
    if isinstance(value, dict) and isinstance(value.get("answer"), str):
        return replace(completion, text=value["answer"])
    if isinstance(value, dict) and value.get("tool") in {tool.name for tool in tools}:
        arguments = value.get("arguments") or {}
        if isinstance(arguments, dict):
            call = ToolCall(f"call_{os.urandom(6).hex()}", str(value["tool"]), arguments)
            stop = "tool_calls" if completion.stop == "stop" else completion.stop
            return replace(completion, text="", tool_calls=(call,), stop=stop)
    if (said := AnswerDecoder().add(completion.text)) and completion.stop == "length":
        return replace(completion, text=said)
    return completion


class AnswerDecoder:
    """Decodes the text of ``{"answer": "…"}`` as it comes, piece by piece."""

    def __init__(self) -> None:
        self._rest = ""
        self._has_begun = self._is_over = False

    def add(self, piece: str) -> str:
        """Return what a further piece of the answer adds to its text; "" for a call, or before the text begins."""
        self._rest += piece
        if not self._has_begun:
            found = _ANSWER.match(self._rest)
            if found is None:
                return ""
            self._has_begun, self._rest = True, self._rest[found.end() :]
        said = ""
        while self._rest and not self._is_over:
            if found := _PLAIN.match(self._rest):
                said += found[0]
            elif self._rest[0] == '"':
                self._is_over = True
                break
            elif (found := _ESCAPE.match(self._rest)) is None:
                break  # the rest of an escape is to come
            elif found[0][:3].lower() in (r"\ud", r"\uD") and found[0][3:4].lower() in "89ab":
                low = _ESCAPE.match(self._rest, found.end())
                if low is None:
                    break
                said += _unescape(found[0] + low[0])
                found = low
            else:
                said += _unescape(found[0])
            self._rest = self._rest[found.end() :]
        return said


def _unescape(escaped: str) -> str:
    with suppress(ValueError):
        return str(json.loads(f'"{escaped}"'))
    return escaped
