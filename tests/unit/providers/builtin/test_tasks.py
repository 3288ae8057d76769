"""builtin on the labelled list: the half it was tuned on, and the half it never saw."""

from __future__ import annotations

import pytest

from tests.unit.providers.builtin.labelled import Labelled, load, outcome

TUNING = load("tuning")
FRESH = load("fresh")


def _of(tasks: tuple[Labelled, ...], kind: str) -> list[Labelled]:
    return [task for task in tasks if task.kind == kind]


def test_the_list_is_long_enough_and_of_all_kinds() -> None:
    for half in (TUNING, FRESH):
        assert len(half) >= 150
        assert min(len(_of(half, kind)) for kind in ("read", "change", "other")) >= 30
    assert not {task.task.lower() for task in TUNING} & {task.task.lower() for task in FRESH}


@pytest.mark.parametrize("half", [TUNING, FRESH], ids=["tuning", "fresh"])
def test_builtin_answers_60_percent_of_reads_with_at_most_3_percent_wrong(half: tuple[Labelled, ...]) -> None:
    reads = [(task, outcome(task.task)) for task in _of(half, "read")]
    acted = [(task, done) for task, done in reads if done.did == "act"]
    wrong = [(task.task, done.call) for task, done in acted if done.call not in task.calls]
    left = [task.task for task, done in reads if done.did != "act"]
    assert len(acted) >= 0.6 * len(reads), left
    assert len(wrong) <= 0.03 * len(acted), wrong


@pytest.mark.parametrize("half", [TUNING, FRESH], ids=["tuning", "fresh"])
def test_no_change_ever_becomes_a_call(half: tuple[Labelled, ...]) -> None:
    changes = [(task.task, outcome(task.task)) for task in _of(half, "change")]
    assert [task for task, done in changes if done.did == "act"] == []
    denied = [task for task, done in changes if done.did == "deny"]
    assert len(denied) >= 0.8 * len(changes), [task for task, done in changes if done.did != "deny"]


@pytest.mark.parametrize("half", [TUNING, FRESH], ids=["tuning", "fresh"])
def test_questions_that_need_thought_are_left_alone_but_for_their_facts(half: tuple[Labelled, ...]) -> None:
    others = [(task, outcome(task.task)) for task in _of(half, "other")]
    acted = [(task.task, done.call) for task, done in others if done.did == "act" and done.call not in task.calls]
    assert len(acted) <= 0.03 * len(others), acted
