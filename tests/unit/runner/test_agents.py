"""The agents, and errors of a file that does not describe one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.answer_schema import read_answer_schema
from agentctl.core.errors import UsageError
from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec, find_agent, load_agents
from agentctl.runner.plan import Plan
from agentctl.runner.routing import answer_schema_of
from agentctl.tools.toolbox import DELEGATE, TOOLS


def test_the_package_has_agents_for_compose_containers_and_the_machine() -> None:
    assert [agent.name for agent in load_agents()] == ["compose", "docker", "system"]


@pytest.mark.parametrize("agent", load_agents(), ids=lambda agent: agent.name)
def test_an_agent_offers_few_tools_and_only_ones_that_exist(agent: AgentSpec) -> None:
    assert 0 < len(agent.tools) <= MOST_TOOLS
    assert set(agent.tools) | set(agent.more) <= set(TOOLS)
    assert len({*agent.tools, *agent.more}) == len(agent.tools) + len(agent.more) >= MOST_TOOLS
    assert all(agent.more.values()), "what no word brings is never offered"
    assert len(agent.instructions) < 2_000, "every request pays for it"


def test_every_tool_but_delegate_belongs_to_an_agent() -> None:
    assert set(TOOLS) - {DELEGATE} == {name for agent in load_agents() for name in (*agent.tools, *agent.more)}


def test_an_unknown_agent_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        find_agent("dokcer", load_agents())
    assert caught.value.hint == 'did you mean "docker"?'


def test_unknown_agent_without_a_near_name_gets_the_whole_list() -> None:
    with pytest.raises(UsageError) as caught:
        find_agent("\x1b[2Jzz", load_agents())
    assert caught.value.hint == "known agents: compose, docker, system"
    assert "\x1b" not in caught.value.message


GOOD = 'name = "x"\ndescription = "d"\ninstructions = "i"\n'


def test_an_agent_is_read_from_a_folder_of_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD + 'examples = ["e"]\ntools = ["t"]\nmax_turns = 3\nmore.u = ["w"]\n')
    assert load_agents(tmp_path) == (AgentSpec("x", "d", "i", ("e",), ("t",), 3, {"u": ("w",)}),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "x"', "is missing"),
        (GOOD + 'tool = ["docker_ps"]', 'unknown key "tool"'),
        (GOOD + "max_turns = 0", "max_turns must be a whole number of at least 1, not 0"),
        (GOOD + "max_turns = true", "max_turns must be a whole number of at least 1, not True"),
        (GOOD + "tools = [1]", "tools is not a list"),
        (GOOD + f"tools = {[str(n) for n in range(9)]}", "at most 8"),
        (GOOD + 'more = ["docker_rm"]', "more is not a table"),
        (GOOD + "[more]\ndocker_rm = 1", "docker_rm is not a list"),
        (GOOD.replace('"i"', '"  "'), "instructions is missing, empty"),
        ("name = ", "cannot be read as an agent"),
        (GOOD + "schema = 1", "schema is neither a table nor a string"),
        (GOOD + 'schema = "n:strin"', "schema /properties/n: strin is not a type"),
        (GOOD + '[schema]\ntype = "array"', "schema /type: the root is of type array"),
        (GOOD + "[schema]\ntype = 2026-01-01", "schema is not JSON"),
        (GOOD + 'schema = "none.json"', "schema none.json cannot be read: No such file"),
        (GOOD + 'schema = "../s.json"', "schema ../s.json is outside the folder of the agent"),
        (GOOD + 'schema = "/etc/passwd"', "schema /etc/passwd is outside the folder of the agent"),
        (GOOD + 'schema = "link.json"', "schema link.json is outside the folder of the agent"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        load_agents(tmp_path)
    assert "x.toml" in caught.value.message


@pytest.mark.parametrize(
    "line", ['schema = "n:int"', "schema = 'schemas/n.json'", "schema = '{text}'", "[schema]\n{table}"]
)
def test_an_agent_has_the_schema_of_its_answers_in_any_form(tmp_path: Path, line: str) -> None:
    text = read_answer_schema("n:int").text
    table = 'type = "object"\nproperties.n.type = "integer"\nrequired = ["n"]\nadditionalProperties = false'
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "n.json").write_text(text)
    (tmp_path / "x.toml").write_text(GOOD + line.replace("{text}", text).replace("{table}", table))
    (agent,) = load_agents(tmp_path)
    assert agent.answer_schema is not None
    assert agent.answer_schema.text == text


def test_the_schema_of_a_run_takes_precedence_over_that_of_its_agent() -> None:
    own, given = read_answer_schema("n:int"), read_answer_schema("a:string")
    agent, words = AgentSpec("x", "d", "i", answer_schema=own), AgentSpec("x", "d", "i")
    assert answer_schema_of(agent, Plan(answer_schema=given)) is given
    assert answer_schema_of(words, Plan(answer_schema=given)) is given
    assert (answer_schema_of(agent, Plan()), answer_schema_of(words, Plan())) == (own, None)
