"""Fallbacks: the providers that go on with a run whose provider is down, gone or out of quota, in the user's order.

They are chosen and checked before the run begins, so that a misspelt name or an unknown price is an error then, and a
missing key is said then. Each request of a fallback has a hold of its own under the limits of the same run.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from agentctl.budget.breaker import ClampExceeded, DoubtExceeded, NotRecovered
from agentctl.core.errors import (
    AgentctlError,
    AuthFailed,
    ContextOverflow,
    ModelGone,
    ParameterRefused,
    ProviderUnavailable,
    RateLimited,
    Rejected,
    UsageError,
)
from agentctl.core.events import Emit, Noted, ProviderReplaced
from agentctl.core.messages import Message, ToolCall
from agentctl.core.pricing import ModelFacts
from agentctl.core.results import Takeover
from agentctl.core.text import safe_text
from agentctl.journal.past_run import PastRun, PastTurn
from agentctl.protocols import LLMProvider
from agentctl.providers.fallback_choice import choose_fallbacks
from agentctl.runner.conversation import Conversation, IdForm, open_conversation, translate
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan
from agentctl.runner.reservation import CallTerms
from agentctl.runner.streaming import client_of
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.settings import Loaded, ProviderChoice

if TYPE_CHECKING:
    from agentctl.context.counter import TokenCounter

_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")  # the only ids of calls that Mistral takes


class Fallback(NamedTuple):
    """A provider that can take over: ready for its first request, which loads what it needs."""

    provider: LLMProvider
    terms: CallTerms
    counter: TokenCounter | None = None


def make_fallbacks(
    loaded: Loaded, choice: ProviderChoice, make: Callable[[ProviderChoice], Fallback]
) -> tuple[tuple[Fallback, ...], tuple[str, ...]]:
    """Return the fallbacks of a run that can be used, and a sentence about each that cannot.

    Raises:
        UsageError: a name is wrong, or a dollar limit is set and a price is unknown.
    """
    found, left_out = choose_fallbacks(loaded, choice)
    said = [f"fallback {name} cannot be used: {error.message}: {error.hint}" for name, error in left_out.items()]
    usable = []
    for name, fallback in found.items():
        try:
            usable.append(make(fallback))
        except AuthFailed as error:
            said.append(f"fallback {name} cannot be used: {error.message}: {error.hint}")
        except UsageError as error:
            raise type(error)(safe_text(f"fallback {name}: {error.message}"), hint=error.hint) from error
    return tuple(usable), tuple(map(safe_text, said))


class Fallbacks:
    """The fallbacks of one run. ``taken`` are those that took over.

    After ``take_over`` the calls, the conversation and the tools of the run are those of another model: its price, its
    window, its way of counting. The limits, and what was spent of them, stay.
    """

    def __init__(
        self,
        fallbacks: Sequence[Fallback],
        *,
        plan: Plan,
        calls: ModelCalls,
        conversation: Conversation,
        dispatch: ToolDispatcher,
        emit: Emit,
        most_turns: int,
    ) -> None:
        self._left, self._plan, self._calls = list(fallbacks), plan, calls
        self._conversation, self._dispatch = conversation, dispatch
        self._emit, self._most_turns = emit, most_turns
        self._first: AgentctlError | None = None
        self.taken: tuple[Takeover, ...] = ()

    async def take_over(self, error: AgentctlError) -> AgentctlError | None:
        """Let the next fallback take over after ``error``; return the error that ends the run if none may or can.

        That is the error of the first provider, with the errors of the fallbacks behind its message.
        """
        if not may_fall_back(error, is_fallback=self._first is not None):
            return error
        failed = self._calls.facts.name
        while self._left:
            fallback = self._left.pop(0)
            facts = fallback.provider.facts
            try:
                await _prepare(fallback.provider)
            except AgentctlError as failure:
                await self._emit(Noted(f"fallback {facts.name} cannot be used: {failure.message}", "warning"))
                continue
            self._first = self._first or error
            self.taken += (Takeover(failed, error.kind, error.message, facts.name),)
            client = client_of(fallback.provider)
            await self._emit(ProviderReplaced(failed, error.kind, error.message, facts.provider, facts.model, client))
            self._switch(fallback)
            return None
        if self._first is None:
            return error
        failures = [(one.failed, one.message) for one in self.taken[1:]] + [(failed, error.message)]
        also = [f"fallback {name} failed, too: {said}" for name, said in failures]
        self._first.message = "; ".join((self._first.message, *also))
        return self._first

    def _switch(self, fallback: Fallback) -> None:
        terms = fallback.terms if self._left else fallback.terms._replace(provider_wait_s=self._plan.deadline_s)
        self._calls.switch(fallback.provider, terms)
        fresh = open_conversation(self._plan, self._calls, self._emit, fallback.counter, most_turns=self._most_turns)
        facts = fallback.provider.facts
        self._conversation.adopt(fresh, ids=id_form(facts))
        self._dispatch.resize(self._plan.result_shares(facts, self._dispatch.schema_tokens()))


def id_form(facts: ModelFacts) -> IdForm:
    """Return the form that a provider takes for the ids of tool calls that another one has made."""
    return _short_id if facts.provider == "mistral" else str


def translate_past(past: PastRun, ids: IdForm) -> PastRun:
    """Return what another provider has answered as ``Conversation.adopt`` does, without that one's reports.

    A message that stands in several places is one object afterwards, too.
    """
    made: dict[int, Message] = {}

    def all_of(messages: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(made.setdefault(id(message), translate(message, ids)) for message in messages)

    def renamed(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
        return tuple(replace(call, id=ids(call.id)) for call in calls)

    answers = [
        answer._replace(
            completion=replace(
                answer.completion, thoughts=(), usage=None, tool_calls=renamed(answer.completion.tool_calls)
            )
        )
        for answer in past.answers
    ]
    return replace(
        past,
        messages=all_of(past.messages),
        answers=tuple(answers),
        calls={ids(id): made._replace(call=renamed((made.call,))[0]) for id, made in past.calls.items()},
        history=tuple(PastTurn(all_of(one.sent), renamed(one.calls), all_of(one.results)) for one in past.history),
        denied={ids(id): one for id, one in past.denied.items()},
        reports=(),
    )


def may_fall_back(error: AgentctlError, *, is_fallback: bool) -> bool:
    """Return whether another provider may go on after an error: the provider is down, gone or out of quota.

    Never after a limit of the run's own, nor after a request that any provider would refuse. A fallback that rejects
    its key or the request gives way to the next one, too.
    """
    if isinstance(error, NotRecovered):
        return True
    if isinstance(error, (ClampExceeded, DoubtExceeded, ParameterRefused, ContextOverflow)):
        return False
    if isinstance(error, (Rejected, AuthFailed)):
        return is_fallback
    return isinstance(error, (ProviderUnavailable, ModelGone, RateLimited))


async def _prepare(provider: LLMProvider) -> None:
    prepare: Callable[[], Awaitable[object]] | None = getattr(provider, "prepare", None)
    if prepare is not None:
        await prepare()


def _short_id(id: str) -> str:
    """Return the id of a call in nine letters and digits."""
    if _SHORT_ID.fullmatch(id):
        return id
    from hashlib import sha256  # noqa: PLC0415 - one provider only

    return sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:9]
