"""Measure: how many of the labelled tasks get the tools that they need, among those that a model is offered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agentctl.runner.agent_spec import MOST_TOOLS, load_agents
from agentctl.runner.plan import Plan
from agentctl.runner.routing import choose_agent, choose_tools, read_signs
from agentctl.tools.toolbox import CHANGES, TOOLS

AGENTS = load_agents()
READS = {name: agent for agent in AGENTS for name in (*agent.tools, *agent.more) if name not in CHANGES}


class Labelled(NamedTuple):
    task: str
    needs: frozenset[str]


def labelled_tasks() -> Iterator[Labelled]:
    for line in (Path(__file__).parent / "labelled_tasks.tsv").read_text().splitlines():
        needs, _, task = line.partition("\t")
        yield Labelled(task, frozenset(needs.split()))


TASKS = tuple(labelled_tasks())


def offered(task: str) -> tuple[str, ...]:
    plan = Plan()
    agent, _ = choose_agent(task, plan, AGENTS)
    tools = choose_tools(agent, task, plan, metered=True, agents=AGENTS)
    assert tools is not None
    return tools[:MOST_TOOLS]


def test_labels_are_enough_and_name_tools_that_exist() -> None:
    assert len(TASKS) == len({one.task for one in TASKS}) >= 120
    assert sum(bool(read_signs(one.task).files) for one in TASKS) >= 40
    assert frozenset().union(*(one.needs for one in TASKS)) <= TOOLS.keys()


def test_at_least_95_of_100_labelled_tasks_get_the_tools_that_they_need() -> None:
    wrong = [
        (one.task, sorted(one.needs - set(offered(one.task)))) for one in TASKS if not one.needs <= {*offered(one.task)}
    ]
    assert len(wrong) <= len(TASKS) * 5 // 100, wrong


def test_at_least_95_of_100_tasks_about_a_file_get_the_tools_that_they_need() -> None:
    tasks = [one for one in TASKS if read_signs(one.task).files]
    wrong = [
        (one.task, sorted(one.needs - set(offered(one.task)))) for one in tasks if not one.needs <= {*offered(one.task)}
    ]
    assert len(wrong) <= len(tasks) * 5 // 100, wrong
