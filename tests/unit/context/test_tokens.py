"""One measure counts whole requests and cuts a text to a size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agentctl
from agentctl.context.formats import read_tools
from agentctl.context.tokens import PLAIN, ROUGH, Measure
from agentctl.core.messages import Message, Thought, ToolCall, ToolSpec
from agentctl.core.pricing import ModelFacts
from agentctl.providers.tokenizers import measure_for
from agentctl.runner.plan import Plan
from tests.support.counting import TEXTS, TOOLS, turns

MODELS = ("gpt-4o", "claude-opus-4-7", "qwen2.5")
PIECES = st.lists(st.tuples(st.sampled_from(list(TEXTS)), st.integers(1, 3000)), min_size=1, max_size=5)


def test_fixed_part_is_counted_once_with_tools_and_never_below_zero() -> None:
    more, less = PLAIN._replace(fixed=300), PLAIN._replace(fixed=-10_000)
    schemas, said = PLAIN.schemas(TOOLS), turns(["a", "b"])
    assert [measure.beside(TOOLS) for measure in (PLAIN, more, less)] == [schemas, schemas + 300, 0]
    assert [measure.beside(()) for measure in (PLAIN, more, less)] == [0, 0, 0]
    assert more.request(said, TOOLS) == PLAIN.conversation(said) + schemas + 300
    assert [read_tools(TOOLS, measure) for measure in (PLAIN, more, less)] == [schemas, schemas + 300, 0]
    assert read_tools((), more) == 0


def test_a_plan_leaves_room_for_what_is_fixed() -> None:
    said = turns(["x" * 400] * 10)
    exact = PLAIN._replace(fixed=200)
    plan = Plan(max_context_tokens=PLAIN.request(said, TOOLS) + 199)
    assert plan.fit(ModelFacts("openai", "gpt-4o"), said, TOOLS) == said
    fitted = plan.fit(ModelFacts("openai", "gpt-4o"), said, TOOLS, measure=exact)
    assert fitted != said
    assert exact.request(fitted, TOOLS) <= plan.max_context_tokens


@pytest.mark.parametrize("model", [None, *MODELS])
@given(pieces=PIECES, most=st.integers(100, 4000))
@settings(max_examples=40)
def test_a_text_is_cut_to_its_size_wherever_it_is_dense(
    model: str | None, pieces: list[tuple[str, int]], most: int
) -> None:
    measure = ROUGH if model is None else measure_for("anywhere", model)
    text = "".join(TEXTS[kind][:size] + " " * 5 * size for kind, size in pieces)
    cut = measure.cut_middle(text, most)
    assert measure.text(cut) <= most
    if measure.text(text) <= most:
        assert cut == text


def test_a_text_that_is_dense_at_its_ends_is_cut_to_its_size_too() -> None:
    measure = measure_for("openai", "gpt-4o")
    text = TEXTS["base64"] + " " * 3_000_000 + TEXTS["hex"]
    assert measure.text(measure.cut_middle(text, 200)) <= 200


def test_measure_for_counts_a_request_by_itself() -> None:
    measure = agentctl.measure_for("openai", "gpt-4o")
    assert isinstance(measure, Measure)
    assert measure.request([Message("user", "Say hello.")]) == 7


def test_message_and_schema_are_counted_once_by_each_way() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    message = Message("assistant", "Look.", (ToolCall("c", "ls", {"path": "/"}),))
    tool = ToolSpec("ls", "Lists files.", {"type": "object"})
    measure = Measure(count=count)
    first = measure.request([message], [tool])
    known = len(counted)
    assert [measure.scaled(2).request([message], [tool]), measure.request([message, message], [tool])] == [
        2 * first,
        first + measure.message(message),
    ]
    assert len(counted) == known
    assert Measure(count=lambda text: 0).request([message], [tool]) == 12, "another way counts for itself"


def test_message_that_takes_the_place_of_another_is_counted_anew() -> None:
    def sizes() -> set[int]:
        return {Measure(count=len).message(Message("user", "x" * size)) - size for size in range(200)}

    assert sizes() == {4}


@pytest.mark.parametrize("thought", [Thought("x" * 4_000), Thought(data="x" * 4_000), Thought(signature="x" * 16_000)])
def test_a_thought_counts_also_if_only_its_signature_is_left(thought: Thought) -> None:
    message = Message("assistant", "Fine.", thoughts=(thought,))
    assert PLAIN.message(message) == PLAIN.message(Message("assistant", "Fine.")) + 1_000


@given(st.text(st.characters(exclude_categories=()), max_size=12))
def test_short_and_long_texts_are_counted_roughly_by_the_same_weights(text: str) -> None:
    long = text * 400
    assert abs(ROUGH.text(long) - 400 * ROUGH.text(text)) <= 400
    pieces = [long[start : start + 40] for start in range(0, len(long), 40)]
    assert 0 <= sum(map(ROUGH.text, pieces)) - ROUGH.text(long) <= len(pieces)
