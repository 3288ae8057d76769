"""The chat format: conversion loses nothing, and excess output is noticed."""

from __future__ import annotations

from types import SimpleNamespace

from agentctl.core.messages import Completion, Message, ToolCall, Usage
from agentctl.providers.chat_format import CompletionBuilder, as_messages
from agentctl.providers.litellm_client import piece_of
from agentctl.providers.wires.exchange import Piece


def piece(**delta: object) -> Piece:
    """Return one of litellm's chunks as a piece."""
    return piece_of(SimpleNamespace(choices=[SimpleNamespace(finish_reason=None, delta=SimpleNamespace(**delta))]))


def part(index: int, id: str | None, name: str | None, arguments: str) -> SimpleNamespace:
    return SimpleNamespace(index=index, id=id, function=SimpleNamespace(name=name, arguments=arguments))


def end(reason: str) -> Piece:
    return piece_of(SimpleNamespace(choices=[SimpleNamespace(finish_reason=reason, delta=SimpleNamespace())]))


def test_an_answer_that_fills_its_clamp_letter_by_letter_did_not_run_past_it() -> None:
    answer = CompletionBuilder()
    for letter in "letters " * 100:  # at most 100 tokens of eight letters
        assert answer.add(piece(content=letter)) == letter
    assert answer.size < 100 * 256


def test_flood_of_empty_calls_is_not_a_small_answer() -> None:
    answer = CompletionBuilder()
    for number in range(1000):
        answer.add(piece(tool_calls=[part(number, f"c{number}", "f", "")]))
    assert answer.size > 1000 * 4 * 256


def test_pieces_of_calls_are_put_together_by_place_and_by_id() -> None:
    answer = CompletionBuilder()
    answer.add(piece(content="Looking."))
    answer.add(piece(tool_calls=[part(0, "a", "first", '{"x":')]))
    answer.add(piece(tool_calls=[part(0, None, None, " 1}"), part(1, "b", "second", "{}")]))
    answer.add(piece(tool_calls=[part(0, "c", "third", "not json")]))
    answer.add(end("tool_calls"))
    calls = (
        ToolCall("a", "first", {"x": 1}),
        ToolCall("b", "second", {}),
        ToolCall("c", "third", {"no_json_object": "not json"}),
    )
    assert answer.build(usage=Usage(1, 2), model="m") == Completion("Looking.", calls, Usage(1, 2), "m", "tool_calls")


def test_a_piece_without_a_choice_is_nothing_and_a_thought_is_a_piece_without_text() -> None:
    answer = CompletionBuilder()
    assert answer.add(piece_of(SimpleNamespace(choices=[]))) is None
    assert answer.add(piece(content=None)) is None
    assert answer.add(piece(content=None, reasoning_content="hm")) == ""
    assert answer.build(usage=None, model=None).text == ""


def test_a_conversation_keeps_every_letter() -> None:
    said = [
        Message("user", "naïve 日本 \u2028"),
        Message("assistant", "", (ToolCall("1", "f", {"ü": ("a", 1)}),)),
        Message("tool", "", tool_call_id="1"),
    ]
    assert as_messages(said) == [
        {"role": "user", "content": "naïve 日本 \u2028"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"ü":["a",1]}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": ""},
    ]
