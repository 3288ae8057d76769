"""The base class of all providers, with direct calls, token estimates and costs; and a provider at a fixed price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from agentctl.core.background import run_in_thread
from agentctl.core.errors import ProviderUnavailable
from agentctl.core.messages import Completion, Delta, Message, Reported, Request, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts, Price, charge_nano, to_usd

if TYPE_CHECKING:
    from agentctl.protocols import LLMProvider as ProviderProtocol


class LLMProvider(ABC):
    """A provider to call directly or to derive from: a subclass adds ``facts`` and ``stream``.

    A direct call bypasses the ledger: only the calls of an agent are held, judged and recorded. It ends after
    ``silence_s`` seconds without a piece of an answer, or after ``deadline_s`` seconds in all. The usual ``silence_s``
    does not bind a server of this host, or a free model: it may have to be loaded.

    >>> from agentctl import LLMProvider
    >>> from agentctl.core.messages import Completion
    >>> from agentctl.core.pricing import ModelFacts
    >>> class Parrot(LLMProvider):
    ...     facts = ModelFacts("parrot", "grey")
    ...     async def stream(self, request):
    ...         yield Completion(request.messages[-1].text)
    >>> Parrot().invoke("Hello.").text
    'Hello.'
    """

    silence_s = 60.0
    deadline_s = 600.0

    @property
    @abstractmethod
    def facts(self) -> ModelFacts:
        """The provider's and the model's names, price (dollars per million tokens) and ceilings (tokens).

        Raises:
            UsageError: the model is not a chat model.
            StateError: the price table cannot be read.

        >>> ScriptedProvider([]).facts.context_window
        128000
        """

    @abstractmethod
    def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Send one request; yield pieces of the answer as they arrive, and the whole ``Completion`` last.

        Usage that is reported before the end comes as ``Reported``; it counts if the answer breaks off.

        Raises:
            ProviderError: no answer; ``billed`` says whether it may have been billed.

        >>> import anyio
        >>> from agentctl.core.messages import Completion, Delta, Message, Request
        >>> async def main():
        ...     model = ScriptedProvider([[Delta("Hel"), Delta("lo."), Completion("Hello.")]])
        ...     async for piece in model.stream(Request("scripted", (Message("user", "Say hello."),))):
        ...         print(piece.text)
        >>> anyio.run(main)
        Hel
        lo.
        Hello.
        """

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        """Return the price of another model of this provider (dollars per million tokens), None if it is unknown.

        ``tier`` is a service tier other than the usual one.

        >>> OpenAIProvider("gpt-4", api_key="sk-example").price_of("no-such-model") is None
        True
        """
        return None

    def near(self) -> str:
        """Return ``did you mean …?`` if the model's name looks like a misspelling, else an empty string.

        >>> OpenAIProvider("gpt-4o-minni", api_key="sk-example").near()
        'did you mean "gpt-4o-mini"?'
        """
        return ""

    async def prepare(self) -> None:  # noqa: B027 - most have nothing to do
        """Load slow libraries; a run does this before its first hold.

        Raises:
            UsageError: a library cannot be loaded.

        >>> import anyio
        >>> anyio.run(ScriptedProvider([]).prepare)
        """

    async def aclose(self) -> None:  # noqa: B027
        """Close the connections of this event loop; the next request opens new ones.

        >>> import anyio
        >>> anyio.run(ScriptedProvider([]).aclose)
        """

    async def ainvoke(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        max_output_tokens: int | None = None,
    ) -> Completion:
        """Return the whole answer to a question or a conversation; ``max_output_tokens`` None: the usual clamp.

        Raises:
            ProviderError: no answer; the message says why.

        >>> import anyio
        >>> from agentctl.core.messages import Completion
        >>> anyio.run(ScriptedProvider([Completion("Hello.")]).ainvoke, "Say hello.").text
        'Hello.'
        """
        import anyio  # noqa: PLC0415 - by hand only

        conversation = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        facts, answer, limit_s = self.facts, None, self.silence_s
        name, stream = facts.provider, self.stream(Request(facts.model, conversation, tuple(tools), max_output_tokens))
        if facts.may_load and limit_s == LLMProvider.silence_s:
            limit_s = self.deadline_s
        try:
            with anyio.fail_after(self.deadline_s):
                while not isinstance(answer, Completion):
                    with anyio.fail_after(limit_s):
                        answer = await anext(stream, None)
                    if answer is None:
                        raise ProviderUnavailable(f"the answer of {name} was cut short", hint="try again")
        except TimeoutError as error:
            raise ProviderUnavailable(f"{name} sent nothing for {limit_s:g} s", hint="try again") from error
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await close()
        return answer.check_whole(name)

    def invoke(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        max_output_tokens: int | None = None,
    ) -> Completion:
        """Return what ``ainvoke`` returns, with or without a running event loop; Ctrl-C disconnects and is raised.

        Raises:
            ProviderError: no answer; the message says why.

        >>> from agentctl.core.messages import Completion
        >>> ScriptedProvider([Completion("Hello.")]).invoke("Say hello.").text
        'Hello.'
        """

        async def once() -> Completion:
            try:
                return await self.ainvoke(messages, tools=tools, max_output_tokens=max_output_tokens)
            finally:
                await self.aclose()

        return run_in_thread(once, name="agentctl invoke")

    def estimate_tokens(self, what: str | Sequence[Message]) -> int:
        """Return an estimate of the tokens of a text or a conversation, by the model's own vocabulary if it has one.

        It is not an upper bound. The first call takes about a quarter of a second. Nothing is sent.

        >>> OpenAIProvider("gpt-4o", api_key="sk-example").estimate_tokens("Say hello.")
        3
        """
        from agentctl.providers.tokenizers import measure_for  # noqa: PLC0415 - by hand only

        measure = measure_for(self.facts.provider, self.facts.model)
        return measure.text(what) if isinstance(what, str) else measure.conversation(what)

    def cost(self, usage: Usage) -> Decimal | None:
        """Return the cost of ``usage`` (tokens) in dollars, None if the price is unknown.

        >>> from agentctl.core.messages import Usage
        >>> OllamaProvider("llama3.1").cost(Usage(input_tokens=1000, output_tokens=100))
        Decimal('0')
        """
        price = self.facts.price
        return None if price is None else to_usd(charge_nano(price, usage))


class FixedPriceProvider(LLMProvider):
    """A provider at the user's own price; without tokens it stays free, and a router stays unbounded."""

    def __init__(self, provider: ProviderProtocol, price: Price) -> None:
        self._provider = provider
        self._price = price

    @property
    def facts(self) -> ModelFacts:
        """The facts of the wrapped provider, at the user's price."""
        from agentctl.providers.catalog import ROUTER  # noqa: PLC0415 - only where a price was set

        facts = self._provider.facts
        if not facts.metered:
            return facts
        return replace(facts, price=self._price, unbounded=facts.unbounded if facts.unbounded == ROUTER else None)

    @property
    def vocabulary(self) -> str | None:
        """The vocabulary of the provider's model, None if it is not known for certain."""
        found = getattr(self._provider, "vocabulary", None)
        return found if isinstance(found, str) else None

    @property
    def client(self) -> str | None:
        """The client that sends the provider's requests, None if it has none."""
        found = getattr(self._provider, "client", None)
        return found if isinstance(found, str) else None

    @property
    def unknown(self) -> object:
        """What the provider's answers held that agentctl does not know, as the provider counts it."""
        return getattr(self._provider, "unknown", None)

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        """Return the user's price, which applies to every model that answers, in every service tier."""
        return self._price if self._provider.facts.metered else None

    def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Ask the provider, without cache writes if they have no price, as they would be billed above the hold."""
        writes = request.writes and self._price.cache_write is not None
        return self._provider.stream(replace(request, writes=writes))

    async def prepare(self) -> None:
        """Prepare the provider, if it has something to prepare."""
        if (prepare := getattr(self._provider, "prepare", None)) is not None:
            await prepare()

    async def aclose(self) -> None:
        """Close the provider's connections, if it has any."""
        if (close := getattr(self._provider, "aclose", None)) is not None:
            await close()
