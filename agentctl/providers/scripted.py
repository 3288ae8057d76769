"""A provider that plays a script and records the requests, for tests and examples."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeAlias

from agentctl.core.errors import AgentctlError, ProviderUnavailable
from agentctl.core.messages import Completion, Delta, Reported, Request
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.providers.llm_provider import LLMProvider

Part: TypeAlias = Completion | Delta | Reported | AgentctlError | Callable[[Request], object]
Step: TypeAlias = Part | Sequence[Part]


class ScriptEnded(ProviderUnavailable):
    """The script has no further answer, so a retry does not help."""

    retryable = False


class ScriptedProvider(LLMProvider):
    """Plays one step of its script for each request; ``heard`` holds the requests in order.

    A step is an answer, an error to raise, a sequence of pieces, or a function of the request (async or not) that
    returns one of these. In a sequence a function is called in its place, so that a test can wait in mid-call.
    The facts are those of a free model called "scripted", unless others are given; ``price`` is per million tokens. The
    cost of an answer without ``usage`` is in doubt, as with any provider: give it one if the test counts.

    >>> from agentctl import ScriptedProvider
    >>> from agentctl.core.messages import Completion
    >>> model = ScriptedProvider([Completion("Hello.")])
    >>> model.invoke("Say hello.").text
    'Hello.'
    >>> model.heard[0].messages[0].text
    'Say hello.'
    """

    def __init__(self, script: Iterable[Step], *, facts: ModelFacts | None = None, price: Price = FREE) -> None:
        self._script = tuple(script)
        self._facts = facts or ModelFacts(
            provider="scripted",
            model="scripted",
            price=price,
            context_window=128_000,
            output_ceiling=16_384,
        )
        self.heard: list[Request] = []

    @property
    def facts(self) -> ModelFacts:
        """The facts of the scripted model."""
        return self._facts

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        """Return the price of its own facts, whatever name an answer has."""
        return self._facts.price

    async def stream(self, request: Request) -> AsyncIterator[Delta | Reported | Completion]:
        """Play the next step.

        Raises:
            AgentctlError: the step is an error.
            ScriptEnded: there is no further step.
        """
        self.heard.append(request)
        number = len(self.heard)
        if number > len(self._script):
            raise ScriptEnded(
                f"the script has {len(self._script)} answers, and none for request {number}",
                hint="add a step to the script",
                billed="no",
            )
        result = await _make_part(self._script[number - 1], request)
        for part in result if isinstance(result, Sequence) else (result,):
            piece = await _make_part(part, request)
            if isinstance(piece, AgentctlError):
                raise piece
            if isinstance(piece, (Delta, Reported, Completion)):
                yield piece


async def _make_part(step: object, request: Request) -> object:
    if not callable(step):
        return step
    result = step(request)
    return await result if inspect.isawaitable(result) else result
