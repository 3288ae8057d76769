"""Stream readers: the most of each token class, the answering model, the end and errors, without guesses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import Usage
from agentctl.providers.stream_readers import (
    AnthropicReader,
    GeminiReader,
    OllamaReader,
    OpenAIReader,
    OpenRouterReader,
    UsageReader,
)
from agentctl.providers.wires.server_sent_events import (
    MOST_EVENT_BYTES,
    AnswerTooLong,
    JsonEvents,
    ServerSentEventDecoder,
)
from tests.unit.providers.parts import chunk, read_stream, sse


def openai_usage(prompt: object = 11, answer: object = 5, **more: object) -> dict[str, object]:
    return {
        "model": "gpt-x-2024",
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, **more},
    }


START = {
    "type": "message_start",
    "message": {"model": "claude-y", "usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 4}},
}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
STREAMS = {
    OpenAIReader: (sse(chunk(), chunk("stop"), openai_usage(), "[DONE]"), Usage(11, 5), "gpt-x-2024"),
    AnthropicReader: (
        b"event: message_start\n" + sse(START, {"type": "ping"}, DELTA, {"type": "message_stop"}),
        Usage(14, 9, cached_input_tokens=4),
        "claude-y",
    ),
    OllamaReader: (
        b'{"model":"l","done":false}\n{"model":"l","done":true,"prompt_eval_count":20,"eval_count":7}\n',
        Usage(20, 7),
        "l",
    ),
    GeminiReader: (
        sse(
            {"candidates": [{"content": {}}], "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 1}},
            {
                "candidates": [{"finishReason": "STOP"}],
                "modelVersion": "gemini-z",
                "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 3, "thoughtsTokenCount": 20},
            },
        ),
        Usage(8, 23, reasoning_tokens=20),
        "gemini-z",
    ),
}


@pytest.mark.parametrize("kind", STREAMS)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_the_report_is_the_same_however_the_bytes_arrive(kind: type[UsageReader], cuts: list[int]) -> None:
    data, usage, model = STREAMS[kind]
    reader = read_stream(kind, data, cuts)
    assert (reader.usage, reader.model, reader.finished, reader.error) == (usage, model, True, None)


@pytest.mark.parametrize("kind", STREAMS)
def test_stream_cut_before_its_end_is_unfinished_and_reports_nothing(kind: type[UsageReader]) -> None:
    data, _, _ = STREAMS[kind]
    lines = data.splitlines(keepends=True)
    marks = (b"finish_reason", b"stop_reason", b'"done":true', b"finishReason")
    last = max(n for n, line in enumerate(lines) if any(m in line and b"null" not in line for m in marks))
    reader = read_stream(kind, b"".join(lines[:last]))
    assert not reader.finished
    assert reader.usage is None


@given(data=st.binary(max_size=400))
@pytest.mark.parametrize("kind", STREAMS)
def test_garbage_is_read_without_an_error(kind: type[UsageReader], data: bytes) -> None:
    reader = read_stream(kind, data + b"\n[1]\nnull\n" + data)
    assert reader.usage is None


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", STREAMS)
@given(
    value=json_values,
    place=st.sampled_from(["usage", "choices", "message", "delta", "candidates", "usageMetadata"]),
)
def test_no_shape_of_an_event_breaks_a_reader(kind: type[UsageReader], value: object, place: str) -> None:
    for event in ({"type": "message_start", place: value}, {"type": "message_delta", place: value, "done": True}):
        read_stream(kind, json.dumps(event).encode() + b"\n")


@pytest.mark.parametrize("wrong", ["12", 12.5, True, -1, None, [1], {"a": 1}, float("nan"), float("inf")])
def test_number_that_is_not_an_integer_is_not_a_report(wrong: object) -> None:
    done = {"model": "l", "done": True, "prompt_eval_count": wrong, "eval_count": 7}
    assert read_stream(OllamaReader, json.dumps(done).encode()).usage is None
    assert read_stream(OpenAIReader, sse(chunk("stop"), openai_usage(wrong))).usage is None
    assert read_stream(OpenAIReader, sse(chunk("stop"), openai_usage(5, wrong))).usage is None
    details = openai_usage(prompt_tokens_details={"cached_tokens": wrong})
    assert wrong is None or read_stream(OpenAIReader, sse(chunk("stop"), details)).usage is None
    delta = {**DELTA, "usage": {"output_tokens": wrong}}
    assert wrong is None or read_stream(AnthropicReader, sse(START, delta)).usage is None


@pytest.mark.parametrize(
    ("cost", "nano"),
    [(0.0123, 12_300_000), (0, 0), (1e-10, 1), (True, None), ("1", None), (-1, None), (1e9, 10**18), (1e300, 10**49)],
)
def test_amount_billed_by_openrouter_is_read_and_rounded_up(cost: object, nano: int | None) -> None:
    reader = read_stream(OpenRouterReader, sse(chunk("stop"), openai_usage(cost=cost), "[DONE]"))
    assert (reader.usage, reader.billed_nano) == (Usage(11, 5), nano)
    assert read_stream(OpenAIReader, sse(chunk("stop"), openai_usage(cost=cost), "[DONE]")).billed_nano is None


def test_classes_of_a_report_are_separate() -> None:
    cached = openai_usage(10, 5, prompt_tokens_details={"cached_tokens": 4})
    assert read_stream(OpenAIReader, sse(chunk("stop"), cached)).usage == Usage(10, 5, cached_input_tokens=4)
    deepseek = openai_usage(10, 5, prompt_cache_hit_tokens=3)
    assert read_stream(OpenAIReader, sse(chunk("stop"), deepseek)).usage == Usage(10, 5, cached_input_tokens=3)
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1, "cache_creation_input_tokens": 2}}}
    assert read_stream(AnthropicReader, sse(start, DELTA)).usage == Usage(3, 9, cache_write_tokens=2)


@pytest.mark.parametrize("kind", STREAMS)
def test_an_error_in_the_stream_is_kept(kind: type[UsageReader]) -> None:
    event = b'data: {"type":"error","error":{"type":"overloaded_error"}}'
    assert read_stream(kind, event).error == {"type": "overloaded_error"}
    assert read_stream(kind, b'{"error":"it broke"}\n').error == {"message": "it broke"}


def test_a_line_without_an_end_is_given_up() -> None:
    decoder = JsonEvents(ServerSentEventDecoder())
    assert decoder.feed(b"x" * MOST_EVENT_BYTES) == []
    with pytest.raises(AnswerTooLong):
        decoder.feed(b"x")
