"""Test a provider: five small paid calls through the ledger, under a limit of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import anyio
import anyio.to_thread

from agentctl.budget.breaker import ClampExceeded, Overrun
from agentctl.core.errors import AgentctlError, ProviderUnavailable, UsageError
from agentctl.core.events import AnswerStreamed, CallHeld, Event
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Completion, Message, ToolSpec
from agentctl.core.pricing import contradiction
from agentctl.protocols import Ledger
from agentctl.providers.endpoints import base_url_of, kind_of
from agentctl.providers.factory import create_llm_provider
from agentctl.providers.llm_provider import LLMProvider
from agentctl.providers.probe import ProbeResult, probe_provider
from agentctl.providers.routes import Via, choose_client
from agentctl.providers.selection import catalogue_owners, ollama_models
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.streaming import client_of, unknown_names
from agentctl.settings import DEFAULT_MODELS, KNOWN_PROVIDERS, Loaded, choose_provider

CALLS = 5
_SMALL, _TINY, _WITH_REASONING = 128, 16, 2048
_SILENCE_S, _DEADLINE_S = 30.0, 120.0
_LOADING_S = 600.0  # a server of this host may have to load the model
_AT_ONCE_S = 2.0  # within which a provider lets go of an answer that is broken off
_TOOL = ToolSpec(
    "report_number",
    "Report a number to the user.",
    {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
        "additionalProperties": False,
    },
)


_WORD_TOOL = ToolSpec(
    "report_word",
    "Report a word to the user.",
    {
        "type": "object",
        "properties": {"word": {"type": "string"}},
        "required": ["word"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True, slots=True)
class ProviderUnderTest:
    """One provider to test; ``make`` returns it ready for requests, ``kind`` is whose format it speaks.

    ``via`` is the client that it is tested by, "" if none can be.
    """

    provider: str
    model: str | None
    base_url: str
    key: str | None
    make: Callable[[], LLMProvider]
    kind: str = ""
    via: str = ""


def providers_under_test(
    loaded: Loaded, names: Sequence[str], *, model_named: bool = False, both_ways: bool = False
) -> tuple[ProviderUnderTest, ...]:
    """Return the providers to test: those named, else that of the model if one is named, else all that are set up.

    ``both_ways``: each is tested by both clients, where both can call it.

    Raises:
        UsageError: a provider is unknown, none is set up, or a setting of one of them is invalid.
        AuthFailed: nothing has a key for the model that is named without a provider.
    """
    settings, choice = loaded.settings, None
    if settings.llm_model is not None:
        with suppress(
            *(() if model_named and not names else (AgentctlError,))
        ):  # else no run would start: test it anyway
            choice = choose_provider(loaded, owners_of=catalogue_owners(loaded))
    if model_named and not names and choice is not None:
        names = (choice.provider,)

    def under_test(name: str, by: Via) -> ProviderUnderTest:
        loaded.refuse_wrong(*(() if name == "builtin" else ("llm_provider", "llm_model")), f"provider {name}")
        key, own = settings.key_of(name), settings.named(name)
        is_chosen = name == (settings.llm_provider if choice is None else choice.provider)
        model = (settings.llm_model if choice is None else choice.model) if is_chosen else None
        return ProviderUnderTest(
            name,
            model or (DEFAULT_MODELS.get(name) if own is None else own.model),
            base_url_of(settings, name),
            None if key is None else key.get_secret_value(),
            lambda: create_llm_provider(name, model, settings=settings, via=by),
            kind_of(settings, name),
            "" if name == "builtin" else choose_client(kind_of(settings, name), by),
        )

    found: list[ProviderUnderTest] = []
    ways: tuple[Via, ...] = ("lean", "litellm") if both_ways else (settings.llm_client,)
    for name in names or _set_up(loaded):
        for by in ways if name != "builtin" else ways[:1]:
            with suppress(*((UsageError,) if both_ways and name != "builtin" else ())):  # it has one way only
                found.append(under_test(name, by))
    return tuple(found)


def _set_up(loaded: Loaded) -> tuple[str, ...]:
    """Return the providers that have a key or an address set, or were chosen, and Ollama if it answers on this host."""
    settings = loaded.settings
    named = {name for name in KNOWN_PROVIDERS if settings.key_of(name) is not None}
    named |= {name for name in KNOWN_PROVIDERS if getattr(settings, f"{name}_base_url", None) is not None}
    named |= {name for name in KNOWN_PROVIDERS if loaded.is_wrong(f"provider {name}")}
    named |= settings.providers.keys()
    if settings.llm_provider is not None:
        named.add(settings.llm_provider)
    if loaded.sources["ollama_host"].kind != "default" or ollama_models(settings.ollama_host) is not None:
        named.add("ollama")
    named.discard("builtin")
    found = (*(name for name in KNOWN_PROVIDERS if name in named), *sorted(named.difference(KNOWN_PROVIDERS)))
    if not found:
        raise UsageError(
            "no provider is set up", hint="agentctl help setup, or name one: agentctl providers test ollama"
        )
    return found


@dataclass(frozen=True, slots=True)
class ModelTestResult:
    """The findings of the paid calls; None: not tested, or unclear. Amounts in nano-dollars; ``ms``: first answer.

    ``two_tools``: it calls two at once. ``cancels``: it lets go at once of an answer that is broken off.
    ``status`` is the exit code's name of the first thing that failed, "done" if nothing did. ``client`` sent the calls,
    ``unknown`` is what the answers held that agentctl does not know.
    """

    provider: str
    model: str | None
    answers: bool | None = None
    streams: bool | None = None
    calls_tools: bool | None = None
    two_tools: bool | None = None
    cancels: bool | None = None
    keeps_to_clamp: bool | None = None
    reports_usage: bool | None = None
    price_known: bool | None = None
    ms: float | None = None
    cost_nano: int | None = 0
    in_doubt_nano: int | None = 0
    status: str = "done"
    error: str = ""
    hint: str = ""
    client: str | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderTestResult:
    """The findings of the free request (``reach``), and of the paid calls, if there were any (``model_test``)."""

    reach: ProbeResult
    model: str | None
    model_test: ModelTestResult | None = None
    via: str = ""

    @property
    def status(self) -> str:
        """The name of the first failure's exit code."""
        failed = self.reach.status != "done" or self.model_test is None
        return self.reach.status if failed or self.model_test is None else self.model_test.status


async def run_provider_tests(
    tested_providers: Sequence[ProviderUnderTest],
    ledger: Ledger | None,
    *,
    limits: CostLimit,
    new_id: Callable[[], str],
    parent: Parent | Lease | None = None,
    check_call: Callable[[], object] = lambda: None,
) -> tuple[ProviderTestResult, ...]:
    """Test providers concurrently and return the findings; without a ledger only the free request is sent.

    A provider that cannot be reached, or that refuses the key, gets no paid call. ``check_call`` is called before each
    paid call; an ``AgentctlError`` that it raises ends the test.
    """
    found: dict[int, ProviderTestResult] = {}

    async def one(place: int, tested: ProviderUnderTest) -> None:
        ask = partial(probe_provider, kind=tested.kind or tested.provider, window=True)
        asked = partial(ask, tested.provider, tested.base_url, tested.key, tested.model)
        there = await anyio.to_thread.run_sync(asked, abandon_on_cancel=True)  # it costs nothing
        found[place] = ProviderTestResult(there, tested.model, via=tested.via)
        if ledger is None or there.status != "done":
            return
        try:
            provider = tested.make()
            try:
                await provider.prepare()  # so that loading is not measured as the provider's time
                model_test = await run_model_test(
                    provider, ledger, run_id=new_id(), limits=limits, parent=parent, check_call=check_call
                )
            finally:
                with anyio.CancelScope(shield=True):
                    await provider.aclose()
        except AgentctlError as error:
            model_test = _with_failure(ModelTestResult(tested.provider, tested.model), error)
        found[place] = ProviderTestResult(there, tested.model, model_test, tested.via)

    async with anyio.create_task_group() as group:
        for place, tested in enumerate(tested_providers):
            group.start_soon(one, place, tested)
    return tuple(found[place] for place in range(len(tested_providers)))


def overall_status(findings: Sequence[ProviderTestResult]) -> str:
    """Return the status of all tests: that of the failures if they all have the same, else "unavailable"."""
    kinds = {finding.status for finding in findings} - {"done"}
    return "done" if not kinds else kinds.pop() if len(kinds) == 1 else "unavailable"


async def run_model_test(
    provider: LLMProvider,
    ledger: Ledger,
    *,
    run_id: str,
    limits: CostLimit,
    parent: Parent | Lease | None = None,
    check_call: Callable[[], object] = lambda: None,
) -> ModelTestResult:
    """Ask for an answer, for a tool call, and for more than the clamp allows; errors are part of the findings.

    ``parent`` is the run or lease that these calls belong to, if any. ``check_call`` is called before each call.
    """
    facts = provider.facts
    found = ModelTestResult(facts.provider, facts.model, price_known=facts.price is not None)
    if not facts.metered:  # not a language model: there is nothing to ask it
        return found
    trial = _Trial(found, provider, ledger, run_id, limits, check_call)
    try:
        words = "providers test"
        await ledger.open_run(run_id, limits, task=words, agent=words, labels={}, parent=parent)
        await _try(trial)
        found = _judge(trial.found)
    except AgentctlError as error:  # a defect that was found before says more: a limit may end the test because of it
        found = _judge(trial.found)
        found = _with_failure(found, error) if found.status == "done" else found
    with anyio.CancelScope(shield=True):
        try:
            await ledger.close_run(run_id, found.status)
        except AgentctlError as error:
            found = _with_failure(found, error)
    return replace(
        found,
        cost_nano=_sum([calls.cost_nano for calls in trial.made]),
        in_doubt_nano=_sum([calls.in_doubt_nano for calls in trial.made]),
        client=client_of(provider),
        unknown=unknown_names(provider),
    )


class _Trial:
    """The calls of one test, all in one run of the ledger; ``found`` is what they have shown so far."""

    def __init__(
        self,
        found: ModelTestResult,
        provider: LLMProvider,
        ledger: Ledger,
        run_id: str,
        limits: CostLimit,
        check_call: Callable[[], object],
    ) -> None:
        self._provider, self._ledger, self._run_id, self._limits = provider, ledger, run_id, limits
        self._check_call = check_call
        self.found = found
        self.pieces = 0
        self._at_first_piece: Callable[[], None] | None = None
        self.made: list[ModelCalls] = []

    async def ask(self, text: str, most: int, *tools: ToolSpec) -> Completion:
        """Return the answer to one question, asked without retries."""
        facts = self._provider.facts
        calls = ModelCalls(
            provider=self._provider,
            ledger=self._ledger,
            run_id=self._run_id,
            limits=self._limits,
            emit=self._emit,
            silence_s=_SILENCE_S,
            waits_for_load=True,
            deadline_s=_LOADING_S if facts.may_load else _DEADLINE_S,
            max_output_tokens=max(most, _WITH_REASONING) if facts.reasoning and most > _TINY else most,
            retries=0,
            price_of=self._provider.price_of,
        )
        self.made.append(calls)
        self.pieces = 0
        return await calls.ask((Message("user", text),), tools)

    def note(self, answer: Completion | None = None, **findings: object) -> None:
        """Keep findings, and whether the last answer reported its usage: after a first one without, the next is asked
        in another way.
        """
        if answer is not None:
            usage = answer.usage
            findings["reports_usage"] = usage is not None and not contradiction(usage, answered=True)
        self.found = replace(self.found, **findings)  # type: ignore[arg-type]  # the names are checked when it is made

    async def break_off(self, text: str, most: int) -> bool | None:
        """Break an answer off at its first piece; return whether the provider lets go at once, None if it was over.

        What it costs is unknown: it counts at its worst case, which is that of ``most`` tokens.
        """
        stopped = began = anyio.current_time()
        with anyio.CancelScope() as scope:

            def stop() -> None:
                nonlocal stopped
                stopped = anyio.current_time()
                scope.cancel()

            self._at_first_piece = stop
            try:
                await self.ask(text, most)
            finally:
                self._at_first_piece = None
        if not scope.cancelled_caught or stopped == began:
            return None
        return anyio.current_time() - stopped < _AT_ONCE_S

    async def _emit(self, event: Event) -> None:
        if isinstance(event, CallHeld):
            self._check_call()  # if it raises, the hold is void
        elif isinstance(event, AnswerStreamed):
            self.pieces += 1
            if self.pieces == 1 and self._at_first_piece is not None:
                self._at_first_piece()


async def _try(trial: _Trial) -> None:
    """Ask for all that an agent needs, and keep the findings in ``trial``."""
    began = anyio.current_time()
    answer = await trial.ask("Count from 1 to 5, with spaces between the numbers.", _SMALL)
    trial.note(
        answer,
        ms=1000 * (anyio.current_time() - began),
        answers=bool(answer.text.strip()),
        streams=trial.pieces > 1,
    )
    called = await trial.ask("Call the tool report_number with the number 7.", _SMALL, _TOOL)
    trial.note(called, calls_tools=any(call.name == _TOOL.name for call in called.tool_calls))
    both = await trial.ask(
        "Call the tools report_number with 7 and report_word with blue, both at once.", _SMALL, _TOOL, _WORD_TOOL
    )
    trial.note(both, two_tools={call.name for call in both.tool_calls} == {_TOOL.name, _WORD_TOOL.name})
    trial.note(cancels=await trial.break_off("Count from 1 to 100, with spaces between.", _SMALL))
    try:
        cut = await trial.ask("Count from 1 to 500, with spaces between the numbers. Do not stop early.", _TINY)
    except (Overrun, ClampExceeded):
        trial.note(keeps_to_clamp=False)
        raise
    used = cut.usage.output_tokens if cut.usage else None
    if used is not None or cut.stop == "length":
        trial.note(cut, keeps_to_clamp=used is None or used <= _TINY)


def _judge(found: ModelTestResult) -> ModelTestResult:
    """Return the findings with the status of the first defect that makes a model useless for an agent."""
    shortcomings = [
        (found.answers, "gave an empty answer", "choose another model"),
        (found.calls_tools, "called no tool when asked to", "choose a model that can call tools"),
        (found.reports_usage, "reports no usage: every call would count at its worst case", "check its settings"),
        (found.keeps_to_clamp, "does not respect max_tokens", "choose another server"),
    ]
    for fine, said, hint in shortcomings:
        if fine is False:
            return _with_failure(found, ProviderUnavailable(f"{found.provider} {said}", hint=hint))
    return found


def _with_failure(found: ModelTestResult, error: AgentctlError) -> ModelTestResult:
    return replace(found, status=error.status, error=error.message, hint=error.hint)


def _sum(amounts: list[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
