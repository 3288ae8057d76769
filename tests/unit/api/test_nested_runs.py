"""An agent in a Python program that a run started: its runs are children of that run, as those of the command are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl import BuiltinProvider, CostLimit, CostTracker, DockerAgent, ScriptedProvider
from agentctl.core.errors import ActionDenied
from agentctl.core.messages import Completion, ToolCall
from agentctl.ledger.clock import system_clock
from tests.support.bill.nests import scopes
from tests.support.face import COST, PRICED, USED
from tests.support.ledger.process import Process

NONE = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
CAPABILITY = "c" * 64


@pytest.fixture
def state() -> Path:
    return Path(os.environ["AGENTCTL_STATE_DIR"])


@pytest.fixture
def outer(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A run of another process, with $0.10 to spend, that has started this one."""
    state.mkdir(parents=True)
    process = Process(state / "ledger.db", system_clock(), None)  # type: ignore[arg-type]
    limits = NONE.model_copy(update={"max_cost_per_task": Decimal("0.10")})
    process.session.open_run("outer", limits, task="t", agent="a", labels={}, capability=CAPABILITY)
    monkeypatch.setenv("AGENTCTL_PARENT_RUN", "outer")
    monkeypatch.setenv("AGENTCTL_PARENT_CAPABILITY", CAPABILITY)
    yield process
    process.kill()


def busy(times: int) -> ScriptedProvider:
    """Look so often; each look costs ``COST``."""
    looks = [
        Completion("", (ToolCall(f"c{n}", "docker_ps", {"name": f"n{n}"}),), USED, "tool_calls") for n in range(times)
    ]
    return ScriptedProvider([*looks, Completion("Done.", usage=USED)], facts=PRICED)


@pytest.mark.usefixtures("outer")
def test_agents_runs_spend_from_the_limit_of_the_run_that_started_it(state: Path) -> None:
    provider = busy(20)
    tracker = CostTracker(limits=NONE)
    result = DockerAgent(provider, cost_tracker=tracker).execute("List all containers")
    assert result.breaker is not None
    assert (result.status, result.breaker.limit, result.breaker.run_id) == ("budget", "max_cost_per_task", "outer")
    assert scopes(state) == {"outer": None, result.run_id: "outer"}
    assert tracker.cost is not None
    assert 0 < tracker.cost <= Decimal("0.10")
    assert len(provider.heard) * COST <= 100_000_000


@pytest.mark.usefixtures("outer")
def test_tracker_with_another_ledger_does_not_escape_the_limit(tmp_path: Path) -> None:
    provider = busy(1)
    tracker = CostTracker(limits=NONE, ledger=tmp_path / "own.db")
    result = DockerAgent(provider, cost_tracker=tracker).execute("List all containers")
    assert (result.status, provider.heard, result.cost_nano) == ("denied", [], 0)
    assert result.error is not None
    assert result.error.message == f"run outer, which this run belongs to, is not in the ledger {tmp_path / 'own.db'}"


def test_agent_sends_nothing_once_its_parent_run_has_ended(outer: Process) -> None:
    outer.session.close_run("outer", "done")
    for provider in (busy(1), BuiltinProvider()):
        result = DockerAgent(provider).execute("List all containers")
        assert result.status == "denied"
        assert result.error is not None
        assert "run outer, which this run belongs to, has ended" in result.error.message


@pytest.mark.usefixtures("outer")
@pytest.mark.parametrize("missing", ["AGENTCTL_PARENT_RUN", "AGENTCTL_PARENT_CAPABILITY"])
async def test_incomplete_parent_variables_are_refused_before_a_run_begins(
    monkeypatch: pytest.MonkeyPatch, state: Path, missing: str
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(ActionDenied, match=f"is set without {missing}"):
        await DockerAgent(busy(1)).execute_async("List all containers")
    assert list(scopes(state)) == ["outer"]


def test_agent_inside_a_sandbox_is_refused_before_other_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes without a key, too: no key is looked up before it."""
    monkeypatch.setenv("AGENTCTL_CHILD", "0a0b")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(ActionDenied, match="no run can start inside the sandbox of another run"):
        DockerAgent().execute("List all containers")
