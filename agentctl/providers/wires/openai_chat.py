"""OpenAI's chat completions, as every server of the chat format speaks them. Pure.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from agentctl.core.messages import AnswerFormat, Request, ToolSpec
from agentctl.providers.chat_format import add_cache_marks, as_messages
from agentctl.providers.wires.exchange import (
    Body,
    BodyFacts,
    CallPiece,
    Piece,
    arguments_of,
    mapping_of,
    mappings_of,
    place_of,
    stop_of,
    text_of,
    write_body,
)

PATH = "/chat/completions"

_EVENT = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint", "obfuscation"}
    | {"type", "error", "x_groq", "provider", "citations", "search_results", "prompt_filter_results", "timings"}
)
_CHOICE = frozenset(
    {"index", "delta", "message", "finish_reason", "native_finish_reason", "logprobs", "usage", "text", "stop_reason"}
    | {"content_filter_results", "content_filter_offsets", "error", "matched_stop", "token_ids", "seed"}
)
_DELTA = frozenset(
    {"role", "content", "refusal", "tool_calls", "reasoning", "reasoning_content", "reasoning_details", "annotations"}
    | {"function_call", "audio", "name", "token_ids", "usage"}
)


def azure_url(base_url: str, deployment: str, version: str) -> str:
    """Return the address of Azure's requests: by deployment with a version, or as OpenAI's at ``/openai/v1``.

    A version in the query of ``base_url`` comes before ``version``.
    """
    place, _, query = base_url.partition("?")
    place = place.rstrip("/").removesuffix(PATH)
    if not place.endswith("/openai/v1"):
        if "/openai/deployments/" not in place:
            place = f"{place.removesuffix('/openai')}/openai/deployments/{quote(deployment, safe='')}"
        if "api-version=" not in query:
            query = "&".join(filter(None, (query, f"api-version={quote(version, safe='')}")))
    return f"{place}{PATH}?{query}" if query else f"{place}{PATH}"


def body(request: Request, facts: BodyFacts) -> Body:
    """Return the body of a request for a streamed answer."""
    messages = as_messages(request.messages, system_role=facts.system_role)
    if facts.marks:
        messages = list(map(_with_mark_inside, add_cache_marks(messages, followed=request.followed)))
    content: dict[str, object] = {
        "model": facts.model,
        "messages": list(map(_without_null, messages)),
        "stream": facts.refusals.streams,
        **({"stream_options": {"include_usage": True}} if facts.asks_for_usage else {}),
        facts.clamp_name: facts.clamp,
        **({} if facts.temperature is None else {"temperature": facts.temperature}),
        **({"tools": tools_of(request.tools)} if request.tools else {}),
        **({"response_format": format_of(request.answer_format)} if request.answer_format else {}),
        **facts.options,
    }
    return write_body(content)


def format_of(asked: AnswerFormat) -> dict[str, object]:
    """Return an answer's format in the chat format."""
    schema = {"name": asked.spec.name, "strict": True, "schema": asked.spec.parameters}
    return {"type": "json_schema", "json_schema": schema}


def _without_null(message: Mapping[str, object]) -> dict[str, object]:
    """Return a message without the content that a message of calls alone does not have."""
    return {name: value for name, value in message.items() if value is not None}


def _with_mark_inside(message: Mapping[str, object]) -> dict[str, object]:
    """Return a message with its cache mark inside its content, where OpenRouter wants it."""
    entry = dict(message)
    mark = entry.pop("cache_control", None)
    if mark is not None:
        entry["content"] = [{"type": "text", "text": entry["content"], "cache_control": mark}]
    return entry


def tools_of(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """Return tools in the chat format."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def piece(event: Mapping[str, object]) -> Piece | None:
    """Return the piece of an answer that an event holds, None for nothing."""
    unknown = [f"field {name}" for name in event.keys() - _EVENT]
    choices = mappings_of(event.get("choices"))
    if not choices:
        return Piece(unknown=tuple(unknown)) if unknown else None
    choice = choices[0]  # one was asked for
    delta, is_whole = mapping_of(choice.get("delta")), False
    if not delta and (message := mapping_of(choice.get("message"))):
        delta, is_whole = message, event.get("object") != "chat.completion.chunk"  # a server that does not stream
    stop = text_of(choice.get("finish_reason"))
    unknown += [f"field choices.{name}" for name in choice.keys() - _CHOICE]
    unknown += [f"field delta.{name}" for name in delta.keys() - _DELTA]
    if stop and stop_of(stop) == "broken":
        unknown.append(f"reason {stop}")
    said, hidden = _content(delta.get("content"))
    given = delta.get("tool_calls")
    refusal, called = text_of(delta.get("refusal")), mappings_of([given] if isinstance(given, dict) else given)
    if old := mapping_of(delta.get("function_call")):
        called.append({"index": 0, "function": old})
    found = Piece(
        text=(said or text_of(choice.get("text"))) + refusal,
        thought=hidden + (text_of(delta.get("reasoning_content")) or text_of(delta.get("reasoning"))),
        calls=tuple(_call(place, call) for place, call in enumerate(called)),
        stop=stop,
        unknown=tuple(unknown),
        is_refusal=bool(refusal),
        is_whole=is_whole,
    )
    return None if found._replace(is_whole=False) == Piece() else found


def _content(value: object) -> tuple[str, str]:
    """Return the text and the thought of a content: a text, or a list of parts, as Mistral's thinking models send."""
    if isinstance(value, str):
        return value, ""
    text = thought = ""
    for part in mappings_of(value):
        text += text_of(part.get("text"))
        inner = part.get("thinking")
        thought += text_of(inner) + "".join(text_of(one.get("text")) for one in mappings_of(inner))
    return text, thought


def _call(place: int, call: Mapping[str, object]) -> CallPiece:
    index = place_of(call.get("index"))
    function = mapping_of(call.get("function")) or call  # of some gateways without that level
    return CallPiece(
        place if index is None else index,
        text_of(call.get("id")),
        text_of(function.get("name")),
        arguments_of(function.get("arguments")),
        is_counted=index is None,
    )
