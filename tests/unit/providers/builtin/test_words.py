"""Words that look like a change or a name but are neither."""

from __future__ import annotations

import re

import pytest

from agentctl.core.errors import ActionDenied, TaskFailed
from agentctl.providers.builtin.provider import announce, choose_lookup


@pytest.mark.parametrize(
    "task",
    [
        "show start time of web",
        "show me the install log",
        "please show me the build log",
        "list removed containers",
        "show commit history",
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


@pytest.mark.parametrize(
    "task",
    [
        "why does web keep restarting?",
        "Can you tell me why web keeps restarting?",
        "why did web restart",
        "Why won't web start?",
        "why doesn't web start",
        "why isn't web running",
        "why is the web container not running",
        "why was web killed",
        "why did the web container stop",
        "what happened to web",
        "Why is web unhealthy?",
        "Why is the web container down?",
    ],
)
def test_why_a_container_does_not_run_is_answered_with_its_state_and_its_last_lines(task: str) -> None:
    match = choose_lookup(task)
    assert match.calls == (("docker_inspect", {"name": "web"}), ("docker_logs", {"name": "web", "tail": 20}))
    assert match.is_cause


@pytest.mark.parametrize(
    "task",
    ["which containers aren't running", "is web not running", "why did you not stop web", "when did you stop web"],
)
def test_negative_and_the_past_of_others_are_left_alone(task: str) -> None:
    with pytest.raises(TaskFailed):
        choose_lookup(task)


@pytest.mark.parametrize("task", ["why don't you restart web", "why don't you stop"])
def test_request_in_the_form_of_a_question_is_denied(task: str) -> None:
    with pytest.raises(ActionDenied):
        choose_lookup(task)


@pytest.mark.parametrize(
    ("task", "tool", "arguments"),
    [
        ("Read Übersicht.md", "read_file", {"path": "Übersicht.md"}),
        ("first 5 lines of größe.csv", "read_file", {"path": "größe.csv", "first": 5}),
        ("files in Übungen", "list_files", {"path": "Übungen", "kind": "any", "recursive": False}),
        ("logs of container web.db", "docker_logs", {"name": "web.db"}),
        ("logs of the shop.example.com container", "docker_logs", {"name": "shop.example.com"}),
        ("logs of my-app_1.v2", "docker_logs", {"name": "my-app_1.v2"}),
        ("logs of container sick", "docker_logs", {"name": "sick"}),
        ("Which containers are sick?", "docker_ps", {"state": "unhealthy"}),
        ("find a file named web.db", "list_files", {"pattern": "web.db"}),
        ("Logs of store", "docker_logs", {"name": "store"}),
        ("stats of loader", "docker_stats", {"name": "loader"}),
        ("logs of the billing service", "docker_logs", {"name": "billing"}),
        ("is store running", "docker_ps", {"all": True, "name": "store"}),
    ],
)
def test_names_may_have_umlauts_dots_and_dashes_or_be_words(task: str, tool: str, arguments: dict[str, object]) -> None:
    match = choose_lookup(task)
    assert (match.lookup.tool, dict(match.arguments)) == (tool, arguments)


@pytest.mark.parametrize(
    "task",
    ["What is using my disk?", "what's eating my disk", "What takes up all the disk space?", "size of the folders"],
)
def test_what_uses_the_disk_is_answered_with_the_biggest_folders(task: str) -> None:
    match = choose_lookup(task)
    assert (match.lookup.tool, dict(match.arguments)) == ("list_files", {"kind": "folder", "sort": "size"})


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


@pytest.mark.parametrize(
    "task",
    [
        "Which services are not running?",
        "which service isn't up",
        "services that aren't running",
        "are any services not running",
    ],
)
def test_services_that_are_not_running_are_those_that_are_down(task: str) -> None:
    match = choose_lookup(task)
    assert (match.lookup.tool, dict(match.arguments)) == ("compose_ps", {"state": "exited"})


@pytest.mark.parametrize("task", ["Which containers are healthy?", "docker ps --filter health=healthy"])
def test_healthy_containers_are_asked_for_by_their_health(task: str) -> None:
    match = choose_lookup(task)
    assert (match.lookup.tool, match.arguments["state"]) == ("docker_ps", "healthy")


def test_health_that_no_engine_knows_is_no_lookup() -> None:
    with pytest.raises(TaskFailed):
        choose_lookup("docker ps --filter health=zork")


def is_unit(name: str) -> bool:
    return name in ("ssh", "nginx", "web.service")


@pytest.mark.parametrize(
    ("task", "tool", "arguments"),
    [
        ("is nginx running?", "service_status", {"unit": "nginx"}),
        ("is the nginx service up", "service_status", {"unit": "nginx"}),
        ("show the last log lines of the ssh service", "journal_tail", {"unit": "ssh"}),
        ("last 20 log lines of ssh", "journal_tail", {"unit": "ssh", "tail": 20}),
        ("logs of nginx since an hour ago", "journal_tail", {"unit": "nginx", "since": "1h", "tail": 10_000}),
        ("is the container nginx running?", "docker_ps", {"name": "nginx", "all": True}),
        ("logs of the nginx container", "docker_logs", {"name": "nginx"}),
        ("is the compose service nginx running", "docker_ps", {"name": "nginx", "all": True}),
        ("is nginx healthy", "docker_ps", {"name": "nginx", "all": True}),
        ("is web running?", "docker_ps", {"name": "web", "all": True}),
        ("docker logs nginx", "docker_logs", {"name": "nginx"}),
    ],
)
def test_name_of_a_unit_is_looked_up_in_systemd_unless_the_words_say_container(
    task: str, tool: str, arguments: dict[str, object]
) -> None:
    match = choose_lookup(task, is_unit=is_unit)
    assert (match.lookup.tool, dict(match.arguments)) == (tool, arguments)
    assert ("a container is asked for so" in announce(match)) == (tool in ("service_status", "journal_tail"))


@pytest.mark.parametrize(
    "task", ["restart nginx", "systemctl restart nginx", "stop the ssh unit", "disable the cups unit"]
)
def test_change_of_a_unit_is_denied(task: str) -> None:
    with pytest.raises(ActionDenied):
        choose_lookup(task, is_unit=is_unit)


@pytest.mark.parametrize(
    "task",
    [
        "which services have failed",
        "is the unit running",
        "units per second",
        "journal of dreams club",
    ],
)
def test_question_that_may_be_about_something_else_than_systemd_is_left_alone(task: str) -> None:
    with pytest.raises(TaskFailed):
        choose_lookup(task, is_unit=is_unit)


def test_command_line_has_the_time_as_journalctl_takes_it() -> None:
    assert announce(choose_lookup("journal of ssh since 2 hours ago")).endswith(
        'same as "journalctl -u ssh -n 10000 --since=-2h".'
    )
    assert re.search(r"--since=@\d+\"", announce(choose_lookup("journal of ssh since yesterday")))
