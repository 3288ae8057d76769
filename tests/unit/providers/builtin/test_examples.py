"""The questions that the agents' own files give as examples: what builtin makes of each."""

from __future__ import annotations

import pytest

from agentctl.runner.agent_spec import load_agents
from tests.unit.providers.builtin.labelled import Labelled, load, outcome

pytestmark = pytest.mark.usefixtures("berlin")

LABELLED = {task.task: task for task in load("examples")}
EXAMPLES = [example for agent in load_agents() for example in agent.examples]


def works(task: Labelled | None) -> bool:
    """Return whether builtin makes the call that is right for the task."""
    return task is not None and task.kind != "change" and outcome(task.task).call in task.calls


def test_builtin_answers_at_least_70_of_the_reads() -> None:
    assert len(EXAMPLES) >= 90
    left = [example for example in EXAMPLES if not works(LABELLED.get(example))]
    assert len(EXAMPLES) - len(left) >= 70, left


def test_builtin_denies_each_change() -> None:
    changes = [task.task for task in LABELLED.values() if task.kind == "change"]
    assert len(changes) >= 13
    assert [task for task in changes if outcome(task).did != "deny"] == []


def test_builtin_makes_no_wrong_call() -> None:
    acted = [(task, outcome(task.task)) for task in LABELLED.values()]
    assert [task.task for task, done in acted if done.did == "act" and done.call not in task.calls] == []
