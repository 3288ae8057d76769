"""Edge cases of the catalog: refused models, lists, and a broken or missing table."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.errors import StateError, UsageError
from agentctl.core.pricing import FREE, ModelFacts, Price, Tier
from agentctl.providers.catalog import load_catalog
from agentctl.settings import PriceLine
from tests.unit.providers.tables import CHAT, made, write_table

LINE = PriceLine(Decimal(3), Decimal("4.5"))


@pytest.mark.parametrize("mode", ["embedding", "completion", "image_generation", "realtime"])
def test_model_that_is_not_a_chat_model_is_refused(tmp_path: Path, mode: str) -> None:
    catalog = made(tmp_path, {"m": {**CHAT, "mode": mode}}, {"openai/m": LINE})
    with pytest.raises(UsageError) as caught:
        catalog.facts("openai", "m")
    assert caught.value.message == f"openai/m is not a chat model (mode {mode})"
    assert caught.value.hint == "choose a chat model"


def test_model_of_the_responses_format_is_called_at_openai_and_refused_elsewhere(
    tmp_path: Path,
) -> None:
    silent, grok = {**CHAT, "mode": "responses"}, {**CHAT, "litellm_provider": "xai"}
    rows = {"gpt-5": CHAT, "gpt-5-pro": silent, "xai/grok-4": grok, "xai/grok-4-agents": {**grok, "mode": "responses"}}
    catalog = made(tmp_path, rows)
    assert [catalog.facts("openai", name).responses for name in ("gpt-5", "gpt-5-pro", "unknown")] == [
        "",
        "only",
        "",
    ]
    assert (catalog.models("openai"), catalog.models("xai")) == (("gpt-5", "gpt-5-pro"), ("grok-4",))
    with pytest.raises(UsageError) as caught:
        catalog.facts("xai", "grok-4-agents")
    said = "xai/grok-4-agents speaks only the Responses format, which agentctl supports only for openai"
    assert (caught.value.message, caught.value.hint) == (said, "chat models with similar names: grok-4")
    rows = {f"m-code{letter}": CHAT for letter in "abc"} | {"m": CHAT, "m-codex": {**CHAT, "mode": "embedding"}}
    with pytest.raises(UsageError) as caught:
        made(tmp_path, rows).facts("openai", "m-codex")
    assert (caught.value.hint or "").startswith("chat models with similar names: m, m-code")


def test_the_models_of_a_provider_are_listed_as_they_are_asked_for(tmp_path: Path) -> None:
    rows = {
        "gpt-4o": CHAT,
        "openai/gpt-4o-mini": CHAT,
        "embed": {**CHAT, "mode": "embedding"},
        "azure/gpt-4o": {**CHAT, "litellm_provider": "azure"},
        "ollama/llama3": {**CHAT, "litellm_provider": "ollama"},
        "fireworks_ai/accounts/fireworks/models/kimi": {**CHAT, "litellm_provider": "fireworks_ai"},
        "broken": "not a row",
    }
    catalog = made(tmp_path, rows)
    assert catalog.models("openai") == ("gpt-4o", "gpt-4o-mini")
    assert catalog.models("azure") == ("gpt-4o",)
    assert catalog.models("fireworks_ai") == ("accounts/fireworks/models/kimi",)
    assert catalog.models("openrouter") == ("openai/gpt-4o-mini",)
    assert catalog.models("ollama") == catalog.models("nobody") == ()
    assert catalog.near("openai", "gpt4o-mini") == 'did you mean "gpt-4o-mini"?'
    assert catalog.near("openai", "zzz") == catalog.near("ollama", "llama") == ""


def test_the_age_is_known_for_the_version_that_our_file_was_checked_with(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    known = load_catalog(table=write_table(tmp_path / "a", {}))
    other = load_catalog(table=write_table(tmp_path / "b", {}, version="1.106.0"))
    assert known.age_days(date(2026, 11, 22)) == 32
    assert other.age_days(date(2026, 11, 22)) is None
    assert other.version == "litellm 1.106.0"
    (tmp_path / "b" / "litellm-9.dist-info").mkdir()
    assert (
        load_catalog(table=tmp_path / "b" / "litellm" / write_table(tmp_path / "b", {}).name).version
        == "litellm unknown"
    )


BROKEN = {"empty": b"", "cut": b'{"m": {"mode"', "binary": b"\xff\xfe\0", "list": b"[1, 2]", "deep": b"[" * 200_000}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_broken_table_is_reported_and_models_that_need_none_still_work(tmp_path: Path, content: bytes) -> None:
    table = tmp_path / "table.json"
    table.write_bytes(content)
    catalog = load_catalog({"openai/mine": LINE}, table=table)
    with pytest.raises(StateError) as caught:
        catalog.facts("openai", "gpt-4o")
    assert caught.value.message.startswith(f"litellm's price table {table} cannot be read: it ")
    assert caught.value.hint.startswith("reinstall agentctl")
    assert catalog.price_of("openai", "gpt-4o") is None
    assert catalog.near("openai", "gpt-4o") == ""
    assert catalog.facts("ollama", "llama3.1", own_host=True).price == FREE
    price = Price(Decimal(3), Decimal("4.5"), source="config.toml")
    assert catalog.facts("openai", "mine") == ModelFacts("openai", "mine", price=price)
    assert catalog.price_of("openai", "mine") == price
    assert catalog.facts("openrouter", "openai/gpt-4o-mini").price is not None


def test_a_missing_table_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"gone\.json cannot be read: no such file or directory"):
        load_catalog(table=tmp_path / "gone.json").facts("openai", "gpt-4o")
    with pytest.raises(StateError):
        load_catalog(table=tmp_path / "gone.json").version  # noqa: B018


def test_declared_model_is_not_looked_up_in_the_table(tmp_path: Path) -> None:
    catalog = load_catalog(table=tmp_path / "gone.json")
    assert catalog.facts("builtin", "").price == catalog.facts("local", "x").price == FREE
    assert catalog.facts("ollama", "llama3.1", own_host=True, known_endpoint=False) == ModelFacts(
        "ollama", "llama3.1", price=FREE, known_endpoint=False
    )


def test_price_line_far_off_the_table_is_refused_unless_marked_as_certain(tmp_path: Path) -> None:
    """The table says 1 and 2; nothing of a hundred times is refused, and 0 is free."""
    cents, dear = Decimal("0.001"), Decimal(1000)
    for line in (PriceLine(cents, Decimal(2)), PriceLine(Decimal(1), dear)):
        catalog = made(tmp_path, {"m": CHAT}, {"openai/m": line})
        with pytest.raises(UsageError, match=r"per million tokens, and the price table has [12]$") as caught:
            catalog.facts("openai", "m")
        assert "certain = true" in caught.value.hint
        assert catalog.price_of("openai", "m") == made(tmp_path, {"m": CHAT}).price_of("openai", "m")
        assert made(tmp_path, {"m": CHAT}, {"openai/m": line._replace(certain=True)}).facts("openai", "m").price
        assert made(tmp_path, {"m": CHAT}, {"openai/unknown": line}).facts("openai", "unknown").price
    for line in (PriceLine(Decimal(0), Decimal(0)), PriceLine(Decimal("0.01"), Decimal(200))):
        assert made(tmp_path, {"m": CHAT}, {"openai/m": line}).facts("openai", "m").price is not None


def test_the_tiers_of_a_line_are_the_prices(tmp_path: Path) -> None:
    long = PriceLine(Decimal(2), Decimal(4))
    price = made(tmp_path, {}, {"openai/m": PriceLine(Decimal(1), Decimal(3), tiers=((9, long),))}).price_of(
        "openai", "m"
    )
    assert price is not None
    assert price.tiers == (Tier(9, Price(Decimal(2), Decimal(4))),)
