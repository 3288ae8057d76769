"""Facts of the catalog on a model: the user's line first, then declared ones, then our file, then the table."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.pricing import FREE, ModelFacts, Price, Tier
from agentctl.providers.catalog import ROUTER, SEARCH, load_catalog
from agentctl.providers.remote import RemoteProvider
from agentctl.settings import PriceLine
from tests.unit.providers.tables import CHAT, made, write_table

LINE = PriceLine(Decimal(3), Decimal("4.5"))
FREE_LINE = PriceLine(Decimal(0), Decimal(0))


def test_a_row_becomes_facts_with_the_origin_of_its_price(tmp_path: Path) -> None:
    catalog = made(tmp_path, {"m": CHAT})
    digest = hashlib.sha256((tmp_path / "litellm").joinpath(write_table(tmp_path, {"m": CHAT}).name).read_bytes())
    price = Price(Decimal(1), Decimal(2), source="litellm 1.105.3", version="1.105.3", digest=digest.hexdigest())
    assert catalog.facts("openai", "m") == ModelFacts(
        "openai", "m", price=price, context_window=100_000, output_ceiling=5_000
    )
    assert catalog.price_of("openai", "m") == price
    assert (catalog.version, catalog.digest) == ("litellm 1.105.3", digest.hexdigest())


def test_unknown_model_has_no_price(tmp_path: Path) -> None:
    catalog = made(tmp_path, {"m": CHAT})
    assert catalog.facts("openai", "other", known_endpoint=False) == ModelFacts("openai", "other", known_endpoint=False)
    assert catalog.price_of("openai", "other") is None


def test_impossible_window_is_unknown(tmp_path: Path) -> None:
    rows = {
        "none": {**CHAT, "max_input_tokens": None, "max_output_tokens": None},
        "old": {**CHAT, "max_input_tokens": None, "max_tokens": 7},
        "wrong": {**CHAT, "max_input_tokens": -1, "max_output_tokens": "many"},
    }
    catalog = made(tmp_path, rows)
    found = {name: catalog.facts("openai", name) for name in rows}
    assert {name: (facts.context_window, facts.output_ceiling) for name, facts in found.items()} == {
        "none": (None, None),
        "old": (7, 5_000),
        "wrong": (None, None),
    }


@pytest.mark.parametrize(
    ("key", "owner", "provider", "model"),
    [
        ("gpt", "openai", "openai", "gpt"),
        ("groq/openai/gpt-oss", "groq", "groq", "openai/gpt-oss"),
        ("gemini/flash", "gemini", "gemini", "flash"),
        ("vertex_ai/claude@1", "vertex_ai-anthropic_models", "vertex_ai", "claude@1"),
        ("flash", "vertex_ai-language-models", "vertex_ai", "flash"),
        ("us.anthropic.claude-v1:0", "bedrock_converse", "bedrock", "us.anthropic.claude-v1:0"),
        ("us.anthropic.claude-v1:0", "bedrock_converse", "bedrock", "converse/us.anthropic.claude-v1:0"),
        ("bedrock/us-gov-west-1/nova", "bedrock", "bedrock", "us-gov-west-1/nova"),
        ("azure/eu/gpt", "azure", "azure", "eu/gpt"),
        ("fireworks_ai/accounts/fireworks/models/kimi", "fireworks_ai", "fireworks_ai", "kimi"),
        ("fireworks_ai/accounts/a/models/kimi", "fireworks_ai", "fireworks_ai", "accounts/a/models/kimi"),
        ("amazon-nova/micro", "amazon_nova", "amazon_nova", "micro"),
        ("command-r", "cohere_chat", "cohere", "command-r"),
        ("jamba", "ai21", "ai21_chat", "jamba"),
    ],
)
def test_a_row_is_found_under_litellms_own_names(
    tmp_path: Path, key: str, owner: str, provider: str, model: str
) -> None:
    catalog = made(tmp_path, {key: {**CHAT, "litellm_provider": owner}})
    price = catalog.facts(provider, model).price
    assert price is not None
    assert price.output == 2


@pytest.mark.parametrize(
    ("key", "owner", "provider", "model"),
    [
        ("flash", "vertex_ai-language-models", "gemini", "flash"),
        ("azure/gpt", "azure", "openai", "gpt"),
        ("azure/gpt", "azure", "openai", "azure/gpt"),
        ("gpt", "openai", "azure", "gpt"),
        ("gpt", "azure", "openai", "gpt"),
        ("gemini/flash", "vertex_ai", "gemini", "flash"),
        ("gpt-2024-05-13", "openai", "openai", "gpt"),
        ("gpt", "openai", "openai", "gpt-2024-05-13"),
        ("gpt", "openai", "openai", "ft:gpt:me"),
        ("gpt", "openai", "openai", "GPT"),
        ("gpt", None, "openai", "gpt"),
        ("ollama/llama", "ollama", "ollama", "llama"),
    ],
)
def test_a_row_of_another_provider_or_name_is_never_taken(
    tmp_path: Path, key: str, owner: str | None, provider: str, model: str
) -> None:
    catalog = made(tmp_path, {key: {**CHAT, "litellm_provider": owner}})
    assert catalog.facts(provider, model) == ModelFacts(provider, model)
    assert catalog.price_of(provider, model) is None


def test_free_is_declared(tmp_path: Path) -> None:
    catalog = made(tmp_path, {})
    assert catalog.facts("builtin", "") == ModelFacts("builtin", None, price=FREE, metered=False)
    assert catalog.facts("local", "tiny.gguf").price == FREE
    assert catalog.facts("ollama", "llama3.1:latest", own_host=True) == ModelFacts(
        "ollama", "llama3.1:latest", price=FREE
    )
    for name in ("my-cloud-notes:7b", "my-cloud-notes", "cloudy:7b-cloudless"):
        assert catalog.facts("ollama", name, own_host=True).price == FREE
    assert catalog.price_of("builtin", "") == FREE


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "kimi-k2:cloud", "big-cloud", "big:1t-CLOUD", "q:cloud-2"])
def test_cloud_model_of_ollama_is_not_free(tmp_path: Path, model: str) -> None:
    rows = {f"ollama/{model}": {**CHAT, "litellm_provider": "ollama", "input_cost_per_token": 0}}
    assert made(tmp_path, rows).facts("ollama", model, own_host=True).price is None


def test_an_ollama_elsewhere_is_not_free_unless_the_user_says_so(tmp_path: Path) -> None:
    assert made(tmp_path, {}).facts("ollama", "llama3.1").price is None
    assert made(tmp_path, {}).price_of("ollama", "llama3.1") is None
    catalog = made(tmp_path, {}, {"ollama/llama3.1": FREE_LINE})
    price = catalog.facts("ollama", "llama3.1").price
    assert price is not None
    assert price.is_free


@pytest.mark.parametrize("known_endpoint", [True, False])
@pytest.mark.parametrize("own_host", [True, False])
@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "m"), ("openai", "mine"), ("ollama", "llama3.1"), ("ollama", "kimi:cloud"), ("local", "a.gguf")],
)
def test_the_price_of_an_answering_model_is_the_one_it_would_be_asked_at(
    tmp_path: Path, provider: str, model: str, own_host: bool, known_endpoint: bool
) -> None:
    row = {**CHAT, "regional_processing_uplift_multiplier_eu": 1.1}
    catalog = made(tmp_path, {"m": row}, {"openai/mine": LINE})
    facts = catalog.facts(provider, model, own_host=own_host, known_endpoint=known_endpoint)
    assert catalog.price_of(provider, model, own_host=own_host, known_endpoint=known_endpoint) == facts.price


@pytest.mark.parametrize(
    ("provider", "url", "own_host", "known_endpoint"),
    [
        ("openai", "", False, True),
        ("openai", "https://eu.api.openai.com/v1", False, False),
        ("openai", "http://127.0.0.1:4000/v1", True, True),
        ("ollama", "", True, True),
        ("ollama", "http://localhost:9999", True, True),
        ("ollama", "http://10.0.0.7:11434", False, False),
    ],
)
def test_the_address_decides_whether_a_model_is_free_or_regional(
    tmp_path: Path, provider: str, url: str, own_host: bool, known_endpoint: bool
) -> None:
    catalog = made(tmp_path, {"m": {**CHAT, "regional_processing_uplift_multiplier_eu": 1.1}})
    facts = catalog.facts(provider, "m", own_host=own_host, known_endpoint=known_endpoint)
    assert catalog.prices_at(provider, url)("m") == facts.price
    assert RemoteProvider(provider, "m", base_url=url or None).price_of("gpt-4o-mini") == load_catalog().prices_at(
        provider, url
    )("gpt-4o-mini")


def test_the_users_line_replaces_price_and_window_wholly(tmp_path: Path) -> None:
    row = {**CHAT, "cache_read_input_token_cost": 1e-7, "input_cost_per_token_above_200k_tokens": 5e-6}
    line = LINE._replace(context_window=9_000, output_ceiling=800)
    price = Price(Decimal(3), Decimal("4.5"), source="config.toml")
    for key in ("openai/m", "m"):
        found = made(tmp_path, {"m": row}, {key: line}).facts("openai", "m")
        assert found == ModelFacts("openai", "m", price=price, context_window=9_000, output_ceiling=800)
        assert made(tmp_path, {"m": row}, {key: line}).price_of("openai", "m") == price
    short = made(tmp_path, {"m": row}, {"m": LINE}).facts("openai", "m")
    assert (short.context_window, short.output_ceiling) == (100_000, 5_000)


def test_a_line_counts_for_the_provider_that_it_names(tmp_path: Path) -> None:
    catalog = made(tmp_path, {}, {"openai/gpt-oss": LINE, "gpt-oss": LINE._replace(output=Decimal(9))})
    prices = {
        (provider, model): catalog.price_of(provider, model)
        for provider, model in (("openai", "gpt-oss"), ("xai", "gpt-oss"), ("groq", "openai/gpt-oss"))
    }
    assert {key: price and price.output for key, price in prices.items()} == {
        ("openai", "gpt-oss"): Decimal("4.5"),
        ("xai", "gpt-oss"): Decimal(9),
        ("groq", "openai/gpt-oss"): None,
    }


def test_unknown_fee_leaves_no_bound_until_the_user_prices_the_model(tmp_path: Path) -> None:
    rows = {"m": {**CHAT, "input_cost_per_request": 0.005}}
    found = made(tmp_path, rows).facts("openai", "m")
    assert found.unbounded == "its price row has an unknown fee: input_cost_per_request"
    assert made(tmp_path, rows, {"m": LINE}).facts("openai", "m").unbounded is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("perplexity", "sonar"),
        ("openrouter", "perplexity/sonar-pro"),
        ("openrouter", "openai/gpt-4o:online"),
        ("openai", "gpt-4o-search-preview"),
        ("openai", "gpt-4o-mini-search-preview-2025-03-11"),
        ("openai", "GPT-4o-Search-Preview"),
        ("gemini", "deep-research-preview-04-2026"),
    ],
)
def test_model_that_always_searches_has_no_bound_until_the_user_prices_it(
    tmp_path: Path, provider: str, model: str
) -> None:
    assert made(tmp_path, {}).facts(provider, model).unbounded == SEARCH
    assert made(tmp_path, {}, {f"{provider}/{model}": LINE}).facts(provider, model).unbounded is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openrouter", "auto"),
        ("openrouter", "openrouter/auto"),
        ("openrouter", "openrouter/free"),
        ("openrouter", "switchpoint/router"),
        ("azure", "model-router"),
        ("azure_ai", "model_router/my-deployment"),
        ("azure_ai", "Model-Router"),
        ("fireworks_ai", "accounts/fireworks/routers/auto-instant"),
        ("fireworks_ai", "accounts/fireworks/routers/firerouter"),
    ],
)
def test_a_router_has_no_bound_whatever_the_user_says(tmp_path: Path, provider: str, model: str) -> None:
    for prices in ({}, {f"{provider}/{model}": FREE_LINE}):
        assert made(tmp_path, {}, prices).facts(provider, model).unbounded == ROUTER


def test_the_tiers_of_xai_begin_with_their_number(tmp_path: Path) -> None:
    row = {**CHAT, "litellm_provider": "xai", "input_cost_per_token_above_200k_tokens": 4e-6}
    price = made(tmp_path, {"xai/grok": row}).price_of("xai", "grok")
    assert price is not None
    assert price.tiers == (Tier(199_999, Price(Decimal(4), Decimal(2))),)


def test_an_endpoint_that_may_be_regional_is_priced_as_one(tmp_path: Path) -> None:
    row = {**CHAT, "regional_processing_uplift_multiplier_eu": 1.1}
    vertex = {**CHAT, "litellm_provider": "vertex_ai", "regional_endpoint_uplift_multiplier": 1.1}
    catalog = made(tmp_path, {"m": row, "vertex_ai/m": vertex})
    prices = [
        catalog.facts("openai", "m").price,
        catalog.facts("openai", "m", known_endpoint=False).price,
        catalog.facts("vertex_ai", "m").price,
    ]
    assert [price and (price.input, price.output) for price in prices] == [
        (Decimal(1), Decimal(2)),
        (Decimal("1.1"), Decimal("2.2")),
        (Decimal("1.1"), Decimal("2.2")),
    ]


@pytest.mark.parametrize(
    ("provider", "model", "says", "reasons"),
    [
        ("openai", "gpt-4o", {}, False),
        ("openai", "o3", {"supports_reasoning": True}, True),
        ("openai", "gpt-5.1", {"supports_reasoning": True, "default_reasoning_effort": "none"}, False),
        ("anthropic", "claude-haiku-4-5", {"supports_reasoning": True}, False),
        ("anthropic", "claude-opus-5-5", {"supports_reasoning": True, "thinking_always_on": True}, True),
        ("openrouter", "anthropic/claude-haiku-4.5", {"supports_reasoning": True}, False),
        ("mistral", "mistral-small-latest", {"supports_reasoning": True}, False),
        ("mistral", "magistral-small-latest", {"supports_reasoning": True}, True),
    ],
)
def test_a_model_reasons_if_it_does_so_unasked(
    tmp_path: Path, provider: str, model: str, says: dict[str, object], reasons: bool
) -> None:
    catalog = made(tmp_path, {f"{provider}/{model}": {**CHAT, "litellm_provider": provider, **says}})
    assert catalog.facts(provider, model).reasoning is reasons
