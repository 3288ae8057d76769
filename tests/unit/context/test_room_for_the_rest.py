"""A cut: results that must stay shrink before everything else goes, and what is left of the room is filled."""

from __future__ import annotations

import pytest

from agentctl.context.pruning import prune, too_small
from agentctl.context.tokens import PLAIN
from agentctl.core.messages import Message
from tests.support.context.parts import SYSTEM, TASK, turn


def test_large_results_that_must_stay_leave_room_for_small_older_ones() -> None:
    small = [turn(n, f"fact {n}: port 54{n:02}") for n in range(8)]
    large = [turn(n, f"{n} " * 3_600) for n in range(8, 11)]
    messages = (SYSTEM, TASK, *(message for one in (*small, *large) for message in one), *turn(11, "the newest"))
    kept = prune(messages, max_tokens=5_000, keep_user=3, keep_assistant=4)
    assert [message for one in small for message in one if message in kept] == [
        message for one in small for message in one
    ]
    assert all(any(call in kept for call in one[:1]) for one in large), "they stay, shortened"
    assert PLAIN.conversation(kept) <= 2_600, "deep, so that the next cut does not come soon"


def test_a_large_group_that_goes_takes_no_small_ones_with_it() -> None:
    small = [turn(n, "a b c " * 4) for n in range(6)]
    large = turn(6, "x " * 2_400)
    messages = (
        SYSTEM,
        TASK,
        *(m for one in small for m in one),
        *large,
        *turn(7, "y " * 2_000),
        *turn(8, "the newest"),
    )
    kept = prune(messages, max_tokens=2_200, keep_user=1, keep_assistant=1)
    assert large[1] not in kept
    assert all(message in kept for one in small for message in one)
    assert PLAIN.conversation(kept) <= 1_100


@pytest.mark.parametrize("max_tokens", [4_000, 8_000])
def test_cuts_stay_rare_and_deep_beside_a_large_head_and_large_results(max_tokens: int) -> None:
    said: tuple[Message, ...] = (Message("system", "s" * max_tokens), TASK)
    cuts = 0
    for n in range(80):
        said = (*said, *turn(n, f"line {n} of a log\n" * (max_tokens // 40)))
        fitted = prune(said, max_tokens=max_tokens, keep_user=3, keep_assistant=3, tools_tokens=max_tokens // 5)
        if fitted is not said:
            cuts += 1
            assert PLAIN.conversation(fitted) <= max_tokens * 7 // 10
        said = fitted
    assert cuts <= 80 // 3


def test_a_context_that_instructions_and_schemas_fill_is_called_small() -> None:
    head = (Message("system", "s" * 2_384), Message("user", "t" * 40_000))
    assert too_small(head, 1_000, 4_000, PLAIN) == "", "two fifths"
    assert too_small(head, 1_001, 4_000, PLAIN) == (
        "a context of 4,000 tokens is small: the instructions (600) and the schemas of the tools (1,001) leave 2,399 of"
        " it, so cuts will come often; MAX_CONTEXT_TOKENS=5000 would do"
    )
    assert too_small(head, 1_001, 5_000, PLAIN) == "", "what it says would do does"
    assert "and the schemas of the tools and the answer (1,001) leave" in too_small(
        head, 1_001, 4_000, PLAIN, has_answer=True
    )
