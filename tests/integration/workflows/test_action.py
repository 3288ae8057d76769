"""The action: its inputs reach the run as they are, outputs and exit code are the run's, nothing stays behind."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, WireServer
from tests.support.workflows.github import Machine, Step
from tests.support.workflows.machines import KEY, ROOT, installed, machine

#: Texts that a script, a runner or a file of outputs could take for its own.
HOSTILE = """\
$(touch pwned) `touch pwned` "; touch pwned; ' && touch pwned ${IFS}touch${IFS}pwned
::set-output name=status::done
::error::nothing of the kind
##[error]nor this
agentctl_EOF
status=forged
${{ secrets.OPENAI_API_KEY }} %0A::warning::no
--yes
"""
OURS = {"error", "warning", "group", "endgroup", "add-mask"}


def ran(place: Machine, inputs: dict[str, str], **env: str) -> Step:
    """Run the action with the key of a step, but for its install step."""
    return place.run_action(ROOT, {"provider": "openai", **inputs}, {"OPENAI_API_KEY": KEY, **env})


@pytest.fixture
def server(wire: OpenWire) -> WireServer:
    return wire(Answer("It is fine.", input_tokens=1000, output_tokens=100), keys=[KEY], repeat=True)


@pytest.fixture
def place(tmp_path: Path, server: WireServer) -> Machine:
    done = {"install": {"folder": str(installed(tmp_path / "installed"))}}
    return machine(tmp_path / "machine", server, done=done)


def heard(server: WireServer) -> list[str]:
    """Return the task of each request."""
    return [one.asked.messages[-1].text for one in server.books.requests if one.asked is not None]


def test_hostile_texts_are_only_texts(place: Machine, server: WireServer) -> None:
    server.play([Answer(HOSTILE), Answer("never")])
    (place.workspace / "log").write_text(HOSTILE)
    step = ran(place, {"task": HOSTILE, "input": "log", "label": "odd=$(touch pwned)\nother=`touch pwned`"})
    assert (step.outcome, step.code, step.outputs["status"], step.outputs["exit_code"]) == ("success", 0, "done", "0")
    (asked,) = heard(server)
    assert asked.count(HOSTILE.strip()) == 2  # the task, and its data
    assert [path.name for path in place.workspace.iterdir()] == ["log"]
    assert {command.name for command in step.commands} <= OURS
    assert not any("nothing of the kind" in command.value for command in step.commands)
    assert "touch pwned" in step.outputs["answer"]
    assert "status=forged" in step.outputs["answer"]
    assert set(step.outputs) == {"status", "exit_code", "run_id", "cost_usd", "answer", "structured"}


@pytest.mark.parametrize("task", ["--yes", "-", "ü 日本 \u2028 x\r\n'\" %(x)s {{task}} \\n $'x'"])
def test_odd_task_arrives_as_it_is(place: Machine, server: WireServer, task: str) -> None:
    step = ran(place, {"task": task, "quiet": "true"})
    assert step.code == 0, step.log
    assert heard(server)[0].startswith(task)


def test_each_kind_of_input_becomes_its_flag(place: Machine, server: WireServer) -> None:
    server.play(Answer('{"n": 3}'))
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}, indent=1)
    inputs = {
        "task": "Count {{what}}",
        "schema": schema,
        "param": "what=the moons\n",
        "label": "\na=1\n  b=2 \n",
        "output": "json",
        "network": "false",
        "read-only": "false",
        "deny": "write_file",
        "max-cost-per-task": "0.07",
    }
    step = ran(place, inputs)
    assert step.code == 0, step.log
    document = json.loads(step.log[step.log.index("{\n") : step.log.rindex("}") + 1])
    assert document["labels"] | {"a": "1", "b": "2"} == document["labels"]
    assert document["limits"]["max_cost_per_task"]["limit"] == 0.07
    assert json.loads(step.outputs["structured"]) == {"n": 3}
    assert step.outputs["run_id"] == document["run_id"]
    assert float(step.outputs["cost_usd"]) > 0
    assert heard(server)[0].startswith("Count the moons")


@pytest.mark.parametrize(("inputs", "is_made"), [({}, False), ({"read-only": "false"}, True)], ids=["reads", "writes"])
def test_action_only_reads_unless_told_otherwise(
    place: Machine, server: WireServer, inputs: dict[str, str], is_made: bool
) -> None:
    server.play([Answer("", (Call("write_file", {"path": "made", "text": "x"}),)), Answer("Done.")])
    step = ran(place, {"task": "Write it", "agent": "system", **inputs})
    assert (step.code, (place.workspace / "made").exists()) == (0, is_made), step.log


@pytest.mark.parametrize(
    ("inputs", "answers", "status", "code"),
    [
        ({"max-cost-per-task": "0.000001"}, [], "budget", 3),
        ({}, [Fault(401)], "auth", 77),
        ({"task": ""}, [], "usage", 2),
    ],
)
def test_exit_code_of_the_run_is_kept(
    place: Machine, server: WireServer, inputs: dict[str, str], answers: list[Fault], status: str, code: int
) -> None:
    server.play(answers)
    step = ran(place, {"task": "Look", **inputs})
    assert (step.outcome, step.code) == ("failure", code), step.log
    assert (step.outputs["status"], step.outputs["exit_code"], step.outputs["answer"]) == (status, str(code), "")
    assert step.steps[-1].outcome == "success"  # it cleans up all the same
    assert not Path(place.folder.parent / "installed").exists()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"task": "a", "task-file": "b"}, "the task is given twice"),
        ({"task": "a", "read-only": "yes"}, "the input read-only is neither true nor false"),
    ],
)
def test_input_that_makes_no_run_is_refused(
    place: Machine, server: WireServer, inputs: dict[str, str], said: str
) -> None:
    step = ran(place, inputs)
    (command,) = step.commands
    assert (step.code, command.name, said in command.value) == (2, "error", True)
    assert (step.outputs["status"], step.outputs["exit_code"]) == ("usage", "2")
    assert heard(server) == []


def test_task_of_a_file_is_read(place: Machine, server: WireServer) -> None:
    (place.workspace / "task.txt").write_text(f"Look.\n{HOSTILE}" + "x" * 200_000)
    step = ran(place, {"task-file": "task.txt", "max-tokens-per-task": "none", "max-cost-per-task": "none"})
    assert step.code in (0, 7), step.log
    assert [path.name for path in place.workspace.iterdir()] == ["task.txt"]


def test_modules_of_the_workspace_are_not_loaded(place: Machine, server: WireServer) -> None:
    for name in ("agentctl", "json", "typer"):
        (place.workspace / f"{name}.py").write_text("open('pwned', 'w')\n")
    step = ran(place, {"task": "Look"}, PYTHONPATH=str(place.workspace))
    assert step.code == 0, step.log
    assert not (place.workspace / "pwned").exists()


@pytest.fixture
def recorded_python(tmp_path: Path) -> Path:
    """Return a Python that makes no environment and installs nothing, but writes down what it was asked."""
    script = tmp_path / "python-recorded"
    script.write_text(
        f"#!/bin/sh\n"
        f'case "$*" in *" -m pip --version") exit ;; *" -m pip "*) echo "$*" >>{tmp_path}/pip; exit ;; esac\n'
        f'[ "$3" != venv ] || {{ mkdir -p "$5/bin"; exit; }}\n'
        f'exec {sys.executable} "$@"\n'
    )
    script.chmod(0o755)
    return script


def test_agentctl_is_installed_from_the_action_itself_as_the_locks_pin_it(
    tmp_path: Path, server: WireServer, recorded_python: Path
) -> None:
    place = machine(tmp_path / "machine", server)
    step = place.run_action(ROOT, {"task": "x", "python": str(recorded_python), "extras": "mcp, otel"})
    assert [one.name for one in step.steps] == ["Install agentctl", "Run the task", "Remove agentctl"]
    asked = (tmp_path / "pip").read_text().splitlines()
    locks = "-r requirements.lock -r requirements-mcp.lock -r requirements-otel.lock"
    assert asked[0].endswith(f"install --quiet --require-hashes --only-binary :all: {locks}"), step.log
    assert asked[1].endswith("install --quiet --no-deps --no-build-isolation --no-index .")
    assert list(place.temp.iterdir()) == []


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"python": "no-such-python"}, "is not Python 3.11 or later"),
        ({"extras": "../../x"}, "an extra that agentctl does not have"),
        ({"extras": "* $(touch pwned)"}, "an extra that agentctl does not have"),
    ],
)
def test_what_cannot_be_installed_is_refused_before_the_run(
    tmp_path: Path, server: WireServer, inputs: dict[str, str], said: str
) -> None:
    place = machine(tmp_path / "machine", server)
    step = place.run_action(ROOT, {"task": "x", "python": sys.executable, **inputs})
    (command,) = step.commands
    assert (step.code, said in command.value) == (2, True), step.log
    assert [one.outcome for one in step.steps] == ["failure", "skipped", "success"]
    assert list(place.temp.iterdir()) == []
    assert not (ROOT / "pwned").exists()


@pytest.mark.slow
def test_action_installs_and_runs_for_real(tmp_path: Path, server: WireServer, is_full: bool) -> None:
    if not is_full:
        pytest.skip("it installs all pinned packages: --full")
    pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    place = machine(tmp_path / "machine", server, environ=pip)
    step = ran(place, {"task": "Look", "python": "python3", "extras": "mcp"})
    assert (step.code, step.outputs["answer"]) == (0, "It is fine."), step.log
    assert list(place.temp.iterdir()) == []
