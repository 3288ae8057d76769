"""Ollama's chat: whole calls with objects as arguments, the window in each request, thoughts between tags."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given

from agentctl.core.messages import Message, ToolCall
from agentctl.providers.chat_format import CompletionBuilder
from agentctl.providers.wires.exchange import BodyFacts, CallPiece, Piece
from agentctl.providers.wires.ollama_chat import body, piece
from tests.unit.providers.wires.bodies import CALLS, CONVERSATION, IMAGES, PS, SAID, asked

FACTS = BodyFacts("llama3.1:latest", 321, options={"truncate": False}, model_options={"num_ctx": 12_288})


def test_a_request_is_written_as_the_reference_has_it() -> None:
    content, data, _ = body(asked(*SAID, tools=(PS, IMAGES)), FACTS)
    assert json.loads(data) == content
    assert content == {
        "model": "llama3.1:latest",
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": "List"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"function": {"name": "docker_ps", "arguments": {"all": True}}},
                    {"function": {"name": "docker_images", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "web", "tool_name": "docker_ps", "tool_call_id": "call_1"},
            {"role": "tool", "content": "nginx", "tool_name": "docker_images", "tool_call_id": "call_2"},
            {"role": "user", "content": "And?"},
        ],
        "stream": True,
        "options": {"num_predict": 321, "num_ctx": 12_288},
        "tools": [
            {
                "type": "function",
                "function": {"name": one.name, "description": one.description, "parameters": one.parameters},
            }
            for one in (PS, IMAGES)
        ],
        "truncate": False,
    }


@given(said=CONVERSATION)
def test_any_conversation_can_be_written(said: tuple[Message, ...]) -> None:
    content, data, _ = body(asked(*said), FACTS)
    assert json.loads(data) == json.loads(json.dumps(content))


def line(content: object = "", **more: object) -> dict[str, object]:
    return {
        "model": "l",
        "created_at": "now",
        "message": {"role": "assistant", "content": content},
        "done": False,
        **more,
    }


def calls(*asked: object) -> dict[str, object]:
    return {"message": {"role": "assistant", "content": "", "tool_calls": list(asked)}, "done": False}


PIECES: dict[str, tuple[dict[str, object], Piece | None]] = {
    "text": (line("hi"), Piece("hi")),
    "nothing": (line(), None),
    "a thought": ({"message": {"thinking": "hm"}}, Piece(thought="hm")),
    "the end": (line(done=True, done_reason="stop", eval_count=3), Piece(stop="stop")),
    "the end without a reason": (line(done=True), Piece(stop="stop")),
    "the clamp": (line(done=True, done_reason="length"), Piece(stop="length")),
    "calls": (
        calls(
            {"function": {"name": "f", "arguments": {"a": 1}}}, {"id": "b", "function": {"name": "g", "arguments": {}}}
        ),
        Piece(calls=(CallPiece(None, "", "f", '{"a":1}'), CallPiece(None, "b", "g", "{}"))),
    ),
    "fractions": (
        calls({"function": {"name": "f", "arguments": {"a": Decimal("0.5")}}}),
        Piece(calls=(CallPiece(None, "", "f", '{"a":0.5}'),)),
    ),
    "an unknown reason": (line(done=True, done_reason="tired"), Piece(stop="tired", unknown=("reason tired",))),
    "an unknown field": (line("a", mood=1), Piece("a", unknown=("field mood",))),
    "an unknown part": ({"message": {"mood": 1}}, Piece(unknown=("field message.mood",))),
}


@pytest.mark.parametrize("case", PIECES)
def test_a_piece_is_what_its_event_says(case: str) -> None:
    event, found = PIECES[case]
    assert piece(event) == found


@pytest.mark.parametrize("odd", [None, 1, "text", [1], {"a": 1}, [[]], True])
def test_no_shape_of_an_event_breaks_it(odd: object) -> None:
    for event in ({"message": odd, "done": odd}, line(odd, done_reason=odd), calls(odd, {"function": odd})):
        found = piece(event)
        assert found is None or isinstance(found.text, str)


def test_calls_without_ids_get_some_that_no_earlier_call_has() -> None:
    answer = CompletionBuilder(earlier=[*CALLS, ToolCall("toolu_9", "f", {}), ToolCall("call_x", "f", {})])
    for name in ("f", "g"):
        found = piece(calls({"function": {"name": name, "arguments": {}}}))
        assert found is not None
        answer.add(found)
    whole = answer.build(usage=None, model=None)
    assert [(call.id, call.name) for call in whole.tool_calls] == [("call_3", "f"), ("call_4", "g")]
    assert whole.stop == "tool_calls"
