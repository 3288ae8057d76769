"""Agents of Python code: their tools are checked, permitted and journalled, and their limits hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

import agentctl
from agentctl import (
    Agent,
    BuiltinProvider,
    Completion,
    CostLimit,
    CostTracker,
    DockerAgent,
    RunResult,
    ScriptedProvider,
    SystemAgent,
    ToolCall,
    tool,
)
from agentctl.core.errors import UsageError
from agentctl.protocols import Approval, Question
from agentctl.tools import package_tools
from tests.support.command_line import Here
from tests.support.face import PRICED, journal_of, says

SHOP: list[str] = []


@tool(effect="read")
def stock(item: str) -> int:
    """Return how many of an item are left."""
    return {"bolt": 3}[item]


@tool(effect="write")
async def order(item: str, count: int = 1) -> str:
    """Order an item."""
    SHOP.append(f"{count} {item}")
    return "ordered"


def asks(name: str, **arguments: object) -> Completion:
    return Completion(tool_calls=(ToolCall("1", name, arguments),), stop="tool_calls", usage=says("").usage)


def clerk(*script: Completion, **more: object) -> Agent:
    SHOP.clear()
    model = ScriptedProvider(list(script), facts=PRICED)
    return Agent("clerk", "You answer from the stock list.", tools=[stock, order], llm_provider=model, **more)  # type: ignore[arg-type]


def test_all_names_are_importable_and_nothing_else_is() -> None:
    assert sorted(agentctl.__all__) == list(agentctl.__all__) == sorted(agentctl._HOME) == dir(agentctl)
    for name in agentctl.__all__:
        assert getattr(agentctl, name) is not None
    with pytest.raises(AttributeError):
        agentctl.nothing  # noqa: B018 - reading it is the test


def test_an_agent_runs_with_and_without_an_event_loop_and_is_journalled() -> None:
    agent = clerk(asks("stock", item="bolt"), says("Three."), asks("stock", item="bolt"), says("Still three."))
    result = agent.execute("How many bolts?")
    assert (result.status, str(result), result.agent) == ("done", "Three.", "clerk")
    assert str(anyio.run(agent.execute_async, "How many bolts?")) == "Still three."
    records = journal_of(result.run_id)
    started = next(one for one in records if one["event"] == "run_started")
    assert (started["agent"], started["agent_chosen_by"]) == ("clerk", "Agent")
    assert {"agent", "tools"} <= started["digests"].keys()
    (finished,) = (one for one in records if one["event"] == "tool_finished")
    assert (finished["call"]["name"], finished["call"]["arguments"]) == ("stock", {"item": "bolt"})


def test_only_the_tools_of_the_agent_are_offered_and_known() -> None:
    agent = clerk(asks("read_file", path="x"), says("Sorry."))
    agent.execute("Read x")
    provider = agent._provider
    assert isinstance(provider, ScriptedProvider)
    assert [one.name for one in provider.heard[0].tools] == ["stock", "order"]
    assert 'there is no tool "read_file"' in provider.heard[1].messages[-1].text


class Boss:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def approve(self, question: Question) -> Approval:
        self.asked.append(f"{question.rule} {question.effect}")
        return Approval(granted=True)


def run(**more: object) -> RunResult:
    return clerk(asks("order", item="nut", count=2), says("Ordered."), **more).execute("Order two nuts")


def test_a_call_that_changes_something_is_denied_asked_or_allowed_by_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (run().status, SHOP) == ("denied", [])
    boss = Boss()
    assert (run(approver=boss).status, SHOP, boss.asked) == ("done", ["2 nut"], ["order(item=nut) write"])
    assert (run(allow=["order(item=nut)"]).status, SHOP) == ("done", ["2 nut"])
    assert (run(allow=["order(item=bolt)"]).status, SHOP) == ("denied", [])
    monkeypatch.setenv("AGENTCTL_DENY", "order(count=2)")
    assert (run(allow=["order"]).status, SHOP) == ("denied", [])
    monkeypatch.setenv("AGENTCTL_DENY", "")
    monkeypatch.setenv("AGENTCTL_READ_ONLY", "true")
    assert (run(allow=["order"]).tools[0].failed, SHOP) == (1, []), "it is not even offered"


@pytest.mark.parametrize(("rule", "says_"), [("ordr", "no such tool"), ("order(itm=x)", 'names "itm"')])
def test_a_rule_about_a_tool_or_argument_that_is_not_there_is_refused(rule: str, says_: str) -> None:
    with pytest.raises(UsageError, match=says_):
        run(allow=[rule])


def test_the_limits_of_an_agent_hold() -> None:
    tracker = CostTracker(limits=CostLimit(max_cost_per_task=Decimal("0.000001")))
    result = run(cost_tracker=tracker, allow=["order"])
    assert (result.status, SHOP, str(tracker.cost)) == ("budget", [], "0")


def test_a_function_that_fails_is_told_to_the_model_and_the_run_goes_on() -> None:
    agent = clerk(asks("stock", item="nut"), says("There is none."))
    result = agent.execute("How many nuts?")
    assert (result.status, result.tools[0].failed) == ("done", 1)


def test_builtin_uses_only_the_tools_of_the_agent() -> None:
    agent = Agent("memo", "x", tools=["system_memory"], llm_provider=BuiltinProvider())
    assert agent.execute("How much memory is used?").status == "done"
    assert agent.execute("How much disk is free?").status != "done"
    assert issubclass(DockerAgent, Agent)
    assert SystemAgent(BuiltinProvider()).execute("How much memory is used?").agent == "system"


@pytest.mark.parametrize(
    ("arguments", "says_"),
    [
        (("a b", "x"), "no name for an agent"),
        (("a", " "), "instructions cannot be"),
        (("a", "x", "stock"), "tools must be a list"),
        (("a", "x", [len]), "is no tool"),
        (("a", "x", ["raed_file"]), "there is no tool 'raed_file'"),
        (("a", "x", [stock, stock]), "two tools are called stock"),
        (("a", "x", list(agentctl.tools.toolbox.TOOLS)[:9]), "9 tools"),
    ],
)
def test_an_agent_of_wrong_parts_is_refused_when_it_is_made(arguments: tuple[object, ...], says_: str) -> None:
    with pytest.raises(UsageError, match=says_):
        Agent(*arguments)  # type: ignore[arg-type]


PACKAGE = '''
from agentctl import tool

@tool(effect="read")
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"

@tool(effect="read")
def named_otherwise() -> str:
    """Do."""
    return ""

def plain() -> str:
    return ""
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with entry points is installed."""
    site = tmp_path / "site"
    info = site / "shop_tools-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "shop_tools.py").write_text(PACKAGE)
    (site / "shop_broken.py").write_text("raise SystemExit('no \\x1b licence')\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-tools\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[agentctl.tools]\nweather = shop_tools:weather\nplain = shop_tools:plain\nother = shop_tools:named_otherwise\n"
        "gone = shop_tools:gone\nbroken = shop_broken:broken\nread_file = shop_tools:weather\n"
    )
    monkeypatch.syspath_prepend(str(site))
    for known in (package_tools.package_tool_names, package_tools.load_package_tool):
        known.cache_clear()
    yield
    for known in (package_tools.package_tool_names, package_tools.load_package_tool):
        known.cache_clear()
    for name in ("shop_tools", "shop_broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("package")
def test_a_tool_of_a_package_is_loaded_when_an_agent_names_it() -> None:
    model = ScriptedProvider([asks("weather", city="Oslo"), says("Sunny.")], facts=PRICED)
    agent = Agent("w", "x", tools=["weather", "read_file"], llm_provider=model)
    assert "shop_tools" not in sys.modules
    assert agent.execute("How is the weather in Oslo?").status == "done"
    assert model.heard[1].messages[-1].text.endswith("sunny in Oslo")
    assert "shop_broken" not in sys.modules


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["broken", "gone", "plain", "other"])
def test_a_tool_of_a_package_that_is_broken_is_left_out_with_a_warning(name: str) -> None:
    model = ScriptedProvider([says("Hm.")], facts=PRICED)
    result = Agent("w", "x", tools=[name, "system_load"], llm_provider=model).execute("Look")
    assert (result.status, [one.name for one in model.heard[0].tools]) == ("done", ["system_load"])
    (warning,) = result.warnings
    assert warning.startswith(f"the tool {name} of shop-tools ")
    assert "\x1b" not in warning


@pytest.mark.usefixtures("package")
def test_tools_of_packages_are_listed_shown_and_ruled(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = here("tools", "list", "--json")
    names = [one["name"] for one in listed.document["tools"]]
    assert (names[-1], names.count("read_file")) == ("weather", 1)
    assert listed.err.count("warning: the tool ") == 4
    shown = json.loads(here("tools", "show", "weather", "--json").out)["tool"]
    assert list(shown["parameters"]["properties"]) == ["city"]
    assert here("tools", "show", "broken").code == 2
    monkeypatch.setenv("AGENTCTL_DENY", "weather(city=O*), broken(x=1)")
    model = ScriptedProvider([asks("weather", city="Oslo"), says("No.")], facts=PRICED)
    result = Agent("w", "x", tools=["weather"], llm_provider=model).execute("How is the weather in Oslo?")
    assert result.denied == ("weather",)
