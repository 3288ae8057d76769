"""Tokenizers are chosen by the model's name; a count is never below the provider's by more than its margin."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from agentctl.context.counter import Calibration
from agentctl.context.tokens import PLAIN, Measure, rough_tokens
from agentctl.core.messages import Message, ToolSpec, Usage
from agentctl.providers.tokenizers import counter_for, load_vocabulary, measure_for, profile_of
from tests.support.counting import TEXTS, TOOLS, openai_count, turns

Truth = Callable[[Sequence[Message], Sequence[ToolSpec]], int]


@pytest.mark.parametrize(
    ("names", "way"),
    [
        ("gpt-4o gpt-4o-mini-2024-07-18 gpt-4.1-nano gpt-5-mini chatgpt-4o-latest o1 o3-mini", "o200k_base"),
        ("ft:gpt-4o-mini:acme::7f3a azure/gpt-4o openrouter/openai/gpt-4.1 openai/o3", "o200k_base"),
        ("gpt-4 gpt-4-turbo gpt-4-32k gpt-3.5-turbo gpt-35-turbo openai/gpt-4 ft:gpt-3.5-turbo:acme", "cl100k_base"),
        ("claude-haiku-4-5 claude-opus-4-20250514 anthropic/claude-opus-4.7", "older Claude, approximate"),
        ("gemini-2.5-pro gemma3:4b openai/gpt-oss-120b", "o200k_base, approximate"),
        ("llama3.1 qwen2.5:7b mistral-large deepseek-chat my-own-deployment solo1", "cl100k_base, approximate"),
    ],
)  # fmt: skip
def test_vocabulary_is_chosen_by_the_model_name(names: str, way: str) -> None:
    assert {name: measure_for("openrouter", name).way for name in names.split()} == dict.fromkeys(names.split(), way)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("claude-instant-1.2", 1.15),
        ("claude-2.1", 1.15),
        ("claude-3-5-sonnet-20241022", 1.15),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 1.15),
        ("claude-opus-4-20250514", 1.15),
        ("claude-sonnet-4-5-20250929", 1.15),
        ("anthropic/claude-opus-4.6", 1.15),
        ("claude-opus-4-7", 1.5),
        ("anthropic/claude-opus-4.8", 1.5),
        ("claude-sonnet-5", 1.5),
        ("claude-whatever", 1.5),
    ],
)
def test_newer_claude_models_make_more_tokens_of_a_text(name: str, factor: float) -> None:
    assert measure_for("anthropic", name).factor == factor


def test_provider_without_tokens_has_no_vocabulary() -> None:
    assert measure_for("builtin", None) is PLAIN
    assert counter_for("scripted", "scripted") is None
    assert profile_of("ollama", None) is not None


def test_learned_factor_replaces_the_expected_one() -> None:
    measure = measure_for("ollama", "llama3.1", known={"cl100k_base, approximate": Calibration(1.3, 40.2)})
    assert (measure.factor, measure.fixed, measure.way) == (1.3, 41, "cl100k_base, approximate, calibrated")
    assert measure.margin < measure_for("ollama", "llama3.1").margin


def counts(name: str, *, digits_apart: bool = False) -> Callable[[str], int]:
    found = load_vocabulary(name, digits_apart=digits_apart)
    assert found is not None
    return found


def scaled(name: str, factor: float, fixed: int = 0, *, digits_apart: bool = False) -> Truth:
    """A provider that counts by a vocabulary times a factor, with words of its own about tools."""
    measure = Measure(count=counts(name, digits_apart=digits_apart))
    return lambda said, tools: int(fixed * bool(tools) + factor * measure.request(said, tools))


PROVIDERS: dict[str, tuple[str, Callable[[], Truth]]] = {
    "OpenAI's own formula": ("gpt-4o", lambda: partial(openai_count, encode=counts("o200k_base"))),
    "the same for older models": ("gpt-4", lambda: partial(openai_count, encode=counts("cl100k_base"))),
    "Claude 4.5 with its tool prompt": ("claude-haiku-4-5", lambda: scaled("older Claude", 1.15, 346)),
    "Claude 3 Opus with the longest": ("claude-3-opus-20240229", lambda: scaled("older Claude", 1.2, 530)),
    "Claude from 4.7 on": ("claude-opus-4-7", lambda: scaled("older Claude", 1.45, 346)),
    "the worst that was measured of it": ("claude-opus-4-8", lambda: scaled("older Claude", 1.65, 500)),
    "Qwen": ("qwen2.5", lambda: scaled("cl100k_base", 1.0, 60, digits_apart=True)),
    "Llama 3": ("llama3.1", lambda: scaled("cl100k_base", 0.95, 30)),
    "a smaller vocabulary": ("mistral", lambda: scaled("cl100k_base", 1.3, digits_apart=True)),
    "Gemini": ("gemini-2.5-flash", lambda: scaled("o200k_base", 0.95, digits_apart=True)),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("rough", [False, True], ids=["vocabulary", "roughly"])
async def test_a_count_is_never_below_the_providers_by_more_than_its_margin(provider: str, rough: bool) -> None:
    model, make = PROVIDERS[provider]
    truth, dice = make(), random.Random(3)
    for _ in range(12):
        gauge, texts = counter_for("anywhere", model), []
        assert gauge is not None
        for _ in range(6):
            texts.append(TEXTS[dice.choice(list(TEXTS))][: dice.choice((150, 800, 2500))])
            said = turns(texts)
            tokens = truth(said, TOOLS)
            measure = await gauge.choose_measure(said, TOOLS, 10**9 if rough else 1)
            assert (measure.count is rough_tokens) == rough
            assert tokens <= (1 + measure.margin) * measure.request(said, TOOLS) + 1, (measure.way, len(texts))
            gauge.learn(said, TOOLS, Usage(tokens, 10))


async def test_prose_teaches_nothing_that_a_dense_text_would_break() -> None:
    truth, gauge = PROVIDERS["OpenAI's own formula"][1](), counter_for("openai", "gpt-4o")
    assert gauge is not None
    for size in range(1000, 9000, 1000):
        said = turns([TEXTS["prose"][:size]])
        await gauge.choose_measure(said, TOOLS, 10**9)
        gauge.learn(said, TOOLS, Usage(truth(said, TOOLS), 10))
    assert gauge.measure.way.endswith("calibrated")
    assert (gauge.measure.factor, gauge.measure.fixed) == (1.0, 0)


@pytest.mark.parametrize("kind", TEXTS)
def test_each_kind_of_text_alone_is_within_the_margin_too(kind: str) -> None:
    text = TEXTS[kind]
    for model, make in PROVIDERS.values():
        measure, tokens = measure_for("anywhere", model), make()((Message("user", text),), ())
        assert tokens <= (1 + measure.margin) * measure.request((Message("user", text),)) + 1, model
