"""Anthropic's messages: the system apart, turns that alternate, tool results first in the user's turn. Pure.

https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from agentctl.core.messages import AnswerFormat, Message, Request, Thought, ToolCall, ToolSpec
from agentctl.providers.chat_format import mark_places
from agentctl.providers.wires.exchange import (
    Body,
    BodyFacts,
    CallPiece,
    Piece,
    ThoughtPiece,
    arguments_of,
    mapping_of,
    mappings_of,
    place_of,
    stop_of,
    text_of,
    write_body,
)

PATH = "/v1/messages"

Block = dict[str, object]

_MARK: Mapping[str, object] = {"cache_control": {"type": "ephemeral"}}
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 128
_EMPTY = "(empty)"  # a block without a visible character is refused
#: Anthropic refuses calls in a conversation without tools; a last answer is asked for without.
NO_TOOL = ToolSpec("no_tool", "There are no tools any more.", {"type": "object", "properties": {}})
_QUIET = frozenset({"content_block_stop", "message_stop", "ping", "error"})
_QUIET_BLOCKS = frozenset({"fallback"})
_QUIET_DELTAS = frozenset({"citations_delta"})


def body(request: Request, facts: BodyFacts) -> Body:
    """Return the body of a request for a streamed answer."""
    marks = mark_places(request.messages, followed=request.followed) if facts.marks else frozenset()
    first = next((place for place, one in enumerate(request.messages) if one.role != "system"), len(request.messages))
    system = [
        _text(message.text, marked=place in marks)
        for place, message in enumerate(request.messages[:first])
        if message.text.strip()
    ]
    content: dict[str, object] = {
        "model": facts.model,
        "messages": _turns(request.messages, first, marks),
        facts.clamp_name: facts.clamp,
        **({} if facts.temperature is None else {"temperature": facts.temperature}),
        **({"system": system} if system else {}),
        **_tools(request),
        **({"output_config": {"format": _format(request.answer_format)}} if request.answer_format else {}),
        **facts.options,
        "stream": True,
    }
    return write_body(content)


def _tools(request: Request) -> dict[str, object]:
    if request.tools:
        return {"tools": [_tool(tool) for tool in request.tools]}
    has_calls = any(message.tool_calls or message.role == "tool" for message in request.messages)
    return {"tools": [_tool(NO_TOOL)]} if has_calls else {}


def _tool(tool: ToolSpec) -> Block:
    schema = tool.parameters if "type" in tool.parameters else {"type": "object", "properties": {}, **tool.parameters}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


def _format(asked: AnswerFormat) -> Block:
    return {"type": "json_schema", "schema": asked.spec.parameters}


def _turns(messages: Sequence[Message], first: int, marks: Iterable[int]) -> list[Block]:
    """Return the turns; messages in a row of the same side are one turn, and instructions within are the user's."""
    turns = list[tuple[str, list[Block]]]()
    for place in range(first, len(messages)):
        message = messages[place]
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, marked=place in marks)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    for role, blocks in turns:
        if role == "user":
            blocks.sort(key=lambda block: block["type"] != "tool_result")  # stable
    for (role, blocks), (_, following) in pairwise([*turns, ("", [])]):
        if role == "assistant":
            _tell_apart(blocks, following)
    if turns and turns[-1][0] == "assistant":
        _strip_end(turns[-1][1])
    return [{"role": role, "content": blocks} for role, blocks in turns]


def _blocks(message: Message, *, marked: bool) -> list[Block]:
    if message.role == "tool":
        result: Block = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id or ""), "content": message.text}
        return [{**result, **_MARK} if marked else result]
    if message.role != "assistant":
        return [_text(message.text if message.text.strip() else _EMPTY, marked=marked)]
    found = list[Block]()
    text = calls = 0
    for thought in (*message.thoughts, None):
        text_end = len(message.text) if thought is None else thought.text_before
        calls_end = len(message.tool_calls) if thought is None else thought.calls_before
        if message.text[text:text_end].strip():
            found.append(_text(message.text[text:text_end]))
        found += map(_call, message.tool_calls[calls:calls_end])
        text, calls = max(text, text_end), max(calls, calls_end)
        if thought is not None:
            found.append(_thought(thought))
    return found or [_text(_EMPTY)]


def _text(text: str, *, marked: bool = False) -> Block:
    return {"type": "text", "text": text, **(_MARK if marked else {})}


def _thought(thought: Thought) -> Block:
    if thought.data:
        return {"type": "redacted_thinking", "data": thought.data}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _call(call: ToolCall) -> Block:
    name = _NOT_IN_AN_ID.sub("_", call.name)[:_LONGEST_NAME] or "_"
    return {"type": "tool_use", "id": _id(call.id), "name": name, "input": call.arguments}


def _id(id: str) -> str:
    return _NOT_IN_AN_ID.sub("_", id) or "_"


def _tell_apart(calls: list[Block], results: list[Block]) -> None:
    """Give the calls of a turn whose ids are equal ids that differ, as they must, and their results the same ones.

    One that has no counterpart is removed, as the API refuses it.
    """
    pairs = Counter(map(_id_of, calls)) & Counter(map(_id_of, results))
    for blocks in (calls, results):
        times = Counter[str]()
        kept = list[Block]()
        for block in blocks:
            id = _id_of(block)
            times[id] += bool(id)
            if times[id] > 1:
                block["id" if block["type"] == "tool_use" else "tool_use_id"] = f"{id}_{times[id]}"
            if times[id] <= max(1, pairs[id]):
                kept.append(block)
        blocks[:] = kept


def _id_of(block: Block) -> str:
    """Return the id of a call or of its result, "" for another block."""
    return str(block.get("id") or block.get("tool_use_id") or "")


def _strip_end(blocks: list[Block]) -> None:
    """Remove the white space at the end of the last turn's texts, which is refused."""
    for block in blocks:
        if block["type"] == "text":
            block["text"] = str(block["text"]).rstrip()


def piece(event: Mapping[str, object]) -> Piece | None:
    """Return the piece of an answer that an event holds, None for nothing."""
    kind = text_of(event.get("type"))
    index = place_of(event.get("index")) or 0
    match kind:
        case "content_block_start":
            return _start(index, mapping_of(event.get("content_block")))
        case "content_block_delta":
            return _delta(index, mapping_of(event.get("delta")))
        case "message_delta":
            stop = text_of(mapping_of(event.get("delta")).get("stop_reason"))
            unknown = (f"reason {stop}",) if stop and stop_of(stop) == "broken" else ()
            return Piece(stop=stop, unknown=unknown) if stop else None
        case "message_start":
            return _whole(mapping_of(event.get("message")))  # of some gateways it has all of the answer
        case "message":
            return _whole(event)
        case _:
            return None if kind in _QUIET else Piece(unknown=(f"event {kind or 'without a type'}",))


def _whole(message: Mapping[str, object]) -> Piece | None:
    """Return the piece that a whole message is, as a server sends it that does not stream."""
    found = [_start(index, block) for index, block in enumerate(mappings_of(message.get("content")))]
    parts = [part for part in found if part is not None]
    stop = text_of(message.get("stop_reason"))
    if not parts and not stop:
        return None
    return Piece(
        text="".join(part.text for part in parts),
        thought="".join(part.thought for part in parts),
        calls=tuple(call for part in parts for call in part.calls),
        stop=stop,
        thoughts=tuple(thought for part in parts for thought in part.thoughts),
        unknown=tuple(name for part in parts for name in part.unknown),
        is_whole=True,
    )


def _start(index: int, block: Mapping[str, object]) -> Piece | None:
    kind = text_of(block.get("type"))
    match kind:
        case "text":
            text = text_of(block.get("text"))
            return Piece(text) if text else None
        case "tool_use":
            given = block.get("input")
            arguments = arguments_of(given) if given else ""
            call = CallPiece(index, text_of(block.get("id")), text_of(block.get("name")), arguments)
            return Piece(calls=(call,))
        case "thinking":
            text = text_of(block.get("thinking"))
            thought = Thought(text, text_of(block.get("signature")))
            return Piece(thought=text, thoughts=(ThoughtPiece(index, thought),))
        case "redacted_thinking":
            data = text_of(block.get("data"))
            return Piece(thought=data, thoughts=(ThoughtPiece(index, Thought(data=data)),), is_hidden=True)
        case _:
            return None if kind in _QUIET_BLOCKS else Piece(unknown=(f"block {kind or 'without a type'}",))


def _delta(index: int, delta: Mapping[str, object]) -> Piece | None:
    kind = text_of(delta.get("type"))
    match kind:
        case "text_delta":
            text = text_of(delta.get("text"))
            return Piece(text) if text else None
        case "input_json_delta":
            return Piece(calls=(CallPiece(index, arguments=arguments_of(delta.get("partial_json")), opens=False),))
        case "thinking_delta":
            text = text_of(delta.get("thinking"))
            return Piece(thought=text, thoughts=(ThoughtPiece(index, Thought(text)),))
        case "signature_delta":
            return Piece(thoughts=(ThoughtPiece(index, Thought(signature=text_of(delta.get("signature")))),))
        case _:
            return None if kind in _QUIET_DELTAS else Piece(unknown=(f"delta {kind or 'without a type'}",))
