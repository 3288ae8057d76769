"""Whole runs with deferred tools: what is sent, what is judged, and what the records show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentctl.core.events import MessageAdded, ModelAnswered, ToolDenied, ToolFinished, ToolStarted
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec
from agentctl.core.tool_rules import parse_rule
from agentctl.journal.past_run import PastRun, PastTurn
from agentctl.ledger import SqliteLedger
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import DenialGuard, LoopLimits, RepeatGuard
from agentctl.permissions.repeated_reads import ReadHistory
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.troubles import Troubles, restore_guards
from agentctl.tools.deferred import DeferringToolbox
from tests.support.loop import Deed, Diary, asks, call, says
from tests.support.served_tools import ServedTool, deferring, served_tools
from tests.unit.runner.loop.parts import House

pytestmark = pytest.mark.anyio

NO_LIMITS = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
TASK = "list all containers"


def calls(name: str, call_id: str = "c1", **arguments: object) -> Completion:
    return asks(call("call_tool", call_id, name=name, arguments=arguments))


def house_of(ledger: SqliteLedger, *tools: ServedTool, permissions: Permissions | None = None) -> House:
    house = House(ledger)
    house.box = deferring(  # type: ignore[assignment]
        Deed("docker_ps", lambda _: "web  up"), *tools, task=TASK, permissions=permissions, first=("docker_ps",)
    )
    assert isinstance(house.box, DeferringToolbox)
    return house


def block(request: Request) -> str:
    """Return the tool block of a request, as JSON."""
    return json.dumps([tool._asdict() for tool in request.tools], default=dict)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_thirty_turns_with_150_deferred_tools_send_one_block(ledger: SqliteLedger) -> None:
    many = served_tools()[:158]
    house = house_of(ledger, *many)
    queries = ("create a branch", "merge a pull request", "drop a collection", "click a button", "search issues")
    turns: list[Completion] = []
    for turn in range(29):
        tool = many[turn * 5]
        wanted = {} if tool.spec.target is None else {tool.spec.target: f"value {turn}"}
        looks = call("find_tools", f"f{turn}", query=f"{queries[turn % 5]} {turn}")
        uses = call("call_tool", f"u{turn}", name=tool.spec.name, arguments=wanted)
        turns.append(asks(looks if turn % 2 else uses))
    orchestrator, provider = house.build([*turns, says("Done.")], limits=NO_LIMITS, approve="all")
    result = await orchestrator.run(TASK)
    assert (result.status, result.turns, len(provider.heard)) == ("done", 30, 30)
    blocks = [block(request) for request in provider.heard]
    assert len({hashlib.sha256(text.encode()).hexdigest() for text in blocks}) == 1
    assert [tool.name for tool in provider.heard[0].tools] == sorted(tool.name for tool in provider.heard[0].tools)
    assert len(provider.heard[0].tools) == 8
    everything = len(json.dumps([tool.spec._asdict() for tool in many], default=dict)) * 30
    assert sum(map(len, blocks)) < everything / 10
    assert "\n\n153 more tools from: " in provider.heard[0].messages[0].text


async def test_a_denied_call_is_that_of_the_real_tool_everywhere(ledger: SqliteLedger) -> None:
    tools = served_tools(("git", "filesystem"))
    house = house_of(ledger, *tools)
    orchestrator, provider = house.build([calls("git__git_commit", repo_path="."), says("It was denied.")])
    result = await orchestrator.run(TASK)
    assert result.status == "denied"
    assert result.denied == ("git__git_commit",)
    assert [(one.name, "--allow" in one.reason or "needs approval" in one.reason) for one in result.denied_calls] == [
        ("git__git_commit", True)
    ]
    wanted = ToolCall("c1", "git__git_commit", {"repo_path": "."})
    assert [event.call for event in house.diary.of(ToolDenied)] == [wanted]
    assert house.diary.of(ModelAnswered)[0].tool_calls == (wanted,)
    assert "--allow 'git__git_commit" in provider.heard[1].messages[-1].text
    said = next(one.message for one in house.diary.of(MessageAdded) if one.message.tool_calls)
    assert said.tool_calls[0].name == "call_tool", "the model is sent what it said, so that it goes on like that"
    assert provider.heard[1].messages[-2].tool_calls == said.tool_calls
    assert not any(tool.given for tool in tools)


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        (Permissions(allow=(parse_rule("git__git_commit"),)), "done"),
        (Permissions(allow=(parse_rule("git__*"),)), "done"),
        (Permissions(allow=(parse_rule("git__git_commit(repo_path=.)"),)), "done"),
        (Permissions(allow=(parse_rule("git__git_commit(repo_path=/srv)"),)), "denied"),
        (Permissions(allow=(parse_rule("call_tool"),)), "denied"),
        (Permissions(allow=(parse_rule("git__*"),), deny=(parse_rule("git__git_commit(repo_path=.)"),)), "denied"),
        (Permissions(allow=(parse_rule("git__*"),), read_only=True), "denied"),
        (Permissions(allow=(parse_rule("git__*"),), only=("docker_ps", *(f"git__t{n}" for n in range(9)))), "denied"),
    ],
)
async def test_rules_judge_the_real_name(ledger: SqliteLedger, rules: Permissions, status: str) -> None:
    reads = [ServedTool(ToolSpec(f"git__t{n}", "Reads.", {"type": "object"}), "read") for n in range(9)]
    tools = served_tools(("git",))
    house = house_of(ledger, *tools, *reads, permissions=rules)
    script = [calls("git__git_commit", repo_path="."), says("So be it.")]
    orchestrator, provider = house.build(script, permissions=rules)
    result = await orchestrator.run(TASK)
    assert result.status == status
    commit = next(tool for tool in tools if tool.spec.name == "git__git_commit")
    assert commit.given == ([{"repo_path": "."}] if status == "done" else [])
    assert {"call_tool", "find_tools"} <= {tool.name for tool in provider.heard[0].tools}
    if status == "done":
        assert [event.call.name for event in house.diary.of(ToolStarted)] == ["git__git_commit"]
        assert [(one.name, one.calls, one.failed) for one in result.tools] == [("git__git_commit", 1, 0)]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"name": "git__git_log", "arguments": {}}, "'repo_path' is a required property"),
        ({"name": "git__git_log", "arguments": {"repo_path": 7}}, "7 is not of type 'string'"),
        ({"name": "git__git_log", "arguments": {"repo_path": ".", "x": "1"}}, "not allowed: 'x'"),
        ({"name": "git__nothing", "arguments": {}}, 'there is no tool "git__nothing"'),
        ({"name": "git__git_log", "arguments": '{"a":' * 30 + "1" + "}" * 30}, '"arguments" must be an object'),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_runs(
    ledger: SqliteLedger, written: Mapping[str, object], said: str
) -> None:
    tools = served_tools(("git",))
    house = house_of(ledger, *tools)
    orchestrator, provider = house.build([asks(ToolCall("c1", "call_tool", written)), says("I see.")])
    await orchestrator.run(TASK)
    assert said in provider.heard[1].messages[-1].text
    assert not any(tool.given for tool in tools)
    assert [event.error is not None for event in house.diary.of(ToolFinished)] == [True]


async def test_a_deferred_tool_can_be_called_by_its_own_name_and_repeats_are_seen(ledger: SqliteLedger) -> None:
    tools = served_tools(("git",))
    house = house_of(ledger, *tools)
    direct = asks(call("git__git_log", "c0", repo_path="."))
    again = [calls("git__git_log", f"c{n}", repo_path=".") for n in range(1, 4)]
    orchestrator, _ = house.build([direct, *again, says("Done.")])
    await orchestrator.run(TASK)
    log = next(tool for tool in tools if tool.spec.name == "git__git_log")
    assert log.given == [{"repo_path": "."}], "the stored result answers the repeated read, however it is called"


def test_no_text_of_a_model_is_a_call_of_call_tool(diary: Diary) -> None:
    box = deferring(*served_tools(("git",)), task="log")
    admission = Admission(permissions=Permissions(), emit=diary.emit)
    dispatch = ToolDispatcher(toolbox=box, admission=admission, emit=diary.emit, limits=LoopLimits())
    assert "find_tools" in dispatch.unasked_tools()
    assert "call_tool" not in dispatch.unasked_tools(), "what it calls may need approval"


def test_guards_of_a_resumed_run_know_the_real_calls(diary: Diary) -> None:
    box = deferring(*served_tools(("git",)), task="log")
    admission = Admission(permissions=Permissions(), emit=diary.emit)
    dispatch = ToolDispatcher(toolbox=box, admission=admission, emit=diary.emit, limits=LoopLimits())
    written = call("call_tool", "c1", name="git__git_commit", arguments={"repo_path": "."})
    sent = (Message("system", "s"), Message("user", TASK))
    turn = PastTurn(sent, (written,), (Message("tool", "denied: no", tool_call_id="c1"),))
    past = PastRun("7f3a", Path("r"), 9, {}, None, {}, sent, 1, (), {}, (turn,), {}, {}, {})
    denials = DenialGuard()
    restore_guards(past, Troubles(), RepeatGuard(3), denials, ReadHistory(3), dispatch)
    assert denials.error_of([call("git__git_commit", "c2", repo_path=".")]) is not None


async def test_without_deferred_tools_a_run_sends_the_agents_words_and_tools_alone(ledger: SqliteLedger) -> None:
    house = House(ledger)
    orchestrator, provider = house.build([says("One.")])
    await orchestrator.run(TASK)
    agent = next(one for one in orchestrator._agents if one.name == "docker")
    assert provider.heard[0].messages[0].text == agent.instructions
    assert [tool.name for tool in provider.heard[0].tools] == ["docker_ps"]
