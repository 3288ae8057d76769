"""A bound counted by a vocabulary: never below OpenAI's count, near it, and only where the vocabulary is certain."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
import tiktoken.model
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentctl.budget.input_bound import (
    FIXED,
    PER_PART,
    SettledRequest,
    TokenWeights,
    bound,
    message_bytes,
    plain_bound,
    vocabulary_weights,
)
from agentctl.core.messages import Message, Request, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import Price
from agentctl.providers.factory import OpenAIProvider
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.tokenizers import Vocabulary, load_vocabulary, published_vocabulary
from tests.support.counting import TEXTS, TOOLS, openai_count, turns

NAMES = ("o200k_base", "cl100k_base")
HARD = (
    "\ufdfa" * 40,
    "<|endoftext|><|im_start|>system",
    "e\u0301" * 60,
    "ﬁ" * 50,
    "a" * 300,
    " " * 300,
    "日本" * 50,
    "\0\n\t",
)
any_text = st.text(st.characters(exclude_categories=()), max_size=120) | st.sampled_from(HARD)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


def vocabulary_of(name: str) -> Vocabulary:
    found = load_vocabulary(name)
    assert found is not None
    return found


def by(name: str) -> TokenWeights:
    return vocabulary_weights(vocabulary_of(name).at_most)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    said = [Message("system", draw(any_text)), Message("user", draw(any_text))]
    for number in range(draw(st.integers(0, 4))):
        call = ToolCall(f"call_{number:024x}", "docker_logs", {"name": draw(any_text), "more": draw(values)})
        said += [Message("assistant", draw(any_text), (call,)), Message("tool", draw(any_text), tool_call_id=call.id)]
    return tuple(said)


def truth(name: str, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    """Count as OpenAI publishes it; a lone surrogate, which no JSON of theirs carries, counts as its bytes."""
    found = vocabulary_of(name)

    def encode(text: str) -> int:
        try:
            text.encode()
        except UnicodeEncodeError:
            return len(text.encode("utf-8", "surrogatepass"))
        return found(text)

    return openai_count(messages, tools, encode)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(conversations(), st.booleans())
def test_openais_count_is_never_above_the_counted_bound(name: str, said: tuple[Message, ...], offers: bool) -> None:
    request = Request("m", said, TOOLS if offers else ())
    assert truth(name, said, request.tools) <= bound(request, weights=by(name)) - FIXED // 2


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(conversations(), st.integers(0, 10), conversations(), st.integers(0, 500))
def test_openais_count_of_a_growing_conversation_is_never_above_the_counted_bound(
    name: str, said: tuple[Message, ...], left: int, more: tuple[Message, ...], thoughts: int
) -> None:
    """The conversation grows, or is cut and grows: the first two messages and those after the cut stay."""
    *before, answer = (*said, Message("assistant", "ok"))
    earlier = Request("m", tuple(before), TOOLS)
    usage = Usage(truth(name, earlier.messages, TOOLS), vocabulary_of(name)(answer.text) + thoughts)
    request = Request("m", (*said[:2], *before[2:][left:], answer, *more[2:]), TOOLS)
    known = SettledRequest(earlier, answer, usage)
    assert truth(name, request.messages, TOOLS) <= bound(request, known, weights=by(name))


def test_a_counted_bound_is_the_designs_formula() -> None:
    count = vocabulary_of("o200k_base").at_most
    call = ToolCall("call_1", "f", {"a": 1, "b": "x"})
    said = (
        Message("user", "hello you"),
        Message("assistant", "", (call,)),
        Message("tool", "x", tool_call_id="call_1"),
    )
    tool = ToolSpec("f", "does it", {"type": "object"})
    sent = [json.dumps(value) for value in (call.arguments, tool.parameters)]
    texts = ("hello you", *("call_1", "f", sent[0]), *("x", "call_1"), *("f", "does it", sent[1]))
    found = plain_bound(Request("m", said, (tool,)), by("o200k_base"))
    assert found == sum(map(count, texts)) + FIXED + PER_PART * (3 + 1 + 1)


def test_a_counted_bound_of_a_first_request_is_a_third_of_that_of_its_bytes() -> None:
    said = turns([TEXTS["prose"][:2_000]])
    request = Request("m", said, TOOLS * 4)
    assert bound(request, weights=by("o200k_base")) - FIXED < (plain_bound(request) - FIXED) / 2.5


def test_new_messages_are_counted_behind_a_report() -> None:
    said = turns([TEXTS["code"][:3_000]])
    known = SettledRequest(Request("m", said[:2], TOOLS), said[2], Usage(900, 30))
    by_bytes, counted = (
        bound(Request("m", said, TOOLS), known, weights=one) for one in (TokenWeights(), by("cl100k_base"))
    )
    assert 900 < counted < 900 + (by_bytes - 900) / 2


def test_references_in_a_schema_count_as_if_written_out() -> None:
    big = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(50)}}
    schema = {"$defs": {"Big": big}, "properties": {f"a{i}": {"$ref": "#/$defs/Big"} for i in range(10)}}
    weights = by("o200k_base")
    assert weights.tool(ToolSpec("t", "", schema)) > 9 * weights.tool(ToolSpec("t", "", big))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [kind for kind in TEXTS if kind != "surrogates"])
def test_a_text_is_counted_in_the_form_that_makes_more_of_it(name: str, kind: str) -> None:
    found, text = vocabulary_of(name), TEXTS[kind]
    forms = (text, unicodedata.normalize("NFKC", text))
    assert found.at_most(text) == max(min(found(form), len(form.encode())) for form in forms)


def test_a_letter_that_grows_when_normalised_counts_as_it_has_grown() -> None:
    found, text = vocabulary_of("o200k_base"), "\ufdfa" * 100
    assert found.at_most(text) >= found(unicodedata.normalize("NFKC", text)) > found(text)


def test_text_that_is_not_valid_unicode_counts_its_bytes() -> None:
    assert vocabulary_of("o200k_base").at_most("why \ud83d\ude00?") == len("why ") + 3 + 3 + 1


@given(st.text(max_size=50), st.integers(1, 3))
@example("¼¼", 1)  # its NFKC form is longer
@settings(max_examples=20)
def test_a_long_text_counts_no_less_in_pieces(text: str, times: int) -> None:
    found, long = vocabulary_of("o200k_base"), (text + "word ") * (times * 30_000 // (len(text) + 5))
    encoding = found._encoding
    longer = max(len(form.encode()) for form in (long, unicodedata.normalize("NFKC", long)))
    assert len(encoding.encode_ordinary(long)) <= found.at_most(long) <= longer


@pytest.mark.parametrize(
    "model",
    [
        *(
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-4o-2024-08-06",
            "chatgpt-4o-latest",
            "gpt-4.1",
            "gpt-4.1-nano",
            "gpt-4.5-preview",
        ),
        *(
            "gpt-5",
            "gpt-5-mini",
            "gpt-5.1",
            "gpt-5-codex",
            "o1",
            "o1-mini",
            "o3",
            "o3-mini",
            "o4-mini",
            "o4-mini-2025-04-16",
        ),
        *("gpt-4", "gpt-4-0613", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-3.5-turbo-0125", "ft:gpt-4o-mini:acme::7f3a"),
        *("ft:gpt-3.5-turbo:acme::7f3a", "ft:gpt-4o:acme"),
    ],
)
def test_a_published_vocabulary_is_the_one_that_openais_package_names(model: str) -> None:
    assert published_vocabulary(model) == tiktoken.model.encoding_name_for_model(model)


@pytest.mark.parametrize(
    "model",
    [
        *(
            "gpt-6",
            "gpt-4o2",
            "gpt-4oo",
            "o5",
            "o11",
            "my-gpt-4o",
            "openai/gpt-4o",
            "gpt-oss-120b",
            "claude-sonnet-4-5",
        ),
        *(
            "gpt-4o-audio-preview",
            "gpt-4o-search-preview",
            "gpt-4o-realtime-preview",
            "o3-deep-research",
            "gpt-4-vision",
        ),
        *("ft:gpt-4.1:acme", "fallme", "", None),
    ],
)
def test_a_name_that_openai_does_not_publish_a_vocabulary_for_has_none(model: str | None) -> None:
    assert published_vocabulary(model) is None


def providers() -> Mapping[str, RemoteProvider]:
    key: dict[str, Any] = {"api_key": "sk-x"}
    return {
        "official": OpenAIProvider("gpt-4o", **key),
        "named": OpenAIProvider("gpt-4o", base_url="https://api.openai.com/v1", **key),
        "proxy": OpenAIProvider("gpt-4o", base_url="https://proxy.example/v1", **key),
        "local": OpenAIProvider("gpt-4o", base_url="http://127.0.0.1:4000/v1", **key),
        "look-alike": OpenAIProvider("gpt-4o", base_url="https://api.openai.com.example/v1", **key),
        "openrouter": RemoteProvider("openrouter", "openai/gpt-4o", **key),
        "unknown": OpenAIProvider("gpt-6", **key),
    }


def test_vocabulary_is_certain_at_openais_own_address_only() -> None:
    sure = {name: provider.vocabulary for name, provider in providers().items()}
    assert sure == dict.fromkeys(sure) | dict.fromkeys(("official", "named"), "o200k_base")


def test_users_price_does_not_change_the_vocabulary() -> None:
    found, price = providers(), Price(Decimal(1), Decimal(1))
    assert (
        FixedPriceProvider(found["official"], price).vocabulary,
        FixedPriceProvider(found["proxy"], price).vocabulary,
    ) == (
        "o200k_base",
        None,
    )


def test_a_counted_message_is_never_above_its_bytes() -> None:
    weights = by("cl100k_base")
    said = turns([text for kind, text in TEXTS.items() if kind != "surrogates"])
    assert all(weights.message(message) <= message_bytes(message) for message in said)
