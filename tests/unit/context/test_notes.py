"""The notes on a cut keep what a line announces, and read on to the room that there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.context.digest import split_digest
from agentctl.context.manager import ContextManager
from agentctl.context.relevance import passage
from agentctl.context.tokens import PLAIN, ROUGH, Measure
from agentctl.core.messages import Message, ToolCall
from tests.support.context.parts import ANY_TEXT, SYSTEM, fit

TRACEBACK = """Traceback (most recent call last):
  File "app.py", line 12, in <module>
    main()
  File "app.py", line 8, in main
    connect(port)
ConnectionRefusedError: db:5432
"""
RESERVATIONS = "Here are your reservation IDs:\n- 4WQ150\n- VAAOXJ\n- PGAGLM\n\nIs there anything else?"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ERROR:\nInvalid `range`: [100, 150]; it has 122 lines.\n" + "pad " * 60, "[100, 150]; it has 122"),
        (RESERVATIONS, "- 4WQ150 - VAAOXJ - PGAGLM"),
        (TRACEBACK, "ConnectionRefusedError: db:5432"),
        ("Error\n\nsome words\nsrc/main.rs:17:4 expected `;`", "src/main.rs:17:4 expected `;`"),
        ("NAME PORT\ncache 6379\nweb 80", "NAME PORT cache 6379 web 80"),
        ("Result:\n" + "nothing of note\n" * 30 + "order 4711", "Result: nothing of note"),
        ("Done. The answer follows:\n" + "word " * 40 + "42", "Done. The answer follows: word word"),
        ("first 1\nsecond 2\nERROR:", "second 2 ERROR:"),
        ('{"name": {"first": "Mia"}, "note": "' + "so on " * 40 + '", "ids": ["4WQ150", "VAAOXJ"]}', "4WQ150"),
    ],
    ids=["an error", "ids", "a traceback", "a path", "a table", "far away", "a long line", "at the end", "JSON"],
)  # fmt: skip
def test_a_line_that_announces_is_followed_by_what_it_announces(text: str, told: str) -> None:
    shown = passage(text, {}, 80)
    assert told in shown
    assert len(shown) <= 80


@pytest.mark.parametrize(
    "text", ["ERROR: no such table\nhint: migrate 17", "the disk is full now\n98 %", "payments-db 15432\nweb 80"]
)
def test_a_line_that_says_something_stands_alone_as_long_as_room_is_short(text: str) -> None:
    assert passage(text, {"payments": 3}, 80) == text.partition("\n")[0]
    assert passage(text, {"payments": 3}, 80, reads_on=True) == text.replace("\n", " ")


@given(ANY_TEXT.map(lambda text: f"{text}:\n" + f"{text} 7\n" * 40), st.integers(8, 200), st.booleans())
def test_a_passage_that_reads_on_is_one_line_of_its_length(text: str, most: int, reads_on: bool) -> None:
    shown = passage(text, {"a": 2, "b": 1}, most, reads_on=reads_on)
    assert len(shown) <= most
    assert len(shown.splitlines()) <= 1


def looks(number: int, result: str) -> tuple[Message, ...]:
    call = ToolCall(f"c{number}", "view", {"n": number})
    return Message("assistant", "", (call,)), Message("tool", result, tool_call_id=call.id)


def notes(messages: tuple[Message, ...], limit: int) -> str:
    kept = fit(messages, limit)
    assert PLAIN.conversation(kept) <= limit
    return split_digest(next(one.text for one in kept if one.role == "user"))[1].text(10_000)


@pytest.mark.parametrize(("limit", "measure", "least"), [(900, ROUGH, 1), (900, PLAIN, 1), (1_200, ROUGH, 1)])
def test_the_notes_of_eleven_errors_tell_the_errors(limit: int, measure: Measure, least: int) -> None:
    talk: list[dict[str, object]] = [{"role": "user", "content": "Fix the view error in parser.pony"}]
    for n in range(12):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "view", "arguments": f'{{"n":{n}}}'}}
        error = f"ERROR:\nInvalid `view_range`: [100, {150 + n}]; the file has 122 lines.\n" + "pad " * 60
        talk.append({"role": "assistant", "content": None, "tool_calls": [call]})
        talk.append({"role": "tool", "tool_call_id": f"c{n}", "content": error})
    kept = ContextManager(limit, measure=measure, warn=lambda _: None).prune(talk)
    lines = [line for line in str(kept[0]["content"]).splitlines() if line.startswith("- view")]
    assert len(lines) >= least
    assert all("Invalid `view_range`: [100, 1" in line and "the file has 122 lines" in line for line in lines)


def test_notes_read_on_to_the_room_that_there_is() -> None:
    task = (SYSTEM, Message("user", "Change the flights of user mia_li_3668"))
    facts = [f"reservation {name}: flight HAT{n} on 2026-05-{n}" for n, name in enumerate(("4WQ150", "VAAOXJ"), 10)]
    long = "\n".join(["All of the user's bookings, newest first", *facts, "x " * 2_000])
    rest = [message for n in range(2, 6) for message in looks(n, "nothing new " * 400)]
    told = notes((*task, *looks(1, long), *rest), 5_000)
    assert all(fact in told for fact in facts), "a single result was cut, and there was room for its facts"
    crowd = [message for n in range(2, 60) for message in looks(n, f"line {n}\nline {n} again\n" + "nothing new " * 30)]
    told = notes((*task, *looks(1, long), *crowd), 5_000)
    assert told.count("\n- view") > 15, "each line is short where there are many"
    assert "again" not in told


def test_a_note_of_what_the_assistant_said_keeps_the_ids_that_it_lists() -> None:
    task = (SYSTEM, Message("user", "What did I book?"))
    rest = [message for n in range(2, 6) for message in looks(n, "nothing new " * 90)]
    told = notes((*task, Message("assistant", RESERVATIONS + " " + "Just ask. " * 60), *rest), 1_000)
    assert "Here are your reservation IDs: - 4WQ150 - VAAOXJ - PGAGLM" in told
