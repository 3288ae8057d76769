"""What is sent when a conversation does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.context import (
    conversation_tokens,
    cut_middle,
    estimate_tokens,
    message_tokens,
    prune,
    schema_tokens,
)
from agentctl.errors import ContextOverflow
from agentctl.messages import Message, ToolCall, ToolSpec

SYSTEM = Message("system", "be brief")
TASK = Message("user", "why is it slow?")


def turn(number: int, result: str, *, calls: int = 1, text: str = "") -> tuple[Message, ...]:
    """One assistant message that asks for tools, and their answers."""
    asked = tuple(ToolCall(f"{number}.{n}", "system_load", {"n": n}) for n in range(calls))
    return (Message("assistant", text, asked), *(Message("tool", result, tool_call_id=call.id) for call in asked))


def fit(messages: tuple[Message, ...], max_tokens: int, keep: int = 1, tools_tokens: int = 0) -> tuple[Message, ...]:
    return prune(messages, max_tokens=max_tokens, keep_user=keep, keep_assistant=keep, tools_tokens=tools_tokens)


def test_what_fits_is_sent_as_it_is() -> None:
    messages = (SYSTEM, TASK, *turn(1, "fine"))
    assert fit(messages, conversation_tokens(messages)) is messages


def test_tool_schemas_take_their_part_of_the_room() -> None:
    messages = (SYSTEM, TASK, *turn(1, "x" * 400), *turn(2, "y" * 400))
    whole = conversation_tokens(messages)
    assert fit(messages, whole + 50, tools_tokens=50) == messages
    assert len(fit(messages, whole + 50, tools_tokens=51)) < len(messages)


def test_the_oldest_turns_go_first_and_the_cut_goes_down_to_half() -> None:
    turns = [turn(n, "x" * 400) for n in range(10)]
    messages = (SYSTEM, TASK, *(message for one in turns for message in one))
    room = conversation_tokens(messages) - 1
    kept = fit(messages, room)
    assert conversation_tokens(kept) <= room // 2
    assert kept == (SYSTEM, TASK, *messages[-(len(kept) - 2) :])
    assert conversation_tokens(kept) + conversation_tokens(turns[0]) > room // 2, "no deeper than needed"


def test_after_a_cut_the_next_requests_grow_by_whole_prefixes() -> None:
    messages: tuple[Message, ...] = (SYSTEM, TASK)
    cuts = 0
    for number in range(60):
        messages = (*messages, *turn(number, "x" * 200))
        fitted = fit(messages, 1_000)
        cuts += fitted != messages
        messages = fitted
    assert cuts <= 10


def test_a_tool_result_too_large_alone_loses_its_middle_with_a_mark() -> None:
    result = "HEAD" + "x" * 100_000 + "TAIL"
    kept = fit((SYSTEM, TASK, *turn(1, result)), 2_000)
    assert [m.role for m in kept] == ["system", "user", "assistant", "tool"]
    assert kept[-1].text.startswith("HEAD")
    assert kept[-1].text.endswith("TAIL")
    assert "100,008 characters: the middle is cut here" in kept[-1].text
    assert 900 <= conversation_tokens(kept) <= 1_100


def test_many_large_results_of_the_newest_turn_share_the_room() -> None:
    messages = (SYSTEM, TASK, *turn(1, "x" * 4_000, calls=8))
    kept = fit(messages, 2_000)
    sizes = {estimate_tokens(m.text) for m in kept if m.role == "tool"}
    assert len(kept) == len(messages)
    assert max(sizes) - min(sizes) <= 1
    assert conversation_tokens(kept) <= 1_000


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
    assert conversation_tokens(kept) <= 1_000


def test_the_users_own_words_are_never_cut() -> None:
    with pytest.raises(ContextOverflow) as caught:
        fit((SYSTEM, Message("user", "x" * 40_000)), 8_000)
    assert caught.value.message == (
        "the conversation needs about 10,010 tokens even when cut; max_context_tokens is 8,000"
    )
    assert caught.value.hint == "raise it: MAX_CONTEXT_TOKENS=21000, or shorten the task"
    assert caught.value.billed == "no"


def test_tokens_are_a_fourth_of_the_bytes_rounded_up() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "ä" * 4, "\ud800")] == [0, 1, 1, 2, 2, 1]
    assert message_tokens(Message("user", "abcd")) == 5
    assert schema_tokens(()) == 0
    assert schema_tokens((ToolSpec("abcd", "efgh", {}),)) == 4 + 3


@settings(deadline=None)
@given(st.text(max_size=3_000), st.integers(32, 400))
def test_a_cut_text_never_exceeds_its_room(text: str, room: int) -> None:
    cut = cut_middle(text, room)
    assert estimate_tokens(cut) <= room
    assert cut == text or "cut here" in cut
    assert cut_middle(cut, room) == cut


TEXTS = st.text(max_size=30).flatmap(lambda t: st.sampled_from([t, t * 20, t * 300]))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """A system message, a task, then turns with tool calls, plain answers and new words of the user."""
    messages = [SYSTEM, Message("user", draw(st.text(max_size=40)))]
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["tools", "plain", "user"]))
        if kind == "tools":
            asked = tuple(ToolCall(f"{number}.{n}", "read_file", {}) for n in range(draw(st.integers(1, 3))))
            messages.append(Message("assistant", draw(st.text(max_size=20)), asked))
            messages += [Message("tool", draw(TEXTS), tool_call_id=call.id) for call in asked]
        else:
            messages.append(Message("user" if kind == "user" else "assistant", draw(st.text(max_size=60))))
    return tuple(messages)


@settings(deadline=None)
@given(conversations(), st.integers(0, 3_000), st.integers(0, 4), st.integers(0, 4), st.integers(0, 100))
def test_pruning_keeps_its_promises(
    messages: tuple[Message, ...], max_tokens: int, keep_user: int, keep_assistant: int, tools_tokens: int
) -> None:
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
        assert conversation_tokens(messages) + tools_tokens > max_tokens
        return
    assert conversation_tokens(kept) + tools_tokens <= max_tokens
    assert pruned(kept) == kept
    assert kept[:2] == messages[:2]
    users = [m for m in messages if m.role == "user"]
    assert [m for m in kept if m.role == "user"][-keep_user or len(users) :] == users[-keep_user or len(users) :]
    asked = [m.tool_calls for m in messages if m.role == "assistant"]
    assert [m.tool_calls for m in kept if m.role == "assistant"][-keep_assistant or len(asked) :] == (
        asked[-keep_assistant or len(asked) :]
    )
    assert [(m.role, m.tool_call_id) for m in kept[-1:]] == [(m.role, m.tool_call_id) for m in messages[-1:]]
    shapes = iter([(m.role, m.tool_calls, m.tool_call_id) for m in messages])
    assert all((m.role, m.tool_calls, m.tool_call_id) in shapes for m in kept), "the order is kept"
    waiting: list[str] = []
    for message in kept:
        if message.role == "tool":
            assert message.tool_call_id == waiting.pop(0), "an answer right behind its call"
        else:
            assert waiting == [], "every call has its answer"
            waiting = [call.id for call in message.tool_calls]
    assert waiting == []
