"""Run the tasks that a host sends to `agentctl mcp serve`, each as a run below one scope of the ledger.

The scope is opened when the server starts and closed when it ends. It has the limit of the server's life, which counts
every run below it, whatever the limits of that run are. A call can only narrow what the settings and the flags of the
server permit: its limits are the lower ones, `read_only` is never lifted, and it brings no rule and no sandbox.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.to_thread

from agentctl.core.errors import UsageError
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.pricing import to_usd

if TYPE_CHECKING:
    from agentctl.cli.mcp.served_arguments import RunTaskArguments
    from agentctl.cli.run.run_request import RunRequest
    from agentctl.core.results import RunResult
    from agentctl.protocols import Ledger
    from agentctl.runner.orchestrator import Orchestrator
    from agentctl.settings import Loaded

AT_ONCE = 4
MOST_WAITING = 32
_TASK = "agentctl mcp serve"


class ServeTerms(NamedTuple):
    """What the flags of the server say; ``max_cost`` None: no limit of its life."""

    flags: Mapping[str, object]
    max_cost: Decimal | None
    default_max_cost: Decimal | None = None
    config: str | None = None
    env_files: tuple[str, ...] = ()


class Scope(NamedTuple):
    """The server's own entry in the ledger, above its runs."""

    parent: Parent
    ledger: Ledger
    max_cost: Decimal | None

    async def used(self) -> Mapping[str, Any]:
        """Return the limit of the server's life and what counts against it, in dollars."""
        amounts = (await self.ledger.spend(self.parent.run_id)).run_nano
        left = None if self.max_cost is None else max(Decimal(0), self.max_cost - to_usd(amounts.total))
        return {
            "run_id": self.parent.run_id,
            "max_cost_usd": None if self.max_cost is None else float(self.max_cost),
            "spent_usd": float(to_usd(amounts.spent)),
            "in_doubt_usd": float(to_usd(amounts.in_doubt)),
            "held_usd": float(to_usd(amounts.held)),
            "left_usd": None if left is None else float(left),
        }


@asynccontextmanager
async def open_scope(loaded: Loaded, max_cost: Decimal | None) -> AsyncIterator[Scope]:
    """Open the scope of a server, and close it at the end; below the run that started this process, if one did.

    A server that a run's sandbox or another server's configuration has started can list its tools, and runs nothing.

    Raises:
        ActionDenied: that run has ended, or its capability is wrong.
    """
    from agentctl.ledger.sqlite import make_ledger
    from agentctl.runner.lease_terms import scope_above

    ledger = make_ledger(loaded.settings.ledger_address, loaded.initiator)
    parent = Parent(os.urandom(6).hex(), os.urandom(32).hex())
    limits = CostLimit(max_cost_per_task=max_cost, max_cost_per_hour=None, max_tokens_per_task=None)
    can_run = loaded.parent is None or loaded.parent.capability
    above = scope_above(loaded) if can_run else None
    try:
        await ledger.open_run(
            parent.run_id, limits, task=_TASK, agent="", labels={}, parent=above, capability=parent.capability
        )
        try:
            yield Scope(parent, ledger, max_cost)
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.close_run(parent.run_id, "done")
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.aclose()


class ServedRuns:
    """Runs tasks below ``scope``, at most ``AT_ONCE`` of them at once; ``notify`` gets sentences for the user.

    ``assemble`` makes the parts of a run; None: those of the settings.
    """

    def __init__(
        self,
        terms: ServeTerms,
        scope: Scope,
        notify: Callable[[str], None],
        assemble: Callable[..., Orchestrator] | None = None,
    ) -> None:
        self._terms, self.scope, self._notify, self._assemble = terms, scope, notify, assemble
        self._at_once = anyio.Semaphore(AT_ONCE)
        self._calls = 0
        self._ids: list[str] = []

    @property
    def run_ids(self) -> Sequence[str]:
        """The runs so far, in the order of their ends; those that they delegated come before them."""
        return self._ids

    async def run(self, call: RunTaskArguments) -> tuple[RunResult, tuple[str, ...]]:
        """Run one task; return its result, and the secrets to redact in it. When cancelled, the run is closed first.

        Raises:
            UsageError: the call asks for more than the server permits, too many calls wait, or a setting is invalid.
            AgentctlError: the provider is not available.
            ActionDenied: a run started this server, and its limits could not count what this one costs.
        """
        most = self._limit_of(call)
        if self._calls >= AT_ONCE + MOST_WAITING:
            raise UsageError(f"{self._calls} calls are under way", hint="wait until some of them have ended")
        self._calls += 1
        try:
            async with self._at_once:
                orchestrator, task, secrets = await anyio.to_thread.run_sync(self._prepare, call, most)
                result = await orchestrator.run(task)
        finally:
            self._calls -= 1
        self._ids += [*(one.run_id for one in result.delegated), result.run_id]
        return result, secrets

    def _limit_of(self, call: RunTaskArguments) -> Decimal:
        most = call.max_cost_usd if call.max_cost_usd is not None else self._terms.default_max_cost
        if most is None:
            raise UsageError("max_cost_usd is missing", hint="say what the run may cost at most, in US dollars")
        limit = self.scope.max_cost
        if limit is not None and call.max_cost_usd is not None and most > limit:
            raise UsageError(
                f"max_cost_usd is {most:f}; all runs of this server together may cost {limit:f}",
                hint=f"this limit does not get free; ask for {limit:f} or less, or restart it with a higher --max-cost",
            )
        return most

    def _prepare(self, call: RunTaskArguments, most: Decimal) -> tuple[Orchestrator, str, tuple[str, ...]]:
        """Return a run, ready to start, its task, and its secrets.

        Raises:
            AgentctlError: a setting is invalid, or the provider is not available.
        """
        from agentctl.cli.run.run_request import RunRequest
        from agentctl.cli.run.user_files import choose_agent, read_notes
        from agentctl.core.answer_schema import read_answer_schema
        from agentctl.core.redaction import Redactor
        from agentctl.providers.selection import resolve_provider
        from agentctl.runner.assemble import assemble
        from agentctl.settings.lineage import refuse_incomplete

        terms = self._terms
        schema = None if call.answer_schema is None else read_answer_schema(call.answer_schema, name="schema")
        loaded = load(terms, agent=call.agent, llm_model=call.model)
        refuse_incomplete(loaded.parent)
        for note in loaded.notes:
            self._notify(note)
        request: RunRequest = RunRequest((), {}, {}, None, (), None, quiet=False, verbose=False)
        chosen = choose_agent(loaded, request, call.task, None, self._notify)
        choice = resolve_provider(chosen.loaded)
        loaded = narrowed(chosen.loaded.for_provider(choice.provider), call, most)
        has_model, notes = choice.provider != "builtin", None
        if has_model:
            loaded, notes = read_notes(loaded, request, self._notify)
        loaded = replace(loaded, parent=self.scope.parent).for_a_run(with_servers=has_model)
        task, _ = (loaded.redactor or Redactor(loaded.secrets)).count(chosen.task)
        make = self._assemble or assemble
        chosen = chosen._replace(loaded=loaded, task=task)
        orchestrator = make(loaded, choice, warn=self._notify, schema=schema, chosen=chosen, notes=notes)
        return orchestrator, task, loaded.secrets


def load(terms: ServeTerms, **call: object) -> Loaded:
    """Return the settings of one run: those of the user with the flags of the server, read again for each.

    Raises:
        UsageError: a setting is invalid, or a call names what a flag of the server has fixed.
    """
    from agentctl.settings import load_settings

    wanted = {name: value for name, value in call.items() if value is not None}
    for name, value in wanted.items():
        if (fixed := terms.flags.get(name)) is not None and fixed != value:
            said = "agent" if name == "agent" else "model"
            raise UsageError(f"this server has one {said}: {fixed}", hint=f"leave {said} out")
    return load_settings(
        flags={**terms.flags, **wanted},
        config=terms.config,
        env_files=terms.env_files,
        remember=False,
        needs=("run",),
    )


def narrowed(loaded: Loaded, call: RunTaskArguments, most: Decimal) -> Loaded:
    """Return the settings of a run, narrowed by a call: ``most`` is what it may cost."""
    settings = loaded.settings
    changes: dict[str, object] = {"read_only": settings.read_only or call.read_only}
    own = settings.max_cost_per_task
    is_set = loaded.sources["max_cost_per_task"].kind != "default" or "max_cost_per_task" in loaded.tightened
    changes["max_cost_per_task"] = most if own is None or not is_set else min(own, most)
    if call.timeout_s is not None:
        changes["timeout"] = min(settings.timeout, call.timeout_s)
    if settings.approve in ("ask", "defer"):  # nobody is there to ask, and a run below another one is not resumed
        changes["approve"] = "deny"
    changed = {name for name, value in changes.items() if value != getattr(settings, name)}
    tightened = {name: place for name, place in loaded.tightened.items() if name not in changed}
    return replace(loaded, settings=settings.model_copy(update=changes), tightened=tightened)
