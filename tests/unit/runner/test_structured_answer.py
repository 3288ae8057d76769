"""The form of an answer in requests, in their bounds, and on stdout."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.input_bound import FORMAT, BoundBasis, accept_report, bound, estimate_input, plain_bound
from agentctl.context.tokens import PLAIN
from agentctl.core.answer_schema import AnswerSchema, SchemaMismatch, read_answer_schema
from agentctl.core.events import Event, Noted, discard_event
from agentctl.core.messages import AnswerFormat, Completion, Message, Request, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts, NativeFormat, Price
from agentctl.core.text import escape_in_json, safe_text
from agentctl.runner.structured_answer import (
    StructuredAnswer,
    carries_format,
    first_format,
    format_by,
    formatted,
    tries_of,
)

SCHEMA = read_answer_schema("used:int,note:string")
ASKED = format_by(SCHEMA)
LOOSE = format_by(read_answer_schema({"type": "object", "properties": {"used": {"type": "integer"}}}))
PS = ToolSpec("docker_ps", "List containers.", {"type": "object"})
SAID = (Message("system", "You help."), Message("user", "How much?"))
WORDS = ModelFacts("p", "m", Price(Decimal(1), Decimal(1)))
BESIDE = replace(WORDS, native_format=NativeFormat("openai", with_tools=True))
ALONE = replace(WORDS, native_format=NativeFormat("ollama"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def request(tools: tuple[ToolSpec, ...] = (), asked: AnswerFormat | None = ASKED) -> Request:
    return Request("m", SAID, tools, answer_format=asked)


@pytest.mark.parametrize(
    ("facts", "asked", "with_tools", "natively", "alone"),
    [
        (WORDS, ASKED, False, False, False),
        (BESIDE, ASKED, True, True, True),
        (BESIDE, LOOSE, False, False, False),
        (ALONE, ASKED, False, False, True),
    ],
    ids=["in words", "beside tools", "beyond the subset", "alone"],
)
def test_request_asks_natively_where_the_schema_fits(
    facts: ModelFacts, asked: AnswerFormat, with_tools: bool, natively: bool, alone: bool
) -> None:
    beside, last = formatted(facts, request((PS,), asked)), formatted(facts, request((), asked))
    assert carries_format(facts, asked, (PS,)) is with_tools
    assert (beside.messages, beside.answer_format is asked) == (SAID, natively)
    assert last.messages[:-1] == SAID[:-1]
    assert last.messages[-1].text.startswith("How much?\n\nAnswer with one JSON value")
    assert json.loads(last.messages[-1].text.splitlines()[-1]) == asked.spec.parameters
    assert last.answer_format is (asked if alone else None)


@pytest.mark.parametrize(
    ("facts", "beside", "alone"),
    [(WORDS, 0, 1), (BESIDE, 1, 2), (ALONE, 0, 1), (replace(BESIDE, metered=False), 0, 0)],
    ids=["in words", "beside tools", "as a grammar", "builtin"],
)
def test_schema_is_counted_as_often_as_the_model_reads_it(facts: ModelFacts, beside: int, alone: int) -> None:
    structured = StructuredAnswer(SCHEMA, 2, discard_event)
    assert structured.specs_read(facts, (PS,)) == (structured.format.spec,) * beside
    assert structured.specs_read(facts, ()) == (structured.format.spec,) * alone


def test_request_without_a_schema_stays_as_it_is() -> None:
    assert formatted(BESIDE, plain := request(asked=None)) is plain


def test_first_request_asks_only_where_its_answer_can_be_the_last() -> None:
    assert first_format(WORDS, SCHEMA, (PS,)) is None
    assert first_format(WORDS, SCHEMA, ()) == first_format(BESIDE, SCHEMA, (PS,)) == ASKED


def test_schema_counts_like_a_tool_and_more_in_the_bound() -> None:
    as_tool = plain_bound(request((ASKED.spec,), None))
    assert plain_bound(request()) == as_tool + FORMAT
    assert estimate_input(request()) > estimate_input(request(asked=None)) + len(SCHEMA.text) // 4


def test_report_with_the_schema_bounds_no_request_without_it_nor_the_reverse() -> None:
    for one, other in ((request(), request(asked=None)), (request(asked=None), request())):
        known = accept_report(None, one, Completion("7"), Usage(200, 5))
        assert known is not None
        again = replace(one, messages=(*SAID, Message("assistant", "7"), Message("user", "Sure?")))
        assert bound(again, known) < plain_bound(again)
        other = replace(other, messages=again.messages)
        assert bound(other, known) == plain_bound(other)


def test_lower_report_once_the_schema_is_left_out_is_plausible() -> None:
    basis = BoundBasis().after(request((PS,)), Completion("7", model="m"), Usage(500, 5))
    later = basis.after(request((PS,), None), Completion("7", model="m"), Usage(300, 5))
    assert (basis.lost, later.lost, len(later.seen)) == (False, False, 2)


@given(json_values)
def test_line_is_the_same_value_and_safe_on_a_terminal(value: object) -> None:
    line = escape_in_json(json.dumps(value, ensure_ascii=False))
    assert (json.loads(line), safe_text(line)) == (value, line)
    assert "\n" not in line


@pytest.mark.parametrize(
    "text", ["\x7f\x9b31m", "\u202egnp.exe", "##[group]x", "##vso[task.setvariable]x", "\U000e0041"]
)
def test_line_escapes_what_a_terminal_or_a_ci_system_obeys(text: str) -> None:
    line = escape_in_json(json.dumps({text: text}, ensure_ascii=False))
    assert (json.loads(line), safe_text(line)) == ({text: text}, line)
    assert text not in line


class Listener:
    """What was emitted, and an answer that is held against a schema."""

    def __init__(self, schema: AnswerSchema = SCHEMA, retries: int = 2) -> None:
        self.events: list[Event] = []
        self.answer = StructuredAnswer(schema, retries, self.emit)

    async def emit(self, event: Event) -> None:
        self.events.append(event)


async def test_valid_answer_needs_no_words() -> None:
    found = Listener()
    assert await found.answer.next_words(Completion('{"note": "\\u202e", "used": 7}'), was_asked=False) == ""
    assert (found.answer.value, found.answer.line) == (
        {"note": "\u202e", "used": 7},
        '{"note":"\\u202e","used":7}',
    )
    assert found.events == []


async def test_problems_go_back_with_their_pointers_until_no_retry_is_left() -> None:
    found, wrong = Listener(), Completion('{"used": "x"}')
    first = await found.answer.next_words(wrong, was_asked=True)
    assert "\n- /used: " in first
    assert first == await found.answer.next_words(wrong, was_asked=True)
    assert [isinstance(event, Noted) and event.level for event in found.events] == ["warning", "warning"]
    with pytest.raises(SchemaMismatch, match="not valid by the schema after 2 retries"):
        await found.answer.next_words(wrong, was_asked=True)
    assert found.answer.value is None


async def test_answer_in_words_costs_no_retry() -> None:
    found = Listener(retries=0)
    assert (await found.answer.next_words(Completion("Half."), was_asked=False)).startswith("Give your final answer")


async def test_tries_are_counted_from_the_end_of_a_conversation() -> None:
    found = Listener()
    ask = await found.answer.next_words(Completion("Half."), was_asked=False)
    wrong = await found.answer.next_words(Completion("{}"), was_asked=True)
    said = [*SAID, Message("assistant", "Half."), Message("user", ask), Message("assistant", "{}")]
    assert tries_of(said) is None, "the model has answered"
    assert tries_of(said[:-1]) == 0
    assert tries_of([*said, Message("user", wrong)]) == 1
    assert tries_of([*said, Message("user", wrong), Message("assistant", "{}"), Message("user", wrong)]) == 2
    assert tries_of([*said, Message("user", wrong), Message("assistant", "{}"), Message("user", "And now?")]) is None
    calls = Message("assistant", "", (ToolCall("c", "docker_ps", {}),))
    assert tries_of([*said, Message("user", wrong), calls, Message("tool", "web"), Message("user", wrong)]) == 1


def test_schema_is_counted_in_the_context_like_a_tool() -> None:
    assert PLAIN.request(SAID, (PS, ASKED.spec)) > PLAIN.request(SAID, (PS,)) + len(SCHEMA.text) // 8
