"""Which agent gets a task."""

from __future__ import annotations

import pytest

from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec, find_agent, load_agents
from agentctl.runner.routing import RoutingResult, explain, ranked_tools, read_signs, route
from agentctl.tools.toolbox import CHANGES

TASKS = {
    "docker": (
        "list containers",
        "show me every container, also the stopped ones",
        "which containers are up right now",
        "why did my postgres container die",
        "give me the logs of the payment container",
        "tail 200 lines from docker logs api",
        "how many images do I have",
        "what is the size of my docker images",
        "show dangling volumes",
        "is the container gateway healthy",
        "which networks does docker know",
        "what environment does the container backend run with",
        "which container uses the most memory",
        "cpu usage per container",
        "how much space do docker images take on disk",
        "inspect nginx container and tell me its restart policy",
        "what ports are published by the web container",
        "are there any unhealthy containers",
        "docker system df",
        "which image tag does the frontend container run",
        "why is container worker restarting over and over",
        "errors in the last hour in the logs of the auth container",
        "stop all containers",
        "remove unused images",
        "which volumes are attached to mysql",
    ),
    "compose": (
        "did compose bring the database up",
        "which compose projects are running",
        "list the services of the project shop",
        "docker-compose status",
        "logs of the whole shop stack",
        "last 20 lines of the logs of the compose project lab",
        "is every service of the stack up",
        "have the containers of the lab project drifted",
        "are there orphans in the compose project lab",
        "status of the shop stack",
    ),
    "system": (
        "summarize this project",
        "what changed in this project",
        "build this project",
        "which systemd units are in failed state",
        "show me the journal of cron since an hour ago",
        "how much free space is left on this disk",
        "is / nearly full",
        "how much RAM is in use",
        "show swap usage",
        "what's the load average",
        "what process is hogging the cpu",
        "who is listening on port 5432",
        "which process holds port 80",
        "top 5 processes by memory",
        "how long is this box up",
        "what kernel is running here",
        "what linux distribution is this",
        "which ip addresses does this host have",
        "what is this machine called",
        "find files bigger than 1 GB",
        "which folders are the largest in here",
        "find *.log files",
        "show me the first lines of setup.py",
        "count the lines in data.csv",
        "search for the word secret in this folder",
        "what does the file notes.txt say",
        "where is the function main defined in the source",
        "is git clean",
        "what files changed in the repository",
        "is the server overloaded",
        "how many cpu cores are there",
        "is nginx running on this host",
        "which user am I",
    ),
}


def test_nine_of_ten_labelled_tasks_reach_their_agent() -> None:
    agents = load_agents()
    labelled = [(task, name) for name, tasks in TASKS.items() for task in tasks]
    wrong = [(task, name) for task, name in labelled if route(task, agents).agent != name]
    assert len(labelled) >= 40
    assert len(wrong) <= len(labelled) // 10, wrong


def test_agent_for_compose_changes_nothing_for_tasks_that_do_not_speak_of_it() -> None:
    agents = load_agents()
    others = [agent for agent in agents if agent.name != "compose"]
    for task in (*TASKS["docker"], *TASKS["system"][3:], "", "zzyzx frobnicate"):
        assert route(task, agents) == route(task, others), task


@pytest.mark.parametrize("task", ["", "   ", "the of and", "zzyzx frobnicate", "\x00\x1b[31m"])
def test_a_task_without_a_known_word_goes_to_the_machine(task: str) -> None:
    assert route(task, load_agents()) == RoutingResult("system", 0.0, "docker")


@pytest.mark.parametrize(
    ("task", "agent"),
    [
        ("list all contaners", "docker"),
        ("dokcer images", "docker"),
        ("unhelthy containers", "docker"),
        ("kernel verison", "system"),
        ("how mutch memory is free", "system"),
    ],
)
def test_a_misspelled_task_reaches_its_agent(task: str, agent: str) -> None:
    found = route(task, load_agents())
    assert found.agent == agent
    assert found.score > 0.5


def test_a_tie_goes_to_the_machine() -> None:
    same = ("look around",)
    agents = (AgentSpec("docker", "x", "i", same), AgentSpec("system", "x", "i", same))
    assert route("look around", agents) == RoutingResult("system", 0.5, "docker", "task words, docker is close")


def test_an_agent_that_is_hardly_ahead_is_second_to_the_machine() -> None:
    agents = (
        AgentSpec("other", "x", "i", ("look around the house",)),
        AgentSpec("system", "x", "i", ("look around the yard again",)),
    )
    assert route("look around", agents)[:1] == ("system",)
    assert route("look around", agents)[2:] == ("other", "task words, other is close")
    assert route("look around the house", agents).agent == "other"


def test_an_agent_of_the_users_with_the_tool_of_a_sign_is_ranked_by_its_words() -> None:
    mine = AgentSpec("mine", "d", "i", ("Review the code",), ("read_file",), origin="config", place="mine.toml")
    agents = (*load_agents(), mine)
    assert route("Review main.py", agents).agent == "mine"
    assert route("Show the first 20 lines of main.py", agents).agent == "system"
    found = explain("Review main.py", agents)
    assert (next(iter(found.scores)), list(found.words), found.signs) == (
        "mine",
        ["Review"],
        ("names a file: main.py",),
    )


def test_an_agent_of_the_users_gets_no_tools_of_another_one() -> None:
    mine = AgentSpec("mine", "d", "i", (), ("read_file",), origin="config")
    task = "write the list of running containers into containers.txt"
    assert ranked_tools(mine, task, (*load_agents(), mine)) == ("read_file",)


def test_the_order_of_the_agents_does_not_matter() -> None:
    agents = load_agents()
    for task in (*TASKS["docker"], *TASKS["system"]):
        assert route(task, agents) == route(task, agents[::-1])


def test_a_single_agent_gets_everything() -> None:
    assert route("List all containers", [find_agent("system", load_agents())]).agent == "system"


def test_the_score_is_a_share_of_the_belief() -> None:
    scores = [route(task, load_agents()).score for task in (*TASKS["docker"], *TASKS["system"])]
    assert all(score == 0.0 or 0.5 <= score <= 1.0 for score in scores)
    assert sum(score > 0.8 for score in scores) > len(scores) / 2


def test_the_examples_of_an_agent_reach_it() -> None:
    agents = load_agents()
    examples = [(example, agent.name) for agent in agents for example in agent.examples]
    assert [pair for pair in examples if route(pair[0], agents).agent != pair[1]] == []


WANTED = {
    "restart the sick container": {"docker_ps", "docker_logs", "docker_inspect", "docker_restart"},
    "stop and remove the old containers": {"docker_stop", "docker_rm"},
    "pull the newest nginx image": {"docker_pull", "docker_images"},
    "run a throwaway container that prints the date": {"docker_run"},
    "execute ls inside the container web": {"docker_exec"},
    "remove unused docker images to free disk space": {"docker_rmi", "docker_images", "docker_system_df"},
    "which container eats the memory": {"docker_stats"},
    "start the stopped container db again": {"docker_start"},
    "unpause the web container": {"docker_unpause", "docker_ps"},
    "resume the paused container db": {"docker_unpause"},
    "pause the container web": {"docker_pause"},
    "which compose projects are there": {"compose_projects", "compose_ps"},
    "has the compose project shop drifted": {"compose_drift", "compose_ps", "docker_inspect"},
    "logs of the compose project shop": {"compose_logs", "docker_logs"},
    "restart the api service of the compose project shop": {"docker_restart", "compose_ps"},
    "which services of the compose project shop are down": {"compose_ps"},
    "why is this server slow": {"system_processes", "system_load", "system_memory"},
    "who listens on port 443": {"system_ports"},
    "write a summary of README.md into notes.md": {"read_file", "write_file", "run_shell"},
    "find the word timeout in the source code": {"search_files"},
    "what changed in this git working tree": {"git_status"},
    "how much disk is free": {"system_disks"},
    "is the nginx unit of systemd running": {"service_status", "journal_tail"},
    "show the last lines of the journal": {"journal_tail"},
    "which systemd services have failed": {"service_status"},
}


@pytest.mark.parametrize(("task", "wanted"), WANTED.items())
def test_the_tools_that_a_task_speaks_of_are_among_the_first_few(task: str, wanted: set[str]) -> None:
    agents = {agent.name: agent for agent in load_agents()}
    agent = agents[route(task, tuple(agents.values())).agent]
    ranked = ranked_tools(agent, task)
    assert wanted <= set(ranked[:MOST_TOOLS]), ranked[:MOST_TOOLS]
    own = (*agent.tools, *agent.more)
    assert len(ranked) == len(set(ranked)), "none comes twice"
    assert {name for name in own if name not in CHANGES} <= set(ranked) <= set(own), "no read is lost"
    assert ranked[: len(agent.tools)] == agent.tools
    assert list(ranked[:MOST_TOOLS]) == [name for name in own if name in ranked[:MOST_TOOLS]], "the agent's own order"


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("What are the ERROR lines in big.log?", ["big.log"]),
        ("read /var/log/syslog, then ./a/b and ~/x", ["/var/log/syslog", "./a/b", "~/x"]),
        ('compare `a.json` with "b.json" (and c.yml)', ["a.json", "b.json", "c.yml"]),
        ("what does the Makefile build in src/", ["Makefile", "src/"]),
        ("look at .env and src/main.py.", [".env", "src/main.py"]),
        ("find *.log files", ["*.log"]),
        ("pull grafana/grafana:10.2 from ghcr.io/o/a", []),
        ("open http://example.com/a.html and example.com", []),
        ("CPU/memory of node.js 20.1, e.g. and/or 1.5GB at 10.0.0.1:80", []),
        ("which image has postgres:16.2-alpine", []),
        ("It is slow. Why?", []),
    ],
)
def test_path_and_file_names_are_found_in_a_task(task: str, files: list[str]) -> None:
    assert list(read_signs(task).files) == files


@pytest.mark.parametrize(
    "task",
    ["What are the ERROR lines in big.log?", "errors in /srv/app/error.log", "why does app.log say connection refused"],
)
def test_named_file_goes_to_the_agent_that_reads_files(task: str) -> None:
    assert route(task, load_agents()).agent == "system"


def test_name_of_a_container_that_looks_like_a_file_goes_to_containers() -> None:
    task = "what is wrong with payments.api"
    assert route(task, load_agents()).agent == "system"
    found = route(task, load_agents(), containers={"payments.api"})
    assert found.agent == "docker"
    docker = find_agent("docker", load_agents())
    assert "read_file" not in ranked_tools(docker, task, load_agents(), containers={"payments.api"})


def test_task_that_names_both_gets_tools_of_both_agents_if_it_was_routed() -> None:
    agents = load_agents()
    task = "write the list of running containers into containers.txt"
    docker = find_agent("docker", agents)
    assert route(task, agents).agent == "docker"
    assert {"docker_ps", "write_file", "read_file"} <= set(ranked_tools(docker, task, agents)[:MOST_TOOLS])
    assert not {"read_file", "write_file"} & set(ranked_tools(docker, task)), "an agent that was chosen by hand"


@pytest.mark.parametrize(
    "task",
    [
        "Which containers are running?",
        "Why is web restarting?",
        "Is the database unhealthy?",
        "How much disk is free?",
        "Which process uses the most memory?",
        "Who listens on port 443?",
    ],
)
def test_task_that_asks_for_no_change_is_offered_reads_only(task: str) -> None:
    agents = load_agents()
    agent = next(one for one in agents if one.name == route(task, agents).agent)
    assert not set(ranked_tools(agent, task, agents)) & CHANGES


@pytest.mark.parametrize(
    ("task", "offered"), [("do the usual", True), ("improve main.py", True), ("what does main.py do?", False)]
)
def test_shell_is_there_for_what_no_word_covers_and_write_file_for_no_question(task: str, offered: bool) -> None:
    system = find_agent("system", load_agents())
    tools = ranked_tools(system, task)[:MOST_TOOLS]
    assert "run_shell" in tools
    assert ("write_file" in tools) == offered
