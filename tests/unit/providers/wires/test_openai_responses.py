"""The Responses format: what a request holds, and the same answer however a server cuts it into events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from agentctl.core.messages import Completion, Message, Thought, ToolCall
from agentctl.providers.chat_format import CompletionBuilder
from agentctl.providers.wires.exchange import BodyFacts
from agentctl.providers.wires.openai_responses import AnswerFailed, AnswerItems, fields
from tests.unit.providers.wires.bodies import CONVERSATION, IMAGES, PS, SAID, asked, assert_of_responses

FACTS = BodyFacts("m", 4096)
SEALED = Thought(signature="m", data='{"type":"reasoning","summary":[],"encrypted_content":"gAAAA"}')


def input_of(*said: Message) -> object:
    return fields(asked(*said), FACTS, reasons=True)["input"]


def test_a_conversation_is_sent_whole_and_nothing_is_kept_at_the_provider() -> None:
    found = fields(asked(*SAID, tools=(PS, IMAGES)), FACTS._replace(options={"service_tier": "default"}), reasons=True)
    tools = found.pop("tools")
    assert found == {
        "instructions": "You help.",
        "input": [
            {"role": "user", "content": "List"},
            {"type": "function_call", "call_id": "call_1", "name": "docker_ps", "arguments": '{"all":true}'},
            {"type": "function_call", "call_id": "call_2", "name": "docker_images", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "web"},
            {"type": "function_call_output", "call_id": "call_2", "output": "nginx"},
            {"role": "user", "content": "And?"},
        ],
        "max_output_tokens": 4096,
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "service_tier": "default",
    }
    assert tools == [{**tool._asdict(), "type": "function", "strict": False} for tool in (PS, IMAGES)], (
        "not strict: otherwise every argument would be required"
    )


def test_a_model_that_does_not_think_is_not_asked_for_its_thoughts() -> None:
    found = fields(asked(*SAID), FACTS._replace(temperature=0.5), reasons=False)
    assert "include" not in found
    assert "tools" not in found
    assert found["temperature"] == 0.5


def test_later_instructions_keep_their_place_and_lone_ones_are_the_input() -> None:
    late = (Message("system", "You help."), Message("user", "Hi"), Message("system", "Be brief."))
    assert input_of(*late) == [{"role": "user", "content": "Hi"}, {"role": "developer", "content": "Be brief."}]
    assert input_of(Message("system", "You help.")) == [{"role": "developer", "content": "You help."}]


def test_thoughts_go_back_where_they_were_and_only_to_their_own_model() -> None:
    calls = (ToolCall("a", "docker_ps", {}), ToolCall("b", "docker_images", {}))
    others = (Thought("why", "signed"), Thought(data="hidden"), SEALED._replace(signature="n"))
    thoughts = (SEALED, *others, SEALED._replace(text_before=3), SEALED._replace(text_before=5, calls_before=1))
    message = Message("assistant", "OneTwo", calls, thoughts=thoughts)
    sent = input_of(Message("user", "Hi"), message)
    assert isinstance(sent, list)
    kept = json.loads(SEALED.data)
    assert sent[1:] == [
        *(kept, {"role": "assistant", "content": "One"}, kept, {"role": "assistant", "content": "Tw"}),
        *({"type": "function_call", "call_id": "a", "name": "docker_ps", "arguments": "{}"}, kept),
        {"role": "assistant", "content": "o"},
        {"type": "function_call", "call_id": "b", "name": "docker_images", "arguments": "{}"},
    ]


@given(CONVERSATION)
def test_any_conversation_is_one_that_the_providers_own_types_know(said: tuple[Message, ...]) -> None:
    assert_of_responses({"model": "m", **fields(asked(*said, tools=(PS,)), FACTS, reasons=True)})


TEXT: dict[str, Any] = {"id": "msg", "type": "message", "content": [{"type": "output_text", "text": "It says ä."}]}
THOUGHT = {"id": "rs", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "docker_ps", "arguments": '{"all": true}'}
OTHER = {"id": "fc_2", "type": "function_call", "call_id": "call_2", "name": "docker_images", "arguments": "{}"}
ITEMS: tuple[dict[str, Any], ...] = (THOUGHT, TEXT, CALL, OTHER)
WHOLE = Completion(
    "It says ä.",
    (ToolCall("call_1", "docker_ps", {"all": True}), ToolCall("call_2", "docker_images", {})),
    stop="tool_calls",
    thoughts=(SEALED,),
)


def done(status: str = "completed", **more: object) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"object": "response", "status": status, **more}}


def item(kind: str, at: int, one: Mapping[str, object], **more: object) -> dict[str, Any]:
    return {"type": f"response.output_item.{kind}", "output_index": at, "item": {**one, **more}}


def deltas(at: int, one: Mapping[str, Any], name: str = "") -> list[dict[str, Any]]:
    kind, key = ("output_text", "text") if one["type"] == "message" else ("function_call_arguments", "arguments")
    text = one["content"][0]["text"] if one["type"] == "message" else one["arguments"]
    place = {"output_index": at, "item_id": name or one["id"]}
    cut = [{"type": f"response.{kind}.delta", "delta": part, **place} for part in (text[:3], "", text[3:])]
    return [*cut, {"type": f"response.{kind}.done", key: text, **place}]


def streamed(
    *, opened: bool = True, said: bool = True, closed: bool = True, rotates: bool = False, zero: bool = False
) -> list[dict[str, Any]]:
    """Return the answer as events: each way leaves something out, or gets a place wrong."""
    found: list[dict[str, Any]] = [{"type": "response.created", "response": {"status": "in_progress", "output": []}}]
    for at, one in enumerate(ITEMS):
        place = 0 if zero else at
        empty: dict[str, object] = (
            {"content": []} if one["type"] == "message" else {"arguments": ""} if "arguments" in one else {}
        )
        if opened:
            hidden = {key: value for key, value in one.items() if key != "encrypted_content"}
            found.append(item("added", place, hidden, **empty))
        if said and one is not THOUGHT:
            found += deltas(place, one, f"turned-{at}" if rotates else "")
        if closed:
            found.append(item("done", place, one, **({"id": f"again-{at}"} if rotates else {})))
    return found


END = done(output=[*ITEMS])
WAYS: dict[str, list[dict[str, Any]]] = {
    "everything": [*streamed(), END],
    "only the end": [END],
    "one document": [{"object": "response", "status": "completed", "output": [*ITEMS]}],
    "no deltas": [*streamed(said=False), END],
    "only whole items": [*streamed(opened=False, said=False), done(output=[])],
    "only deltas and the end": [*streamed(closed=False), END],
    "an end without a list": [*streamed(), done()],
    "ids that change": [*streamed(rotates=True), END],
    "every place is 0": [*streamed(zero=True), END],
    "only whole items, every place is 0": [*streamed(opened=False, said=False, zero=True), done(output=[])],
    "a pause": [{"type": "keepalive"}, *streamed(), END],
}


def completion(events: Iterable[Mapping[str, object]]) -> Completion:
    items, built = AnswerItems("m"), CompletionBuilder()
    for event in events:
        if (piece := items.piece(event)) is not None:
            built.add(piece)
    assert built.stopped
    assert not built.unknown, built.unknown
    return built.build(usage=None, model=None)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_the_same_one_however_it_is_cut(way: str) -> None:
    lost = way == "only deltas and the end"  # nobody knows any more before what the model thought
    assert completion(WAYS[way]) == (replace(WHOLE, thoughts=()) if lost else WHOLE)


@pytest.mark.parametrize(("reason", "stop"), [("max_output_tokens", "length"), ("content_filter", "refusal")])
def test_an_incomplete_answer_says_why(reason: str, stop: str) -> None:
    found = completion([done("incomplete", output=[TEXT], incomplete_details={"reason": reason})])
    assert (found.text, found.stop) == ("It says ä.", stop)


def test_a_reason_that_is_not_known_is_the_servers_own_word_and_counted() -> None:
    piece = AnswerItems("m").piece(done("incomplete", incomplete_details={"reason": "tired"}))
    assert piece is not None
    assert (piece.stop, piece.unknown) == ("tired", ("reason tired",))
    bare = AnswerItems("m").piece(done("incomplete"))
    assert bare is not None
    assert bare.stop == "incomplete"


def test_a_refusal_is_one_streamed_or_whole() -> None:
    part = {"type": "message", "id": "m", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    delta = {"type": "response.refusal.delta", "item_id": "m", "output_index": 0, "delta": "I cannot."}
    for events in ([delta, done(output=[part])], [done(output=[part])]):
        assert (completion(events).text, completion(events).stop) == ("I cannot.", "refusal")


def test_thoughts_that_are_shown_count_and_are_no_text() -> None:
    found = AnswerItems("m").piece({"type": "response.reasoning_summary_text.delta", "delta": "Hm."})
    assert found is not None
    assert (found.thought, found.text) == ("Hm.", "")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "no"},
        done("failed", error={"code": "server_error"}),
        done("cancelled"),
        {"object": "response", "status": "failed", "error": {"code": "server_error"}},
        {"object": "response", "status": "in_progress"},
    ],
)
def test_an_answer_that_failed_is_never_read_as_one(event: dict[str, Any]) -> None:
    with pytest.raises(AnswerFailed):
        AnswerItems("m").piece(event)


def test_what_is_not_known_is_named() -> None:
    items = AnswerItems("m")
    events = [{"type": "response.new"}, item("done", 0, {"id": "w", "type": "web_search_call"})]
    pieces = [items.piece(event) for event in events]
    assert [piece and piece.unknown for piece in pieces] == [("event response.new",), ("item web_search_call",)]
