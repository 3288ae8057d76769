"""Delegated runs: what they may do, what they cost whom, and what the run that delegates is told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from agentctl import Agent, ScriptedProvider
from agentctl.core.errors import ActionDenied, ToolError, UsageError
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Completion, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.core.results import DelegatedRun, RunResult
from agentctl.journal.artifacts import ArtifactFolder
from agentctl.ledger import SqliteLedger
from agentctl.ledger.report import tree_of
from agentctl.protocols import Approval, Question
from agentctl.runner.agent_catalog import load_catalog
from agentctl.runner.agent_choice import AgentChoice, choose_own_agent
from agentctl.runner.agent_spec import AgentSpec, AgentTerms
from agentctl.runner.assemble import assemble
from agentctl.runner.delegation import AT_ONCE, MOST_BYTES, Delegation
from agentctl.runner.orchestrator import Orchestrator
from agentctl.settings import Loaded, ProviderChoice, load_settings
from agentctl.settings.mcp_values import McpConfig
from tests.support.bill.nests import scopes

CENT = 10_000_000
USED = Usage(input_tokens=999, output_tokens=1)
FACTS = ModelFacts("p", "m", Price(Decimal(10), Decimal(10)), context_window=128_000, output_ceiling=4096)

Step = Completion | Callable[[Request], Completion | Awaitable[Completion]]


def said(text: str) -> Completion:
    return Completion(text, usage=USED)


def calls(*made: ToolCall) -> Completion:
    return Completion("", made, USED, "tool_calls")


def hands(agent: str, task: str = "Look.", *, id: str = "d1", max_cost: float | None = None) -> ToolCall:
    return ToolCall(id, "delegate", {"agent": agent, "task": task, "max_cost": max_cost})


@dataclass
class House:
    """A user with agents of their own, whose models play one script for each agent."""

    folder: Path
    provider: ScriptedProvider | None = None
    asked: list[Question] = field(default_factory=list)
    answer: bool = True
    asking: int = 0
    most_asking: int = 0

    def __post_init__(self) -> None:
        for name in ("config/agents", "project"):
            (self.folder / name).mkdir(parents=True)
        self.agent("lead", tools=["delegate"])
        self.agent("worker", tools=["list_files", "write_file"])

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def agent(self, name: str, more: str = "", *, tools: Sequence[str]) -> None:
        text = (
            f'description = "The {name}"\ninstructions = "You are {name}."\ntools = {json.dumps(list(tools))}\n{more}'
        )
        (self.folder / f"config/agents/{name}.toml").write_text(text)

    async def approve(self, question: Question) -> Approval:
        self.asked.append(question)
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        for _ in range(20):  # others may begin
            await anyio.sleep(0.001)
        self.asking -= 1
        return Approval(granted=self.answer)

    async def run(
        self,
        *,
        agent: str = "lead",
        asks: bool = False,
        flags: Mapping[str, object] | None = None,
        **scripts: Sequence[Step],
    ) -> RunResult:
        """Run a task by ``agent``; each script has the steps of every run of its agent."""

        def model(request: Request) -> Completion | Awaitable[Completion]:
            name = request.messages[0].text.removeprefix("You are ").partition(".")[0]
            step = scripts[name][sum(one.role == "assistant" for one in request.messages)]
            return step(request) if callable(step) else step

        self.provider = ScriptedProvider([model] * 200, facts=FACTS)
        folders = {f"AGENTCTL_{kind.upper()}_DIR": str(self.folder / kind) for kind in ("state", "config", "cache")}
        loaded = load_settings(
            flags={"agent": agent, "sandbox": "none", "workdir": str(self.folder / "project"), **(flags or {})},
            environ=folders,
            cwd=self.folder / "project",
            remember=False,
        )
        chosen = choose_own_agent(loaded, load_catalog(loaded), "Go.", params={})
        run = assemble(
            chosen.loaded,
            ProviderChoice("p", "m", "flag"),
            provider=self.provider,
            chosen=chosen,
            approver=self if asks else None,
        )
        return await run.run("Go.")

    def heard(self, agent: str) -> list[Request]:
        assert self.provider is not None
        return [one for one in self.provider.heard if one.messages[0].text.startswith(f"You are {agent}.")]

    def told(self, agent: str = "lead") -> str:
        """Return the last tool result that an agent's model was sent."""
        return next(one.text for one in reversed(self.heard(agent)[-1].messages) if one.role == "tool")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_a_delegated_task_is_a_run_below_the_one_that_delegates_and_counts_in_it(house: House) -> None:
    result = await house.run(
        lead=[calls(hands("worker", "Count the files.")), said("Three.")], worker=[said("3 files")]
    )
    (child,) = result.delegated
    assert (result.status, str(result)) == ("done", "Three.")
    assert child == DelegatedRun(child.run_id, "worker", "done", CENT, 0)
    assert scopes(house.state) == {result.run_id: None, child.run_id: result.run_id}
    assert [one.whole.spent for one in tree_of(house.state / "ledger.db", result.run_id)] == [3 * CENT, CENT]
    assert result.cost_nano == 2 * CENT
    assert {use.name: use.used for use in result.limits}["max_cost_per_task"] == 3 * CENT
    assert house.told() == f"worker: done, $0.01, run {child.run_id}\n3 files"
    (asked,) = house.heard("worker")
    assert asked.messages[1].text.startswith("Count the files.")
    records = [json.loads(line) for line in (house.state / f"runs/{result.run_id}.jsonl").read_text().splitlines()]
    assert records[-1]["result"]["delegated"][0]["run_id"] == child.run_id
    allowed = [one["call"]["name"] for one in records if one["event"] == "tool_allowed"]
    assert allowed == ["delegate"], "a run that goes on must not make the call again"


async def test_the_model_reads_which_agents_there_are(house: House) -> None:
    await house.run(lead=[said("No.")])
    (tool,) = house.heard("lead")[0].tools
    assert "worker (The worker)" in tool.description
    assert {"docker", "system", "lead"} <= {word.strip("().,") for word in tool.description.split()}
    assert tool.parameters["required"] == ["agent", "task"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"agent": "worke", "task": "t"}, 'no agent is called "worke"\nhint: did you mean "worker"?'),
        ({"agent": "worker", "task": " "}, '"task" is empty'),
        ({"agent": "worker", "task": "t", "max_cost": -1}, '"max_cost" must be'),
        ({"agent": "worker", "task": "t", "max_cost": "NaN"}, '"max_cost" must be'),
        ({"agent": "needy", "task": "t"}, "needy could not begin: {{host}} in the instructions of needy has no value"),
        ({"agent": "dear", "task": "t"}, "dear could not begin: "),
    ],
)
async def test_a_call_that_cannot_be_is_an_error_for_the_model_and_starts_nothing(
    house: House, arguments: dict[str, object], error: str
) -> None:
    house.agent("needy", tools=[])
    file = house.folder / "config/agents/needy.toml"
    file.write_text(file.read_text().replace("You are needy.", "You are needy of {{host}}."))
    house.agent("dear", 'model = "openai/gpt-4o-mini"\n', tools=[])  # whose key is missing
    result = await house.run(lead=[calls(ToolCall("1", "delegate", arguments)), said("Well.")])
    assert error in house.told()
    assert (result.status, result.delegated) == ("done", ())
    assert list(scopes(house.state)) == [result.run_id]


# --- money ----------------------------------------------------------------------------------------------------------


def limits_of(house: House, run_id: str) -> dict[str, int]:
    import sqlite3

    with closing(sqlite3.connect(house.state / "ledger.db")) as db, db:
        row = db.execute("SELECT limit_nano, limit_tokens FROM scopes WHERE id = ?", (run_id,)).fetchone()
    return {"nano": row[0], "tokens": row[1]}


@pytest.mark.parametrize(
    ("given", "file", "expected"),
    [
        (None, "", 49),  # what the run has left
        (0.2, "", 20),
        (5, "", 49),
        (None, "[limits]\nmax_cost_per_task = 0.30\n", 30),
        (0.4, "[limits]\nmax_cost_per_task = 0.30\n", 30),
        (0.2, "[limits]\nmax_cost_per_task = 0.30\n", 20),
        (None, "[limits]\nmax_cost_per_task = 3\n", 49),
    ],
)
async def test_the_limit_of_a_delegated_run_is_the_least_of_call_file_and_what_is_left(
    house: House, given: float | None, file: str, expected: int
) -> None:
    house.agent("worker", file, tools=["list_files"])
    result = await house.run(lead=[calls(hands("worker", max_cost=given)), said("Well.")], worker=[said("3")])
    found = limits_of(house, result.delegated[0].run_id)
    assert found == {"nano": expected * CENT, "tokens": 100_000 - 1000}


async def test_a_delegated_run_stops_at_its_own_limit_and_the_run_that_delegates_goes_on(house: House) -> None:
    looks = [calls(ToolCall(f"c{n}", "list_files", {"limit": n + 1})) for n in range(9)]
    result = await house.run(lead=[calls(hands("worker", max_cost=0.03)), said("Well.")], worker=looks)
    (child,) = result.delegated
    assert (result.status, child.status) == ("done", "budget")
    assert child.cost_nano is not None
    assert child.cost_nano <= 3 * CENT
    assert house.told().startswith("error: worker: budget, $0.0")
    assert "max_cost_per_task is $0.03" in house.told()


async def test_delegated_runs_never_spend_more_than_the_run_above_them(house: House) -> None:
    looks = [calls(ToolCall(f"c{n}", "list_files", {"limit": n + 1})) for n in range(99)]
    four = calls(*(hands("worker", f"Part {n}", id=f"d{n}", max_cost=9) for n in range(4)))
    result = await house.run(lead=[four] * 9, worker=looks, flags={"max_cost_per_task": "0.30", "budget_wait": "1s"})
    assert (result.status, len(result.delegated)) == ("budget", 4)
    assert {use.name: use.used for use in result.limits}["max_cost_per_task"] <= 30 * CENT
    assert len(house.provider.heard) <= 30 if house.provider else False


# --- what it may do -------------------------------------------------------------------------------------------------


async def test_rules_of_the_user_bind_a_delegated_run(house: House) -> None:
    (house.folder / "project/a.txt").write_text("old")
    work = [calls(ToolCall("w", "write_file", {"path": "a.txt", "text": "new"})), said("I could not.")]

    async def run(flags: Mapping[str, object] | None = None) -> RunResult:
        return await house.run(lead=[calls(hands("worker")), said("Well.")], worker=work, flags=flags)

    refusing: list[dict[str, object]] = [{"deny": ("write_file",)}, {"read_only": True}, {"tools": ("delegate",)}]
    for flags in refusing:
        result = await run(flags)
        assert (house.folder / "project/a.txt").read_text() == "old"
        assert house.told("worker").startswith("error: there is no tool"), flags
        assert result.delegated[0].status == "done", flags
    await run({"deny": ("delegate(agent=worker)",)})
    assert house.heard("worker") == []
    assert (await run()).delegated[0].status == "denied"
    assert house.told().startswith("denied: worker: denied, $0.02")
    assert (house.folder / "project/a.txt").read_text() == "old"
    assert (await run({"allow": ("write_file",)})).delegated[0].status == "done"
    assert (house.folder / "project/a.txt").read_text() == "new"


async def test_a_file_of_an_agent_allows_nothing_and_chooses_no_sandbox_below_another(
    house: House,
) -> None:
    house.agent("worker", 'allow = ["run_shell"]\nnetwork = true\nsandbox = "none"\n', tools=["run_shell"])
    work = [calls(ToolCall("w", "run_shell", {"command": "touch made"})), said("I could not.")]
    result = await house.run(lead=[calls(hands("worker")), said("Well.")], worker=work)
    assert not (house.folder / "project/made").exists()
    assert "run_shell needs approval, and there is no terminal to ask on" in house.told("worker")
    assert result.delegated[0].status == "denied"


@pytest.mark.parametrize("granted", [True, False])
async def test_a_person_is_asked_by_the_approver_of_the_run_and_told_which_agent_asks(
    house: House, granted: bool
) -> None:
    house.agent("worker", tools=["run_shell"])
    house.answer = granted
    work = [calls(ToolCall("w", "run_shell", {"command": "touch made"})), said("Well.")]
    four = calls(*(hands("worker", f"Part {n}", id=f"d{n}") for n in range(2)))
    result = await house.run(lead=[four, said("Well.")], worker=work, asks=True)
    assert [one.why.split(" asks")[0] for one in house.asked] == ["worker"] * 2
    assert house.most_asking == 1
    assert (house.folder / "project/made").exists() is granted
    assert {one.status for one in result.delegated} == {"done" if granted else "denied"}


@pytest.mark.parametrize(
    ("above", "file", "expected"),
    [((), ("a",), ("a",)), (("a", "b"), (), ("a", "b")), (("a", "b"), ("b", "c"), ("b",)), (("a",), ("c",), None)],
)
async def test_a_delegated_run_has_no_mcp_server_that_the_run_above_has_not(
    house: House, above: tuple[str, ...], file: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    found: list[tuple[str, ...] | None] = []

    def start(loaded: Loaded, choice: ProviderChoice, *, chosen: AgentChoice, **parts: object) -> Orchestrator:
        found.append(None if loaded.servers is None else chosen.servers)
        raise UsageError("that is all")

    specs = tuple(
        AgentSpec(name, "d", "i", terms=AgentTerms(mcp=servers), origin="config", place=f"{name}.toml")
        for name, servers in (("lead", above), ("worker", file))
    )
    loaded = replace(load_settings(flags={}, environ={}, remember=False).for_a_run(), servers=McpConfig())
    chosen = AgentChoice(loaded, specs[:1], "Go.", specs[0], others=specs)
    ledger = SqliteLedger(house.state / "ledger.db")
    await ledger.open_run("r", CostLimit(), task="t", agent="a", labels={})
    store = ArtifactFolder(house.state)
    delegation = Delegation(
        start, loaded, ProviderChoice("p", "m", "f"), chosen, "r", ledger, store=store, approver=None
    )
    with pytest.raises(ToolError, match="that is all"):
        await delegation("worker", "Go.", None)
    await ledger.aclose()
    assert found == [expected]


async def test_defer_is_deny_below_a_run_as_no_delegated_run_is_resumed(house: House) -> None:
    house.agent("worker", tools=["run_shell"])
    work = [calls(ToolCall("w", "run_shell", {"command": "true"})), said("I could not.")]
    result = await house.run(lead=[calls(hands("worker")), said("Well.")], worker=work, flags={"approve": "defer"})
    assert (result.pending, result.delegated[0].status) == ((), "denied")
    assert len(house.heard("worker")) == 2, "it goes on, and its model is told"


async def test_an_agent_that_does_not_list_it_has_no_such_tool(house: House) -> None:
    house.agent("other", tools=["list_files"])
    result = await house.run(agent="other", other=[calls(hands("worker")), said("Well.")])
    assert 'there is no tool "delegate" here' in house.told("other")
    named = await house.run(agent="other", other=[said("Well.")], flags={"tools": ("list_files", "delegate")})
    assert [tool.name for tool in house.heard("other")[0].tools] == ["list_files"]
    assert any(line.startswith("delegate is left out") for line in named.warnings)
    assert result.delegated == ()


# --- how deep, how many, how often ----------------------------------------------------------------------------------


async def test_the_second_run_below_another_has_no_tool_to_delegate(house: House) -> None:
    house.agent("middle", tools=["delegate"])
    house.agent("last", tools=["delegate", "list_files"])
    result = await house.run(
        lead=[calls(hands("middle")), said("Well.")],
        middle=[calls(hands("last")), said("Well.")],
        last=[calls(hands("worker")), said("I cannot.")],
    )
    assert 'there is no tool "delegate" here' in house.told("last")
    nodes = [(one.depth, one.agent) for one in tree_of(house.state / "ledger.db", result.run_id)]
    assert nodes == [(0, "lead"), (1, "middle"), (2, "last")]


async def test_the_ledger_refuses_a_run_that_is_too_deep_whoever_started_those_above(house: House) -> None:
    ledger = SqliteLedger(house.state / "ledger.db")
    await ledger.open_run("1", CostLimit(), task="t", agent="a", labels={}, capability="c1")
    await ledger.open_run(
        "2", CostLimit(), task="t", agent="a", labels={}, parent=Parent("1", "c1", 3), capability="c2"
    )
    await ledger.open_run("3", CostLimit(), task="t", agent="a", labels={}, parent=Parent("2", "c2"), capability="c3")
    with pytest.raises(ActionDenied, match="already 3 runs deep"):
        await ledger.open_run("4", CostLimit(), task="t", agent="a", labels={}, parent=Parent("3", "c3", 3))
    await ledger.open_run("4", CostLimit(), task="t", agent="a", labels={}, parent=Parent("3", "c3"))
    await ledger.aclose()


@dataclass
class Counter:
    """Counts the calls of a model that are under way."""

    now: int = 0
    most: int = 0

    async def __call__(self, request: Request) -> Completion:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):  # others may begin
            await anyio.sleep(0.001)
        self.now -= 1
        return said("Well.")


async def test_four_runs_work_at_once_and_the_others_wait(house: House) -> None:
    counter = Counter()
    seven = calls(*(hands("worker", f"Part {n}", id=f"d{n}") for n in range(7)))
    result = await house.run(lead=[seven, said("Well.")], worker=[counter])
    assert [one.status for one in result.delegated] == ["done"] * 7
    assert counter.most == AT_ONCE


async def test_a_delegated_run_delegates_one_task_at_a_time(house: House) -> None:
    counter = Counter()
    house.agent("middle", tools=["delegate"])
    three = calls(*(hands("worker", f"Part {n}", id=f"d{n}") for n in range(3)))
    await house.run(lead=[calls(hands("middle")), said("Well.")], middle=[three, said("Well.")], worker=[counter])
    assert counter.most == 1


async def test_the_same_task_for_the_same_agent_is_a_repeated_call_whatever_it_may_cost(house: House) -> None:
    again = [calls(hands("worker", f"Look.{' ' * n}", max_cost=0.1 + n / 100, id=f"d{n}")) for n in range(9)]
    result = await house.run(lead=again, worker=[said("Well.")])
    assert (result.status, len(result.delegated)) == ("failed", 2)
    assert result.error is not None
    assert "delegate was called repeatedly" in result.error.message


async def test_a_read_after_a_delegated_run_is_made_again(house: House) -> None:
    house.agent("lead", tools=["delegate", "read_file"])
    (house.folder / "project/a.txt").write_text("old")
    read = [calls(ToolCall(f"r{n}", "read_file", {"path": "a.txt"})) for n in range(2)]
    work = [calls(ToolCall("w", "write_file", {"path": "a.txt", "text": "new"})), said("Written.")]
    lead = [read[0], calls(hands("worker")), read[1], said("Well.")]
    await house.run(lead=lead, worker=work, flags={"allow": ("write_file",)})
    assert "new" in house.told()


# --- results --------------------------------------------------------------------------------------------------------


async def test_a_long_result_is_cut_and_the_whole_is_a_file_of_the_run(house: House) -> None:
    house.agent("lead", tools=["delegate", "read_file"])
    answer = "\n".join(f"line {n} of the answer" for n in range(2000))
    path: list[str] = []

    def reads(request: Request) -> Completion:
        result = next(one.text for one in request.messages if one.role == "tool")
        assert len(result.encode()) <= MOST_BYTES
        path.append(result.rpartition("The whole is in ")[2].split()[0])
        return calls(ToolCall("r", "read_file", {"path": path[0]}))

    lead: list[Step] = [calls(hands("worker")), reads, said("Well.")]
    result = await house.run(lead=lead, worker=[said(answer)], flags={"max_context_tokens": 100_000})
    file = house.state / "runs" / result.run_id / path[0].removeprefix("run:")
    assert answer in file.read_text()
    assert "line 1 of the answer" in house.told()


async def test_a_failed_run_is_an_error_that_says_how_it_ended(house: House) -> None:
    broken = Completion("", usage=USED)
    result = await house.run(lead=[calls(hands("worker")), said("Well.")], worker=[broken] * 3)
    (child,) = result.delegated
    assert (result.status, child.status) == ("done", "failed")
    assert house.told().startswith("error: worker: failed, ")
    assert result.tools[0]._asdict() == {"name": "delegate", "calls": 1, "failed": 1}


async def test_the_end_of_a_run_ends_those_below_it_with_their_holds_kept(house: House) -> None:
    async def hangs(request: Request) -> Completion:
        await anyio.sleep_forever()
        raise AssertionError

    result = await house.run(lead=[calls(hands("worker"))], worker=[hangs], flags={"timeout": "1s"})
    (child,) = result.delegated
    assert (result.status, child.status, child.cost_nano) == ("timeout", "interrupted", 0)
    assert child.in_doubt_nano is not None
    assert child.in_doubt_nano > CENT // 10
    assert [one.status for one in tree_of(house.state / "ledger.db", result.run_id)] == ["timeout", "interrupted"]


def test_an_agent_of_python_delegates_to_those_of_the_package() -> None:
    model = ScriptedProvider([calls(hands("system")), said("It is up."), said("Up.")], facts=FACTS)
    result = Agent("lead", "You lead.", tools=["delegate"], llm_provider=model).execute("Is it up?")
    assert (str(result), [one.agent for one in result.delegated]) == ("Up.", ["system"])
