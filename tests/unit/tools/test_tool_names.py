"""The names by which models call a tool, and what the alias of a tool may do: exactly what the tool may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import Completion, ToolCall
from agentctl.permissions.guards import LoopLimits, limit_tool_calls
from agentctl.tools.toolbox import ALIASES, TOOLS, real_name, toolbox
from tests.support.json_run import JsonRun, events_of
from tests.support.scripted_cli import USED, answer


@pytest.mark.parametrize(
    "written",
    [
        "docker_ps",
        "functions.docker_ps",
        "functions.docker_ps:0",
        "tools.docker_ps",
        "functions.functions.docker_ps",
        " docker_ps\n",
        '"docker_ps"',
        "`docker_ps`",
        "docker_ps<|channel|>commentary",
        "functions. docker_ps <|end|>",
        "docker_ps()",
        "Docker_PS",
        "docker-ps",
        "docker.ps",
        "docker ps",
        "docker_list",
        "list_containers",
        "functions.list-containers<|call|>",
    ],
)
def test_name_in_the_spelling_of_a_model_is_the_tools(written: str) -> None:
    assert real_name(written) == "docker_ps"


@pytest.mark.parametrize("written", ["bash", "shell", "functions.bash", "Bash", "execute_command"])
def test_shell_by_another_name_is_run_shell(written: str) -> None:
    assert real_name(written) == "run_shell"


@pytest.mark.parametrize(
    "written", ["", "functions.", "<|end|>", "docker", "rm -rf /", "docker_ps; rm", "unknown", "sudo"]
)
def test_name_that_means_no_tool_stays(written: str) -> None:
    assert real_name(written) == written


def test_tool_of_the_run_wins_over_an_alias() -> None:
    assert real_name("bash", ("bash", "docker_ps")) == "bash"
    assert real_name("functions.bash", ("bash",)) == "bash"


@given(st.text(max_size=30))
def test_real_name_is_stable(written: str) -> None:
    assert real_name(real_name(written)) == real_name(written)


def test_every_alias_leads_to_a_tool_and_hides_none() -> None:
    assert set(ALIASES.values()) <= set(TOOLS)
    assert not ALIASES.keys() & TOOLS.keys()


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_call_by_an_alias_is_the_call_of_its_tool_before_any_rule_is_asked(alias: str) -> None:
    box = toolbox(workspace=Path("/tmp"), names=["docker_ps"])
    by_alias, by_name = (
        limit_tool_calls([ToolCall("1", name, {"a": 1})], LoopLimits(), turn=1, known=box.names)
        for name in (alias, ALIASES[alias])
    )
    assert by_alias == by_name


def call(name: str, **arguments: object) -> Completion:
    return Completion(tool_calls=(ToolCall("1", name, arguments),), usage=USED, stop="tool_calls")


REFUSED = [
    (("--tools", "read_file,list_files"), 0),
    (("--deny", "write_file"), 0),
    (("--read-only",), 0),
    (("--deny", "write_file(path=made)"), 5),
    (("--tools", "write_file", "--deny", "write_file(path=ma*)", "--yes"), 5),
]


@pytest.mark.parametrize(("flags", "code"), REFUSED)
@pytest.mark.parametrize("name", ["write_file", "create_file", "functions.write<|end|>"])
def test_alias_is_refused_exactly_where_its_tool_is(
    json_run: JsonRun, tmp_path: Path, flags: tuple[str, ...], code: int, name: str
) -> None:
    json_run.run([call(name, path="made", text="x"), answer("done")], "--agent", "system", *flags)
    assert not (tmp_path / "made").exists()
    assert json_run.code == code
    assert json_run.document["denied"] == (["write_file"] if code else [])
    assert "write_file" in json_run.last_result
    assert name == "write_file" or name not in json.dumps(events_of(json_run, "model_answered"))


def test_alias_that_may_run_is_recorded_by_the_tools_name(json_run: JsonRun, tmp_path: Path) -> None:
    json_run.run([call("functions.create_file", path="made", text="x"), answer("done")], "--agent", "system", "--yes")
    assert (json_run.code, (tmp_path / "made").read_text()) == (0, "x")
    assert json_run.document["tools"] == [{"name": "write_file", "calls": 1, "failed": 0}]
    for event in ("tool_allowed", "tool_started", "tool_finished"):
        assert [found["call"]["name"] for found in events_of(json_run, event)] == ["write_file"]
    sent_back = json_run.provider.heard[1].messages[-2].tool_calls
    assert [found.name for found in sent_back] == ["write_file"]
