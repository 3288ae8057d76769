"""A provider at the user's own price."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from agentctl.core.messages import Completion, Delta, Reported, Request
from agentctl.core.pricing import ModelFacts, Price
from agentctl.protocols import LLMProvider as Socket
from agentctl.providers.base import LLMProvider


class FixedPriceProvider(LLMProvider):
    """A provider at the user's own price; what has no tokens stays free, a router has no price all the same."""

    def __init__(self, provider: Socket, price: Price) -> None:
        self._provider = provider
        self._price = price

    @property
    def facts(self) -> ModelFacts:
        """Who answers, at the price that was set."""
        from agentctl.providers.catalog import ROUTER  # noqa: PLC0415 - only where a price was set

        facts = self._provider.facts
        if not facts.metered:
            return facts
        return replace(facts, price=self._price, unbounded=facts.unbounded if facts.unbounded == ROUTER else None)

    @property
    def vocabulary(self) -> str | None:
        """The vocabulary of the provider's model, None where it is not known for certain."""
        found = getattr(self._provider, "vocabulary", None)
        return found if isinstance(found, str) else None

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        """Return the price that was set: it stands for every model that answers, in every service tier."""
        return self._price if self._provider.facts.metered else None

    def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Ask the provider, and for no cache write that this price does not know: it would be billed above its hold."""
        writes = request.writes and self._price.cache_write is not None
        return self._provider.stream(replace(request, writes=writes))

    async def prepare(self) -> None:
        """Let the provider load what is slow to load."""
        if (prepare := getattr(self._provider, "prepare", None)) is not None:
            await prepare()

    async def aclose(self) -> None:
        """Let the provider let go of its connections."""
        if (close := getattr(self._provider, "aclose", None)) is not None:
            await close()
