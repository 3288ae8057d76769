"""Everything that goes wrong, and answers in other lines than usual."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import get_args

from tests.support.formats import PS
from tests.support.parity.cases import SSE, Case, changed, said
from tests.support.wire import anthropic_wire, ollama_wire, openai_wire
from tests.support.wire.script import CutAt
from tests.support.wire.server import Answer, Call, Fault
from tests.support.wire.speech import Refusal, Wire

_WHOLE = json.dumps(
    {
        "id": "1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 20},
    }
).encode()


def faults() -> Iterator[Case]:
    """Yield what goes wrong."""
    for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 425, 429, 500, 502, 503, 504, 529):
        yield Case(f"status {status}", does=Fault(status))
        yield Case(f"status {status} and a page", does=Fault(status, body=b"<html>no</html>"))
    for status in (401, 429, 500):
        yield Case(f"status {status} and nothing", does=Fault(status, body=b""))
    for code in (
        "insufficient_quota",
        "context_length_exceeded",
        "model_not_found",
        "invalid_api_key",
        "unsupported_parameter",
        "no_tools",
    ):
        yield Case(f"error {code}", tools=(PS,), does=Fault(code=code))
        yield Case(f"error {code} in the stream", tools=(PS,), does=Fault(code=code, in_stream=True))
    for name, value in (
        ("retry-after", "7"),
        ("retry-after", "0.5"),
        ("retry-after", "Sun, 29 Nov 2026 17:00:00 GMT"),
        ("retry-after-ms", "1500"),
        ("retry-after", "soon"),
        ("x-ratelimit-reset-requests", "6m0s"),
    ):
        yield Case(f"{name}: {value}", does=Fault(429, headers=((name, value),)))
    for status in (307, 301):
        yield Case(f"redirect {status}", does=Fault(status, location="/v1/elsewhere"))
    for status in (429, 500, 529):
        yield Case(f"error {status} in the stream", does=Fault(status, in_stream=True))
        yield Case(
            f"error {status} in the stream before a word",
            does=partial(_refuse, status),
        )
    yield Case("a reset", does=Fault(reset=True))
    yield Case("a closed connection", does=Fault(hang_up=True))
    for place in get_args(CutAt):
        yield Case(f"cut at {place}", does=Answer("some words " * 30, cut_at=place))
    for place in get_args(CutAt):
        yield Case(f"clean end at {place}", does=Answer("some words " * 30, cut_at=place, clean_cut=True))
    yield Case(
        "cut in a call", tools=(PS,), does=Answer("", (Call("docker_ps", {"name": "long " * 40}),), cut_at="middle")
    )
    yield Case("a page instead of an answer", does=Answer(garbage=b"<html>not an answer</html>"))
    yield Case(
        "a whole answer instead of a stream",
        does=Answer(garbage=_WHOLE),
    )
    yield Case("nothing instead of an answer", does=Answer(garbage=b""))
    yield Case("an answer that is no JSON", does=changed(lambda data: data.replace(b'"', b"'", 4)))


def _refuse(status: int, format: str) -> Answer:
    """Send the error document of a provider as the first event of a stream."""
    wires: dict[str, Wire] = {"openai": openai_wire, "anthropic": anthropic_wire, "ollama": ollama_wire}
    return Answer(garbage=wires[format].broken_off(Refusal(status, None)))


def lines() -> Iterator[Case]:
    """Yield the same answer in other lines: what the rules for server-sent events allow."""
    answer = said("One, ", "two.")
    for name, change in {
        "ends of lines with CR LF": lambda data: data.replace(b"\n", b"\r\n"),
        "comments between": lambda data: b": welcome\n\n" + data.replace(b"\n\n", b"\n\n: ping\n\n"),
        "no blank behind the colon": lambda data: data.replace(b"data: ", b"data:"),
        "fields that nobody knows": lambda data: data.replace(b"data: ", b"id: 7\nretry: 10\nnew: 1\ndata: "),
        "no end mark": lambda data: data.replace(b"data: [DONE]\n\n", b""),
        "no last end of a line": lambda data: data.rstrip(b"\n"),
        "more behind the end": lambda data: data + data.partition(b"\n\n")[0] + b"\n\n",
    }.items():
        yield Case(f"lines: {name}", does=changed(change, answer), formats=SSE)
    yield Case(
        "lines: ends of lines with CR LF",
        does=changed(lambda data: data.replace(b"\n", b"\r\n"), answer),
        formats=("ollama",),
    )
    yield Case(
        "lines: no last end of a line", does=changed(lambda data: data.rstrip(b"\n"), answer), formats=("ollama",)
    )
    yield Case(
        "lines: empty lines between",
        does=changed(lambda data: data.replace(b"\n", b"\n\n"), answer),
        formats=("ollama",),
    )
