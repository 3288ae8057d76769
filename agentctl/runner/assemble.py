"""Choose the concrete parts of a run by the settings, and return a ready orchestrator. Nothing else chooses parts."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio.to_thread

from agentctl.core.errors import LIMIT_NAMES
from agentctl.core.limits import CostLimit
from agentctl.core.pricing import ModelFacts, Price, PriceOf, no_price
from agentctl.core.version import __version__
from agentctl.journal.artifacts import ArtifactFolder, copy_artifacts
from agentctl.journal.writer import Journal
from agentctl.ledger.sqlite import make_ledger
from agentctl.permissions.decision import permissions_of
from agentctl.permissions.guards import LoopLimits
from agentctl.protocols import Approver, LLMProvider, Observer
from agentctl.runner.agent_spec import find_agent, find_named, load_agents
from agentctl.runner.lease_terms import scope_above
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.plan import Plan
from agentctl.runner.run_observers import mirrors, open_telemetry, span_observers
from agentctl.runner.streaming import client_of
from agentctl.runner.token_counting import counter_of, measure_of, vocabulary_loader
from agentctl.runner.toolset import container_finder, container_lister, listing, serving, toolset_for, unit_finder
from agentctl.settings import Loaded, ProviderChoice
from agentctl.settings.labels import check_labels, run_labels
from agentctl.settings.lineage import child_variables

if TYPE_CHECKING:
    from agentctl.core.answer_schema import AnswerSchema
    from agentctl.permissions.hook_rules import HookRule
    from agentctl.providers.cassettes.lane import Lane
    from agentctl.runner.agent_choice import AgentChoice
    from agentctl.runner.estimate import Estimate
    from agentctl.runner.fallbacks import Fallback
    from agentctl.runner.hooks import DescribeEnd, Hooks
    from agentctl.runner.project_notes import ProjectNotes
    from agentctl.runner.resumption import Resumption
    from agentctl.telemetry.span_observer import LiveTelemetry


def make_provider(
    loaded: Loaded, choice: ProviderChoice, limits: CostLimit, *, price: Price | None = None
) -> LLMProvider:
    """Return the chosen provider, and start loading its libraries in the background.

    ``price`` replaces the price table.

    Raises:
        UsageError: agentctl does not support it, or a dollar limit is set and the price is unknown.
    """
    if choice.provider == "builtin":
        return _builtin(loaded)
    provider = _limited_provider(loaded, choice, limits, price)
    if client_of(provider) == "litellm":
        from agentctl.providers import litellm_loader  # noqa: PLC0415 - not for the lean client

        litellm_loader.start_loading()
    elif client_of(provider) == "lean":
        from agentctl.providers.endpoints import reached_at  # noqa: PLC0415 - not for builtin
        from agentctl.providers.lean_client import start_loading  # noqa: PLC0415

        start_loading("" if loaded.access else reached_at(provider.facts))
    return provider


def _builtin(loaded: Loaded) -> LLMProvider:
    from agentctl.providers.builtin.provider import BuiltinProvider  # noqa: PLC0415 - its table is long
    from agentctl.tools.docker.client import likely_program  # noqa: PLC0415 - a run has it already, costs does not

    program = likely_program(loaded.settings.docker_host)
    return BuiltinProvider(engine_program=program, is_unit=unit_finder(loaded))


def _limited_provider(
    loaded: Loaded, choice: ProviderChoice, limits: CostLimit, price: Price | None = None
) -> LLMProvider:
    from agentctl.budget.breaker import refuse_unbounded  # noqa: PLC0415 - not for builtin
    from agentctl.providers.factory import create_llm_provider  # noqa: PLC0415

    key, url = loaded.access.get(choice.provider, (None, None))
    provider = create_llm_provider(choice.provider, choice.model, api_key=key, base_url=url, settings=loaded.settings)
    if price is not None:
        from agentctl.providers.llm_provider import FixedPriceProvider  # noqa: PLC0415 - only where Python sets one

        provider = FixedPriceProvider(provider, price)
    refuse_unbounded(provider.facts, limits, near=provider.near())
    return provider


def check_startable(loaded: Loaded, choice: ProviderChoice) -> ModelFacts:
    """Run the checks of a run's start, and return the model's facts; open and load nothing.

    Raises:
        UsageError: as ``assemble``.
    """
    plan = plan_of(loaded, choice, labels={})
    if plan.agent is not None:
        find_named(plan.agent, loaded)
    provider = _builtin(loaded) if choice.provider == "builtin" else _limited_provider(loaded, choice, plan.limits)
    fallbacks_of(loaded, choice, plan.limits)
    return provider.facts


async def estimate_run(
    loaded: Loaded,
    choice: ProviderChoice,
    task: str,
    *,
    labels: Mapping[str, str],
    data: str = "",
    schema: AnswerSchema | None = None,
    chosen: AgentChoice | None = None,
    notes: ProjectNotes | None = None,
) -> Estimate:
    """Estimate the first request and the cost of a run of ``task`` with ``data`` behind it; nothing is sent or written.

    ``schema`` is what its answer must be valid by, ``chosen`` its agent, ``notes`` those of the project.

    Raises:
        UsageError: as ``assemble``.
        AgentctlError: the run would end before its first request; limits are in the estimate instead.
    """
    from agentctl.ledger.forecast import forecast_first_call  # noqa: PLC0415
    from agentctl.runner.estimate import estimate  # noqa: PLC0415 - a run needs none

    plan = plan_of(loaded, choice, labels=labels)._replace(answer_schema=schema, notes=notes)
    settings, plan = loaded.settings, plan if chosen is None else chosen.apply(plan)
    provider = _builtin(loaded) if choice.provider == "builtin" else _limited_provider(loaded, choice, plan.limits)
    return await estimate(
        task,
        data=data,
        plan=plan,
        agents=load_agents() if chosen is None else chosen.agents,
        facts=provider.facts,
        make_tools=toolset_for(loaded, plan.permissions, delegate=listing(chosen)),
        forecast_call=lambda ask, agent: forecast_first_call(
            settings.ledger_address, ask, plan.limits, agent=agent, parent=plan.parent
        ),
        now=lambda: datetime.now(UTC),
        measure=measure_of(loaded, provider.facts),
        price_of=_prices_for(provider, loaded),
        load_count=vocabulary_loader(provider),
        find_containers=container_finder(loaded, plan.permissions),
        servers=loaded.server_names,
    )


def _prices_for(provider: LLMProvider, loaded: Loaded) -> PriceOf:
    """Return the function that prices other models: the provider's own, else user's price lines and price table."""
    own: PriceOf = getattr(provider, "price_of", no_price)

    def price_of(model: str, /, *, tier: str = "") -> Price | None:
        found = own(model, tier=tier)
        if found is not None or not provider.facts.metered:
            return found
        from agentctl.providers.catalog import load_catalog  # noqa: PLC0415 - only where another model answers

        return load_catalog(loaded.settings.price_lines).price_of(provider.facts.provider, model, tier=tier)

    return price_of


def _optional_hook(provider: LLMProvider, name: str) -> tuple[Callable[[], Awaitable[object]], ...]:
    """Return a provider's optional method as a tuple, empty if it has none; the protocol does not require it."""
    found = getattr(provider, name, None)
    return () if found is None else (found,)


def _fallback(loaded: Loaded, limits: CostLimit, choice: ProviderChoice) -> Fallback:
    """Return a fallback as it takes over.

    Raises:
        AgentctlError: as ``make_provider``.
    """
    from agentctl.runner.fallbacks import Fallback  # noqa: PLC0415 - most runs have none
    from agentctl.runner.reservation import CallTerms  # noqa: PLC0415

    plan, provider = plan_of(loaded, choice, labels={}), _limited_provider(loaded, choice, limits)
    prices, count = _prices_for(provider, loaded), vocabulary_loader(provider)
    terms = CallTerms(prices, count, plan.silence_s, plan.waits_for_load, plan.fallback_wait_s)
    return Fallback(provider, terms, counter_of(loaded, provider.facts)[0])


def fallbacks_of(
    loaded: Loaded, choice: ProviderChoice, limits: CostLimit
) -> tuple[tuple[Fallback, ...], Sequence[str]]:
    """Return the fallbacks of a run, and a sentence about each that cannot be used.

    Raises:
        UsageError: a name is wrong, or a dollar limit is set and a price is unknown.
    """
    if not loaded.settings.fallbacks or choice.provider == "builtin":
        return (), ()
    from agentctl.runner.fallbacks import make_fallbacks  # noqa: PLC0415 - most runs have none

    return make_fallbacks(loaded, choice, partial(_fallback, loaded, limits))


def plan_of(loaded: Loaded, choice: ProviderChoice, *, labels: Mapping[str, str]) -> Plan:
    """Return the plan of a run, from the settings alone; ``labels`` take precedence over those detected here.

    Raises:
        UsageError: a label is invalid.
        ActionDenied: a run started this process, and that run's ledger is not visible from here.
        LeaseError: a lease is required and missing, or it is not valid for this job.
    """
    above = scope_above(loaded)
    loaded = loaded.for_provider(choice.provider)
    settings, own = loaded.settings, check_labels(labels)
    workdir = str(settings.workdir or Path.cwd())
    return Plan(
        limits=CostLimit.model_construct(**{name: getattr(settings, name) for name in LIMIT_NAMES}),  # checked before
        limits_set_by={name: str(path) for name, path in loaded.tightened.items() if name in LIMIT_NAMES},
        agent=settings.agent,
        agent_chosen_by=str(loaded.sources["agent"]),
        provider_chosen_by=choice.chosen_by,
        timeout_s=settings.timeout,
        silence_s=settings.llm_timeout,
        waits_for_load=loaded.sources["llm_timeout"].kind == "default",
        budget_wait_s=settings.budget_wait,
        max_output_tokens=settings.max_output_tokens,
        doubt=settings.doubt,
        loop=LoopLimits(max_turns=settings.max_turns, identical_calls=settings.max_identical_calls),
        max_context_tokens=settings.max_context_tokens,
        keep_user=settings.keep_last_n_user_messages,
        keep_assistant=settings.keep_last_n_assistant_messages,
        max_result_tokens=settings.max_result_tokens,
        cut_to_percent=settings.context_cut_percent,
        warn_percent=settings.context_warn_percent,
        summaries=settings.summaries,
        summary_tokens=settings.summary_tokens,
        permissions=permissions_of(loaded),
        approve=settings.approve,
        workdir=workdir,
        labels=run_labels(own, workdir=workdir, job=loaded.job, secrets=loaded.secrets)
        if settings.auto_labels
        else own,
        version=__version__,
        parent=above,
        trace_parent=loaded.trace_parent,
        hooks=_hook_rules(loaded),
        schema_retries=settings.schema_retries,
    )


def _hook_rules(loaded: Loaded) -> tuple[HookRule, ...]:
    if not loaded.settings.hook:
        return ()
    from agentctl.permissions.hook_rules import hook_rules_of  # noqa: PLC0415 - most users have none

    return hook_rules_of(loaded)


def _hooks(loaded: Loaded, plan: Plan, run_id: str, describe_end: DescribeEnd | None) -> Hooks | None:
    if not plan.hooks:
        return None
    from agentctl.runner.hooks import HookContext, Hooks  # noqa: PLC0415 - most runs have none

    context = HookContext(run_id, plan.workdir, lambda: datetime.now(UTC), loaded.secrets, loaded.passed_on)
    return Hooks(plan.hooks, context if describe_end is None else context._replace(describe_end=describe_end))


def assemble(
    loaded: Loaded,
    choice: ProviderChoice,
    *,
    observers: Sequence[Observer] = (),
    labels: Mapping[str, str] | None = None,
    provider: LLMProvider | None = None,
    approver: Approver | None = None,
    plan: Plan | None = None,
    ledger_path: Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
    resumption: Resumption | None = None,
    locked: int | None = None,
    flags: Mapping[str, object] = MappingProxyType({}),
    describe_end: DescribeEnd | None = None,
    schema: AnswerSchema | None = None,
    chosen: AgentChoice | None = None,
    notes: ProjectNotes | None = None,
    telemetry: LiveTelemetry | None = None,
    cassette: Lane | None = None,
) -> Orchestrator:
    """Return an orchestrator for one run, whose journal and ledger are opened in the state folder when it starts.

    ``provider`` replaces the chosen one and is not closed: it belongs to the caller. ``approver`` asks a person; None:
    there is none. ``plan`` and ``ledger_path`` replace the settings. ``warn`` receives one sentence about each problem
    that does not stop the run. ``resumption`` is the run that goes on, with its journal ``locked`` (a descriptor that
    the orchestrator closes; None for a fork), and ``flags`` are kept for the next time. ``describe_end`` returns the
    last record of the run as hooks get it; None: as the journal has it. ``schema`` is what the answer must be valid by.
    ``chosen`` is the agent that was chosen already, with the settings that it has changed; None: one of the package.
    ``telemetry`` is that of the run that delegates to this one. ``cassette`` records or replays the run.
    Commands without a sandbox get the variables that make their runs children of this one.

    Raises:
        UsageError: the chosen provider is not available, or a named tool or agent does not exist.

    >>> import anyio
    >>> from agentctl import Completion, ProviderChoice, ScriptedProvider, assemble, load_settings
    >>> model = ScriptedProvider([Completion("There is enough.")])
    >>> run = assemble(load_settings(flags={}), ProviderChoice("scripted", "scripted", "this script"), provider=model)
    >>> result = anyio.run(run.run, "Is there enough memory?")
    >>> result.status, str(result)
    ('done', 'There is enough.')
    """
    loaded = loaded if loaded.capability else loaded.for_a_run()
    settings = loaded.settings
    if plan is None:
        plan = plan_of(loaded, choice, labels=labels or {})
    plan = plan._replace(answer_schema=schema or plan.answer_schema, notes=notes, cassette=cassette)
    plan = plan if chosen is None else chosen.apply(plan)
    if resumption is not None:
        plan = resumption.plan(plan)
    agents = load_agents() if chosen is None else chosen.agents
    if plan.agent is not None:
        find_agent(plan.agent, agents)
    run_id = os.urandom(6).hex() if resumption is None or resumption.is_fork else resumption.past.run_id
    journal = Journal(settings.runs_dir, run_id, secrets=loaded.secrets, locked=locked)
    run_files = settings.runs_dir / run_id
    if resumption is not None and resumption.is_fork:
        source = settings.runs_dir / resumption.past.run_id
        copy_files = partial(anyio.to_thread.run_sync, copy_artifacts, source, run_files)
        resumption = resumption._replace(copy_files=copy_files)
    ledger = make_ledger(ledger_path or settings.ledger_address, loaded.initiator)
    answering = provider or make_provider(loaded, choice, plan.limits)
    if (sampling := getattr(answering, "sampling", None)) and (unsent := sampling.note(answering.facts.model)):
        warn(unsent)
    fallbacks, unusable = fallbacks_of(loaded, choice, plan.limits)
    for said in unusable:
        warn(said)
    if cassette is not None:
        from agentctl.runner.cassette_parts import insert  # noqa: PLC0415 - most runs have none

        ledger = insert(cassette, run_id, loaded, (answering, *(one.provider for one in fallbacks)), ledger)
    counter, remember = counter_of(loaded, answering.facts)
    capability = loaded.capability if settings.sandbox in ("none", "external") else ""  # unusable in a sandbox
    live = telemetry or open_telemetry(loaded, run_id, warn)
    artifacts, delegation = ArtifactFolder(run_files, secrets=loaded.secrets), None
    if chosen is not None and chosen.delegates and answering.facts.metered:
        from agentctl.runner.delegation import Delegation  # noqa: PLC0415 - few agents delegate

        start = partial(assemble, labels=labels, provider=provider, ledger_path=ledger_path, warn=warn, notes=notes)
        start = partial(start, telemetry=live)
        parts = (start, loaded, choice, chosen, run_id, ledger)
        delegation = Delegation(*parts, store=artifacts, approver=approver, cassette=cassette)
        approver = delegation.approver
    make, served = serving(loaded, chosen)
    return make(
        plan=plan,
        agents=agents,
        provider=answering,
        ledger=ledger,
        find_containers=container_finder(loaded, plan.permissions),
        list_containers=container_lister(loaded, plan.permissions),
        make_tools=toolset_for(
            loaded,
            plan.permissions,
            run_files=run_files,
            child_variables=child_variables(run_id, capability, settings.state_dir) if capability else {},
            sweep=True,
            delegate=delegation,
            **served,
        ),
        observers=(journal, *observers, *mirrors(cassette, loaded, warn), *span_observers(live, loaded, run_id)),
        now=lambda: datetime.now(UTC),
        new_id=lambda: run_id,
        approver=approver,
        artifact_store=artifacts,
        redactor=loaded.redactor,
        price_of=_prices_for(answering, loaded),
        counter=counter,
        load_count=vocabulary_loader(answering),
        opening=_optional_hook(answering, "prepare"),
        fallbacks=fallbacks,
        closing=(
            *remember,
            *(() if provider else _optional_hook(answering, "aclose")),
            *(hook for fallback in fallbacks for hook in _optional_hook(fallback.provider, "aclose")),
            *(ledger.aclose, journal.aclose),
            *(() if live is None or telemetry else live.closing),
        ),
        capability=loaded.capability if delegation else capability,
        resumption=resumption,
        flags=flags,
        hooks=_hooks(loaded, plan, run_id, describe_end),
    )
