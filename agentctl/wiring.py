"""Where concrete parts are chosen: settings in, a ready orchestrator out. Nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from agentctl.agents import find_agent, load_agents
from agentctl.budget import CostLimit
from agentctl.errors import UsageError
from agentctl.journal import Journal
from agentctl.ledger import SqliteLedger
from agentctl.orchestrator import Orchestrator
from agentctl.plan import Plan
from agentctl.policy import LoopLimits
from agentctl.protocols import LLMProvider, Observer
from agentctl.providers.builtin.provider import BuiltinProvider
from agentctl.settings import Loaded, ProviderChoice
from agentctl.text import did_you_mean
from agentctl.tools import TOOLS, toolbox
from agentctl.version import __version__

_LIMITS = ("max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task")


def make_provider(choice: ProviderChoice) -> LLMProvider:
    """Return the chosen provider.

    Raises:
        UsageError: this release does not speak to it yet.
    """
    if choice.provider == "builtin":
        return BuiltinProvider()
    raise UsageError(
        f"this release of agentctl does not speak to {choice.provider} yet (chosen by {choice.chosen_by})",
        hint="answer read-only questions without a model: agentctl run --provider builtin …",
    )


def _refuse_unknown_tools(loaded: Loaded) -> None:
    """A misspelt name in ``deny`` must not allow what it meant to forbid.

    Raises:
        UsageError: with the nearest name.
    """
    for setting in ("tools", "deny"):
        for name in getattr(loaded.settings, setting) or ():
            if name not in TOOLS:
                raise UsageError(
                    f'{setting} ({loaded.sources[setting]}) names "{name}", and there is no such tool',
                    hint=did_you_mean(name, TOOLS) or f"there are: {', '.join(TOOLS)}",
                )


def plan_of(loaded: Loaded, choice: ProviderChoice, *, labels: Mapping[str, str]) -> Plan:
    """Return what a run may do, from the settings alone."""
    settings = loaded.settings
    return Plan(
        limits=CostLimit.model_construct(**{name: getattr(settings, name) for name in _LIMITS}),  # checked before
        limits_set_by={name: str(path) for name, path in loaded.tightened.items() if name in _LIMITS},
        agent=settings.agent,
        agent_chosen_by=str(loaded.sources["agent"]),
        provider_chosen_by=choice.chosen_by,
        timeout_s=settings.timeout,
        silence_s=settings.llm_timeout,
        budget_wait_s=settings.budget_wait,
        max_output_tokens=settings.max_output_tokens,
        doubt=settings.doubt,
        loop=LoopLimits(max_turns=settings.max_turns),
        max_context_tokens=settings.max_context_tokens,
        keep_user=settings.keep_last_n_user_messages,
        keep_assistant=settings.keep_last_n_assistant_messages,
        read_only=settings.read_only,
        allowed=settings.tools,
        denied=settings.deny,
        workdir=str(settings.workdir or Path.cwd()),
        labels=labels,
        version=__version__,
    )


def assemble(
    loaded: Loaded,
    choice: ProviderChoice,
    *,
    observers: Sequence[Observer] = (),
    labels: Mapping[str, str] | None = None,
    provider: LLMProvider | None = None,
) -> Orchestrator:
    """Return an orchestrator for one run: its journal and ledger in the state folder, opened when it starts.

    ``provider`` replaces the chosen one (a scripted model in tests).

    Raises:
        UsageError: the chosen provider cannot be had, or a tool or agent is named that does not exist.
    """
    _refuse_unknown_tools(loaded)
    settings = loaded.settings
    plan = plan_of(loaded, choice, labels=labels or {})
    agents = load_agents()
    if plan.agent is not None:
        find_agent(plan.agent, agents)
    engine = loaded.sources["docker_host"]
    named_by = str(engine) if engine.kind == "docker context" else "DOCKER_HOST"
    run_id = os.urandom(6).hex()
    journal = Journal(settings.runs_dir, run_id, secrets=loaded.secrets)
    ledger = SqliteLedger(settings.ledger_path)
    tools = partial(toolbox, workspace=Path(plan.workdir), docker_host=settings.docker_host, docker_host_from=named_by)
    return Orchestrator(
        plan=plan,
        agents=agents,
        provider=provider or make_provider(choice),
        ledger=ledger,
        toolbox=lambda names: tools(names=names),
        observers=(journal, *observers),
        now=lambda: datetime.now(UTC),
        new_id=lambda: run_id,
        closing=(ledger.aclose, journal.aclose),
    )
