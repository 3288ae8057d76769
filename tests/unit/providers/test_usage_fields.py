"""The fields of a usage block: fees, harmless fields, and unknown numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from agentctl.providers.stream_readers import AnthropicReader, GeminiReader, OpenAIReader, OpenRouterReader
from tests.unit.providers.parts import (
    FULL,
    STOP,
    Event,
    claude_delta,
    claude_start,
    gemini,
    read_stream,
    sse,
    usage_of,
    word,
)

HARMLESS: Mapping[str, Event] = {
    "openai": {
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 20,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 12,
            "rejected_prediction_tokens": 8,
        },
    },
    "azure": {"latency_checkpoint": {"engine_ttft_ms": 12, "engine_tbt_ms": 7}},
    "groq": {"queue_time": 0.041, "prompt_time": 0.012, "completion_time": 0.3, "total_time": 0.31},
    "deepseek": {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 1000},
    "moonshot": {"cached_tokens": 0},
    "xai": {
        "num_sources_used": 0,
        "cost_in_usd_ticks": 100_000,
        "prompt_tokens_details": {"text_tokens": 1000, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "openrouter": {"cost": 0.95, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.9}},
    "deepinfra": {"estimated_cost": 1.5},
    "volcengine": {
        "prompt_tokens_details": {"cached_tokens": 0, "provisioned_tokens": 1000},
        "completion_tokens_details": {"reasoning_tokens": 0, "provisioned_tokens": 50},
    },
    "sambanova": {"time_to_first_token": 0.2, "total_latency": 1.1, "completion_tokens_per_sec": 301.5, "last": True},
    "perplexity, without a search": {"search_context_size": "low", "num_search_queries": 0, "citation_tokens": 0},
    "a gateway before anthropic": {
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "server_tool_use": {"web_search_requests": 0},
    },
    "statistics that nobody has declared": {"wall_time": 3, "tokens_per_second": 91.3, "search_time_ms": 4},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_field_known_to_be_harmless_changes_nothing(name: str) -> None:
    reader = read_stream(OpenAIReader, sse(word(), STOP, usage_of(1000, 50, total_tokens=1050, **HARMLESS[name])))
    assert reader.usage is not None, reader.flaw
    assert (reader.usage.input_tokens, reader.usage.output_tokens, reader.fee) == (1000, 50, None)


FEES: Mapping[str, Event] = {
    "2 web_search_requests": {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0}},
    "1 web_search_requests": {"web_search_requests": 1},
    "3 audio_tokens": {"prompt_tokens_details": {"audio_tokens": 3}},
    "4 audio_tokens": {"completion_tokens_details": {"audio_tokens": 4}},
    "5 image_tokens": {"prompt_tokens_details": {"image_tokens": 5}},
    "6 num_sources_used": {"num_sources_used": 6},
    "7 num_search_queries": {"num_search_queries": 7},
    "8 citation_tokens": {"citation_tokens": 8},
    "1.5 prompt_audio_seconds": {"prompt_audio_seconds": 1.5},
    "9 plugins.search.count": {"plugins": {"search": {"count": 9, "strategy": "turbo"}}},
    "1 hologram_requests": {"hologram_requests": 1},
    "2 prompt_tokens_details.smell_tokens": {"prompt_tokens_details": {"smell_tokens": 2}},
    "3 prompt_tokens_details.grains": {"prompt_tokens_details": {"grains": 3}},
    "4 surcharge": {"surcharge": 4},
    "True deep_research": {"server_tool_use": {"deep_research": True}},
}


@pytest.mark.parametrize("fee", FEES)
def test_usage_never_asked_for_is_a_fee(fee: str) -> None:
    reader = read_stream(OpenAIReader, sse(word(), STOP, usage_of(1000, 50, **FEES[fee])))
    assert reader.fee == fee


def test_a_fee_that_an_earlier_block_names_is_not_forgotten() -> None:
    first, last = usage_of(1000, 5, server_tool_use={"web_search_requests": 2}), usage_of(1000, 50)
    assert read_stream(OpenAIReader, sse(word(), STOP, first, last)).fee == "2 web_search_requests"
    claude = claude_start(input_tokens=9, server_tool_use={"web_search_requests": 1}), claude_delta(output_tokens=5)
    assert read_stream(AnthropicReader, sse(*claude)).fee == "1 web_search_requests"


def test_a_modality_other_than_text_is_a_fee_at_gemini() -> None:
    text, audio = {"modality": "TEXT", "tokenCount": 900}, {"modality": "AUDIO", "tokenCount": 100}
    counts: Event = {"promptTokenCount": 1000, "candidatesTokenCount": 50, "totalTokenCount": 1050}
    silent = read_stream(GeminiReader, sse(gemini("a", "STOP", **counts, promptTokensDetails=[text])))
    assert (silent.usage, silent.fee) == (FULL, None)
    assert (
        read_stream(GeminiReader, sse(gemini("a", "STOP", **counts, promptTokensDetails=[text, audio]))).fee
        == "100 audio"
    )


@pytest.mark.parametrize("unknown", [{"grains": 3}, {"a": {"b": [{"c": 1}]}}])
def test_unknown_number_is_neither_a_fee_nor_ignored(unknown: Event) -> None:
    reader = read_stream(OpenAIReader, sse(word(), STOP, usage_of(1000, 50, **unknown)))
    assert (reader.usage, reader.fee, reader.reported) == (None, None, FULL)
    assert "usage has a field that is not known" in reader.flaw


def test_negative_number_is_not_a_token_count() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": -5}}
    reader = read_stream(OpenAIReader, sse(word(), STOP, usage_of(1000, 50, **details)))
    assert (reader.usage, reader.reported) == (None, FULL)
    assert reader.flaw == "cached_tokens is not a count of tokens: -5"


def test_field_name_is_reported_without_characters_that_harm_a_screen() -> None:
    reader = read_stream(OpenAIReader, sse(STOP, usage_of(1000, 50, **{"\x1b[2J evil": 3})))
    assert reader.flaw == "usage has a field that is not known: ??2J?evil = 3"
    assert read_stream(OpenAIReader, sse(STOP, usage_of("\x1b[2J\u202e", 5))).flaw.isprintable()


def test_billed_amount_never_falls() -> None:
    first, last = usage_of(11, 5, cost=0.02), usage_of(11, 5, cost=0.01)
    reader = read_stream(OpenRouterReader, sse(STOP, first, last))
    assert (reader.billed_nano, reader.fell) == (20_000_000, True)
    assert read_stream(OpenAIReader, sse(STOP, usage_of(11, 5, cost_in_usd_ticks=37_756_001))).billed_nano == 3_775_601


def test_a_nest_of_containers_without_an_end_is_unknown() -> None:
    nest: object = 1
    for _ in range(40):
        nest = {"a": nest}
    reader = read_stream(OpenAIReader, sse(STOP, usage_of(1000, 50, a=nest)))
    assert reader.usage is None
    assert json.dumps(reader.flaw)
