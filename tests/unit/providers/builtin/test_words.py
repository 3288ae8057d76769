"""Words that look like a change or a name but are neither."""

from __future__ import annotations

import pytest

from agentctl.core.errors import ActionDenied, TaskFailed
from agentctl.providers.builtin.provider import choose_lookup


@pytest.mark.parametrize(
    "task",
    [
        "show start time of web",
        "show me the install log",
        "please show me the build log",
        "list removed containers",
        "show commit history",
        "systemctl status docker",
        "apt list --installed",
        "pip list",
        "docker ps -a --format json",
    ],
)
def test_a_question_with_a_verb_of_change_in_it_is_not_answered_with_that_change(task: str) -> None:
    with pytest.raises(TaskFailed):
        choose_lookup(task)


@pytest.mark.parametrize(
    "task",
    [
        "show disk usage; delete big.iso",
        "show the logs of web and restart it",
        "list files, remove the old ones",
        "can you list all containers then stop web",
        "find the old logs. delete them",
        "systemctl stop docker",
        "pip install list",
    ],
)
def test_a_change_beside_a_question_is_still_denied(task: str) -> None:
    with pytest.raises(ActionDenied):
        choose_lookup(task)


@pytest.mark.parametrize(
    "task",
    [
        "list dangling images",
        "list unused images",
        "list zombie processes",
        "is there a stuck container",
        "show privileged containers",
        "is everything ok?",
    ],
)
def test_adjective_is_not_taken_for_a_name(task: str) -> None:
    with pytest.raises(TaskFailed):
        choose_lookup(task)


@pytest.mark.parametrize("task", ["restart count of web", "show restart policy of web", "the start command of web"])
def test_noun_with_a_verb_of_change_in_it_is_looked_up(task: str) -> None:
    match = choose_lookup(task)
    assert (match.lookup.tool, dict(match.arguments)) == ("docker_inspect", {"name": "web"})


@pytest.mark.parametrize("task", ["is sshd running?", "is sshd up", "pid of sshd", "is sshd running on this machine"])
def test_a_daemon_of_the_machine_is_sought_among_its_processes(task: str) -> None:
    match = choose_lookup(task)
    assert (match.lookup.tool, dict(match.arguments)) == ("system_processes", {"name": "sshd"})


def test_container_may_have_the_name_of_a_daemon() -> None:
    for task, name in (("is the container sshd running", "sshd"), ("is container idle up", "idle")):
        match = choose_lookup(task)
        assert (match.lookup.tool, match.arguments["name"]) == ("docker_ps", name)


def test_a_daemon_is_restarted_by_systemctl_and_not_by_docker() -> None:
    with pytest.raises(ActionDenied, match="To do it yourself: systemctl restart sshd"):
        choose_lookup("restart sshd")
