"""What a run leaves in a container engine: nothing if it is stopped, and if it is killed what the next run removes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentctl.ledger.report import costs_window
from tests.support.command_line import DRIVER, Commands
from tests.support.docker_parts import Docker, ours, wait_for_new
from tests.support.screen.terminals import Person

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]
pytestmark = pytest.mark.usefixtures("nothing_left")
RUN = ("run", "start it", "--json", "--yes", "--tools", "docker_run")


@pytest.fixture(autouse=True)
def _at_the_engine(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """Give a command at a terminal that waits for a container."""
    made = Person(tmp_path, str(DRIVER), "docker_run", *RUN, environ={"STORY_STDOUT": "document"})
    yield made
    made.close()


def last_event(state: Path) -> dict[str, object]:
    found = json.loads(next((state / "runs").glob("*.jsonl")).read_text().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def run_until_nothing_is_left(
    agentctl: Commands, docker: Docker, before: set[str], *words: str, script: str | None = None
) -> str:
    """Run until only the containers of ``before`` are left; return what stderr had.

    A run that ends at once waits a quarter of a second for an engine that is slow to list its containers.
    """
    said = ""
    for _ in range(5):
        ended = agentctl("run", *words, **({"script": script} if script else {}))
        assert ended.code == 0
        said += ended.err
        if ours(docker) == before:
            return said
    raise AssertionError(f"left: {ours(docker) - before}")


def test_a_terminal_that_closes_ends_the_run_and_removes_its_container(
    person: Person, docker: Docker, state: Path
) -> None:
    before = ours(docker)
    wait_for_new(docker, before, runner=person.process)
    person.hang_up()
    assert person.process.wait(60) == 129
    assert ours(docker) == before
    document = json.loads((person.folder / "document").read_text())
    assert (document["status"], document["exit_code"]) == ("interrupted", 129)
    assert document["error"]["message"] == "stopped by SIGHUP"
    assert last_event(state)["event"] == "run_finished"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_the_next_run_removes_what_a_killed_one_left(
    agentctl: Commands, docker: Docker, state: Path, number: signal.Signals
) -> None:
    before = ours(docker)
    with agentctl.start(*RUN, script="docker_run") as process:
        left = wait_for_new(docker, before, runner=process)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert ours(docker) - before == {left}
    said = run_until_nothing_is_left(agentctl, docker, before, "--provider", "builtin", "How much memory is free?")
    assert "1 container of runs that were killed: removed\n" in said


def test_timeout_with_k_leaves_nothing_that_the_next_run_does_not_clean(
    agentctl: Commands, docker: Docker, state: Path
) -> None:
    """``timeout -k`` signals the process and its group; here the second signal comes before anything could end."""
    before = ours(docker)
    with agentctl.start(*RUN, script="docker_run") as process:
        wait_for_new(docker, before, runner=process)
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(process.pid, number)
            with suppress(ProcessLookupError):  # the group is gone as soon as the killed process is reaped
                os.killpg(process.pid, number)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    run_until_nothing_is_left(agentctl, docker, before, "count them", script="answer")
    assert costs_window(state / "ledger.db", seconds=3600).held_nano == 0


def test_an_estimate_removes_nothing(agentctl: Commands, docker: Docker) -> None:
    before = ours(docker)
    with agentctl.start(*RUN, script="docker_run") as process:
        left = wait_for_new(docker, before, runner=process)
        process.kill()
        process.communicate(timeout=60)
    assert agentctl("run", "--provider", "builtin", "--estimate", "How much memory is free?").code == 0
    assert left in ours(docker)
    run_until_nothing_is_left(agentctl, docker, before, "--provider", "builtin", "How much memory is free?")
