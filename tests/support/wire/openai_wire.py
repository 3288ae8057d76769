"""OpenAI's chat completions on the wire."""

from __future__ import annotations

import time

from tests.support.wire.books import Tokens
from tests.support.wire.openai_errors import refusal as refusal
from tests.support.wire.script import Called, Format, Json, Said, WireRequest
from tests.support.wire.speech import (
    House,
    Piece,
    Refusal,
    Reply,
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

FORMAT: Format = "openai"
STREAM_TYPE = "text/event-stream; charset=utf-8"
TYPE = "application/json"
PREFIX = "call_"
HEADERS: tuple[tuple[str, str], ...] = (("x-request-id", "req_0123456789abcdef0123456789abcdef"),)
_SOME_MODELS = ("gpt-4o", "gpt-4o-mini")


def read(path: str, body: Json, size: int) -> WireRequest:
    """Understand a chat request."""
    clamp = body.get("max_completion_tokens")
    return WireRequest(
        format=FORMAT,
        path=path,
        body=body,
        model=str(body.get("model", "")),
        clamp=whole_number(body.get("max_tokens") if clamp is None else clamp),
        stream=body.get("stream") is True,
        tools=tuple(str(tool.get("function", {}).get("name", "")) for tool in listed(body.get("tools"))),
        messages=tuple(map(_said, listed(body.get("messages")))),
        size=size,
        number=0,
    )


def _said(message: Json) -> Said:
    role = str(message.get("role", ""))
    calls = tuple(
        Called(str(call.get("id", "")), str(call.get("function", {}).get("name", "")))
        for call in listed(message.get("tool_calls"))
    )
    neutral = "system" if role == "developer" else role
    return Said(neutral, plain(message.get("content")), calls, str(message.get("tool_call_id") or ""))


def refused(headers: dict[str, str], asked: WireRequest | None, house: House) -> Refusal | None:
    """Return why the real one would refuse this at the door."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    if house.keys is not None and (kind.lower() != "bearer" or key not in house.keys):
        return Refusal(401, "invalid_api_key", masked(key)) if key else Refusal(401, None)
    if asked is not None and house.models is not None and asked.model not in house.models:
        return Refusal(404, "model_not_found", asked.model)
    if asked is not None and not asked.messages:
        return Refusal(400, None, words="[] is too short - 'messages'")
    return None


def masked(key: str) -> str:
    """Return a key as the error document shows it."""
    return key if len(key) <= 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"


def _usage(tokens: Tokens, *, odd: bool = False) -> Json:
    written = {"cache_write_tokens": tokens.cache_write} if tokens.cache_write else {}
    document: Json = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0, **written},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return garbled(document) if odd else document


def _head(asked: WireRequest, speech: Speech, kind: str) -> Json:
    return {
        "id": identity("chatcmpl-", asked.number, length=29),
        "object": kind,
        "created": int(time.time()),
        "model": speech.model,
        "service_tier": "default",
        "system_fingerprint": "fp_a1b2c3d4e5",
    }


def pieces(asked: WireRequest, speech: Speech) -> list[Piece]:
    """Return the answer as a stream."""
    head = _head(asked, speech, "chat.completion.chunk")
    options = asked.body.get("stream_options")
    counted = isinstance(options, dict) and options.get("include_usage") is True
    last, early, odd = reported(speech), reported_early(speech), speech.usage == "garbage"
    empty: Json = {"usage": None} if counted else {}

    def event(delta: Json, finish: str | None = None, **more: object) -> Piece:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Piece(_event({**head, "choices": [choice], **empty, **more}), finishes=finish is not None)

    opening = {"role": "assistant", "content": None if speech.calls and not speech.text else "", "refusal": None}
    sent = [event(opening, usage=_usage(early)) if counted and early else event(opening)]
    sent += [event({"content": part}, obfuscation="x7Qp") for part in slices(speech.text)]
    for at, call in enumerate(speech.calls):
        named = {"index": at, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        sent.append(event({"tool_calls": [named]}))
        parts = ({"index": at, "function": {"arguments": part}} for part in slices(call.text, 12))
        sent += [event({"tool_calls": [part]}) for part in parts]
    sent.append(event({}, speech.stop))
    if counted and last is not None:
        sent.append(Piece(_event({**head, "choices": [], "usage": _usage(last, odd=odd)}), counts=True))
        if (late := reported_late(speech)) is not None:
            sent.append(Piece(_event({**head, "choices": [], "usage": _usage(late)})))
    return [*sent, Piece(b"data: [DONE]\n\n")]


def _event(document: Json) -> bytes:
    return f"data: {compact(document)}\n\n".encode()


def whole(asked: WireRequest, speech: Speech) -> bytes:
    """Return the answer as one document."""
    message: Json = {"role": "assistant", "content": speech.text or None, "refusal": None, "annotations": []}
    if speech.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in speech.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": speech.stop}
    last, odd = reported(speech), speech.usage == "garbage"
    usage = {} if last is None else {"usage": _usage(last, odd=odd)}
    return compact({**_head(asked, speech, "chat.completion"), "choices": [choice], **usage}).encode()


def broken_off(why: Refusal) -> bytes:
    """Return the error as an event in mid-stream."""
    return b"data: " + refusal(why).body + b"\n\n"


def lookup(method: str, path: str, body: Json, house: House) -> Reply | None:
    """Answer the list of models and each model's card."""
    known = house.models if house.models is not None else _SOME_MODELS
    cards = {name: {"id": name, "object": "model", "created": 1715367049, "owned_by": "system"} for name in known}
    if method != "GET":
        return None
    if path.endswith("/models"):
        return Reply(200, compact({"object": "list", "data": list(cards.values())}).encode())
    place, _, name = path.rpartition("/models/")
    if place or path.startswith("/models/"):
        return (
            Reply(200, compact(cards[name]).encode())
            if name in cards
            else refusal(Refusal(404, "model_not_found", name))
        )
    return None
