"""A model's summary after the task: found again whatever its text, within its room, never in place of the task."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.context.digest import Digest, extend_digest, read_notes, replace_notes, split_digest
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Message
from tests.support.context.parts import ANY_TEXT, CUT_NOTES, SYSTEM, TASK, conversations, taken_by_a_provider, turn

BREAKS = ("\n", "\r", "\r\n", "\x00", "\x0b", "\x85", "\u2028", "\u2029", "\ud800", "\udfff")
MARKS = ("]", "\n]", "> ", "\n> ", "\n- ", "[Cut here to save room: ", CUT_NOTES, CUT_NOTES[:60])
ODD = st.sampled_from((*BREAKS, *MARKS, "\n[... 9 characters: the middle is cut here; ask for less ...]\n", "é"))
SAID = st.lists(ODD | ANY_TEXT, max_size=12).map("".join)
LONG = SAID.flatmap(lambda said: st.sampled_from([said, said * 40, said * 400]))
LINES = st.lists(ANY_TEXT, max_size=6).map(
    lambda texts: extend_digest(Digest(), [[Message("user", t)] for t in texts]).lines
)


@given(SAID, SAID, LINES, st.integers(1, 10**9 - 1))
def test_a_summary_is_found_again_whatever_it_says(
    words: str, summary: str, lines: tuple[str, ...], count: int
) -> None:
    digest = Digest(count, lines, summary)
    assert split_digest(words + digest.text(10**6)) == (words, digest)


@given(SAID, LONG, LINES, st.integers(0, 400))
def test_with_a_summary_too_a_digest_keeps_to_its_room_and_stays_one(
    words: str, summary: str, lines: tuple[str, ...], room: int
) -> None:
    text = Digest(7, lines, summary).text(room)
    assert PLAIN.text(text) <= room
    found, digest = split_digest(words + text)
    if text:
        assert (found, digest.messages) == (words, 7)
        assert digest.lines == lines[len(lines) - len(digest.lines) :]


def has_form(words: str) -> bool:
    return bool(split_digest(words)[1].messages)


@settings(max_examples=60)
@given(
    SAID.filter(lambda words: not has_form(words)),
    st.lists(st.tuples(conversations(), st.none() | LONG), min_size=1, max_size=4),
    st.integers(200, 2_000),
)
def test_the_task_is_never_lost_over_cuts_with_and_without_a_summary(
    words: str, story: list[tuple[tuple[Message, ...], str | None]], limit: int
) -> None:
    messages: tuple[Message, ...] = (SYSTEM, Message("user", words))
    for number, (more, summary) in enumerate(story):
        new = tuple(
            replace(
                one,
                tool_calls=tuple(replace(call, id=f"{number}/{call.id}") for call in one.tool_calls),
                tool_call_id=None if one.tool_call_id is None else f"{number}/{one.tool_call_id}",
            )
            for one in more[2:]
        )
        before = (*messages, *new)
        try:
            fitted = prune(before, max_tokens=limit, keep_user=0, keep_assistant=1)
        except ContextOverflow:
            return
        if summary is not None and fitted != before:
            told = replace_notes(fitted, summary, room=limit)
            assert told is None or [one.role for one in told] == [one.role for one in fitted]
            assert told is None or read_notes(told)[1] == Digest(
                read_notes(fitted)[1].messages, (), read_notes(told)[1].summary
            )
            fitted = told or fitted
        assert PLAIN.conversation(fitted) <= limit
        assert fitted == before or taken_by_a_provider(fitted)
        assert fitted[0] == SYSTEM
        assert split_digest(fitted[1].text)[0] == words
        messages = fitted


def test_a_summary_survives_the_next_plain_cut_and_new_lines_stand_behind_it() -> None:
    long = (SYSTEM, TASK, *(one for n in range(12) for one in turn(n, "x" * 800)))
    first = prune(long, max_tokens=2_000, keep_user=1, keep_assistant=1)
    summary = "The disk is full.\nNothing was changed. " + "Looked everywhere. " * 30
    told = replace_notes(first, summary, room=2_000)
    assert told is not None
    again = prune(
        (*told, *(one for n in range(12, 20) for one in turn(n, "y" * 800))),
        max_tokens=2_000,
        keep_user=1,
        keep_assistant=1,
    )
    digest = read_notes(again)[1]
    assert digest.summary == summary
    assert digest.lines
    assert digest.messages > read_notes(told)[1].messages


def test_summary_keeps_to_its_room_where_joined_texts_take_more_tokens() -> None:
    seams = Measure(count=lambda text: len(text) // 4 + 5 * text.count(":\n>"), way="seams")
    long = (SYSTEM, TASK, *(one for n in range(12) for one in turn(n, "x" * 800)))
    fitted = prune(long, max_tokens=2_000, keep_user=1, keep_assistant=1, measure=seams)
    whole = replace_notes(fitted, "The disk is full. " * 40, room=2_000, measure=seams)
    assert whole is not None
    for room in range(seams.conversation(whole) - 12, seams.conversation(whole) + 3):
        told = replace_notes(fitted, "The disk is full. " * 40, room=room, measure=seams)
        assert told is not None
        assert seams.conversation(told) <= room


def test_notes_are_replaced_only_where_something_was_cut_and_there_is_a_task() -> None:
    assert replace_notes((SYSTEM, TASK, *turn(0, "ok")), "words", room=8_000) is None
    assert replace_notes((SYSTEM, *turn(0, "ok")), "words", room=8_000) is None
    cut = (SYSTEM, replace(TASK, text=TASK.text + CUT_NOTES), *turn(0, "ok"))
    assert replace_notes(cut, "", room=8_000) is None
    assert replace_notes(cut, "words", room=PLAIN.conversation(cut) - PLAIN.text(CUT_NOTES)) is None
