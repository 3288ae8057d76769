"""From a name to a provider: for Python, and for the command line."""

from __future__ import annotations

from collections.abc import Mapping

from agentctl.providers.base import LLMProvider
from agentctl.providers.endpoints import base_url_of
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.settings import PriceLine, Settings, load_settings

_ROOM_FOR_THE_ANSWER = 4096
_WINDOW_STEP = 1024
_OWN = {"openai": OpenAIProvider, "anthropic": AnthropicProvider}


def create_llm_provider(
    provider: str,
    model: str | None = None,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    prices: Mapping[str, PriceLine] | None = None,
    settings: Settings | None = None,
) -> LLMProvider:
    """Return a provider by its name; what is not given comes from ``settings``.

    ``model`` None: the provider's default. ``base_url``: another address than the provider's own. ``prices``: what
    models cost, in dollars per million tokens, on top of the price table. ``settings`` None: the user's (environment,
    .env, config). Nothing is sent before it is asked; a missing key is found out then.

    Raises:
        UsageError: agentctl cannot speak to it, or a setting is wrong.

    >>> from agentctl import create_llm_provider
    >>> provider = create_llm_provider("openai", model="gpt-4", api_key="sk-…")
    >>> provider.facts.provider, provider.facts.model
    ('openai', 'gpt-4')
    """
    if provider == "builtin":
        from agentctl.providers.builtin.provider import BuiltinProvider  # noqa: PLC0415 - its table is long

        return BuiltinProvider()
    if settings is None:
        settings = load_settings(flags={}, remember=False).settings
    stored = settings.key_of(provider)
    key = api_key or (None if stored is None else stored.get_secret_value())
    url = base_url or base_url_of(settings, provider)
    prices = settings.prices if prices is None else prices
    if provider == "ollama":
        window = num_ctx(settings.max_context_tokens, settings.max_output_tokens)
        return OllamaProvider(model, api_key=key, base_url=url, prices=prices, num_ctx=window)
    if provider in _OWN:
        return _OWN[provider](model, api_key=key, base_url=url, prices=prices)
    return RemoteProvider(provider, model, api_key=key, base_url=url, prices=prices)


def num_ctx(max_context_tokens: int, max_output_tokens: int | None) -> int:
    """Return the window to open for a conversation and its answer, in whole steps: another one reloads the model."""
    wanted = max_context_tokens + (max_output_tokens or _ROOM_FOR_THE_ANSWER)
    return -(-wanted // _WINDOW_STEP) * _WINDOW_STEP
