"""DockerAgent from Python: with or without a loop, repeated and concurrent, stopped, cancelled, misused."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentctl import (
    BuiltinProvider,
    ContextManager,
    CostLimit,
    CostTracker,
    DockerAgent,
    OpenAIProvider,
    RunResult,
    ScriptedProvider,
    create_llm_provider,
)
from agentctl.core.errors import AuthFailed, UsageError
from agentctl.core.events import AnswerStreamed, Record, RunStarted
from agentctl.core.messages import Completion, Delta, Request
from agentctl.core.pricing import ModelFacts
from agentctl.protocols import Approval, Question
from agentctl.providers.scripted import Step
from tests.support.face import COST, PRICED, USED, hanging, journal_of, journals, says
from tests.support.loop import Diary
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

ROOT = Path(__file__).parents[3]
UNPRICED = ModelFacts("a", "b")
TASK = "Restart the container web"  # what builtin denies without asking any engine


def test_agent_runs_without_a_running_loop() -> None:
    result = DockerAgent(ScriptedProvider([says("Two.")], facts=PRICED)).execute("How many?")
    assert isinstance(result, RunResult)
    assert (result.status, str(result), result.agent, result.cost_nano) == ("done", "Two.", "docker", COST)
    assert result.cost == Decimal("0.013")
    assert [line["event"] for line in journal_of(result.run_id)][-1] == "run_finished"


def test_reasoning_and_calls_in_the_text_reach_no_observer_and_no_answer() -> None:
    call = '{"name": "system_memory", "arguments": {}}'
    script: list[Step] = [
        [Delta("<think>hm</thi"), Delta("nk>"), *map(Delta, call), Completion(f"<think>hm</think>{call}", usage=USED)],
        [Delta("hm</think>"), Delta("Enough."), Completion("hm</think>Enough.", usage=USED)],
    ]
    diary, model = Diary(), ScriptedProvider(script, facts=PRICED)
    result = DockerAgent(model, observers=[diary]).execute("How much memory is free on this machine?")
    assert (result.status, str(result)) == ("done", "Enough.")
    assert [(count.name, count.calls) for count in result.tools] == [("system_memory", 1)]
    pieces = [(event.text, event.kind) for event in diary.of(AnswerStreamed)]
    assert pieces == [("hm", "unsure"), ("", "restart"), ("Enough.", "answer")]
    assert "think>" not in "".join(message.text for message in model.heard[1].messages)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_agent_runs_inside_a_running_loop_awaited_or_not(backend: str) -> None:
    agent = DockerAgent(ScriptedProvider([says("one"), says("two")], facts=PRICED))

    async def main() -> list[str]:
        return [str(await agent.execute_async("first")), str(agent.execute("second"))]

    assert anyio.run(main, backend=backend) == ["one", "two"]


def test_agent_runs_in_a_loop_inside_a_loop_as_in_a_notebook() -> None:
    agent = DockerAgent(ScriptedProvider([says("deep")], facts=PRICED))

    async def cell() -> str:
        return await anyio.to_thread.run_sync(lambda: anyio.run(inner))

    async def inner() -> str:
        return str(agent.execute("how deep?"))

    assert anyio.run(cell) == "deep"


def test_runs_of_several_threads_on_one_agent_are_independent() -> None:
    agent = DockerAgent(ScriptedProvider([says("same")] * 6, facts=PRICED))
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(agent.execute, [f"task {number}" for number in range(6)]))
    assert {str(result) for result in results} == {"same"}
    assert len({result.run_id for result in results}) == 6
    assert {journal_of(result.run_id)[0]["task"] for result in results} == {f"task {n}" for n in range(6)}


async def test_two_runs_at_once_in_one_loop_share_a_provider_and_its_connections(
    wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run to end must not close the connections of the second."""
    let_go = threading.Event()

    def slow(asked: Any) -> Answer:  # noqa: ANN401
        if "slow" in asked.messages[-1].text:
            assert let_go.wait(20)
        return Answer("here", input_tokens=500, output_tokens=5)

    server = wire(slow, repeat=True)
    provider = OpenAIProvider("gpt-4o-mini", api_key="sk-0123456789", base_url=server.openai_url)
    one, other = DockerAgent(provider), DockerAgent(provider)
    results: list[RunResult] = []

    async def take(agent: DockerAgent, task: str) -> None:
        results.append(await agent.execute_async(task))

    async with anyio.create_task_group() as group:
        group.start_soon(take, one, "slow")
        await anyio.to_thread.run_sync(server.books.wait, lambda books: len(books.requests) == 1)
        await take(other, "quick")
        let_go.set()
    assert [(result.task, result.status) for result in results] == [("quick", "done"), ("slow", "done")]
    assert len(server.books.chat_requests) == 2  # none was broken off and asked again
    assert str(await one.execute_async("quick again")) == "here"


class Closing(ScriptedProvider):
    """Counts how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_provider_is_closed_when_the_last_run_that_uses_it_has_ended() -> None:
    reached = anyio.Event()
    provider = Closing([hanging(reached), says("quick")], facts=PRICED)
    async with anyio.create_task_group() as group:
        group.start_soon(DockerAgent(provider).execute_async, "slow")
        await reached.wait()
        await DockerAgent(provider).execute_async("quick")
        assert provider.closed == 0
        group.cancel_scope.cancel()
    assert provider.closed == 1


async def test_cancelled_run_is_closed_in_journal_and_ledger_before_cancelling_goes_on() -> None:
    reached, tracker = anyio.Event(), CostTracker()
    agent = DockerAgent(ScriptedProvider([hanging(reached)], facts=PRICED), tracker)
    async with anyio.create_task_group() as group:
        group.start_soon(agent.execute_async, "wait for it")
        await reached.wait()
        group.cancel_scope.cancel()
    (lines,) = journals()
    assert (lines[-1]["event"], lines[-1]["result"]["status"]) == ("run_finished", "interrupted")
    assert [line["event"] for line in lines].count("call_doubted") == 1
    assert tracker.in_doubt == tracker.hourly_cost() > 0


def test_the_end_of_a_run_is_a_result_and_never_raised() -> None:
    tracker = CostTracker(limits=CostLimit(max_cost_per_task=0.0001))
    result = DockerAgent(ScriptedProvider([says("never")], facts=PRICED), tracker).execute("anything")
    assert (result.status, result.complete, str(result), result.cost) == ("budget", False, "", Decimal(0))
    assert result.error is not None
    assert result.error.message.startswith("max_cost_per_task is $0.0001; the next call could make it $0.0")
    assert result.breaker is not None
    assert (result.breaker.limit, result.breaker.ceiling) == ("max_cost_per_task", 100_000)
    denied = DockerAgent(BuiltinProvider()).execute(TASK)
    assert (denied.status, denied.error and denied.error.kind) == ("denied", "denied")
    gone = DockerAgent(ScriptedProvider([AuthFailed("the key was rejected", billed="no")], facts=PRICED)).execute("x")
    assert gone.status == "auth"


@pytest.mark.parametrize(
    ("make", "said", "cure"),
    [
        (lambda: DockerAgent("openai"), "llm_provider cannot be 'openai'", "create_llm_provider"),  # type: ignore[arg-type]
        (lambda: DockerAgent(OpenAIProvider), "llm_provider cannot be <class", "create_llm_provider"),  # type: ignore[arg-type]
        (lambda: DockerAgent(None, CostLimit()), "cost_tracker must be a CostTracker, not CostLimit", "CostTracker"),  # type: ignore[arg-type]
        (
            lambda: DockerAgent(context_manager=8000),  # type: ignore[arg-type]
            "context_manager must be a ContextManager, not 8000",
            "ContextManager",
        ),
        (lambda: DockerAgent(approver=input), "approver cannot be <built-in", "approve"),  # type: ignore[arg-type]
        (lambda: DockerAgent(observers=[print]), "observers cannot be <built-in", "observe"),  # type: ignore[list-item]
        (lambda: DockerAgent(allow="docker_rm"), "allow must be a list of rules, not 'docker_rm'", "['docker_rm']"),
        (lambda: DockerAgent(BuiltinProvider()).execute("  "), "the task cannot be '  '", "pass a task in words"),
        (lambda: DockerAgent(BuiltinProvider()).execute(None), "the task cannot be None", "pass a task"),  # type: ignore[arg-type]
        (lambda: DockerAgent(BuiltinProvider(), workdir="/no/such").execute(TASK), "workdir /no/such", ""),
        (lambda: DockerAgent(BuiltinProvider(), allow=["docker_rn"]).execute(TASK), '"docker_rn"', "tools list"),
        (lambda: DockerAgent(ScriptedProvider([], facts=UNPRICED)).execute(TASK), "price of a/b is unknown", "a/b"),
    ],
)
def test_wrong_argument_or_setting_is_raised_with_a_hint(make: Callable[[], object], said: str, cure: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        make()
    assert cure in caught.value.hint


def test_provider_is_chosen_as_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    result = DockerAgent().execute(TASK)
    assert (result.provider, result.provider_chosen_by) == ("builtin", "no key, no server")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AuthFailed, match="CI is set and no key was found"):
        DockerAgent().execute(TASK)


async def test_settings_are_the_users_and_read_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = DockerAgent(BuiltinProvider())
    monkeypatch.setenv("MAX_COST_PER_TASK", "0.25")
    assert (await agent.execute_async(TASK)).limits[0].ceiling == 250_000_000
    monkeypatch.setenv("MAX_COST_PER_TASK", "much")
    with pytest.raises(UsageError, match='max_cost_per_task cannot be "much"'):
        await agent.execute_async(TASK)


def test_a_folder_can_only_lower_the_trackers_limits(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_COST_PER_TASK=0.10\n")
    tracker = CostTracker(limits=CostLimit(max_cost_per_task=1.00, max_cost_per_hour=None))
    result = DockerAgent(BuiltinProvider(), tracker, workdir=tmp_path).execute(TASK)
    assert [use.ceiling for use in result.limits] == [100_000_000, None, 100_000]
    assert result.limits[0].set_by == str(tmp_path / ".env")


def test_a_trackers_limits_are_the_users_where_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_COST_PER_HOUR", "2")
    result = DockerAgent(BuiltinProvider(), CostTracker()).execute(TASK)
    assert [use.ceiling for use in result.limits] == [500_000_000, 2_000_000_000, 100_000]


def test_the_context_managers_numbers_hold() -> None:
    context = ContextManager(max_tokens=600, keep_last_n_user_messages=1, keep_last_n_assistant_messages=1)
    agent = DockerAgent(ScriptedProvider([says("x")], facts=PRICED), context_manager=context)
    result = agent.execute("word " * 1000)
    assert (result.status, result.error and "max_tokens is 600" in result.error.message) == ("context", True)


class Yes:
    """Says yes, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def approve(self, question: Question) -> Approval:
        self.asked.append(question.call.name)
        return Approval(granted=True, by="the program")


async def test_a_question_goes_to_the_approver_and_without_one_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_ASK", "system_memory")
    yes, task = Yes(), "How much memory is free?"
    assert (await DockerAgent(BuiltinProvider(), approver=yes).execute_async(task)).status == "done"
    assert yes.asked == ["system_memory"]
    denied = await DockerAgent(BuiltinProvider()).execute_async(task)
    assert (denied.status, denied.denied) == ("denied", ("system_memory",))


def test_agent_is_always_the_docker_agent_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_AGENT", "system")
    diary = Diary()
    DockerAgent(BuiltinProvider(), observers=[diary], labels={"team": "ops"}).execute("How much memory is free?")
    (started,) = diary.of(RunStarted)
    assert (started.agent, started.agent_chosen_by) == ("docker", "DockerAgent")
    assert started.labels["team"] == "ops"


def test_runs_are_labelled_with_where_they_took_place(tmp_path: Path) -> None:
    diary = Diary()
    agent = DockerAgent(BuiltinProvider(), observers=[diary], labels={"repo": "mine"}, workdir=tmp_path)
    agent.execute("How much memory is free?")
    (started,) = diary.of(RunStarted)
    assert started.labels == {"repo": "mine", "workdir": str(tmp_path)}
    with pytest.raises(UsageError, match='a label cannot be called "Team"'):
        DockerAgent(BuiltinProvider(), labels={"Team": "ops"})


async def test_a_custom_provider_needs_facts_and_a_stream_only() -> None:
    class Parrot:
        facts = ModelFacts("parrot", "grey", price=PRICED.price, context_window=8000)

        async def stream(self, request: Request) -> Any:  # noqa: ANN401
            yield Completion(request.messages[-1].text.partition("\n\n[It is ")[0], usage=USED)

    result = await DockerAgent(Parrot()).execute_async("Polly?")
    assert (result.status, str(result), result.provider_chosen_by) == ("done", "Polly?", "llm_provider")


async def test_an_observer_that_fails_ends_the_run_as_a_result() -> None:
    class Broken:
        async def observe(self, record: Record) -> None:
            raise RuntimeError("no room")

    result = await DockerAgent(BuiltinProvider(), observers=[Broken()]).execute_async(TASK)
    assert (result.status, result.error and result.error.kind) == ("internal", "internal")


def test_the_agent_opens_nothing_before_it_is_asked(tmp_path: Path) -> None:
    DockerAgent(create_llm_provider("openai", "gpt-4", api_key="sk-0123456789"), CostTracker(0.03, 0.06))
    assert not Path(os.environ["AGENTCTL_STATE_DIR"]).exists()
