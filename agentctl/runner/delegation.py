"""Run the tasks that a run's model delegates to other agents, each as a run below it in the same ledger.

Such a run is an ordinary one, made of the same parts, whose parent is the run that delegates: each of its holds counts
in every run above it, and nothing of it is sent once one of those has ended. Its settings are those of its parent,
which its agent's file can only narrow; its own limit is at most what the parent has not spent. It is cancelled with its
parent. How deep runs may delegate is held by the ledger, at the start of each, from the tree that is stored there.

Loaded only by runs whose agent delegates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agentctl.core.errors import ActionDenied, AgentctlError, StateError, ToolError
from agentctl.core.events import Record, RunFinished
from agentctl.core.limits import Parent
from agentctl.core.pricing import to_usd
from agentctl.core.results import DelegatedRun, FileNotice, Reply, RunResult
from agentctl.core.text import safe_text
from agentctl.protocols import Approval, Approver, ArtifactStore, Ledger, Question
from agentctl.runner.agent_choice import DEEPEST, AgentChoice, fill_agent, with_terms
from agentctl.runner.agent_spec import AgentSpec, find_agent, load_agents
from agentctl.settings import Loaded, ProviderChoice, Source
from agentctl.tools.tool import cut_middle

if TYPE_CHECKING:
    from agentctl.providers.cassettes.lane import Lane
    from agentctl.runner.orchestrator import Orchestrator

AT_ONCE = 4  # of one run; a delegated run has one at a time, so that no more than these work at once
MOST_BYTES = 4096  # of a result
_MARGIN = 200  # bytes of a result for the line that says where the whole is


class ListedAgents:
    """The agents that a run can delegate to, where no run begins."""

    def __init__(self, chosen: AgentChoice) -> None:
        self._specs = chosen.others or load_agents()

    @property
    def agents(self) -> Mapping[str, str]:
        """The agents that take tasks, and what each is for."""
        return {agent.name: agent.description for agent in self._specs}

    def runs(self) -> tuple[DelegatedRun, ...]:
        """Return no run."""
        return ()

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return no notice."""
        return ()

    async def __call__(self, agent: str, task: str, max_cost: Decimal | None) -> str:
        """Refuse.

        Raises:
            ToolError: always.
        """
        raise ToolError("nothing is delegated by an estimate")


class Delegation(ListedAgents):
    """The delegated runs of one run, ``run_id``.

    ``start`` makes an orchestrator (``assemble`` with the parts that both runs share). ``chosen`` is the agent of the
    run that delegates, ``loaded`` its settings and ``choice`` its model. ``store`` keeps whole results in its files.
    ``cassette`` is that of the run.
    """

    def __init__(
        self,
        start: Callable[..., Orchestrator],
        loaded: Loaded,
        choice: ProviderChoice,
        chosen: AgentChoice,
        run_id: str,
        ledger: Ledger,
        *,
        store: ArtifactStore,
        approver: Approver | None,
        cassette: Lane | None = None,
    ) -> None:
        super().__init__(chosen)
        self._cassette = cassette
        self._start, self._loaded, self._choice, self._chosen = start, loaded, choice, chosen
        self._run_id, self._ledger, self._store = run_id, ledger, store
        self._at_once = anyio.Semaphore(1 if chosen.depth else AT_ONCE)
        self._asking = anyio.Lock()
        self._approver = approver
        self._ended: list[RunResult] = []
        self._reported: set[str] = set()

    @property
    def approver(self) -> Approver | None:
        """The approver of the run itself, which waits while a delegated run asks."""
        return None if self._approver is None else _InTurn(self._approver, self._asking)

    def runs(self) -> tuple[DelegatedRun, ...]:
        """Return the runs so far that have ended."""
        return tuple(
            DelegatedRun(one.run_id, one.agent, one.status, one.cost_nano, one.in_doubt_nano) for one in self._ended
        )

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return the notices of runs that gave no result; each is returned once."""
        left = [one for one in self._ended if one.run_id not in self._reported]
        self._reported.update(one.run_id for one in left)
        return tuple(notice for one in left for notice in one.changed_files_run_later)

    async def __call__(self, agent: str, task: str, max_cost: Decimal | None) -> str:
        """Run ``task`` by ``agent``, and return the text that the model reads.

        Raises:
            ToolError: the run could not begin, or failed.
            ActionDenied: a call was denied that it needed.
        """
        lane = None if self._cassette is None else self._cassette.child(agent, task)
        async with self._at_once:
            try:
                loaded = await self._settings_for(find_agent(agent, self._specs), max_cost)
                orchestrator = await anyio.to_thread.run_sync(self._assemble, loaded, agent, task, lane)
            except AgentctlError as error:
                raise ToolError(f"{agent} could not begin: {error.message}", hint=error.hint) from error
            result = await orchestrator.run(task)
        return await self._told(result)

    def _assemble(self, loaded: Loaded, name: str, task: str, lane: Lane | None) -> Orchestrator:
        """Return the run of an agent, ready to start; ``lane`` is its part of the cassette.

        Raises:
            AgentctlError: its model is not available, has no known price, or its instructions need a parameter.
        """
        agent, _ = fill_agent(find_agent(name, self._specs), {})
        if mine := self._chosen.servers:  # this run has no others, so nor has that one
            kept = tuple(server for server in agent.terms.mcp or mine if server in mine)
            agent = agent._replace(terms=agent.terms._replace(mcp=kept))
            loaded = loaded if kept else replace(loaded, servers=None)
        by = f"delegated by run {self._run_id}"
        depth = self._chosen.depth + 1
        child = AgentChoice(loaded, (agent,), task, agent, by, others=self._specs, depth=depth)
        more: dict[str, Any] = {}
        choice = self._choice
        now, before = loaded.settings, self._loaded.settings
        if (now.llm_provider, now.llm_model) != (before.llm_provider, before.llm_model):
            from agentctl.providers.selection import resolve_provider  # noqa: PLC0415 - for an agent with its own model

            choice = resolve_provider(loaded)
            loaded, more = loaded.for_provider(choice.provider), {"provider": None}
            child = child._replace(loaded=loaded)
        if self._cassette is not None:
            more["cassette"] = lane
        asker = None if self._approver is None else _InTurn(self._approver, self._asking, agent.name)
        return self._start(loaded, choice, observers=(self,), approver=asker, chosen=child, **more)

    async def _settings_for(self, agent: AgentSpec, max_cost: Decimal | None) -> Loaded:
        """Return the settings of a run of ``agent``: those of this run, narrowed by the agent's file and ``max_cost``.

        Rules that allow and a sandbox of its own are none of the file's business here, nor is an open network.
        """
        given, terms = self._loaded, agent.terms
        sources = {**given.sources, "agent": Source("agent file", agent.place)}
        for name in ("llm_provider", "llm_model"):  # those of this run's agent are replaced by the other agent's
            if sources[name].kind == "agent file":
                sources[name] = Source("default")
        approve = "deny" if given.settings.approve == "defer" else given.settings.approve  # it is not resumed
        settings = given.settings.model_copy(update={"agent": agent.name, "approve": approve})
        parent = Parent(self._run_id, given.capability, most_runs=DEEPEST + 1)
        child = replace(given, settings=settings, sources=sources, parent=parent)
        terms = terms._replace(allow=(), sandbox=None, network=False if terms.network is False else None)
        child, _ = with_terms(child, agent._replace(origin="project", terms=terms))
        spend = await self._ledger.spend(self._run_id)
        lowered: dict[str, object] = {}
        dollars = [one for one in (child.settings.max_cost_per_task, max_cost) if one is not None]
        if given.settings.max_cost_per_task is not None:
            spent = to_usd(spend.run_nano.spent + spend.run_nano.in_doubt)
            dollars.append(max(Decimal(0), given.settings.max_cost_per_task - spent))
        if dollars and min(dollars) != child.settings.max_cost_per_task:
            lowered["max_cost_per_task"] = min(dollars)
        tokens, of_child = given.settings.max_tokens_per_task, child.settings.max_tokens_per_task
        if tokens is not None and of_child is not None:
            left = max(0, tokens - spend.run_tokens.spent - spend.run_tokens.in_doubt)
            lowered |= {"max_tokens_per_task": left} if left < of_child else {}
        tightened = {name: place for name, place in child.tightened.items() if name not in lowered}
        child = replace(child, settings=child.settings.model_copy(update=lowered), tightened=tightened)
        return replace(child.for_a_run(), servers=given.servers)

    async def observe(self, record: Record) -> None:
        """Take the result of a delegated run, also of one that is cancelled."""
        if isinstance(record.event, RunFinished):
            self._ended.append(record.event.result)

    async def _told(self, result: RunResult) -> Reply:
        """Return what the model reads of a run that ended well: at most ``MOST_BYTES``, the whole in a file.

        Raises:
            ToolError: it did not.
            ActionDenied: a call was denied that it needed.
        """
        nano = result.replayed_nano if result.replayed else result.cost_nano  # the model reads what was recorded
        cost = "an unknown cost" if nano is None else f"${to_usd(nano).normalize():f}"
        said = [f"{result.agent}: {result.status}, {cost}, run {result.run_id}"]
        if result.error is not None:
            said.append(result.error.message)
        if result.answer:
            said.append(result.answer if result.complete else f"So far:\n{result.answer}")
        text = await self._cut(safe_text("\n".join(said)), result.run_id)
        if result.error is None:
            self._reported.add(result.run_id)
            return Reply.of(text, result.changed_files_run_later)
        kind: type[AgentctlError] = ActionDenied if result.status == "denied" else ToolError
        raise kind(text, hint="go on with what there is, and say what is missing")

    async def _cut(self, text: str, run_id: str) -> str:
        if len(text.encode(errors="backslashreplace")) <= MOST_BYTES:
            return text
        try:
            where = (await self._store.keep(len(self._ended), f"delegate-{run_id}", text)).path
        except StateError as error:
            where = f"agentctl runs show {run_id} ({error.message[:80]})"
        return f"{cut_middle(text, MOST_BYTES - _MARGIN)}\nThe whole is in {where}"


class _InTurn:
    """An approver that several runs share: one question at a time, which names the agent that asks."""

    def __init__(self, approver: Approver, asking: anyio.Lock, agent: str = "") -> None:
        self._approver, self._asking, self._agent = approver, asking, agent

    async def approve(self, question: Question) -> Approval:
        """Return the person's answer."""
        if self._agent:
            question = question._replace(why=f"{self._agent} asks, which this run delegated to: {question.why}")
        async with self._asking:
            return await self._approver.approve(question)
