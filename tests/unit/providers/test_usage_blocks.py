"""Usage in many blocks: the largest number of each token class counts, in every format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import Usage
from agentctl.providers.stream_readers import AnthropicReader, GeminiReader, OllamaReader, OpenAIReader, UsageReader
from tests.unit.providers.parts import (
    FULL,
    STOP,
    Event,
    chunk,
    claude_delta,
    claude_start,
    gemini,
    read_stream,
    sse,
    usage_of,
    word,
)

CLAUDE_WORD: Event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "word"}}


def ollama(text: str = "", *, done: bool = False, **counts: object) -> Event:
    return {"model": "l", "message": {"role": "assistant", "content": text}, "done": done, **counts}


class Stream(NamedTuple):
    """The events of one answer, what its usage is, and whether a block said less than an earlier one."""

    reader: type[UsageReader]
    events: tuple[Event, ...]
    usage: Usage | None
    fell: bool = False


def openai(*events: Event, usage: Usage | None, fell: bool = False) -> Stream:
    return Stream(OpenAIReader, events, usage, fell)


STREAMS = {
    # OpenAI's format: wherever its servers put their usage.
    "openai, after the end": openai(word(), STOP, usage_of(1000, 50), usage=FULL),
    "openai, with the end": openai(word(), chunk("stop", **usage_of(1000, 50)), usage=FULL),
    "openai, before the end": openai(word(), usage_of(1000, 50), STOP, usage=FULL),
    "openai, in each chunk": openai(
        word(usage_of(1000, 1)), word(usage_of(1000, 30)), chunk("stop", **usage_of(1000, 50)), usage=FULL
    ),
    "openai, in each chunk but the last": openai(
        word(usage_of(1000, 1)), word(usage_of(1000, 50)), STOP, usage=FULL
    ),
    "openai, spread over chunks": openai(word(), STOP, usage_of(1000), usage_of(answer=50), usage=FULL),
    "openai, spread the other way": openai(
        word(), STOP, usage_of(answer=50, total_tokens=1050), usage_of(1000), usage=FULL
    ),
    "openai, zeros at the end": openai(word(), STOP, usage_of(1000, 50), usage_of(0, 0), usage=FULL, fell=True),
    "openai, zeros at the beginning": openai(word(usage_of(0, 0)), STOP, usage_of(1000, 50), usage=FULL),
    "openai, null at the end": openai(word(), STOP, usage_of(1000, 50), {"usage": None}, {"usage": {}}, usage=FULL),
    "openai, null fields": openai(
        word(), STOP, {"usage": {"prompt_tokens": 1000, "completion_tokens": 50, "prompt_tokens_details": None}},
        usage=FULL,
    ),
    "openai, later smaller": openai(word(), STOP, usage_of(1000, 50), usage_of(10, 5), usage=FULL, fell=True),
    "openai, later smaller in one class": openai(
        word(), STOP, usage_of(1000, 5), usage_of(10, 50), usage=FULL, fell=True
    ),
    "openai, an estimate that is too large": openai(
        word(usage_of(1200, 0)), STOP, usage_of(1000, 50), usage=Usage(1200, 50), fell=True
    ),
    "openai, cached tokens that fall": openai(
        STOP,
        usage_of(1000, 50, prompt_tokens_details={"cached_tokens": 900}),
        usage_of(1000, 50, prompt_tokens_details={"cached_tokens": 0}),
        usage=Usage(1000, 50, 900),
        fell=True,
    ),
    "openai, more in the total": openai(STOP, usage_of(1000, 50, total_tokens=2000), usage=Usage(1000, 1000)),
    "openai, only a total beside the prompt": openai(STOP, usage_of(1000, total_tokens=1050), usage=FULL),
    "openai, reasoning beside the answer": openai(
        STOP,
        usage_of(10, 5, total_tokens=40, completion_tokens_details={"reasoning_tokens": 25}),
        usage=Usage(10, 30, reasoning_tokens=25),
    ),
    "openai, whole floats": openai(STOP, usage_of(1000.0, 50.0), usage=FULL),
    "openai, by other names": openai(STOP, {"usage": {"input_tokens": 1000, "output_tokens": 50}}, usage=FULL),
    "openai, by gemini's names": openai(
        word(),
        STOP,
        {"usage": {"promptTokenCount": 1000, "candidatesTokenCount": 30, "thoughtsTokenCount": 20}},
        usage=Usage(1000, 50, reasoning_tokens=20),
    ),
    "openai, in gemini's own block": openai(
        word(), STOP, {"usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 50}}, usage=FULL
    ),
    "openai, by ollama's names": openai(STOP, {"usage": {"prompt_eval_count": 1000, "eval_count": 50}}, usage=FULL),
    "openai, by names of one word": openai(
        STOP, {"usage": {"promptTokens": 1000.0, "completionTokens": 50.0, "totalTokens": 1050.0}}, usage=FULL
    ),
    "openai, by two names": openai(
        STOP, {"usage": {"prompt_tokens": 1000, "inputTokens": 900, "output_tokens": 50}}, usage=FULL
    ),
    "openai, inside the delta": openai(
        word(), {"choices": [{"delta": usage_of(1000, 50), "finish_reason": "stop"}]}, usage=FULL
    ),
    "openai, inside the message": openai(
        {"object": "chat.completion", "choices": [{"message": {"content": "a", **usage_of(1000, 50)}}]}, usage=FULL
    ),
    "openai, inside the choice": openai(
        word(), {"choices": [{"delta": {}, "finish_reason": "stop", **usage_of(1000, 50)}]}, usage=FULL
    ),
    "openai, as groq puts it": openai(word(), chunk("stop", x_groq=usage_of(1000, 50)), usage=FULL),
    "openai, in the middle alone": openai(word(usage_of(1000, 2)), word(), STOP, usage=None),
    "openai, in the middle, then zeros": openai(
        word(usage_of(1000, 2)), word(), STOP, usage_of(0, 0), usage=None, fell=True
    ),
    "openai, never": openai(word(), STOP, usage=None),
    "openai, the prompt alone": openai(word(), STOP, usage_of(1000), usage=None),
    "openai, no answer at all": openai(STOP, usage_of(1000, 0), usage=Usage(1000, 0)),
    "openai, a good block and a broken one": openai(
        STOP, usage_of(1000, 50), usage_of("many", 50), usage=None, fell=True
    ),
    "openai, no object": openai(STOP, usage_of(1000, 50), {"usage": "lots"}, usage=None),
    # Anthropic's messages.
    "anthropic, as it does": Stream(
        AnthropicReader,
        (claude_start(input_tokens=1000, output_tokens=1), CLAUDE_WORD, claude_delta(output_tokens=50)),
        FULL,
    ),
    "anthropic, by openai's names": Stream(
        AnthropicReader,
        (claude_start(), CLAUDE_WORD, claude_delta(prompt_tokens=1000.0, completion_tokens=50, total_tokens=1050)),
        FULL,
    ),
    "anthropic, a whole message": Stream(
        AnthropicReader,
        ({"type": "message", "stop_reason": "end_turn", "usage": {"input_tokens": 1000, "output_tokens": 50}},),
        FULL,
    ),
    "anthropic, input 0 at the end": Stream(
        AnthropicReader,
        (claude_start(input_tokens=1000, output_tokens=1), CLAUDE_WORD, claude_delta(input_tokens=0, output_tokens=50)),
        FULL,
        fell=True,
    ),
    "anthropic, input 0 at the beginning": Stream(
        AnthropicReader,
        (claude_start(input_tokens=0, output_tokens=0), CLAUDE_WORD, claude_delta(input_tokens=1000, output_tokens=50)),
        FULL,
    ),
    "anthropic, later smaller": Stream(
        AnthropicReader,
        (claude_start(input_tokens=1000), CLAUDE_WORD, claude_delta(output_tokens=50), claude_delta(output_tokens=5)),
        FULL,
        fell=True,
    ),
    "anthropic, null at the end": Stream(
        AnthropicReader,
        (claude_start(input_tokens=1000), CLAUDE_WORD, claude_delta(input_tokens=None, output_tokens=50)),
        FULL,
    ),
    "anthropic, caches that fall": Stream(
        AnthropicReader,
        (
            claude_start(input_tokens=100, cache_read_input_tokens=800, cache_creation_input_tokens=100),
            CLAUDE_WORD,
            claude_delta(cache_read_input_tokens=0, cache_creation_input_tokens=0, output_tokens=50),
        ),
        Usage(1000, 50, 800, 100),
        fell=True,
    ),
    "anthropic, writes by how long they last": Stream(
        AnthropicReader,
        (
            claude_start(
                input_tokens=100, cache_creation={"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600}
            ),
            CLAUDE_WORD,
            claude_delta(output_tokens=50),
        ),
        Usage(1000, 50, 0, 900),
    ),
    "anthropic, turns of its own": Stream(
        AnthropicReader,
        (
            claude_start(input_tokens=100),
            CLAUDE_WORD,
            claude_delta(
                input_tokens=100,
                output_tokens=20,
                iterations=[
                    {"type": "compaction", "input_tokens": 900, "output_tokens": 30},
                    {"type": "message", "input_tokens": 100, "output_tokens": 20},
                ],
            ),
        ),
        FULL,
    ),
    "anthropic, no usage at the end": Stream(
        AnthropicReader, (claude_start(input_tokens=1000, output_tokens=1), CLAUDE_WORD, claude_delta()), None
    ),
    "anthropic, no usage at the end, and no word": Stream(
        AnthropicReader, (claude_start(input_tokens=1000, output_tokens=1), claude_delta()), None
    ),
    # Gemini's generateContent: a count of 0 is left out.
    "gemini, as it does": Stream(
        GeminiReader,
        (
            gemini("a", promptTokenCount=1000, candidatesTokenCount=1, totalTokenCount=1001),
            gemini("b", "STOP", promptTokenCount=1000, candidatesTokenCount=50, totalTokenCount=1050),
        ),
        FULL,
    ),
    "gemini, more in the total": Stream(
        GeminiReader, (gemini("a", "STOP", promptTokenCount=1000, candidatesTokenCount=50, totalTokenCount=2700),),
        Usage(1000, 1700),
    ),
    "gemini, thoughts": Stream(
        GeminiReader,
        (
            gemini("a", "STOP", promptTokenCount=1000, candidatesTokenCount=50, thoughtsTokenCount=200),
        ),
        Usage(1000, 250, reasoning_tokens=200),
    ),
    "gemini, the prompts of tools": Stream(
        GeminiReader,
        (
            gemini(
                "a",
                "STOP",
                promptTokenCount=1000,
                toolUsePromptTokenCount=400,
                candidatesTokenCount=50,
                totalTokenCount=1450,
            ),
        ),
        Usage(1400, 50),
    ),
    "gemini, later smaller": Stream(
        GeminiReader,
        (
            gemini("a", promptTokenCount=1000, candidatesTokenCount=50, totalTokenCount=1050),
            gemini("b", "STOP", promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=15),
        ),
        FULL,
        fell=True,
    ),
    # Ollama's chat.
    "ollama, by openai's names": Stream(
        OllamaReader, (ollama("a"), ollama(done=True, prompt_tokens=1000, completion_tokens=50.0)), FULL
    ),
    "ollama, in a block": Stream(OllamaReader, (ollama("a"), {**ollama(done=True), **usage_of(1000, 50)}), FULL),
    "ollama, as it does": Stream(
        OllamaReader, (ollama("a"), ollama(done=True, prompt_eval_count=1000, eval_count=50)), FULL
    ),
    "ollama, later smaller": Stream(
        OllamaReader,
        (
            ollama("a", prompt_eval_count=1000, eval_count=50),
            ollama(done=True, prompt_eval_count=10, eval_count=5),
        ),
        FULL,
        fell=True,
    ),
    "ollama, only in the middle": Stream(
        OllamaReader, (ollama("a", prompt_eval_count=1000, eval_count=5), ollama("b"), ollama(done=True)), None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_largest_number_of_any_block_counts_for_each_class(name: str) -> None:
    stream = STREAMS[name]
    reader = read_stream(stream.reader, sse(*stream.events))
    assert (reader.usage, reader.fell, reader.fee) == (stream.usage, stream.fell, None), reader.flaw
    assert bool(reader.flaw) is (stream.usage is None)


blocks = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": st.none() | st.integers(0, 2000),
        "completion_tokens": st.none() | st.integers(0, 2000),
        "total_tokens": st.none() | st.integers(0, 4000),
    },
)


@given(st.lists(blocks, max_size=6))
def test_final_report_is_worth_at_least_as_much_as_each_block(found: list[dict[str, int | None]]) -> None:
    reader = read_stream(OpenAIReader, sse(STOP, *({"usage": block} for block in found)))
    reported = reader.reported or Usage()
    for block in found:
        prompt, answer, total = (block.get(f"{name}_tokens") or 0 for name in ("prompt", "completion", "total"))
        assert reported.input_tokens >= prompt
        assert reported.output_tokens >= answer
        if block.get("prompt_tokens") is not None:
            assert reported.output_tokens >= total - prompt


@pytest.mark.parametrize("kind", [OpenAIReader, AnthropicReader, OllamaReader, GeminiReader])
def test_usage_reported_before_a_stream_is_cut_stays_known(kind: type[UsageReader]) -> None:
    """At least the input is known; no usage is charged from it."""
    begun: Mapping[type[UsageReader], Event] = {
        OpenAIReader: word(usage_of(1000, 2)),
        AnthropicReader: claude_start(input_tokens=1000, output_tokens=2),
        OllamaReader: ollama("a", prompt_eval_count=1000, eval_count=2),
        GeminiReader: gemini("a", promptTokenCount=1000, candidatesTokenCount=2),
    }
    reader = read_stream(kind, sse(begun[kind]))
    assert (reader.usage, reader.reported, reader.blocks) == (None, Usage(1000, 2), 1)


@pytest.mark.parametrize("number", ["1e400", "1" * 400, "1" * 5000, "1.0e40"])
def test_a_number_of_any_length_is_read_at_least_as_more_than_the_ledger_stores(number: str) -> None:
    text = sse(STOP) + b'data: {"usage": {"prompt_tokens": ' + number.encode() + b', "completion_tokens": 50}}\n\n'
    usage = read_stream(OpenAIReader, text).usage
    assert usage is not None
    assert usage.input_tokens > 2**63
