"""``agentctl agents`` and ``agentctl tools``: the lists, and the tools that a model would be offered."""

from __future__ import annotations

import pytest

from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec, load_agents
from agentctl.runner.routing import ranked_tools, route
from agentctl.runner.toolset import NEED_SANDBOX
from agentctl.tools.toolbox import NEED_SYSTEMD, TOOLS, arguments_of, systemd_runs
from tests.support.command_line import Here

AGENTS = load_agents()
TARGET = arguments_of("docker_logs")[0]
LOOKUP = next(name for name in TOOLS if name not in NEED_SANDBOX)


def test_agents_list_has_a_line_for_each(here: Here) -> None:
    ended = here("agents", "list")
    assert (ended.code, ended.err) == (0, "")
    header, *rows = ended.out.splitlines()
    assert header.split() == ["agent", "tools", "for"]
    assert [row.split()[0] for row in rows] == [agent.name for agent in AGENTS]
    assert here("agents", "ls").out == ended.out
    document = here("agents", "list", "--json").document
    assert (document["schema"], document["error"]) == ("agentctl.agents/1", None)
    for row, agent in zip(document["agents"], AGENTS, strict=True):
        assert row["tools"] == list(agent.tools)
        assert row["tools_by_words"] == {name: list(words) for name, words in agent.more.items()}
        assert row["examples"] == list(agent.examples)


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_agents_show_prints_tools_instructions_and_examples(here: Here, agent: AgentSpec) -> None:
    ended = here("agents", "show", agent.name)
    assert (ended.code, ended.err) == (0, "")
    for text in (agent.description, *agent.tools, *agent.more, *agent.examples, *agent.instructions.splitlines()):
        assert text in ended.out
    assert here("agents", "show", agent.name, "--json").document["agent"]["instructions"] == agent.instructions


@pytest.mark.parametrize("kind", ["agents", "tools"])
def test_show_without_a_name_is_exit_2_and_names_what_there_is(here: Here, kind: str) -> None:
    ended = here(kind, "show")
    assert (ended.code, ended.out) == (2, "")
    for name in TOOLS if kind == "tools" else (agent.name for agent in AGENTS):
        assert name in ended.err.splitlines()[1]


@pytest.mark.parametrize(("words", "hint"), [(("agents", "dokcer"), "docker"), (("tools", "git_stauts"), "git_status")])
def test_a_misspelt_name_gets_the_nearest_one(here: Here, words: tuple[str, str], hint: str) -> None:
    ended = here(words[0], "show", words[1])
    assert (ended.code, ended.out, ended.err.splitlines()[1]) == (2, "", f'hint: did you mean "{hint}"?')
    assert here(words[0], "show", words[1], "--json").document["status"] == "usage"


@pytest.mark.parametrize(
    "task", ["Restart the web container", "How much disk is free?", "Find the word timeout in files"]
)
def test_a_task_says_which_tools_a_run_would_offer(here: Here, task: str) -> None:
    chosen = route(task, AGENTS).agent
    document = here("agents", "show", "--task", task, "--json").document["agent"]
    assert (document["name"], document["task"]) == (chosen, task)
    agent = next(agent for agent in AGENTS if agent.name == chosen)
    ranked = [name for name in ranked_tools(agent, task) if name not in document["left_out"]]
    assert document["offered"] == ranked[:MOST_TOOLS]
    text = here("agents", "show", chosen, "--task", task).out
    assert "\n  ".join([f'tools offered for "{task}":', *ranked[:MOST_TOOLS]]) in text


def test_denied_tool_is_not_offered(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_DENY", "docker_*")
    offered = here("agents", "show", "docker", "--task", "List all containers", "--json").document["agent"]["offered"]
    assert [name for name in offered if name.startswith("docker_")] == []


@pytest.mark.needs("sandbox")
def test_tools_list_has_a_line_for_each_tool_that_there_is(here: Here) -> None:
    ended = here("tools", "list")
    assert (ended.code, ended.err) == (0, "")
    header, *rows = ended.out.splitlines()
    assert header.split() == ["tool", "effect", "call", "agents", "description"]
    assert [row.split()[0] for row in rows] == list(TOOLS)
    document = here("tools", "ls", "--json").document
    assert (document["schema"], document["error"]) == ("agentctl.tools/1", None)
    assert [tool["name"] for tool in document["tools"]] == list(TOOLS)
    for tool in document["tools"]:
        runs = "runs" if tool["name"] not in NEED_SYSTEMD or systemd_runs() else "left_out"
        assert (tool["outcome"] == runs) == (tool["effect"] == "read" or tool["contained"])
        assert tool["agents"] == [a.name for a in AGENTS if tool["name"] in (*a.tools, *a.more)]
        assert tool["parameters"]["type"] == "object"


def test_the_settings_say_what_happens_to_a_call(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_ASK", "docker_ps, docker_images")
    monkeypatch.setenv("AGENTCTL_ALLOW", "docker_images")
    monkeypatch.setenv("AGENTCTL_DENY", f"docker_volumes, docker_logs({TARGET}=db*)")

    def outcomes() -> dict[str, str]:
        return {tool["name"]: tool["outcome"] for tool in here("tools", "list", "--json").document["tools"]}

    found = outcomes()
    assert [found[name] for name in ("docker_ps", "docker_images", "docker_volumes", "docker_logs", LOOKUP)] == [
        "asks",
        "asks",
        "denied",
        "runs",
        "runs",
    ]
    monkeypatch.setenv("AGENTCTL_APPROVE", "all")
    assert (outcomes()["docker_ps"], outcomes()["docker_volumes"]) == ("runs", "denied")
    shown = here("tools", "show", "docker_logs").out
    assert f"rule     deny docker_logs({TARGET}=db*)   (environment AGENTCTL_DENY)\n" in shown


def test_tools_show_prints_arguments_with_types_and_defaults(here: Here) -> None:
    out = here("tools", "show", "docker_logs").out
    assert f"allow    agentctl run --allow 'docker_logs({TARGET}={TARGET.upper()})' TASK" in out
    rows = [line.split() for line in out[out.index("argument") :].splitlines()]
    assert rows[0] == ["argument", "type", "default", "meaning"]
    assert rows[1][:3] == [TARGET, "string", "(required)"]
    assert rows[2][:4] == ["tail", "integer", "1..10000", "100"]
    assert rows[3][:3] == ["since", "string", "-"]
    choices = here("tools", "show", "list_files").out
    assert " | " in choices


def test_tools_show_says_which_arguments_no_model_is_offered(here: Here) -> None:
    lines = here("tools", "show", "docker_run").out.splitlines()
    unoffered = [line.split()[0] for line in lines if line.endswith("(accepted, not offered to models)")]
    assert unoffered == ["timeout", "writable", "memory_mb"]
    tool = here("tools", "show", "docker_run", "--json").document["tool"]
    assert tool["parameters"]["properties"].keys() - tool["offered"]["properties"].keys() == set(unoffered)
    assert tool["parameters"]["properties"]["command"]["type"] == "string"
    assert tool["offered"]["properties"]["command"]["type"] == "array"


@pytest.mark.slow
@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_can_be_shown(here: Here, name: str) -> None:
    document = here("tools", "show", name, "--json").document["tool"]
    assert document["name"] == name
    assert set(document["parameters"]["properties"]) >= set(document["parameters"].get("required", ()))
    assert document["example_rule"].startswith(name)


def test_a_rule_about_nothing_is_refused_as_a_run_refuses_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_DENY", "docker_pss")
    ended = here("tools", "list")
    assert (ended.code, ended.out) == (2, "")
    assert 'did you mean "docker_ps"?' in ended.err
