"""Anthropic's messages on the wire."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.wire.books import Tokens
from tests.support.wire.prompt_cache import MOST_MARKS
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

FORMAT: Format = "anthropic"
STREAM_TYPE = "text/event-stream; charset=utf-8"
TYPE = "application/json"
PREFIX = "toolu_01"
_SOME_MODELS = ("claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_REQUEST_ID = "req_011CSHoEeqs5C35K2UUqR7Fy"
HEADERS: tuple[tuple[str, str], ...] = (("request-id", _REQUEST_ID),)
_ERRORS = {  # by status: type, message
    400: ("invalid_request_error", "The request body is not valid JSON"),
    401: ("authentication_error", "x-api-key header is required"),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not Found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    422: ("invalid_request_error", "Unprocessable entity"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    529: ("overloaded_error", "Overloaded"),
}
_CODES = {  # by code: status, message
    "invalid_api_key": (401, "invalid x-api-key"),
    "model_not_found": (404, "model: {}"),
    "context_length_exceeded": (400, "prompt is too long: 210042 tokens > 200000 maximum"),
    "insufficient_quota": (
        400,
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade.",
    ),
    "unsupported_parameter": (400, "temperature: Extra inputs are not permitted"),
    "no_tools": (400, "tools: Extra inputs are not permitted"),
}


def read(path: str, body: Json, size: int) -> WireRequest:
    """Understand a chat request."""
    system = plain(body.get("system"))
    said = [turn for message in listed(body.get("messages")) for turn in _said(message)]
    return WireRequest(
        format=FORMAT,
        path=path,
        body=body,
        model=str(body.get("model", "")),
        clamp=whole_number(body.get("max_tokens")),
        stream=body.get("stream") is True,
        tools=tuple(str(tool.get("name", "")) for tool in listed(body.get("tools"))),
        messages=(*((Said("system", system),) if system else ()), *said),
        size=size,
        number=0,
    )


def _said(message: Json) -> Iterator[Said]:
    role, content = str(message.get("role", "")), message.get("content")
    blocks = listed(content)
    for block in blocks:
        if block.get("type") == "tool_result":
            yield Said("tool", plain(block.get("content")), answers=str(block.get("tool_use_id", "")))
    calls = tuple(
        Called(str(block.get("id", "")), str(block.get("name", "")))
        for block in blocks
        if block.get("type") == "tool_use"
    )
    if (text := plain(content)) or calls:
        yield Said(role, text, calls)


def refused(headers: dict[str, str], asked: WireRequest | None, house: House) -> Refusal | None:
    """Return why the real one would refuse this at the door."""
    bearer = headers.get("authorization", "").partition(" ")[2]
    key = headers.get("x-api-key") or bearer
    if house.keys is not None and key not in house.keys:
        return Refusal(401, "invalid_api_key" if key else None)
    if "anthropic-version" not in headers:
        return Refusal(400, None, words="anthropic-version: header is required")
    if asked is None:
        return None
    if house.models is not None and asked.model not in house.models:
        return Refusal(404, "model_not_found", asked.model)
    if "max_tokens" not in asked.body:
        return Refusal(400, None, words="max_tokens: Field required")
    if not asked.body.get("messages"):
        return Refusal(400, None, words="messages: at least one message is required")
    return _mismarked(asked.body)


def _mismarked(body: Json) -> Refusal | None:
    """Return why the marks of a request would be refused."""
    groups = (body.get("tools"), body.get("system"), *(one.get("content") for one in listed(body.get("messages"))))
    marked = [block for group in groups for block in listed(group) if "cache_control" in block]
    if len(marked) > MOST_MARKS:
        words = f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {len(marked)}."
        return Refusal(400, None, words=words)
    texts = [block.get("text", block.get("content")) for block in marked if "name" not in block]
    if not all(map(plain, texts)):
        return Refusal(400, None, words="cache_control cannot be set for empty text blocks")
    return None


def _usage(tokens: Tokens, searches: int = 0, *, odd: bool = False) -> Json:
    document: Json = {
        "input_tokens": tokens.input - tokens.cached - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write - tokens.cache_hour,
            "ephemeral_1h_input_tokens": tokens.cache_hour,
        },
    }
    if searches:
        document["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return garbled(document) if odd else document


def _message(asked: WireRequest, speech: Speech, **more: object) -> Json:
    return {
        "id": identity("msg_01", asked.number, length=22),
        "type": "message",
        "role": "assistant",
        "model": speech.model,
        **more,
    }


def pieces(asked: WireRequest, speech: Speech) -> list[Piece]:
    """Return the answer as a stream: its usage is known in part at the start, and whole in the message_delta."""
    last, early, odd = reported(speech), reported_early(speech), speech.usage == "garbage"
    first = (last or early or speech.tokens)._replace(output=1 if speech.usage != "zero" else 0, reasoning=0)
    usage = {} if speech.usage == "omit" else {"usage": {**_usage(first, odd=odd), "service_tier": "standard"}}
    message = _message(asked, speech, content=[], stop_reason=None, stop_sequence=None, **usage)
    sent = [_event("message_start", message=message)]
    blocks: list[tuple[Json, list[Json]]] = []
    if speech.text:
        deltas: list[Json] = [{"type": "text_delta", "text": part} for part in slices(speech.text)]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for call in speech.calls:
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *slices(call.text, 12))]
        blocks.append(({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, deltas))
    for index, (block, deltas) in enumerate(blocks):
        sent.append(_event("content_block_start", index=index, content_block=block))
        sent += [_event("ping")] * (index == 0)
        sent += [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
        sent.append(_event("content_block_stop", index=index))
    if speech.usage == "twice" and early is not None:
        sent.append(_event("message_delta", delta={"stop_reason": None, "stop_sequence": None}, usage=_usage(early)))
    ending = {"stop_reason": _STOPS.get(speech.stop, speech.stop), "stop_sequence": None}
    counts = {} if last is None else {"usage": _usage(last, speech.searches, odd=odd)}
    sent.append(_event("message_delta", delta=ending, **counts)._replace(finishes=True, counts=last is not None))
    if (late := reported_late(speech)) is not None:
        sent.append(_event("message_delta", delta={}, usage=_usage(late)))
    return [*sent, _event("message_stop")]


def _event(kind: str, **more: object) -> Piece:
    return Piece(f"event: {kind}\ndata: {compact({'type': kind, **more})}\n\n".encode())


def whole(asked: WireRequest, speech: Speech) -> bytes:
    """Return the answer as one document."""
    content: list[Json] = [{"type": "text", "text": speech.text}] if speech.text else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in speech.calls
    ]
    last, odd = reported(speech), speech.usage == "garbage"
    usage = {} if last is None else {"usage": {**_usage(last, speech.searches, odd=odd), "service_tier": "standard"}}
    stop = _STOPS.get(speech.stop, speech.stop)
    return compact(_message(asked, speech, content=content, stop_reason=stop, stop_sequence=None, **usage)).encode()


def _error(why: Refusal) -> tuple[int, Json]:
    usual, words = _CODES.get(why.code or "", (500, ""))
    status = why.status or usual
    kind, own_words = _ERRORS.get(status, ("api_error", f"Error {status}"))
    message = why.words or words.format(why.about) or own_words
    return status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": _REQUEST_ID}


def refusal(why: Refusal) -> Reply:
    """Return the real error document."""
    status, document = _error(why)
    return Reply(status, compact(document).encode())


def broken_off(why: Refusal) -> bytes:
    """Return the error as an event in mid-stream."""
    return f"event: error\ndata: {compact(_error(why)[1])}\n\n".encode()


def lookup(method: str, path: str, body: Json, house: House) -> Reply | None:
    """Answer the list of models and each model's card."""
    known = house.models if house.models is not None else _SOME_MODELS
    cards = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z"} for name in known
    ]
    if method != "GET":
        return None
    if path.endswith("/models"):
        ends = {"first_id": known[0] if known else None, "last_id": known[-1] if known else None}
        return Reply(200, compact({"data": cards, "has_more": False, **ends}).encode())
    place, _, name = path.rpartition("/models/")
    if not place:
        return None
    card = next((card for card in cards if card["id"] == name), None)
    return Reply(200, compact(card).encode()) if card else refusal(Refusal(404, "model_not_found", name))
