"""The answers that a resumed run has paid for: what they are answers to."""

from __future__ import annotations

from agentctl.core.messages import Completion
from agentctl.journal.past_run import PastAnswer
from agentctl.runner.past_answers import PastAnswers


def past(*purposes: str, turn: int = 3) -> PastAnswers:
    answers = PastAnswers("run")
    answers.add([PastAnswer(Completion(f"{place} {said}"), purpose=said) for place, said in enumerate(purposes)], turn)
    return answers


def text(taken: object) -> str | None:
    return taken[0].text if isinstance(taken, tuple) else None


def test_an_answer_that_its_turn_did_not_use_answers_no_later_turn() -> None:
    answers = past("turn", "turn")
    assert answers.begin_turn(3)
    assert text(answers.take("turn", is_last=False)) == "0 turn"
    assert not answers.begin_turn(4)
    assert answers.take("turn", is_last=False) is None


def test_an_answer_is_used_for_its_own_purpose_only() -> None:
    answers = past("turn", "closing")
    assert answers.take("answer", is_last=True) is None
    assert text(answers.take("turn", is_last=False)) == "0 turn"
    assert answers.take("turn", is_last=False) is None
    assert text(answers.take("turn", is_last=True)) == "1 closing"


def test_a_last_answer_waits_until_a_limit_refuses_the_turn() -> None:
    answers = past("answer")
    assert not answers.begin_turn(3)
    assert answers.take("turn", is_last=False) is None
    assert text(answers.take("answer", is_last=True)) == "0 answer"


def test_a_call_that_is_made_ends_the_use_of_answers() -> None:
    answers = past("answer", "summary")
    answers.clear()
    assert answers.take("answer", is_last=True) is None
    assert answers.take("summary", is_last=True) is None
