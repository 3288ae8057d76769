"""The chat format: each field of a request, each piece of an answer, and nothing unknown passed over in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from agentctl.core.messages import Message, Request
from agentctl.providers.wires.exchange import BodyFacts, CallPiece, Piece
from agentctl.providers.wires.openai_chat import body, piece
from tests.unit.providers.wires.bodies import CALLS, CONVERSATION, IMAGES, PS, SAID, asked, assert_of_openai

FACTS = BodyFacts("gpt-4o", 321, asks_for_usage=True, options={"service_tier": "default"})


def test_a_request_is_written_as_the_reference_has_it() -> None:
    content, data, _ = body(asked(*SAID, tools=(PS, IMAGES)), FACTS)
    assert json.loads(data) == content
    assert_of_openai(content)
    assert content == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": "List"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "docker_ps", "arguments": '{"all":true}'},
                    },
                    {"id": "call_2", "type": "function", "function": {"name": "docker_images", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "web"},
            {"role": "tool", "tool_call_id": "call_2", "content": "nginx"},
            {"role": "user", "content": "And?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 321,
        "tools": [
            {
                "type": "function",
                "function": {"name": one.name, "description": one.description, "parameters": one.parameters},
            }
            for one in (PS, IMAGES)
        ],
        "service_tier": "default",
    }


def test_a_request_without_tools_and_without_options_names_neither() -> None:
    content, *_ = body(asked(Message("user", "hi")), BodyFacts("m", 5))
    assert content == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 5}


def test_models_that_refuse_max_tokens_and_a_system_get_neither() -> None:
    facts = BodyFacts("o3-mini", 321, clamp_name="max_completion_tokens", system_role="developer")
    content, *_ = body(asked(*SAID[:2]), facts)
    assert_of_openai(content)
    assert content["max_completion_tokens"] == 321
    assert "max_tokens" not in content
    assert content["messages"] == [{"role": "developer", "content": "You help."}, {"role": "user", "content": "List"}]


def test_cache_marks_stand_inside_the_content() -> None:
    content, *_ = body(asked(*SAID[:2], tools=(PS,)), FACTS._replace(marks=True))
    mark = {"cache_control": {"type": "ephemeral"}}
    assert content["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "You help.", **mark}]},
        {"role": "user", "content": [{"type": "text", "text": "List", **mark}]},
    ]


@given(said=CONVERSATION)
def test_any_conversation_is_one_that_the_reference_knows(said: tuple[Message, ...]) -> None:
    content, data, _ = body(asked(*said, tools=(PS,)), FACTS)
    assert_of_openai(content)
    assert json.loads(data) == json.loads(json.dumps(content))


def test_half_of_a_pair_is_escaped_and_everything_else_is_utf8() -> None:
    _, data, _ = body(asked(Message("user", "naïve 日本 \u2028")), FACTS)
    assert "naïve 日本 \u2028".encode() in data
    _, data, _ = body(asked(Message("user", "日本 \ud800")), FACTS)
    assert data.isascii()
    assert json.loads(data)["messages"][0]["content"] == "日本 \ud800"


def chunk(finish: str | None = None, **delta: object) -> dict[str, object]:
    return {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: object = 0, id: object = "a", name: object = "f", arguments: object = "{}") -> dict[str, object]:
    return {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


PIECES: dict[str, tuple[dict[str, object], Piece | None]] = {
    "text": (chunk(content="hi"), Piece("hi")),
    "the role alone": (chunk(role="assistant", content=None), None),
    "the usage": ({"choices": [], "usage": {"prompt_tokens": 1}}, None),
    "nothing": ({}, None),
    "parts of text": (chunk(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), Piece("ab")),
    "parts of a thought": (
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
        Piece(thought="hm"),
    ),
    "a thought": (chunk(reasoning_content="hm"), Piece(thought="hm")),
    "a thought by its other name": (chunk(reasoning="hm"), Piece(thought="hm")),
    "the end": (chunk("stop"), Piece(stop="stop")),
    "the clamp": (chunk("length", content="end"), Piece("end", stop="length")),
    "a filter": (chunk("content_filter"), Piece(stop="content_filter")),
    "a refusal": (chunk(refusal="No."), Piece("No.", is_refusal=True)),
    "a call": (chunk(tool_calls=[call()]), Piece(calls=(CallPiece(0, "a", "f", "{}"),))),
    "a part of a call": (
        chunk(tool_calls=[{"index": 1, "function": {"arguments": '"x'}}]),
        Piece(calls=(CallPiece(1, arguments='"x'),)),
    ),
    "calls without a number": (
        chunk(tool_calls=[call(None), call(None, "b")]),
        Piece(calls=tuple(CallPiece(n, id, "f", "{}", is_counted=True) for n, id in enumerate("ab"))),
    ),
    "arguments as an object": (
        chunk(tool_calls=[call(arguments={"a": 1})]),
        Piece(calls=(CallPiece(0, "a", "f", '{"a":1}'),)),
    ),
    "a whole answer": (
        {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]},
        Piece("hi", stop="stop", is_whole=True),
    ),
    "a message in place of a delta": (
        {"object": "chat.completion.chunk", "choices": [{"message": {"content": "hi"}, "delta": {}}]},
        Piece("hi"),
    ),
    "a text without a message": ({"choices": [{"text": "hi", "finish_reason": None}]}, Piece("hi")),
    "a call of the old form": (
        chunk(function_call={"name": "f", "arguments": "{}"}),
        Piece(calls=(CallPiece(0, "", "f", "{}"),)),
    ),
    "an unknown reason": (chunk("tired"), Piece(stop="tired", unknown=("reason tired",))),
    "an unknown field": ({**chunk(content="a"), "verdict": 1}, Piece("a", unknown=("field verdict",))),
    "an unknown part": (chunk(video="x"), Piece(unknown=("field delta.video",))),
}


@pytest.mark.parametrize("case", PIECES)
def test_a_piece_is_what_its_event_says(case: str) -> None:
    event, found = PIECES[case]
    assert piece(event) == found


@pytest.mark.parametrize("odd", [None, 1, "text", [1], {"a": 1}, [[]], True])
def test_no_shape_of_an_event_breaks_it(odd: object) -> None:
    function = {"function": odd}
    for event in (
        {"choices": odd},
        {"choices": [odd]},
        {"choices": [{"delta": odd, "finish_reason": odd}]},
        chunk(content=odd, tool_calls=odd, reasoning=odd, refusal=odd),
        chunk(tool_calls=[odd, function, {"function": {"name": odd, "arguments": odd}, "id": odd, "index": odd}]),
    ):
        found = piece(event)
        assert found is None or isinstance(found.text, str)


def test_arguments_of_calls_keep_every_letter() -> None:
    said = Request("m", (Message("assistant", "", CALLS),))
    content, *_ = body(said, FACTS)
    messages: Any = content["messages"]
    (message,) = messages
    assert [json.loads(one["function"]["arguments"]) for one in message["tool_calls"]] == [{"all": True}, {}]
