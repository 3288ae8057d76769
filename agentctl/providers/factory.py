"""The providers that have a name of their own in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import anyio
import anyio.to_thread

from agentctl.core.pricing import ModelFacts
from agentctl.providers.endpoints import is_own_host
from agentctl.providers.remote import RemoteProvider
from agentctl.settings import PriceLine

if TYPE_CHECKING:
    from agentctl.providers.error_mapping import ErrorContext


class _PresetProvider(RemoteProvider):
    """A provider that needs no name."""

    name: ClassVar[str]

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        prices: Mapping[str, PriceLine] | None = None,
    ) -> None:
        super().__init__(self.name, model, api_key=api_key, base_url=base_url, prices=prices)


class OpenAIProvider(_PresetProvider):
    """OpenAI, or any server that speaks its chat format at ``base_url``.

    ``prices`` are dollars per million tokens, on top of the price table.

    Raises:
        UsageError: no model was named, and there is no default.

    >>> from agentctl import OpenAIProvider
    >>> OpenAIProvider("gpt-4o-mini", api_key="sk-…").facts.model
    'gpt-4o-mini'
    """

    name = "openai"


class AnthropicProvider(_PresetProvider):
    """Anthropic's messages. ``prices`` are dollars per million tokens, on top of the price table.

    Raises:
        UsageError: no model was named, and there is no default.

    >>> from agentctl import AnthropicProvider
    >>> AnthropicProvider("claude-haiku-4-5", api_key="sk-ant-…").facts.provider
    'anthropic'
    """

    name = "anthropic"


class OllamaProvider(_PresetProvider):
    """Ollama; ``num_ctx`` is the context window, in tokens, that it is told to open: left alone it cuts in silence.

    It is told not to cut what is too long even for that, which older ones do all the same. On this machine it is asked
    for the length that the model was trained on, before the first request: no window is longer.

    On this machine it is free; elsewhere ``prices`` (dollars per million tokens) must say what it costs.

    Raises:
        UsageError: no model was named, and there is no default.

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
    ) -> None:
        super().__init__(model, api_key=api_key, base_url=base_url, prices=prices)
        self.num_ctx = num_ctx
        self._trained: int | None = None

    @cached_property
    def facts(self) -> ModelFacts:
        """Who answers; the window is the one that is asked for."""
        return replace(super().facts, context_window=self.num_ctx, output_ceiling=self.num_ctx)

    async def prepare(self) -> None:
        """Wait until litellm is loaded, and meanwhile ask an Ollama on this host how long a window its model has.

        Raises:
            UsageError: litellm cannot be loaded.
        """
        if self._trained is not None or not is_own_host(self._base_url):
            await super().prepare()
            return
        import threading  # noqa: PLC0415 - only where somebody can be asked

        asking = threading.Thread(target=self._ask_for_the_window, name="the model's window", daemon=True)
        asking.start()
        await super().prepare()
        await anyio.to_thread.run_sync(asking.join, abandon_on_cancel=True)  # over in a second
        if self._trained is not None and self._trained < self.num_ctx:
            self.num_ctx = self._trained
            self.__dict__.pop("facts", None)

    def _ask_for_the_window(self) -> None:
        from agentctl.providers.selection import trained_window  # noqa: PLC0415 - only where somebody can be asked

        self._trained = trained_window(self._base_url, self.model)

    def _options(self) -> Mapping[str, object]:
        return {"num_ctx": self.num_ctx, "extra_body": {"truncate": False}}

    def _error_context(self) -> ErrorContext:
        return (
            super()
            ._error_context()
            ._replace(
                hint_unreachable="start it: ollama serve   (OLLAMA_HOST says where)",
                hint_model=f"ollama pull {self.model}   (ollama list shows what is there)",
            )
        )
