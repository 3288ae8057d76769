"""OpenAI's Responses on the wire."""

from __future__ import annotations

import json
import time

from tests.support.wire import openai_wire
from tests.support.wire.books import Tokens
from tests.support.wire.openai_errors import refusal as refusal
from tests.support.wire.openai_wire import lookup as lookup
from tests.support.wire.script import Called, Format, Json, Said, WireRequest
from tests.support.wire.speech import (
    House,
    Piece,
    Refusal,
    Speech,
    compact,
    garbled,
    identity,
    listed,
    plain,
    reported,
    reported_early,
    reported_late,
    slices,
    whole_number,
)

FORMAT: Format = "responses"
STREAM_TYPE = openai_wire.STREAM_TYPE
TYPE = openai_wire.TYPE
PREFIX = "call_"
HEADERS = openai_wire.HEADERS
_SEALED = "gAAAAABsealed"  # how every encrypted thought begins
_REASONS = {"length": "max_output_tokens"}
_WHOLE = ("stop", "tool_calls")


def read(path: str, body: Json, size: int) -> WireRequest:
    """Understand a request."""
    said = [Said("system", str(body["instructions"]))] if body.get("instructions") else []
    for item in listed(body.get("input")):
        new = _said(item)
        if new is not None and said and said[-1].role == new.role == "assistant":
            said[-1] = said[-1]._replace(text=said[-1].text + new.text, calls=(*said[-1].calls, *new.calls))
        elif new is not None:
            said.append(new)
    return WireRequest(
        format=FORMAT,
        path=path,
        body=body,
        model=str(body.get("model", "")),
        clamp=whole_number(body.get("max_output_tokens")),
        stream=body.get("stream") is True,
        tools=tuple(str(tool.get("name", "")) for tool in listed(body.get("tools"))),
        messages=tuple(said),
        size=size,
        number=0,
    )


def _said(item: Json) -> Said | None:
    match item.get("type", "message"):
        case "message":
            role = str(item.get("role", ""))
            return Said("system" if role == "developer" else role, plain(item.get("content")))
        case "function_call":
            return Said("assistant", calls=(Called(str(item.get("call_id", "")), str(item.get("name", ""))),))
        case "function_call_output":
            return Said("tool", plain(item.get("output")), answers=str(item.get("call_id", "")))
        case _:
            return None


def refused(headers: dict[str, str], asked: WireRequest | None, house: House) -> Refusal | None:
    """Return why the real one would refuse this at the door: as it keeps nothing, all must be in the request."""
    usual = None if asked is None or asked.messages else Refusal(400, None, words="Missing required parameter: 'input'")
    door = openai_wire.refused(headers, asked if usual is None else None, house) or usual
    if door is not None or asked is None:
        return door
    items = listed(asked.body.get("input"))
    called = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    answered = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    if lost := answered - called:
        return Refusal(400, None, words=f"No tool call found for function call output with call_id {lost.pop()}.")
    if lost := called - answered:
        return Refusal(400, None, words=f"No tool output found for function call {lost.pop()}.")
    for place, item in enumerate(items):
        if item.get("type") != "reasoning":
            continue
        if "id" in item:
            return Refusal(404, None, words=f"Item with id '{item['id']}' not found. Items are not persisted.")
        if not str(item.get("encrypted_content")).startswith(_SEALED):
            return Refusal(400, None, words="The encrypted content could not be verified.")
        if place + 1 == len(items) or items[place + 1].get("type", "message") not in ("message", "function_call"):
            return Refusal(
                400, None, words="Item of type 'reasoning' was provided without its required following item."
            )
    return None


def _usage(tokens: Tokens, *, odd: bool = False) -> Json:
    document: Json = {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
    return garbled(document) if odd else document


def _response(asked: WireRequest, speech: Speech, status: str, **more: object) -> Json:
    return {
        "id": identity("resp_", asked.number, length=48),
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.body.get("instructions"),
        "max_output_tokens": asked.clamp,
        "model": speech.model,
        "output": [],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "store": asked.body.get("store"),
        "tools": asked.body.get("tools", []),
        "usage": None,
        **more,
    }


def _items(asked: WireRequest, speech: Speech) -> list[Json]:
    """Return the items of the answer: a thought, a message, the calls."""
    found: list[Json] = []
    if speech.tokens.reasoning:
        sealed = "reasoning.encrypted_content" in (asked.body.get("include") or ())
        content = {"encrypted_content": identity(_SEALED, asked.number, length=64)} if sealed else {}
        found.append({"id": identity("rs_", asked.number), "type": "reasoning", "summary": [], **content})
    if speech.text or not speech.calls:
        part = {"type": "output_text", "text": speech.text, "annotations": [], "logprobs": []}
        found.append({"id": identity("msg_", asked.number), "type": "message", "role": "assistant", "content": [part]})
    for at, call in enumerate(speech.calls):
        named = {"id": identity("fc_", asked.number, at), "type": "function_call", "call_id": call.id}
        found.append({**named, "name": call.name, "arguments": call.text})
    return [{**item, "status": "completed"} for item in found]


def _ending(asked: WireRequest, speech: Speech) -> Json:
    usage = {} if (last := reported(speech)) is None else {"usage": _usage(last, odd=speech.usage == "garbage")}
    output = [*_items(asked, speech), *({"type": "web_search_call", "id": "ws_1"} for _ in range(speech.searches))]
    if speech.stop in _WHOLE:
        return _response(asked, speech, "completed", output=output, **usage)
    details = {"reason": _REASONS.get(speech.stop, speech.stop)}
    return _response(asked, speech, "incomplete", output=output, incomplete_details=details, **usage)


def pieces(asked: WireRequest, speech: Speech) -> list[Piece]:
    """Return the answer as a stream."""
    sent: list[Piece] = []

    def event(kind: str, *, finishes: bool = False, counts: bool = False, **more: object) -> None:
        document = compact({"type": kind, "sequence_number": len(sent), **more})
        sent.append(Piece(f"event: {kind}\ndata: {document}\n\n".encode(), finishes, counts))

    early = reported_early(speech)
    event("response.created", response=_response(asked, speech, "in_progress"))
    usage = {} if early is None else {"usage": _usage(early)}
    event("response.in_progress", response=_response(asked, speech, "in_progress", **usage))
    for at, item in enumerate(_items(asked, speech)):
        place = {"output_index": at, "item_id": item["id"]}
        empty = {**item, "status": "in_progress", "content": []} if item["type"] == "message" else item
        empty = {**empty, "arguments": ""} if item["type"] == "function_call" else empty
        opened = {name: value for name, value in empty.items() if name != "encrypted_content"}
        event("response.output_item.added", output_index=at, item=opened)
        if item["type"] == "message":
            part = item["content"][0]
            event("response.content_part.added", **place, content_index=0, part={**part, "text": ""})
            for piece in slices(speech.text):
                event(
                    "response.output_text.delta", **place, content_index=0, delta=piece, logprobs=[], obfuscation="x7"
                )
            event("response.output_text.done", **place, content_index=0, text=speech.text, logprobs=[])
            event("response.content_part.done", **place, content_index=0, part=part)
        elif item["type"] == "function_call":
            for piece in slices(str(item["arguments"]), 12):
                event("response.function_call_arguments.delta", **place, delta=piece)
            event("response.function_call_arguments.done", **place, arguments=item["arguments"])
        event("response.output_item.done", output_index=at, item=item)
    ending = _ending(asked, speech)
    event(f"response.{ending['status']}", finishes=True, counts=ending["usage"] is not None, response=ending)
    if (late := reported_late(speech)) is not None:
        event(f"response.{ending['status']}", response={**ending, "usage": _usage(late)})
    return sent


def whole(asked: WireRequest, speech: Speech) -> bytes:
    """Return the answer as one document."""
    return compact(_ending(asked, speech)).encode()


def broken_off(why: Refusal) -> bytes:
    """Return the error as an event in mid-stream."""
    error = json.loads(refusal(why).body)["error"]
    document = {"type": "error", "code": error["code"] or error["type"], "message": error["message"], "param": None}
    return f"event: error\ndata: {compact(document)}\n\n".encode()
