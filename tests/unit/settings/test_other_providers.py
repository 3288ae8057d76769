"""Other providers of litellm: named with a model, with a key under litellm's own variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings import DEFAULT_MODELS, OTHER_PROVIDERS, ProviderChoice, choose_provider
from tests.support.desk import Desk


@pytest.mark.parametrize("provider", OTHER_PROVIDERS)
def test_every_other_provider_can_be_named_with_a_model(tmp_path: Path, provider: str) -> None:
    desk = Desk(tmp_path)
    choice = ProviderChoice(provider, "vendor/a-model", "flag")
    assert choose_provider(desk.load(flags={"llm_provider": provider, "llm_model": "vendor/a-model"})) == choice
    assert choose_provider(desk.load(flags={"llm_model": f"{provider}/vendor/a-model"})) == choice
    assert choose_provider(desk.load({"CI": "1", "LLM_MODEL": f"{provider.upper()}/m"})).provider == provider


def test_missing_model_is_reported_with_the_line_to_type(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(UsageError) as caught:
        choose_provider(desk.load({"LLM_PROVIDER": "xai"}))
    assert caught.value.message == "provider xai (environment LLM_PROVIDER) has no default model, and none is named"
    assert caught.value.hint == "add --model xai/MODEL to the run, or set it for good: export LLM_MODEL=xai/MODEL"
    desk.project_env("LLM_MODEL=grok-4.7\n")
    with pytest.raises(UsageError) as caught:
        choose_provider(desk.load({"LLM_PROVIDER": "xai"}))
    assert caught.value.hint == (
        "./.env has LLM_MODEL, but is not trusted: agentctl run --env-file .env   or for good: agentctl trust"
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("deepinfra", "openai/gpt-oss-120b"),
        ("together_ai", "deepseek-ai/DeepSeek-V3.1"),
        ("azure", "my-deployment"),
        ("vercel_ai_gateway", "xai/grok-4.7"),
        ("openai", "meta/llama-3.3"),
        ("groq", "meta-llama/llama-4"),
    ],
)
def test_beside_a_provider_a_name_with_a_slash_is_the_models_own(tmp_path: Path, provider: str, model: str) -> None:
    settings = Desk(tmp_path).load({"LLM_PROVIDER": provider, "LLM_MODEL": model}).settings
    assert (settings.llm_provider, settings.llm_model) == (provider, model)


def test_a_model_without_a_provider_splits_only_at_a_providers_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    split = desk.load({"LLM_MODEL": "xai/grok-4.7"}).settings
    assert (split.llm_provider, split.llm_model) == ("xai", "grok-4.7")
    whole = desk.load({"LLM_MODEL": "nobody/grok-4.7"}).settings
    assert (whole.llm_provider, whole.llm_model) == (None, "nobody/grok-4.7")


def test_other_providers_and_known_ones_do_not_overlap() -> None:
    assert not set(OTHER_PROVIDERS) & set(DEFAULT_MODELS)
    assert sorted(OTHER_PROVIDERS) == list(OTHER_PROVIDERS)


@pytest.mark.parametrize(
    "name",
    [
        "XAI_API_KEY",
        "HF_TOKEN",
        "AZURE_CLIENT_SECRET",
        "AWS_SECRET_ACCESS_KEY",
        "X_SECRET_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
    ],
)
def test_a_key_under_litellms_own_name_is_redacted(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path)
    assert desk.load({name: " key-12345678\n"}).secrets == ("key-12345678",)
    assert desk.load({name: "short"}).secrets == ()
    assert desk.load({f"{name}_FILE": "key-12345678", "TOKENS": "key-12345678"}).secrets == ()
    assert "key-12345678" not in repr(desk.load({name: "key-12345678"}))
