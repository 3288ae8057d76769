"""Calls in pieces, as servers really send them: without places, with the whole again, with ids that come twice."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from agentctl.core.messages import ToolCall
from agentctl.providers.call_pieces import CallJoiner, parse_arguments
from agentctl.providers.chat_format import CompletionBuilder
from agentctl.providers.wires import anthropic_messages, ollama_chat, openai_chat
from agentctl.providers.wires.exchange import CallPiece

READ = '{"path":"notes.txt"}'
OTHER = '{"path":"other.txt"}'
Delta = Mapping[str, object]


def delta(arguments: object = "", *, name: str = "", id: str = "", index: int | None = None) -> Delta:
    place = {} if index is None else {"index": index}
    named = {"name": name} if name else {}
    return {**place, **({"id": id} if id else {}), "function": {**named, "arguments": arguments}}


def joined(*events: list[Delta], earlier: tuple[ToolCall, ...] = ()) -> list[tuple[str, str, object]]:
    """Return the calls of an answer of the chat format: id, name and arguments."""
    answer = CompletionBuilder(earlier)
    for calls in events:
        piece = openai_chat.piece({"choices": [{"delta": {"tool_calls": calls}}]})
        assert piece is not None
        answer.add(piece)
    return [(call.id, call.name, call.arguments) for call in answer.build(usage=None, model=None).tool_calls]


A, B = ("a", "read_file", {"path": "notes.txt"}), ("b", "read_file", {"path": "other.txt"})
ONE, TWO = ("call_1", *A[1:]), ("call_2", *B[1:])
JOINED: dict[str, tuple[list[list[Delta]], list[tuple[str, str, object]]]] = {
    "without an index, two opened in one event": (
        [
            [delta(name="read_file", id="a"), delta(name="read_file", id="b")],
            [delta(READ, id="a")],
            [delta(OTHER, id="b")],
        ],
        [A, B],
    ),
    "without an index, by turns": (
        [
            [delta(name="read_file", id="a")],
            [delta(name="read_file", id="b")],
            [delta(READ[:9], id="a")],
            [delta(OTHER[:9], id="b")],
            [delta(READ[9:], id="a"), delta(OTHER[9:], id="b")],
        ],
        [A, B],
    ),
    "without an index and without an id after the first": (
        [
            [delta(READ[:9], name="read_file", id="a")],
            [delta(READ[9:])],
            [delta(name="read_file", id="b")],
            [delta(OTHER)],
        ],
        [A, B],
    ),
    "without an index or any id, one after the other": (
        [[delta(READ, name="read_file")], [delta(OTHER[:9], name="read_file")], [delta(OTHER[9:])]],
        [ONE, TWO],
    ),
    "the id comes late": ([[delta(name="read_file")], [delta(READ, id="a")]], [A]),
    "the whole comes again": (
        [
            [delta(name="read_file", id="a", index=0)],
            [delta(READ[:5], index=0)],
            [delta(READ[5:], index=0)],
            [delta(READ, name="read_file", id="a", index=0)],
        ],
        [A],
    ),
    "the whole comes again with a new index": (
        [[delta(READ[:9], name="read_file", id="a", index=0)], [delta(READ[9:], id="a", index=1)]],
        [A],
    ),
    "the whole of the first of two comes again without an index": (
        [
            [delta(READ, name="read_file", id="a")],
            [delta(OTHER, name="read_file", id="b")],
            [delta(READ, name="read_file", id="a")],
        ],
        [A, B],
    ),
    "the whole comes again, spaced": (
        [[delta(READ, name="read_file", id="a", index=0)], [delta('{"path": "notes.txt"}', id="a", index=0)]],
        [A],
    ),
    "each piece repeats what came": (
        [[delta(READ[:end], name="read_file", id="a", index=0)] for end in (3, 9, len(READ))],
        [A],
    ),
    "each piece repeats what came, twice at the end": (
        [[delta(READ[:end], name="read_file", id="a", index=0)] for end in (3, 9, len(READ), len(READ))],
        [A],
    ),
    "an empty object first": (
        [[delta("{}", name="read_file", id="a", index=0)], [delta(READ, index=0)]],
        [A],
    ),
    "an empty object in both places": (
        [[delta({}, name="read_file", id="a", index=0)], [delta(READ, index=0)], [delta("{}", index=0)]],
        [A],
    ),
    "every call has the number 0 and no id": (
        [[delta(READ, name="read_file", index=0)], [delta(OTHER, name="read_file", index=0)]],
        [ONE, TWO],
    ),
    "every call has the same id": (
        [[delta(READ, name="read_file", id="a", index=0)], [delta(OTHER, name="read_file", id="a", index=1)]],
        [A, ("call_2", *B[1:])],
    ),
    "every call has the same id, in pieces": (
        [
            [delta(name="read_file", id="a", index=0)],
            [delta(READ, index=0)],
            [delta(name="read_file", id="a", index=1)],
            [delta(OTHER, index=1)],
        ],
        [A, ("call_2", *B[1:])],
    ),
    "every piece has another id": (
        [[delta(READ[:5], name="read_file", id="a", index=0)], [delta(READ[5:], id="b", index=0)]],
        [A],
    ),
    "every piece has another id, and the name": (
        [[delta(READ[:5], name="read_file", id="a", index=0)], [delta(READ[5:], name="read_file", id="b", index=0)]],
        [A],
    ),
    "two different objects": (
        [[delta(READ, name="read_file", id="a", index=0)], [delta(OTHER, index=0)]],
        [("a", "read_file", {"no_json_object": READ + OTHER})],
    ),
    "a list": (
        [[delta(["notes.txt"], name="read_file", id="a", index=0)]],
        [("a", "read_file", {"no_json_object": '["notes.txt"]'})],
    ),
    "null": ([[delta(None, name="system_memory", id="a", index=0)]], [("a", "system_memory", {})]),
    "encoded twice, in pieces": (
        [[delta(json.dumps(READ)[:9], name="read_file", id="a", index=0)], [delta(json.dumps(READ)[9:], index=0)]],
        [A],
    ),
    "encoded twice, and again": (
        [[delta(json.dumps(READ), name="read_file", id="a", index=0)], [delta(json.dumps(READ), id="a", index=0)]],
        [A],
    ),
    "a raw newline": (
        [[delta('{"text":"a\n', name="write_file", id="a", index=0)], [delta('\tb"}', index=0)]],
        [("a", "write_file", {"text": "a\n\tb"})],
    ),
}


@pytest.mark.parametrize("case", JOINED)
def test_pieces_of_a_call_come_together_however_they_are_numbered(case: str) -> None:
    events, calls = JOINED[case]
    assert joined(*events) == calls


def test_no_call_gets_an_id_that_the_conversation_has() -> None:
    earlier = tuple(ToolCall(id, "f", {}) for id in ("a", "call_2", "call_7"))
    events = [[delta(READ, name="f", id="a", index=0)], [delta(OTHER, name="f", index=1)]]
    events += [[delta("{}", name="f", id="call_8", index=2)], [delta("{}", name="f", id="b", index=3)]]
    ids = [id for id, _, _ in joined(*events, earlier=earlier)]
    assert ids == ["call_9", "call_10", "call_8", "b"]


@pytest.mark.parametrize("again", [None, READ, "{}"])
def test_input_that_is_whole_in_a_blocks_start_is_the_calls(again: str | None) -> None:
    answer = CompletionBuilder([ToolCall("toolu_1", "read_file", {})])
    block = {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "notes.txt"}}
    events: list[dict[str, object]] = [{"type": "content_block_start", "index": 1, "content_block": block}]
    if again is not None:
        events.append(
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": again}}
        )
    for event in events:
        piece = anthropic_messages.piece(event)
        assert piece is not None
        answer.add(piece)
    (call,) = answer.build(usage=None, model=None).tool_calls
    assert (call.id, call.arguments) == ("call_1", {"path": "notes.txt"})


def test_whole_call_that_comes_again_in_the_last_line_is_one_call() -> None:
    answer = CompletionBuilder()
    said = {"function": {"name": "read_file", "arguments": {"path": "notes.txt"}}}
    other = {"function": {"name": "read_file", "arguments": {"path": "other.txt"}}}
    for calls, done in (([said], False), ([other], False), ([said, other], True)):
        piece = ollama_chat.piece({"message": {"role": "assistant", "tool_calls": calls}, "done": done})
        assert piece is not None
        answer.add(piece)
    found = answer.build(usage=None, model=None).tool_calls
    assert [call.arguments["path"] for call in found] == ["notes.txt", "other.txt"]


def test_piece_that_opens_nothing_is_dropped() -> None:
    calls = CallJoiner()
    assert not calls.add(CallPiece(0, arguments="{}", opens=False))
    assert calls.build() == ()


@pytest.mark.parametrize("written", [READ + READ, f"{READ}\n {READ}{READ}", "{}" + READ + "{}", READ + "null"])
def test_object_that_comes_again_is_one_object(written: str) -> None:
    assert parse_arguments(written) == {"path": "notes.txt"}


@pytest.mark.parametrize("written", [READ + OTHER, READ + " words", READ + "[1]"])
def test_object_beside_something_else_is_reported_to_the_tool(written: str) -> None:
    assert parse_arguments(written) == {"no_json_object": written}
