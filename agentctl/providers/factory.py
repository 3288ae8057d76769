"""Make a provider by its name: ``create_llm_provider``, and the classes of providers for Python users."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from agentctl.core.errors import ParameterRefused, Rejected
from agentctl.core.messages import Completion, Delta, KeepAlive, Reported, Request
from agentctl.core.pricing import ModelFacts
from agentctl.providers.endpoints import base_url_of
from agentctl.providers.llm_provider import LLMProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Via
from agentctl.providers.sampling import Sampling, Temperature
from agentctl.settings import PriceLine, Settings, load_settings
from agentctl.settings.provider_names import BUILT_IN_NAMES

if TYPE_CHECKING:
    from agentctl.providers.answer_stream import Attempts
    from agentctl.providers.error_documents import ErrorContext
    from agentctl.providers.wires.exchange import BodyFacts
    from agentctl.settings.named_providers import NamedProvider

_NO_TOOLS = "does not support tools"  # as an Ollama says it
_DEFAULT_OUTPUT_TOKENS = 4096
_NUM_CTX_STEP = 1024


def create_llm_provider(
    provider: str,
    model: str | None = None,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    prices: Mapping[str, PriceLine] | None = None,
    temperature: Temperature | None = None,
    settings: Settings | None = None,
    via: Via | None = None,
) -> LLMProvider:
    """Return a provider by its name; arguments that are not given come from ``settings``.

    ``model`` None: the provider's default. ``base_url``: another address than the provider's own. ``prices``: the
    prices of models, in dollars per million tokens, on top of the price table. ``temperature``: from 0 to 2, or as in
    the settings "auto" or "none". ``settings`` None: the user's (environment, .env, config). ``via``: the client that
    sends the requests, "lean" (our own, quick to load), "litellm" or "auto" (the lean one where it can). Nothing is
    sent before the first request, which also reports a missing key.

    Raises:
        UsageError: agentctl does not support the provider, a setting, the key or the address is invalid, or the lean
            client was asked for and does not speak the provider's format.
        AuthFailed: the lean client was asked for, or is the only one for the provider (Azure), and there is no key.

    >>> from agentctl import create_llm_provider
    >>> provider = create_llm_provider("openai", model="gpt-4", api_key="sk-example")
    >>> provider.facts.provider, provider.facts.model
    ('openai', 'gpt-4')
    >>> create_llm_provider("openai", model="gpt-4", api_key="sk-example", via="litellm").client
    'litellm'
    """
    if provider == "builtin":
        from agentctl.providers.builtin.provider import BuiltinProvider  # noqa: PLC0415 - its table is long

        return BuiltinProvider()
    if settings is None:
        needs = _needs(provider, api_key, base_url, prices, via) + (("temperature",) if temperature is None else ())
        loaded = load_settings(flags={}, remember=False, needs=needs)
        loaded.refuse_wrong(f"provider {provider}" if provider not in BUILT_IN_NAMES else "always")
        settings = loaded.settings
    made = _make_provider(
        provider, model, api_key=api_key, base_url=base_url, prices=prices, settings=settings, via=via
    )
    made.sampling = Sampling(settings.temperature if temperature is None else temperature)
    return made


def _make_provider(
    provider: str,
    model: str | None,
    *,
    api_key: str | None,
    base_url: str | None,
    prices: Mapping[str, PriceLine] | None,
    settings: Settings,
    via: Via | None,
) -> RemoteProvider:
    stored = settings.key_of(provider)
    key = api_key or (None if stored is None else stored.get_secret_value())
    url = base_url or base_url_of(settings, provider)
    via = settings.llm_client if via is None else via
    own = settings.named(provider)
    prices = settings.price_lines if prices is None else prices
    window = fit_num_ctx(settings.max_context_tokens, settings.max_output_tokens)
    if own is not None:
        if own.price is not None:
            prices = {f"{provider}/*": own.price, **prices}
        if own.kind == "ollama":
            return _NamedOllama(own, model, api_key=key, base_url=url, prices=prices, num_ctx=window, via=via)
        return RemoteProvider(provider, model, api_key=key, base_url=url, prices=prices, own=own, via=via)
    if provider == "ollama":
        return OllamaProvider(model, api_key=key, base_url=url, prices=prices, num_ctx=window, via=via)
    preset = {"openai": OpenAIProvider, "anthropic": AnthropicProvider}.get(provider)
    if preset is not None:
        return preset(model, api_key=key, base_url=url, prices=prices, via=via)
    return RemoteProvider(provider, model, api_key=key, base_url=url, prices=prices, via=via)


def _needs(
    provider: str, api_key: str | None, base_url: str | None, prices: Mapping[str, PriceLine] | None, via: Via | None
) -> tuple[str, ...]:
    """Return the settings that a provider takes from the user's, without those given as arguments."""
    address = "ollama_host" if provider == "ollama" else f"{provider}_base_url"
    window = ("max_context_tokens", "max_output_tokens") if provider == "ollama" else ()
    given = ((f"{provider}_api_key", api_key), (address, base_url), ("prices", prices), ("llm_client", via))
    missing = (name for name, value in given if value is None or value == "")
    own = () if provider in BUILT_IN_NAMES else ("providers",)
    return (*(name for name in missing if name in Settings.model_fields), *window, *own)


def fit_num_ctx(max_context_tokens: int, max_output_tokens: int | None) -> int:
    """Return the ``num_ctx`` for a conversation and its answer, in whole steps, as each change reloads the model."""
    wanted = max_context_tokens + (max_output_tokens or _DEFAULT_OUTPUT_TOKENS)
    return -(-wanted // _NUM_CTX_STEP) * _NUM_CTX_STEP


class _PresetProvider(RemoteProvider):
    """A remote provider whose class sets its name."""

    name: ClassVar[str]

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        prices: Mapping[str, PriceLine] | None = None,
        via: Via = "auto",
    ) -> None:
        super().__init__(self.name, model, api_key=api_key, base_url=base_url, prices=prices, via=via)


class OpenAIProvider(_PresetProvider):
    """OpenAI, or any server that speaks its chat format at ``base_url``.

    ``prices`` are dollars per million tokens, on top of the price table.

    Raises:
        UsageError: no model is named, and there is no default.

    >>> from agentctl import OpenAIProvider
    >>> OpenAIProvider("gpt-4o-mini", api_key="sk-example").facts.model
    'gpt-4o-mini'
    """

    name = "openai"


class AnthropicProvider(_PresetProvider):
    """Anthropic's messages. ``prices`` are dollars per million tokens, on top of the price table.

    Raises:
        UsageError: no model is named, and there is no default.

    >>> from agentctl import AnthropicProvider
    >>> AnthropicProvider("claude-haiku-4-5", api_key="sk-ant-example").facts.provider
    'anthropic'
    """

    name = "anthropic"


class OllamaProvider(_PresetProvider):
    """Ollama; ``num_ctx`` is the context window, in tokens, that it opens: its default truncates prompts silently.

    Requests ask it not to truncate a prompt that is too long for that; older versions truncate it anyway. It is asked,
    before the first request, for the length that the model was trained on: no window is longer.

    On this machine it is free; elsewhere ``prices`` (dollars per million tokens) must say what it costs.

    Raises:
        UsageError: no model is named, and there is no default.

    >>> from agentctl import OllamaProvider
    >>> facts = OllamaProvider("llama3.1", num_ctx=16_384).facts
    >>> facts.price.is_free, facts.context_window
    (True, 16384)
    """

    name = "ollama"

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        prices: Mapping[str, PriceLine] | None = None,
        num_ctx: int = 12_288,
        via: Via = "auto",
    ) -> None:
        super().__init__(model, api_key=api_key, base_url=base_url, prices=prices, via=via)
        self.num_ctx, self._is_card_read, self._lacks_tools = num_ctx, False, False

    @cached_property
    def facts(self) -> ModelFacts:
        """The facts of the model, with the window that requests ask for."""
        ceiling = None if self._own is None else self._own.output_ceiling
        found = super().facts
        return replace(
            found,
            context_window=self.num_ctx,
            output_ceiling=min(self.num_ctx, ceiling or self.num_ctx),
            reasoning=found.reasoning or self.sampling.thinks,
        )

    @property
    def _is_window_unknown(self) -> bool:
        return not self._is_card_read and bool(self._base_url)

    def _ask_window(self) -> None:
        """Ask for the length that the model was trained on, to which a larger ``num_ctx`` is lowered silently, and
        whether it thinks.
        """
        from agentctl.providers.probe import capabilities_in_card, served_card, window_in_card  # noqa: PLC0415

        nothing: tuple[bool, list[str] | None, int | None] = (False, None, None)

        def ask() -> tuple[bool, list[str] | None, int | None]:
            card = served_card(self._base_url, self._api_key, self.model)
            listed = capabilities_in_card(card)
            return card is not None, None if listed is None else list(listed), window_in_card(card)

        name = f"card of {self.provider}/{self.model}"
        self._is_card_read, capabilities, window = self.network.ask(name, ask, missing=nothing)
        self.sampling.thinks = self.sampling.thinks or "thinking" in (capabilities or ())
        self._lacks_tools = capabilities is not None and "tools" not in capabilities
        self.num_ctx = min(self.num_ctx, window or self.num_ctx)

    def _fields(self) -> Mapping[str, object]:
        return {"truncate": False}

    def _body_facts(self, request: Request, clamp: int, base_url: str) -> BodyFacts:
        facts = super()._body_facts(request, clamp, base_url)
        if not self._calls_by_format(request):
            return facts
        from agentctl.providers.format_calls import format_of  # noqa: PLC0415 - most models have tools

        return facts._replace(options={**facts.options, "format": format_of(request.tools), "tools": []})

    def shaped(self, request: Request) -> Request:
        """Return a request with the settings that shape its prompt and its size, as its bound has to count them.

        >>> from agentctl.core.messages import Message, Request
        >>> request = Request("llama3.1", (Message("user", "How many services are there?"),))
        >>> OllamaProvider("llama3.1").shaped(request) is request
        True
        """
        if not self._calls_by_format(request):
            return request
        from agentctl.providers.format_calls import settings_of  # noqa: PLC0415 - most models have tools

        return replace(request, settings={**request.settings, **settings_of(request.tools)})

    def _calls_by_format(self, request: Request) -> bool:
        return bool(request.tools) and self._lacks_tools and self.client == "lean"

    async def _pieces(self, request: Request, attempts: Attempts) -> AsyncGenerator[Delta | Reported | Completion]:
        """Yield the answer; that of a model without tools is read from the JSON that ``format`` asks for."""
        by_format = self._calls_by_format(request)
        try:
            if not by_format:
                if self._lacks_tools and any(message.role == "tool" for message in request.messages):
                    from agentctl.providers.format_calls import without_calls  # noqa: PLC0415 - most models have tools

                    request = without_calls(request)
                async with aclosing(super()._pieces(request, attempts)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            from agentctl.providers.format_calls import AnswerDecoder, as_text, read_completion  # noqa: PLC0415

            text = AnswerDecoder()
            async with aclosing(super()._pieces(as_text(request), attempts)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        yield read_completion(piece, request.tools)
                    elif isinstance(piece, (Reported, KeepAlive)):
                        yield piece
                    else:
                        yield Delta(text.add(piece.text))
        except Rejected as error:
            if by_format or not request.tools or _NO_TOOLS not in error.message:
                raise
            self._lacks_tools = True
            if not self._calls_by_format(request):
                error.hint = "call it by the lean client, which asks for its calls as JSON: --via lean"
                raise
            raise ParameterRefused(
                f"{error.message}; asking for its calls as JSON from here on",
                billed=error.billed,
                retry_after=0.0,
                unsent=error.unsent,
            ) from error

    def _model_options(self) -> Mapping[str, object]:
        return {"num_ctx": self.num_ctx}

    def _error_context(self) -> ErrorContext:
        return (
            super()
            ._error_context()
            ._replace(
                hint_unreachable="start it: ollama serve   (OLLAMA_HOST sets its address)",
                hint_model=f"ollama pull {self.model}   (ollama list shows what is there)",
            )
        )


class _NamedOllama(OllamaProvider):
    """An Ollama of the user's own, under a name of its own."""

    def __init__(
        self,
        own: NamedProvider,
        model: str | None,
        *,
        api_key: str | None,
        base_url: str,
        prices: Mapping[str, PriceLine],
        num_ctx: int,
        via: Via,
    ) -> None:
        RemoteProvider.__init__(
            self, own.name, model, api_key=api_key, base_url=base_url, prices=prices, own=own, via=via
        )
        self.num_ctx = num_ctx if own.context_window is None else min(num_ctx, own.context_window)
        self._is_card_read = self._lacks_tools = False

    def _error_context(self) -> ErrorContext:
        return super()._error_context()._replace(hint_unreachable="start it there: ollama serve")
