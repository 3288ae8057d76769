"""Pruning of a conversation that does not fit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.context.message_cache import group_turns
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN, estimate_tokens
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Message, ToolCall, ToolSpec
from tests.support.context.parts import (
    ANY_TEXT,
    BROKEN,
    SYSTEM,
    TASK,
    bare,
    conversations,
    fit,
    taken_by_a_provider,
    turn,
)


def test_conversation_that_fits_is_sent_unchanged() -> None:
    messages = (SYSTEM, TASK, *turn(1, "fine"))
    assert fit(messages, PLAIN.conversation(messages)) is messages


def test_tool_schemas_count_against_the_limit() -> None:
    messages = (SYSTEM, TASK, *turn(1, "x" * 400), *turn(2, "y" * 400))
    whole = PLAIN.conversation(messages)
    assert fit(messages, whole + 50, tools_tokens=50) == messages
    assert len(fit(messages, whole + 50, tools_tokens=51)) < len(messages)


def test_oldest_of_equal_relevance_is_cut_first_down_to_half_the_limit() -> None:
    turns = [turn(n, "x" * 400) for n in range(10)]
    messages = (SYSTEM, TASK, *(message for one in turns for message in one))
    room = PLAIN.conversation(messages) - 1
    kept = fit(messages, room)
    assert PLAIN.conversation(kept) <= room // 2
    assert bare(kept) == (SYSTEM, TASK, *messages[-(len(kept) - 2) :])
    assert PLAIN.conversation(kept) + 2 * PLAIN.conversation(turns[0]) > room // 2, "no deeper than needed"


def test_a_manager_that_keeps_no_user_message_cuts_all_but_the_task() -> None:
    messages = (SYSTEM, TASK, *(Message("user", "x" * 400) for _ in range(10)), Message("assistant", "done"))
    assert bare(fit(messages, 200, keep=0)) == (SYSTEM, TASK, messages[-1])


@pytest.mark.parametrize("size", [100, 400, 1_500, 6_000])
def test_request_is_a_prefix_of_the_next_between_rare_cuts(size: int) -> None:
    messages: tuple[Message, ...] = (SYSTEM, TASK)
    sent: list[tuple[Message, ...]] = []
    for number in range(200):
        messages = (*messages, *turn(number, "x" * size))
        fitted = fit(messages, 8_000, keep=3)
        if fitted is not messages:
            assert PLAIN.conversation(fitted) <= 6_000, "deep"
        sent.append(fitted)
        messages = fitted
    cuts = sum(later[: len(earlier)] != earlier for earlier, later in pairwise(sent))
    assert cuts <= 200 * (size / 4 + 16) / 2_000 + 1, "each makes room for a quarter of the limit"


@given(conversations(), st.integers(200, 1_500))
def test_a_growing_conversation_is_only_changed_where_it_does_not_fit(
    messages: tuple[Message, ...], max_tokens: int
) -> None:
    said: tuple[Message, ...] = ()
    for message in messages:
        said = (*said, message)
        try:
            fitted = fit(said, max_tokens)
        except ContextOverflow:
            return
        assert (fitted is said) == (PLAIN.conversation(said) <= max_tokens)
        said = fitted


def test_kept_part_of_a_long_result_survives_a_long_system_message() -> None:
    kept = fit((Message("system", "s" * 2_400), TASK, *turn(1, "x" * 4_000)), 1_000)
    assert estimate_tokens(kept[-1].text) >= 130, "half of what the system message and the notes leave"


def test_an_older_result_is_cut_before_the_newest() -> None:
    messages = (SYSTEM, TASK, *turn(1, "x" * 12_000), *turn(2, "y" * 12_000), *turn(3, "z" * 12_000))
    kept = fit(messages, 8_000, keep=3)
    assert [message.text for message in kept if message.role == "tool"][2] == "z" * 12_000
    assert PLAIN.conversation(kept) <= 6_000


def test_older_results_make_room_for_the_next_turns_though_all_would_just_fit() -> None:
    messages = (SYSTEM, TASK, *(message for n in range(4) for message in turn(n, f"{n}" * 8_800)))
    kept = fit(messages, 8_000, keep=3)
    assert [len(message.text) for message in kept if message.role == "tool"][2] == 8_800
    assert len(kept) == len(messages) - 2
    assert PLAIN.conversation(kept) <= 6_000


def test_a_result_that_is_cut_again_still_tells_how_long_it_was() -> None:
    once = PLAIN.cut_middle("x" * 100_000, 5_000)
    assert "100,000 characters: the middle is cut here" in PLAIN.cut_middle(once, 100)


def test_a_tool_result_too_large_alone_loses_its_middle_with_a_mark() -> None:
    result = "HEAD" + "x" * 100_000 + "TAIL"
    kept = fit((SYSTEM, TASK, *turn(1, result)), 2_000)
    assert [m.role for m in kept] == ["system", "user", "assistant", "tool"]
    assert kept[-1].text.startswith("HEAD")
    assert kept[-1].text.endswith("TAIL")
    assert "100,008 characters: the middle is cut here" in kept[-1].text
    assert 900 <= PLAIN.conversation(kept) <= 1_100


def test_many_large_results_of_the_newest_turn_share_the_room() -> None:
    messages = (SYSTEM, TASK, *turn(1, "x" * 4_000, calls=8))
    kept = fit(messages, 2_000)
    sizes = {estimate_tokens(m.text) for m in kept if m.role == "tool"}
    assert len(kept) == len(messages)
    assert max(sizes) - min(sizes) <= 1
    assert PLAIN.conversation(kept) <= 1_000


def test_a_small_result_beside_a_large_one_stays_whole() -> None:
    small, large = Message("tool", "small", tool_call_id="a"), Message("tool", "x" * 40_000, tool_call_id="b")
    asked = Message("assistant", "", (ToolCall("a", "one", {}), ToolCall("b", "two", {})))
    kept = fit((SYSTEM, TASK, asked, small, large), 500)
    assert kept[3] == small
    assert "cut here" in kept[4].text


def test_long_assistant_texts_are_cut_before_the_run_is_given_up() -> None:
    messages = (SYSTEM, TASK, *(Message("assistant", "x" * 8_000) for _ in range(3)))
    kept = fit(messages, 1_000, keep=3)
    assert len(kept) == 5
    assert PLAIN.conversation(kept) <= 1_000


def test_the_task_is_never_cut() -> None:
    with pytest.raises(ContextOverflow) as caught:
        fit((SYSTEM, Message("user", "x" * 40_000)), 8_000)
    assert caught.value.message == (
        "the conversation needs about 10,010 tokens even when cut; max_context_tokens is 8,000 "
        "(the task: 10,004 tokens)"
    )
    assert caught.value.hint == "raise it: MAX_CONTEXT_TOKENS=21000, or shorten the task"
    assert caught.value.billed == "no"


def test_tokens_are_a_fourth_of_the_bytes_rounded_up() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "ä" * 4, "\ud800")] == [0, 1, 1, 2, 2, 1]
    assert PLAIN.message(Message("user", "abcd")) == 5
    assert PLAIN.schemas(()) == 0
    assert PLAIN.schemas((ToolSpec("abcd", "efgh", {}),)) == 4 + 3


@given(ANY_TEXT.map(lambda text: text * 60), st.integers(32, 400))
def test_a_cut_text_never_exceeds_its_room(text: str, room: int) -> None:
    cut = PLAIN.cut_middle(text, room)
    assert estimate_tokens(cut) <= room
    assert cut == text or "cut here" in cut
    assert PLAIN.cut_middle(cut, room) == cut


def promises(
    messages: tuple[Message, ...], max_tokens: int, keep_user: int, keep_assistant: int, tools_tokens: int
) -> None:
    """Assert the invariants of a pruned conversation."""

    def pruned(given: tuple[Message, ...]) -> tuple[Message, ...]:
        return prune(
            given,
            max_tokens=max_tokens,
            keep_user=keep_user,
            keep_assistant=keep_assistant,
            tools_tokens=tools_tokens,
        )

    try:
        kept = pruned(messages)
    except ContextOverflow:
        assert PLAIN.conversation(messages) + tools_tokens > max_tokens
        return
    assert PLAIN.conversation(kept) + tools_tokens <= max_tokens
    assert pruned(kept) is kept
    assert pruned(tuple(messages)) == kept, "always the same"
    if kept is messages:
        return
    assert taken_by_a_provider(kept)
    shapes = iter([(m.role, m.tool_calls, m.tool_call_id) for m in messages])
    assert all((m.role, m.tool_calls, m.tool_call_id) in shapes for m in kept), "the order is kept"
    sound = [messages[place] for unit in group_turns(messages) if unit.sound for place in unit.places]
    assert [m for m in kept if m.role == "system"] == [m for m in messages if m.role == "system"]
    users = [m for m in messages if m.role == "user"]
    left = [m for m in bare(kept) if m.role == "user"]
    assert left[:1] == [m for m in bare(messages) if m.role == "user"][:1], "the task"
    last = list(bare(tuple(users[max(0, len(users) - keep_user) :])))
    for now, then in zip(left[max(0, len(left) - keep_user) :], last, strict=True):
        assert now == then or ("cut here" in now.text and len(now.text) < len(then.text)), "the user's last"
    asked = [m.tool_calls for m in sound if m.role == "assistant"]
    still = [m.tool_calls for m in kept if m.role == "assistant"]
    assert still[max(0, len(still) - keep_assistant) :] == asked[max(0, len(asked) - keep_assistant) :]
    assert [(m.role, m.tool_call_id) for m in kept[-1:]] == [(m.role, m.tool_call_id) for m in sound[-1:]]


NUMBERS = (st.integers(0, 3_000), st.integers(0, 4) | st.just(99), st.integers(0, 4) | st.just(99), st.integers(0, 100))


@settings(max_examples=300)
@given(conversations(), *NUMBERS)
def test_pruning_keeps_its_promises(
    messages: tuple[Message, ...], max_tokens: int, keep_user: int, keep_assistant: int, tools_tokens: int
) -> None:
    promises(messages, max_tokens, keep_user, keep_assistant, tools_tokens)


@settings(max_examples=300)
@given(BROKEN, *NUMBERS)
def test_pruning_keeps_its_promises_in_a_conversation_that_no_provider_would_take(
    messages: tuple[Message, ...], max_tokens: int, keep_user: int, keep_assistant: int, tools_tokens: int
) -> None:
    promises(messages, max_tokens, keep_user, keep_assistant, tools_tokens)


@given(conversations())
def test_a_sound_conversation_has_only_sound_units(messages: tuple[Message, ...]) -> None:
    units = group_turns(messages)
    assert all(unit.sound for unit in units)
    assert sorted(place for unit in units for place in unit.places) == list(range(len(messages)))


def test_answers_without_ids_belong_to_the_calls_before_them_in_their_order() -> None:
    asked = Message("assistant", "", (ToolCall("", "one", {}), ToolCall("", "two", {})))
    answer = Message("tool", "fine")
    assert [(u.places, u.sound) for u in group_turns((TASK, asked, answer, answer, answer, TASK))] == [
        ((0,), True),
        ((1, 2, 3), True),
        ((4,), False),
        ((5,), True),
    ]
    assert [u.sound for u in group_turns((asked, answer, TASK))] == [False, True]
    assert [u.sound for u in group_turns((asked, answer))] == [True]


def test_ten_thousand_messages_are_cut_to_what_fits() -> None:
    messages = (SYSTEM, TASK, *(m for n in range(5_000) for m in turn(n, f"line {n} of a log\n" * 5)))
    kept = fit(messages, 8_000, keep=3)
    assert 3_000 <= PLAIN.conversation(kept) <= 4_000
    assert taken_by_a_provider(kept)
    assert "Cut here to save room: 9," not in kept[1].text
    assert f"{len(messages) - len(kept)} earlier messages" in kept[1].text


def test_fifty_million_characters_lose_their_middle() -> None:
    kept = fit((SYSTEM, TASK, *turn(1, "x" * 50_000_000)), 8_000)
    assert PLAIN.conversation(kept) <= 4_100


def test_conversation_that_neither_fits_nor_can_be_cut_is_refused() -> None:
    words = tuple(Message("user", "x" * 400) for _ in range(40))
    with pytest.raises(ContextOverflow):
        prune(words, max_tokens=1_000, keep_user=99, keep_assistant=0)
    assert len(prune(words, max_tokens=1_000, keep_user=2, keep_assistant=0)) == 3
