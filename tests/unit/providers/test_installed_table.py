"""The price table of the pinned litellm: our defaults are in it, and no price is read too low."""

from __future__ import annotations

import ast
import json
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.core.messages import Usage
from agentctl.core.pricing import charge_nano, worst_nano
from agentctl.providers.catalog import Catalog, load_catalog
from agentctl.providers.installed_prices import OWN_PRICES_FILE, PriceTable, read_own_prices, read_table
from agentctl.providers.price_table import price_of
from agentctl.settings import DEFAULT_MODELS, KNOWN_PROVIDERS, OTHER_PROVIDERS

CHECKED_ON = date(2026, 11, 22)  # move it with the defaults

#: Chat providers of litellm that agentctl does not offer, and why.
LEFT_OUT = {
    "a person has to log in": {"chatgpt", "github_copilot"},
    "they choose among others, or are agents themselves": {"a2a", "auto_router", "cursor", "langgraph", "manus"},
    "they speak an older format": {
        *("anthropic_text", "azure_text", "oobabooga", "petals", "text-completion-codestral"),
        *("text-completion-openai", "watsonx_text"),
    },
    "they are there in person, or another name for ours": {"custom", "custom_openai", "ollama_chat", "vllm"},
    "they listen, speak or draw": {"assemblyai", "deepgram", "elevenlabs", "fal_ai"},
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return read_table()


def _package() -> Path:
    found = find_spec("litellm")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


@pytest.mark.parametrize("provider", [name for name in KNOWN_PROVIDERS if name not in ("builtin", "ollama")])
def test_every_default_model_is_priced_has_tools_and_is_not_going_away(
    catalog: Catalog, table: PriceTable, provider: str
) -> None:
    model = DEFAULT_MODELS[provider]
    assert model is not None
    facts = catalog.facts(provider, model)
    assert facts.price is not None
    assert (facts.price.input <= 1, facts.price.output <= 5) == (True, True)
    assert facts.unbounded is None
    assert facts.context_window is not None
    assert facts.context_window >= 100_000
    assert facts.output_ceiling is not None
    row = table.rows.get(f"{provider}/{model}") or table.rows[model.partition("/")[2] or model]
    assert row["supports_function_calling"] is True
    assert date.fromisoformat(str(row.get("deprecation_date", "9999-12-31"))) > CHECKED_ON


def test_the_other_defaults_are_declared_free(catalog: Catalog) -> None:
    for provider in ("builtin", "ollama"):
        price = catalog.facts(provider, str(DEFAULT_MODELS[provider]), own_host=True).price
        assert price is not None
        assert price.is_free


def test_our_file_was_checked_with_this_version(catalog: Catalog, table: PriceTable) -> None:
    assert read_own_prices().checked == table.version
    assert catalog.age_days(CHECKED_ON) == (CHECKED_ON - read_own_prices().released).days
    for name in read_own_prices().lines:
        assert name not in table.rows, f"{name} is in litellm's table now: take it out of {OWN_PRICES_FILE.name}"


def test_the_other_providers_are_litellms(table: PriceTable) -> None:
    tree = ast.parse((_package() / "types" / "utils.py").read_text())
    enum = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LlmProviders")
    known = {
        node.value.value for node in enum.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    support = json.loads((_package() / "provider_endpoints_support_backup.json").read_text())["providers"]
    chats = {name for name, of in support.items() if of["endpoints"].get("chat_completions")}
    owners = {str(row.get("litellm_provider")) for row in table.rows.values() if row.get("mode") == "chat"}
    chats |= owners | ({"vertex_ai"} if any(owner.startswith("vertex_ai-") for owner in owners) else set())
    left_out = set().union(*LEFT_OUT.values(), KNOWN_PROVIDERS)
    assert set(OTHER_PROVIDERS) == chats & known - left_out


def test_no_chat_model_is_free_and_every_price_bounds_its_charges(catalog: Catalog) -> None:
    priced = 0
    for provider in (*KNOWN_PROVIDERS, *OTHER_PROVIDERS):
        for model in catalog.models(provider):
            price = catalog.facts(provider, model).price
            if price is None:
                continue
            priced += 1
            assert min(price.input, price.output) > 0
            for tokens in (1, 100_000, 200_001, 1_000_000):
                usage = Usage(tokens, 1000, tokens // 2, tokens // 4, 500)
                assert 0 < charge_nano(price, usage) <= worst_nano(price, input_tokens=tokens, output_tokens=1000)
    assert priced > 2000


def test_every_price_is_the_tables_to_the_last_digit(catalog: Catalog, table: PriceTable) -> None:
    for provider in ("openai", "anthropic", "mistral", "groq", "deepseek", "xai"):
        for model in catalog.models(provider):
            price = catalog.price_of(provider, model)
            row = table.rows.get(f"{provider}/{model}") or table.rows.get(model, {})
            if (
                price is not None
                and "tiered_pricing" not in row
                and f"{provider}/{model}" not in read_own_prices().lines
            ):
                assert price.input == Decimal(str(row["input_cost_per_token"])) * 10**6
                assert price.output == Decimal(str(row["output_cost_per_token"])) * 10**6


def test_a_row_of_the_table_in_another_unit_is_unknown_and_no_other_is(catalog: Catalog, table: PriceTable) -> None:
    """Its prices lie between those of a cached token of a small model and of an answer of the dearest."""
    absurd = {
        name
        for name, row in table.rows.items()
        if row.get("mode") == "chat"
        and row.get("input_cost_per_token")
        and row.get("output_cost_per_token")
        and price_of(row) is None
    }
    assert absurd == {"azure_ai/jais-30b-chat", "watsonx/core42/jais-13b-chat"}, "look at what they cost"
    assert catalog.facts("azure_ai", "jais-30b-chat").price is None


def test_routers_and_search_models_of_the_table_are_unbounded(catalog: Catalog) -> None:
    found = {
        f"{provider}/{model}"
        for provider in (*KNOWN_PROVIDERS, *OTHER_PROVIDERS)
        for model in catalog.models(provider)
        if catalog.facts(provider, model).unbounded is not None
    }
    assert {
        *("azure/model-router", "azure_ai/model_router", "fireworks_ai/accounts/fireworks/routers/auto"),
        *("openai/gpt-4o-search-preview", "openai/gpt-5-search-api", "perplexity/sonar-pro"),
        *("vercel_ai_gateway/perplexity/sonar", "gemini/deep-research-preview-04-2026"),
    } <= found
    assert len(found) < 100


def test_an_embedding_model_is_refused(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match=r"openai/text-embedding-3-small is not a chat model \(mode embedding\)"):
        catalog.facts("openai", "text-embedding-3-small")


def test_long_requests_have_their_tier(catalog: Catalog) -> None:
    price = catalog.price_of("gemini", "gemini-2.5-pro")
    assert price is not None
    assert [tier.above for tier in price.tiers] == [200_000]
    assert price.at(200_000).input < price.at(200_001).input
