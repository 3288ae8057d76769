"""What a model reads of each tool: short, and with every argument that its usual calls need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ToolError
from agentctl.core.messages import ToolSpec
from agentctl.protocols import OfferAware
from agentctl.runner.agent_spec import MOST_TOOLS, find_agent, load_agents
from agentctl.runner.routing import ranked_tools, route
from agentctl.tools.tool import BoundTool, check
from agentctl.tools.toolbox import TOOLS, toolbox

#: The tokens of each tool when its whole schema was offered.
BEFORE = {
    "system_disks": 66, "system_memory": 35, "system_load": 44, "system_processes": 103, "system_ports": 63,
    "system_info": 69, "read_file": 186, "list_files": 214, "search_files": 174, "write_file": 112, "run_shell": 103,
    "git_status": 75, "docker_ps": 126, "docker_images": 48, "docker_logs": 121, "docker_inspect": 70,
    "docker_stats": 66, "docker_system_df": 51, "docker_networks": 45, "docker_volumes": 45, "docker_start": 50,
    "compose_projects": 47, "compose_ps": 114, "compose_logs": 158, "compose_drift": 109,
    "service_status": 111, "journal_tail": 153, "docker_pause": 61, "docker_unpause": 51,
    "docker_stop": 78, "docker_restart": 91, "docker_run": 282, "docker_exec": 130, "docker_pull": 52,
    "docker_rm": 94, "docker_rmi": 71, "delegate": 162,
}  # fmt: skip
TASKS = (
    "List all containers",
    "Which container uses the most memory?",
    "Stop the container web",
    "Why did the container sick fail?",
    "How much disk is free?",
    "Count the lines of app.log",
    "Show the ERROR lines of app.log",
    "Summarise notes.txt",
    "Show the last 3 lines of app.log",
    "Which process uses the most memory?",
    "Run the tests of this project",
    "Write the list of running containers into containers.txt",
)
#: Calls as large models make them for tasks like these.
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("docker_ps", {"all": True}),
    ("docker_ps", {"state": "unhealthy"}),
    ("docker_logs", {"name": "web", "tail": 200, "since": "10m"}),
    ("docker_inspect", {"name": "web"}),
    ("docker_stats", {"name": "web"}),
    ("docker_images", {"name": "nginx"}),
    ("docker_restart", {"name": "web"}),
    ("compose_ps", {"project": "shop", "state": "down"}),
    ("compose_logs", {"project": "shop", "service": "web", "tail": 50, "since": "1h"}),
    ("compose_drift", {"project": "shop", "path": "docker-compose.yml"}),
    ("docker_exec", {"name": "web", "command": ["sh", "-c", "ls /"], "user": "root"}),
    ("docker_run", {"image": "redis:7", "name": "cache", "detach": True, "ports": ["6379:6379"], "env": {"A": "b"}}),
    ("docker_run", {"image": "alpine", "command": ["ls", "-l"], "network": True, "workspace": True}),
    ("docker_rm", {"name": "web", "force": True}),
    ("docker_rmi", {"image": "redis:7", "force": True}),
    ("docker_pull", {"image": "redis:7"}),
    ("read_file", {"path": "app.log", "last": 3}),
    ("read_file", {"path": "app.log", "first": 20}),
    ("read_file", {"path": "app.log", "from_line": 41, "to_line": 140}),
    ("read_file", {"path": "app.log", "count_lines": True}),
    ("list_files", {"path": "src", "pattern": "*.py", "recursive": False}),
    ("list_files", {"kind": "folder", "sort": "size", "limit": 5}),
    ("search_files", {"text": "ERROR", "path": "app.log", "ignore_case": True}),
    ("search_files", {"text": "t.*o", "pattern": "*.py", "regex": True}),
    ("write_file", {"path": "notes.md", "text": "x"}),
    ("run_shell", {"command": "pytest -q", "timeout": 600}),
    ("git_status", {"path": "."}),
    ("system_processes", {"sort": "memory", "limit": 1, "name": "sshd"}),
    ("system_ports", {"port": 443}),
    ("service_status", {"unit": "nginx"}),
    ("service_status", {"state": "failed"}),
    ("journal_tail", {"unit": "ssh", "tail": 50, "since": "1h", "priority": "err"}),
)
#: What is accepted without being offered, with a value for each.
NOT_OFFERED: dict[str, dict[str, Any]] = {
    "docker_ps": {"name": "web"},
    "docker_exec": {"name": "web", "command": "ls", "workdir": "/", "timeout": 5},
    "docker_run": {"image": "a", "timeout": 5, "writable": True, "memory_mb": 64},
    "docker_stop": {"name": "web", "timeout": 5},
    "docker_restart": {"name": "web", "timeout": 5},
    "docker_rm": {"name": "web", "volumes": True},
    "list_files": {"min_size": "10MB"},
    "read_file": {"path": "a", "from_byte": 8},
    "search_files": {"text": "a", "limit": 5},
    "system_disks": {"path": "/"},
    "system_info": {"about": "user"},
}


def tool_of(name: str) -> BoundTool[Any]:
    found = toolbox(workspace=Path("/"), names=[name]).get(name)
    assert isinstance(found, BoundTool)
    return found


def arguments_of(spec: ToolSpec) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = spec.parameters["properties"]  # type: ignore[assignment]
    return found


def tokens_of(*names: str) -> int:
    return PLAIN.schemas([tool_of(name).offer for name in names])


def test_what_models_read_of_all_tools_is_shorter_by_a_third() -> None:
    assert set(BEFORE) == set(TOOLS)
    assert 3 * tokens_of(*TOOLS) <= 2 * sum(BEFORE.values())
    assert all(tokens_of(name) < BEFORE[name] for name in TOOLS)


@pytest.mark.parametrize("task", TASKS)
def test_what_a_model_reads_of_the_tools_for_a_task_is_shorter_by_a_third(task: str) -> None:
    agents = load_agents()
    names = ranked_tools(find_agent(route(task, agents).agent, agents), task, agents)[:MOST_TOOLS]
    assert 3 * tokens_of(*names) <= 2 * sum(BEFORE[name] for name in names)


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_arguments_of_usual_calls_are_offered_and_accepted(name: str, arguments: dict[str, Any]) -> None:
    tool = tool_of(name)
    assert isinstance(tool, OfferAware)
    assert set(arguments) <= set(arguments_of(tool.offer))
    check(name, tool.tool.arguments, arguments)


def test_arguments_that_are_not_offered_are_known_and_still_accepted() -> None:
    found = {name: set(arguments_of(tool_of(name).spec)) - set(arguments_of(tool_of(name).offer)) for name in TOOLS}
    known = {name: set(given) - set(arguments_of(tool_of(name).offer)) for name, given in NOT_OFFERED.items()}
    assert {name: names for name, names in found.items() if names} == known
    for name, given in NOT_OFFERED.items():
        checked = check(name, tool_of(name).tool.arguments, given)
        assert {key: getattr(checked, key) for key in given} == given


@pytest.mark.parametrize("name", ["docker_run", "docker_exec"])
def test_command_that_no_shell_reads_is_offered_as_the_list_that_docker_takes(name: str) -> None:
    offered = arguments_of(tool_of(name).offer)["command"]
    assert (offered["type"], offered["items"]) == ("array", {"type": "string"})
    assert arguments_of(tool_of("run_shell").offer)["command"]["type"] == "string"


def test_offers_have_types_and_required_arguments_and_no_bounds() -> None:
    for name in TOOLS:
        offer, spec = tool_of(name).offer, tool_of(name).spec
        assert (offer.name, offer.description) == (spec.name, spec.description)
        assert offer.parameters.get("required") == spec.parameters.get("required")
        assert all("type" in entry for entry in arguments_of(offer).values())
        assert not {"minimum", "maximum", "default"} & {key for entry in arguments_of(offer).values() for key in entry}


def test_a_wrong_value_is_answered_with_the_bounds_that_are_not_offered() -> None:
    with pytest.raises(ToolError) as caught:
        check("docker_logs", tool_of("docker_logs").tool.arguments, {"name": "web", "tail": 0})
    assert caught.value.message == "docker_logs: \"tail\" must be a whole number from 1 to 10000, not '0'"


@pytest.mark.parametrize(
    ("given", "says", "call"),
    [
        ({"last": 3, "from_line": 1}, "last and from_line cannot be combined: leave out from_line", "last=3"),
        (
            {"count_lines": True, "from_line": 1, "to_line": 9},
            "count_lines, from_line and to_line cannot be combined: leave out from_line and to_line",
            "count_lines=true",
        ),
        (
            {"first": 1, "last": 2, "from_byte": 0},
            "first, last and from_byte cannot be combined: leave out from_byte",
            "first=1, last=2",
        ),
        (
            {"from_line": 1, "to_line": 2, "from_byte": 3},
            "from_line, to_line and from_byte cannot be combined: leave out from_byte",
            "from_line=1, to_line=2",
        ),
    ],
)
async def test_modes_that_exclude_each_other_say_what_to_leave_out(
    tmp_path: Path, given: dict[str, Any], says: str, call: str
) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    tool = toolbox(workspace=tmp_path, names=["read_file"]).get("read_file")
    with pytest.raises(ToolError) as caught:
        await tool({"path": "a", **given})
    error = caught.value
    assert (error.message, error.hint) == (f"read_file: {says}", f'call read_file(path="a", {call})')


def test_kinds_of_files_are_named_where_they_are_chosen() -> None:
    offered = arguments_of(tool_of("list_files").offer)
    assert offered["kind"]["description"] == "default: file"
    assert "kind=" not in tool_of("list_files").offer.description
