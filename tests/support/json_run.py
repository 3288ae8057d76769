"""The whole command line in this process, with a scripted model and ``--json``."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.app import main
from agentctl.ledger import SqliteLedger
from agentctl.protocols import Observer
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.agent_spec import AgentSpec
from agentctl.runner.assemble import assemble, plan_of
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.toolset import make_run_tools
from agentctl.sandbox.select import open_sandbox
from agentctl.settings import Loaded, ProviderChoice
from agentctl.tools.toolbox import toolbox
from tests.support.output_schemas import check_output
from tests.support.scripted_cli import PRICED


def assemble_with_agents(
    agents: tuple[AgentSpec, ...],
    provider: ScriptedProvider,
    loaded: Loaded,
    choice: ProviderChoice,
    *,
    observers: Sequence[Observer],
) -> Orchestrator:
    """Assemble by hand, with other agents: those that ship may not have a shell."""
    plan = plan_of(loaded, choice, labels={})
    workspace = Path(plan.workdir)
    ledger = SqliteLedger(loaded.settings.ledger_path)
    return Orchestrator(
        plan=plan,
        agents=agents,
        provider=provider,
        ledger=ledger,
        make_tools=partial(
            make_run_tools,
            make=partial(toolbox, workspace=workspace),
            permissions=plan.permissions,
            open_sandbox=lambda warn, _: open_sandbox(
                "auto", workspace=workspace, network=False, read_only=False, warn=warn
            ),
        ),
        observers=observers,
        now=lambda: datetime.now(UTC),
        new_id=lambda: os.urandom(6).hex(),
        closing=(ledger.aclose,),
    )


class JsonRun:
    """The runs of one test, with the requests and the output of the last one."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.provider = ScriptedProvider([])
        self.code, self.err = 0, ""
        self.document: dict[str, Any] = {}

    def run(self, script: list[Any], *words: str, agents: tuple[AgentSpec, ...] | None = None) -> None:
        self.provider = ScriptedProvider(script, facts=PRICED)

        def parts(*given: Any, **named: Any) -> Orchestrator:  # noqa: ANN401
            if agents is None:
                return assemble(*given, provider=self.provider, **named)
            return assemble_with_agents(agents, self.provider, *given, observers=named["observers"])

        self.code = main(("run", "--json", *words, "do it"), assemble=parts)
        captured = self._capsys.readouterr()
        self.err = captured.err
        check_output(captured.out)
        self.document = json.loads(captured.out)

    @property
    def offered(self) -> list[str]:
        return [tool.name for tool in self.provider.heard[0].tools]

    @property
    def last_result(self) -> str:
        return self.provider.heard[-1].messages[-1].text


@pytest.fixture
def json_run(
    shared_walk: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JsonRun]:
    """Runs in the test's own folder; what they froze for the garbage collector is let go again."""
    monkeypatch.chdir(tmp_path)
    yield JsonRun(capsys)
    gc.enable()
    gc.unfreeze()


def events_of(json_run: JsonRun, name: str) -> list[dict[str, Any]]:
    """Return the events of this name in the journal of the last run."""
    journal = next(Path(os.environ["AGENTCTL_STATE_DIR"]).rglob(f"{json_run.document['run_id']}*.jsonl"))
    events = map(json.loads, journal.read_text().splitlines())
    return [event for event in events if event["event"] == name]
