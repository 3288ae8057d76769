"""Parts of the tests of whole runs: an orchestrator with a scripted model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from agentctl.core.events import RunFinished
from agentctl.core.results import RunResult
from agentctl.ledger import SqliteLedger
from agentctl.protocols import RunTools
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.agent_spec import load_agents
from agentctl.runner.orchestrator import FindContainers, ListContainers, Orchestrator
from agentctl.runner.plan import Plan
from tests.support.loop import Box, Deed, Diary

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class House:
    """An orchestrator with a scripted model, real ledger and small tools, and all that a test looks at."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.box = Box(Deed("docker_ps", lambda _: "web  up"))
        self.asked_for: list[tuple[str, ...] | None] = []
        self.diary = Diary()
        self.closed: list[str] = []
        self.ticks = 0
        self.ids = ["9c2e", "7f3a"]

    def build(
        self,
        script: Iterable[Step],
        *journals: Diary,
        provider: ScriptedProvider | None = None,
        find_containers: FindContainers | None = None,
        list_containers: ListContainers | None = None,
        **plan: object,
    ) -> tuple[Orchestrator, ScriptedProvider]:
        provider = provider or ScriptedProvider(script)

        async def equip(names: Sequence[str] | None, most: int, task: str = "") -> RunTools:
            self.asked_for.append(None if names is None else tuple(names[:most]))
            return RunTools(self.box)

        def now() -> datetime:
            self.ticks += 1
            return START + timedelta(seconds=self.ticks)

        async def close() -> None:
            self.closed.append("ledger")

        orchestrator = Orchestrator(
            plan=Plan(**{"retries": 0, **plan}),  # type: ignore[arg-type]
            agents=load_agents(),
            provider=provider,
            ledger=self.ledger,
            make_tools=equip,
            observers=(*journals, self.diary),
            now=now,
            new_id=self.ids.pop,
            closing=(close,),
            find_containers=find_containers,
            list_containers=list_containers,
        )
        return orchestrator, provider

    @property
    def last(self) -> RunResult:
        """The result in the last event."""
        event = self.diary.events[-1]
        assert isinstance(event, RunFinished)
        return event.result
