"""Anthropic's messages: turns as the API wants them, results first, thoughts given back as they came."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from agentctl.core.messages import Message, Thought, ToolCall
from agentctl.providers.chat_format import CompletionBuilder
from agentctl.providers.wires.anthropic_messages import body, piece
from agentctl.providers.wires.exchange import BodyFacts, CallPiece, Piece, ThoughtPiece
from tests.unit.providers.wires.bodies import CALLS, CONVERSATION, IMAGES, PS, SAID, asked, assert_of_anthropic

FACTS = BodyFacts("claude-haiku-4-5", 321, options={"service_tier": "standard_only"})
MARK = {"cache_control": {"type": "ephemeral"}}


def text(said: str, **more: object) -> dict[str, object]:
    return {"type": "text", "text": said, **more}


def turns(*said: Message, **more: Any) -> Any:  # noqa: ANN401 - JSON
    content, data, _ = body(asked(*said, **more), FACTS)
    assert json.loads(data) == json.loads(json.dumps(content))
    return content["messages"]


def test_a_request_is_written_as_the_reference_has_it() -> None:
    content, data, _ = body(asked(*SAID, tools=(PS, IMAGES)), FACTS._replace(marks=True))
    assert json.loads(data) == content
    assert_of_anthropic(content)
    assert content == {
        "model": "claude-haiku-4-5",
        "messages": [
            {"role": "user", "content": [text("List", **MARK)]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "docker_ps", "input": {"all": True}},
                    {"type": "tool_use", "id": "call_2", "name": "docker_images", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "web"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "nginx"},
                    text("And?", **MARK),
                ],
            },
        ],
        "max_tokens": 321,
        "system": [text("You help.", **MARK)],
        "tools": [
            {"name": one.name, "description": one.description, "input_schema": one.parameters} for one in (PS, IMAGES)
        ],
        "service_tier": "standard_only",
        "stream": True,
    }


def test_results_come_first_in_the_users_turn() -> None:
    late = (*SAID[:3], Message("user", "A note."), *SAID[3:])
    kinds = [block["type"] for block in turns(*late)[-1]["content"]]
    assert kinds == ["tool_result", "tool_result", "text", "text"]


def test_results_keep_the_order_in_which_they_came() -> None:
    ids = [block.get("tool_use_id") for block in turns(*SAID[:3], SAID[4], SAID[3])[-1]["content"]]
    assert ids == ["call_2", "call_1"]


def test_turns_of_one_side_are_merged() -> None:
    said = (Message("user", "a"), Message("user", "b"), Message("assistant", "c"), Message("assistant", "d"))
    assert turns(*said) == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
    ]


def test_instructions_in_mid_conversation_stay_where_they_are() -> None:
    said = (Message("system", "A."), Message("user", "b"), Message("system", "C."))
    content, *_ = body(asked(*said), FACTS)
    assert (content["system"], content["messages"]) == (
        [text("A.")],
        [{"role": "user", "content": [text("b"), text("C.")]}],
    )


def test_no_block_is_without_a_visible_character() -> None:
    assert turns(Message("user", " \n"), Message("assistant", "")) == [
        {"role": "user", "content": [text("(empty)")]},
        {"role": "assistant", "content": [text("(empty)")]},
    ]
    assert turns(Message("user", "a"), Message("assistant", " ", CALLS[:1]))[-1]["content"][0]["type"] == "tool_use"


def test_the_last_turn_ends_without_white_space() -> None:
    assert turns(Message("user", "a "), Message("assistant", "b \n")) == [
        {"role": "user", "content": [text("a ")]},
        {"role": "assistant", "content": [text("b")]},
    ]


def test_calls_without_tools_get_a_tool_that_is_none() -> None:
    content, *_ = body(asked(*SAID), FACTS)
    assert_of_anthropic(content)
    assert [one["name"] for one in content["tools"]] == ["no_tool"]  # type: ignore[attr-defined] # of object
    assert "tools" not in body(asked(*SAID[:2]), FACTS).content


def test_ids_and_names_that_the_api_refuses_are_rewritten_alike() -> None:
    said = (
        Message("user", "a"),
        Message("assistant", "", (ToolCall("fc:1 é", "functions.docker ps", {}), ToolCall("", "", {}))),
        Message("tool", "web", tool_call_id="fc:1 é"),
        Message("tool", "", tool_call_id=""),
    )
    _, calls, results = turns(*said)
    assert [(one["id"], one["name"]) for one in calls["content"]] == [("fc_1__", "functions_docker_ps"), ("_", "_")]
    assert [one["tool_use_id"] for one in results["content"]] == ["fc_1__", "_"]


def test_ids_in_a_turn_differ() -> None:
    said = (Message("user", "a"), Message("assistant", "", CALLS[:1]), Message("assistant", "", CALLS[:1]))
    assert len(turns(*said)[-1]["content"]) == 1


def test_ids_in_a_turn_differ_and_each_call_keeps_its_result() -> None:
    call = ToolCall("call_1", "docker_ps", {})
    said = (
        Message("user", "Twice."),
        Message("assistant", "", (call, call)),
        Message("tool", "one", tool_call_id="call_1"),
        Message("tool", "two", tool_call_id="call_1"),
    )
    _, turn, results = turns(*said)
    assert [block["id"] for block in turn["content"]] == ["call_1", "call_1_2"]
    assert [(block["tool_use_id"], block["content"]) for block in results["content"]] == [
        ("call_1", "one"),
        ("call_1_2", "two"),
    ]
    *_, results = turns(*said[:1], Message("assistant", "", (call,)), *said[2:])
    assert [block["content"] for block in results["content"]] == ["one"]


THOUGHTS = (
    Thought("Let me see.", "c2ln"),
    Thought(data="aGlkZGVu", text_before=3),
    Thought("And now?", "c2ln2", text_before=6, calls_before=1),
)


def test_thoughts_go_back_where_they_stood_unchanged() -> None:
    said = Message("assistant", "one two", CALLS, thoughts=THOUGHTS)
    content, *_ = body(asked(Message("user", "a"), said, *SAID[3:5], tools=(PS,)), FACTS)
    assert_of_anthropic(content)
    assert content["messages"][1]["content"] == [  # type: ignore[index] # of object
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        text("one"),
        {"type": "redacted_thinking", "data": "aGlkZGVu"},
        text(" tw"),
        {"type": "tool_use", "id": "call_1", "name": "docker_ps", "input": {"all": True}},
        {"type": "thinking", "thinking": "And now?", "signature": "c2ln2"},
        text("o"),
        {"type": "tool_use", "id": "call_2", "name": "docker_images", "input": {}},
    ]


@given(said=CONVERSATION)
def test_any_conversation_is_one_that_the_reference_knows(said: tuple[Message, ...]) -> None:
    content, data, _ = body(asked(*said, tools=(PS,)), FACTS._replace(marks=True))
    assert_of_anthropic(content)
    assert json.loads(data) == json.loads(json.dumps(content))
    messages: Any = content["messages"]
    assert all(one["role"] != other["role"] for one, other in pairwise(messages))
    for message in messages:
        kinds = [block["type"] == "tool_result" for block in message["content"]]
        assert kinds
        assert kinds == sorted(kinds, reverse=True)
        assert all(block["text"].strip() for block in message["content"] if block["type"] == "text")


def start(block: object, index: int = 1) -> dict[str, object]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(block: object, index: int = 1) -> dict[str, object]:
    return {"type": "content_block_delta", "index": index, "delta": block}


PIECES: dict[str, tuple[dict[str, object], Piece | None]] = {
    "the start": ({"type": "message_start", "message": {"content": []}}, None),
    "a whole message": (
        {
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "hi"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
                {"type": "video"},
            ],
            "stop_reason": "tool_use",
        },
        Piece(
            "hi",
            "hm",
            (CallPiece(2, "a", "f", '{"x":1}'), CallPiece(3, "b", "g")),
            "tool_use",
            (ThoughtPiece(0, Thought("hm", "s")),),
            ("block video",),
            is_whole=True,
        ),
    ),
    "a ping": ({"type": "ping"}, None),
    "an empty text": (start({"type": "text", "text": ""}), None),
    "text": (delta({"type": "text_delta", "text": "hi"}), Piece("hi")),
    "a call": (
        start({"type": "tool_use", "id": "a", "name": "f", "input": {}}),
        Piece(calls=(CallPiece(1, "a", "f"),)),
    ),
    "a call with its arguments": (
        start({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}),
        Piece(calls=(CallPiece(1, "a", "f", '{"x":1}'),)),
    ),
    "a part of the arguments": (
        delta({"type": "input_json_delta", "partial_json": '{"x'}),
        Piece(calls=(CallPiece(1, arguments='{"x', opens=False),)),
    ),
    "a thought": (
        delta({"type": "thinking_delta", "thinking": "hm"}),
        Piece(thought="hm", thoughts=(ThoughtPiece(1, Thought("hm")),)),
    ),
    "its signature": (
        delta({"type": "signature_delta", "signature": "c2ln"}),
        Piece(thoughts=(ThoughtPiece(1, Thought(signature="c2ln")),)),
    ),
    "a hidden thought": (
        start({"type": "redacted_thinking", "data": "eA"}),
        Piece(thought="eA", thoughts=(ThoughtPiece(1, Thought(data="eA")),), is_hidden=True),
    ),
    "the end": ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, Piece(stop="end_turn")),
    "a report": ({"type": "message_delta", "delta": {"stop_reason": None}, "usage": {}}, None),
    "an unknown reason": (
        {"type": "message_delta", "delta": {"stop_reason": "tired"}},
        Piece(stop="tired", unknown=("reason tired",)),
    ),
    "an unknown event": ({"type": "message_mood"}, Piece(unknown=("event message_mood",))),
    "an unknown block": (start({"type": "server_tool_use", "id": "s"}), Piece(unknown=("block server_tool_use",))),
    "an unknown delta": (delta({"type": "mood_delta"}), Piece(unknown=("delta mood_delta",))),
    "nothing": ({}, Piece(unknown=("event without a type",))),
}


@pytest.mark.parametrize("case", PIECES)
def test_a_piece_is_what_its_event_says(case: str) -> None:
    event, found = PIECES[case]
    assert piece(event) == found


@pytest.mark.parametrize("odd", [None, 1, "text", [1], {"a": 1}, [[]], True])
def test_no_shape_of_an_event_breaks_it(odd: object) -> None:
    blocks = [
        {"type": kind, "id": odd, "name": odd, "input": odd, "text": odd, "data": odd} for kind in ("text", "tool_use")
    ]
    events: tuple[dict[str, object], ...] = (
        {"type": odd},
        start(odd),
        delta(odd),
        *map(start, blocks),
        {"type": "message_delta", "delta": odd},
        {"type": "message_delta", "delta": {"stop_reason": odd}},
        delta({"type": "text_delta", "text": odd}),
        {**delta({"type": "input_json_delta", "partial_json": odd}), "index": odd},
    )
    for event in events:
        found = piece(event)
        assert found is None or isinstance(found.text, str)


def test_an_answer_is_given_back_as_it_came() -> None:
    answer = CompletionBuilder()
    events: tuple[dict[str, object], ...] = (
        start({"type": "thinking", "thinking": "", "signature": ""}, 0),
        delta({"type": "thinking_delta", "thinking": "Let me "}, 0),
        delta({"type": "thinking_delta", "thinking": "see."}, 0),
        delta({"type": "signature_delta", "signature": "c2ln"}, 0),
        delta({"type": "text_delta", "text": "Looking."}, 1),
        start({"type": "server_tool_use", "id": "s", "name": "web_search"}, 2),
        delta({"type": "input_json_delta", "partial_json": '{"query": 1}'}, 2),
        start({"type": "tool_use", "id": "toolu_1", "name": "docker_ps", "input": {}}, 3),
        delta({"type": "input_json_delta", "partial_json": '{"all": true}'}, 3),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    )
    for event in events:
        if (found := piece(event)) is not None:
            answer.add(found)
    whole = answer.build(usage=None, model="c")
    assert (whole.text, whole.stop) == ("Looking.", "tool_calls")
    assert whole.tool_calls == (ToolCall("toolu_1", "docker_ps", {"all": True}),)
    assert whole.thoughts == (Thought("Let me see.", "c2ln"),)
    assert answer.unknown == {"block server_tool_use": 1}
    assert turns(Message("user", "a"), whole.as_message())[1]["content"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        text("Looking."),
        {"type": "tool_use", "id": "toolu_1", "name": "docker_ps", "input": {"all": True}},
    ]


def test_a_flood_of_signatures_is_not_a_small_answer() -> None:
    answer = CompletionBuilder()
    for _ in range(100):
        found = piece(delta({"type": "signature_delta", "signature": "x" * 1000}))
        assert found is not None
        assert answer.add(found) is None
    assert answer.size >= 100_000


def test_a_thought_without_a_signature_is_not_given_back() -> None:
    answer = CompletionBuilder()
    answer.add(Piece(thought="hm", thoughts=(ThoughtPiece(0, Thought("hm")),)))
    assert answer.build(usage=None, model=None).thoughts == ()
