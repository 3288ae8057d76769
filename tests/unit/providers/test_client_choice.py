"""Which client calls a provider is decided when the provider is made, and never changes."""

from __future__ import annotations

from typing import get_args

import pytest

from agentctl import create_llm_provider
from agentctl.core.errors import UsageError
from agentctl.core.pricing import FREE
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import ROUTES, Via, Wire, choose_client
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.streaming import client_of
from agentctl.settings import load_settings
from agentctl.settings.model import Settings

LEAN = tuple(sorted(name for name, route in ROUTES.items() if route.wire and route.prefix))
LEAN_ONLY = tuple(sorted(name for name, route in ROUTES.items() if route.wire and not route.prefix))
BY_LITELLM = tuple(sorted(ROUTES.keys() - {*LEAN, *LEAN_ONLY}))


@pytest.mark.parametrize("name", LEAN)
def test_lean_client_calls_a_provider_whose_format_it_speaks(name: str) -> None:
    assert ROUTES[name].wire in get_args(Wire)
    assert [choose_client(name, via) for via in get_args(Via)] == ["lean", "lean", "litellm"]


def test_azure_is_never_called_by_litellm() -> None:
    assert LEAN_ONLY == ("azure",)
    assert (choose_client("azure"), choose_client("azure", "lean")) == ("lean", "lean")
    with pytest.raises(UsageError, match="cannot enforce limits on what litellm sends to Azure OpenAI") as caught:
        choose_client("azure", "litellm")
    assert "--via auto" in caught.value.hint


@pytest.mark.parametrize("name", [*BY_LITELLM, "bedrock"])
def test_litellm_calls_every_other_provider(name: str) -> None:
    assert (choose_client(name), choose_client(name, "litellm")) == ("litellm", "litellm")
    with pytest.raises(UsageError, match="the lean client does not speak the format of ") as caught:
        choose_client(name, "lean")
    assert "--via auto" in caught.value.hint


def test_gemini_is_left_to_litellm() -> None:
    assert "gemini" in BY_LITELLM
    with pytest.raises(UsageError, match="does not speak the format of Google"):
        RemoteProvider("gemini", "gemini-3.5-flash-lite", api_key="sk-0123456789", via="lean")


@pytest.mark.parametrize("make", [OpenAIProvider, AnthropicProvider, OllamaProvider])
def test_provider_says_its_client_before_anything_is_loaded(make: type[OpenAIProvider]) -> None:
    assert make("m", api_key="sk-0123456789", via="litellm").client == "litellm"
    assert make("m", api_key="sk-0123456789").client == choose_client(make.name)


def test_factory_takes_the_client_from_its_argument_then_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_CLIENT", "litellm")
    for name in ("openai", "anthropic", "ollama", "groq"):
        assert client_of(create_llm_provider(name, "m", api_key="sk-0123456789")) == "litellm"
    monkeypatch.setenv("LLM_CLIENT", "lean")
    assert client_of(create_llm_provider("gemini", "m", api_key="sk-0123456789", via="auto")) == "litellm"
    with pytest.raises(UsageError, match="the lean client does not speak the format of Google"):
        create_llm_provider("gemini", "m", api_key="sk-0123456789")
    monkeypatch.setenv("LLM_CLIENT", "sdk")
    with pytest.raises(UsageError, match="allowed: one of auto, lean, litellm"):
        create_llm_provider("openai", "m", api_key="sk-0123456789")
    assert client_of(create_llm_provider("openai", "m", api_key="sk-0123456789", via="litellm")) == "litellm"


def test_flag_precedes_the_variable_and_that_the_file() -> None:
    def found(flags: dict[str, object], environ: dict[str, str]) -> str:
        return load_settings(flags=flags, environ=environ, remember=False).settings.llm_client

    assert Settings().llm_client == found({}, {}) == "auto"
    assert found({}, {"LLM_CLIENT": "litellm"}) == found({}, {"AGENTCTL_LLM_CLIENT": "litellm"}) == "litellm"
    assert found({"llm_client": "lean"}, {"LLM_CLIENT": "litellm"}) == "lean"


def test_client_is_told_only_of_providers_of_ours() -> None:
    provider = OpenAIProvider("gpt-4o", api_key="sk-0123456789", via="litellm")
    assert client_of(FixedPriceProvider(provider, FREE)) == "litellm"
    scripted = ScriptedProvider([])
    assert client_of(scripted) is None
    for own in (object(), "an SDK", 5):  # a user's own provider may call anything its client
        scripted.client = own  # type: ignore[attr-defined]
        assert client_of(scripted) is None
