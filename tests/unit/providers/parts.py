"""Parts of the tests of streams: events as they stand on the wire, and a reader that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from agentctl.core.messages import Usage
from agentctl.providers.stream_readers import UsageReader
from agentctl.providers.wires.server_sent_events import JsonEvents, ServerSentEventDecoder

Event = Mapping[str, object]


def sse(*events: object) -> bytes:
    """Return the events as a stream of server-sent events."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def chunk(finish: str | None = None, **more: object) -> dict[str, object]:
    """Return a chunk of OpenAI's format without text."""
    return {"model": "gpt-x-2024", "choices": [{"delta": {}, "finish_reason": finish}], **more}


def read_stream(kind: type[UsageReader], data: bytes, cuts: list[int] | None = None) -> UsageReader:
    """Feed a new reader with the events in the data, which comes in pieces that end at ``cuts``."""
    reader, decoder, start = kind(), JsonEvents(ServerSentEventDecoder()), 0
    found = list[dict[str, object] | None]()
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]:
        found += decoder.feed(data[start:cut])
        start = cut
    for event in (*found, *decoder.close()):
        if event is not None:
            reader.read(event)
    reader.over = reader.over or decoder.over
    return reader


def word(more: Event = MappingProxyType({})) -> Event:
    """Return a chunk of OpenAI's format with one word."""
    return {"choices": [{"delta": {"content": "word"}, "finish_reason": None}], **more}


def usage_of(prompt: object = None, answer: object = None, **more: object) -> Event:
    """Return a usage block of OpenAI's format, as it stands in a chunk."""
    block = {"prompt_tokens": prompt, "completion_tokens": answer, **more}
    return {"usage": {name: value for name, value in block.items() if value is not None}}


def claude_start(**usage: object) -> Event:
    return {"type": "message_start", "message": {"model": "c", "usage": usage}}


def claude_delta(stop: str | None = "end_turn", **usage: object) -> Event:
    return {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}


def gemini(text: str | None = None, finish: str | None = None, **usage: object) -> Event:
    content = {"parts": [{"text": text}]} if text else {}
    return {"candidates": [{"content": content, "finishReason": finish}], "usageMetadata": usage}


STOP = chunk("stop")
FULL = Usage(1000, 50)
