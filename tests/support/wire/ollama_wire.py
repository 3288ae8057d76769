"""Ollama's own chat on the wire: one JSON object a line."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.wire.books import Tokens
from tests.support.wire.script import Called, Format, Json, Said, WireRequest
from tests.support.wire.speech import (
    House,
    Piece,
    Refusal,
    Reply,
    Speech,
    compact,
    garbled,
    listed,
    plain,
    reported,
    reported_early,
    reported_late,
    slices,
    whole_number,
)

FORMAT: Format = "ollama"
STREAM_TYPE = "application/x-ndjson"
TYPE = "application/json; charset=utf-8"
PREFIX = "call_"
HEADERS: tuple[tuple[str, str], ...] = ()
_SOME_MODELS = ("llama3.1:latest",)
_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "8.0B",
    "quantization_level": "Q4_K_M",
}
_OWN_WORDS = {
    400: "invalid character 'x' looking for beginning of value",
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    429: "too many requests",
    500: (
        "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check "
        "ollama server logs for details"
    ),
    503: "server busy, please try again.  maximum pending requests exceeded",
}
_CODES = {  # by code: status, message
    "invalid_api_key": (401, "unauthorized"),
    "model_not_found": (404, "model '{}' not found"),
    "no_tools": (400, "registry.ollama.ai/library/{} does not support tools"),
    "context_length_exceeded": (400, "the input length exceeds the context length"),
    "insufficient_quota": (402, "you have reached your usage limit"),
}


def read(path: str, body: Json, size: int) -> WireRequest:
    """Understand a chat request; it streams unless told not to."""
    options = body.get("options")
    return WireRequest(
        format=FORMAT,
        path=path,
        body=body,
        model=str(body.get("model", "")),
        clamp=whole_number(options.get("num_predict")) if isinstance(options, dict) else None,
        stream=body.get("stream") is not False,
        tools=tuple(str(tool.get("function", {}).get("name", "")) for tool in listed(body.get("tools"))),
        messages=tuple(map(_said, listed(body.get("messages")))),
        size=size,
        number=0,
    )


def _said(message: Json) -> Said:
    calls = tuple(
        Called(str(call.get("id", "")), str(call.get("function", {}).get("name", "")))
        for call in listed(message.get("tool_calls"))
    )
    answers = message.get("tool_call_id") or message.get("tool_name") or ""
    return Said(str(message.get("role", "")), plain(message.get("content")), calls, str(answers))


def refused(headers: dict[str, str], asked: WireRequest | None, house: House) -> Refusal | None:
    """Return why the real one would refuse this at the door: it asks for no key."""
    if asked is None:
        return None
    if not asked.model:
        return Refusal(400, None, words="model is required")
    if house.models is not None and not _knows(house.models, asked.model):
        return Refusal(404, "model_not_found", asked.model)
    if asked.tools and "tools" not in house.capabilities:
        return Refusal(400, "no_tools", _full(asked.model))
    return None


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _knows(models: tuple[str, ...], name: str) -> bool:
    return _full(name) in map(_full, models)


def _counts(tokens: Tokens, *, odd: bool = False) -> Json:
    document: Json = {"prompt_eval_count": tokens.input, "eval_count": tokens.output}
    return garbled(document) if odd else document


def _line(speech: Speech, content: str = "", *, done: bool = False, **more: object) -> Json:
    calls = more.pop("tool_calls", None)
    message = {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"model": speech.model, "created_at": now, "message": message, "done": done, **more}


def _calls(speech: Speech) -> list[Json]:
    return [  # half a call is no call: the arguments are an object here
        {"id": call.id, "function": {"index": at, "name": call.name, "arguments": call.arguments}}
        for at, call in enumerate(speech.calls)
        if call.whole
    ]


def _ending(speech: Speech) -> Json:
    last, odd = reported_late(speech) or reported(speech), speech.usage == "garbage"
    return {
        "done_reason": "stop" if speech.stop == "tool_calls" else speech.stop,
        "total_duration": 885095291,
        "load_duration": 3753500,
        **({} if last is None else _counts(last, odd=odd)),
        "prompt_eval_duration": 328493000,
        "eval_duration": 552222000,
    }


def pieces(asked: WireRequest, speech: Speech) -> list[Piece]:
    """Return the answer as a stream: its last line says why it ended and what was used."""
    early = reported_early(speech)
    lines = [_line(speech, part) for part in slices(speech.text)]
    lines += [_line(speech, tool_calls=[call]) for call in _calls(speech)]
    if early is not None:
        lines.insert(0, _line(speech, **_counts(early)))
    if reported_late(speech) is not None:
        lines.append(_line(speech, **_counts(speech.tokens)))
    ending = _line(speech, done=True, **_ending(speech))
    return [*map(_piece, lines), _piece(ending)._replace(finishes=True, counts=True)]


def _piece(line: Json) -> Piece:
    return Piece(f"{compact(line)}\n".encode())


def whole(asked: WireRequest, speech: Speech) -> bytes:
    """Return the answer as one document."""
    return compact(_line(speech, speech.text, done=True, tool_calls=_calls(speech), **_ending(speech))).encode()


def refusal(why: Refusal) -> Reply:
    """Return the real error document."""
    usual, words = _CODES.get(why.code or "", (500, ""))
    status = why.status or usual
    message = why.words or words.format(why.about) or _OWN_WORDS.get(status, f"error {status}")
    return Reply(status, compact({"error": message}).encode(), TYPE)


def broken_off(why: Refusal) -> bytes:
    """Return the error as a line in mid-stream."""
    return refusal(why).body + b"\n"


def lookup(method: str, path: str, body: Json, house: House) -> Reply | None:
    """Answer the lists, a model's card, the version, and the greeting at the root."""
    known = house.models if house.models is not None else _SOME_MODELS
    match (method, "/" + path.partition("/api/")[2]):
        case ("GET", "/tags"):
            return _found({"models": [_tag(name) for name in known]})
        case ("GET", "/ps"):
            return _found({"models": []})
        case ("GET", "/version"):
            return _found({"version": "0.12.6"})
        case ("POST", "/show"):
            name = str(body.get("model") or body.get("name") or "")
            if house.models is not None and not _knows(known, name):
                return refusal(Refusal(404, "model_not_found", name))
            return _found(_card(house))
        case ("GET", "/") if path == "/":
            return Reply(200, b"Ollama is running", "text/plain; charset=utf-8")
    return None


def _found(document: Json) -> Reply:
    return Reply(200, compact(document).encode(), TYPE)


def _tag(name: str) -> Json:
    full = _full(name)
    return {
        "name": full,
        "model": full,
        "modified_at": "2025-10-26T17:15:24.097767Z",
        "size": 4920753328,
        "digest": "46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e",
        "details": _DETAILS,
    }


def _card(house: House) -> Json:
    return {
        "modelfile": "FROM llama3.1",
        "parameters": 'stop "<|eot_id|>"',
        "template": "{{ .Prompt }}",
        "details": _DETAILS,
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": 8030261312,
            "llama.block_count": 32,
            "llama.context_length": house.context_length,
            "llama.embedding_length": 4096,
        },
        "capabilities": list(house.capabilities),
        "modified_at": "2025-10-26T17:15:24.097767Z",
    }
