"""Which arguments count as given, and a command as a list of words, as Docker's API takes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ActionDenied, ToolError
from agentctl.core.messages import ToolCall
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.docker.exec import split_command, split_hint
from agentctl.tools.docker.run import RunContainer, create_request
from agentctl.tools.tool import check
from agentctl.tools.toolbox import TOOLS, ToolContext, check_arguments, toolbox
from tests.support.loop import Diary

EMPTY = ["", "  ", "\n"]
CONTEXT = ToolContext(Path("/w"), DockerEngine(None), lambda: datetime(2026, 11, 22, tzinfo=UTC))


@pytest.mark.parametrize("empty", [None, *EMPTY])
@pytest.mark.parametrize(
    ("tool", "argument"),
    [
        ("docker_stats", "name"),
        ("docker_ps", "name"),
        ("docker_ps", "all"),
        ("list_files", "path"),
        ("list_files", "min_size"),
        ("system_processes", "name"),
        ("system_processes", "sort"),
        ("system_disks", "path"),
        ("git_status", "path"),
    ],
)
def test_empty_text_for_an_optional_argument_is_not_given(tool: str, argument: str, empty: str | None) -> None:
    check_arguments(tool, {argument: empty})


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize(
    ("tool", "argument", "others"),
    [
        ("docker_logs", "name", {}),
        ("docker_inspect", "name", {"extra": ""}),
        ("docker_stop", "name", {}),
        ("docker_run", "image", {}),
        ("docker_exec", "command", {"name": "web"}),
        ("read_file", "path", {}),
        ("write_file", "path", {"text": "x"}),
        ("run_shell", "command", {}),
    ],
)
def test_empty_text_for_a_required_argument_is_named(
    tool: str, argument: str, others: dict[str, object], empty: str
) -> None:
    with pytest.raises(ToolError) as caught:
        check_arguments(tool, {argument: empty, **others})
    assert caught.value.message == f'{tool}: "{argument}" is empty'
    assert caught.value.hint.startswith(f"{tool} takes: ")


async def test_optional_name_that_is_empty_is_left_out_of_the_call() -> None:
    box = toolbox(workspace=Path("/tmp"))
    assert await box.get("system_processes").prepare({"name": "", "limit": 3}) == {"limit": 3}
    assert await box.get("list_files").prepare({"path": "", "pattern": None}) == {}
    assert await box.get("system_memory").prepare({}) == {}


def test_text_of_a_file_may_be_empty_and_a_blank_can_be_searched_for() -> None:
    check_arguments("write_file", {"path": "a", "text": ""})
    check_arguments("search_files", {"text": " "})
    with pytest.raises(ToolError, match='search_files: "text" is empty'):
        check_arguments("search_files", {"text": ""})


def run(**arguments: object) -> dict[str, object]:
    return create_request(CONTEXT, check("docker_run", RunContainer, {"image": "alpine", **arguments}), call="c")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ls -l /", ["ls", "-l", "/"]),
        (["ls", "-l", "/"], ["ls", "-l", "/"]),
        (["sh", "-c", "echo 'a b'; ls $HOME"], ["sh", "-c", "echo 'a b'; ls $HOME"]),
        (["sleep", 5], ["sleep", "5"]),
        ('["echo", "hello world"]', ["echo", "hello world"]),
        (["echo hi"], ["echo hi"]),
        ("[ -f /x ]", ["[", "-f", "/x", "]"]),
    ],
)
def test_command_is_taken_as_text_and_as_a_list_of_words(command: object, words: list[str]) -> None:
    assert run(command=command)["Cmd"] == words


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), min_size=1))
def test_words_of_a_list_reach_the_engine_unchanged(words: list[str]) -> None:
    if words[0] == "":
        return
    assert run(command=words)["Cmd"] == words


@pytest.mark.parametrize("command", [None, "", [], "  "])
def test_command_that_is_not_given_is_the_images_own(command: object) -> None:
    assert "Cmd" not in run(command=command)


@pytest.mark.parametrize("command", [[True], [None], [["ls"]], {"a": 1}, 7])
def test_command_of_anything_else_is_refused(command: object) -> None:
    with pytest.raises(ToolError, match='"command" must be text'):
        run(command=command)


def test_ports_and_variables_are_taken_as_docker_writes_them() -> None:
    made = run(ports="8080:80", network=True, env=["A=1", "B=x=y"])
    assert made["ExposedPorts"] == {"80/tcp": {}}
    assert made["Env"] == ["A=1", "B=x=y"]
    made = run(ports=[80, "81"], network=True, env='{"A": "1"}')
    assert made["ExposedPorts"] == {"80/tcp": {}, "81/tcp": {}}
    assert made["Env"] == ["A=1"]
    assert run(env={"N": 3})["Env"] == ["N=3"]
    assert run(env="A=1")["Env"] == ["A=1"]


RULES = ["{tool}(command=rm *)", "{tool}(command=*secret*)", '{tool}(command="rm -rf /secret")']


@pytest.mark.anyio
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("command", ["rm -rf /secret", ["rm", "-rf", "/secret"], '["rm", "-rf", "/secret"]'])
async def test_rule_about_a_command_holds_for_the_list_of_its_words(command: object, rule: str) -> None:
    denied = Permissions(deny=(parse_rule(rule.format(tool="run_shell")),))
    tool = toolbox(workspace=Path("/tmp"), names=["run_shell"]).get("run_shell")
    answer = await Admission(permissions=denied, emit=Diary().emit).admit(
        ToolCall("1", "run_shell", {"command": command}), tool
    )
    assert isinstance(answer, ActionDenied)


@pytest.mark.anyio
async def test_allowing_a_command_allows_the_list_of_its_words_and_no_other() -> None:
    tool = toolbox(workspace=Path("/tmp"), names=["run_shell"]).get("run_shell")
    allowed = Permissions(allow=(parse_rule("run_shell(command=ls -l)"),), ask=(parse_rule("write_file"),))
    door = Admission(permissions=allowed, emit=Diary().emit)
    admitted = await door.admit(ToolCall("1", "run_shell", {"command": ["ls", "-l"]}), tool)
    assert isinstance(admitted, ToolCall)
    assert admitted.arguments == {"command": "ls -l"}, "what is asked, journalled and run is one text"
    assert not allowed.allow[0].permits("run_shell", {"command": "ls '-l; rm x'"})


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_tool_says_what_it_takes_when_a_required_argument_is_empty(name: str) -> None:
    tool = toolbox(workspace=Path("/tmp")).get(name)
    target = tool.spec.target
    if target is None:
        return
    with pytest.raises(ToolError, match=f'{name}: "{target}" is empty'):
        check_arguments(name, {target: ""})


def test_whole_command_in_one_word_is_answered_with_the_list_of_its_words() -> None:
    assert split_hint("ls -l /srv") == 'give each word by itself: ["ls", "-l", "/srv"]'
    assert split_hint("/usr/bin/ls") == ""


def test_list_of_words_splits_into_the_same_words_again() -> None:
    assert split_command("docker_exec", "sh -c 'a b'") == ["sh", "-c", "a b"]
