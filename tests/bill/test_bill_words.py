"""What stands in the text of an answer and is none: reasoning between tags, and tool calls written as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import reaching
from tests.support.command_line import Ended
from tests.support.formats import FORMATS
from tests.support.parity.streams import Event, calling, spoken, written
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
Command = Callable[..., Ended]
SAYS = "It says alpha beta."
THOUGHT = "The user wants the file"
REASONING = {
    "tags": ["<think>\n", THOUGHT, ".\n</think>\n\n", SAYS],
    "tags, in pieces": ["<", "thi", f"nk>{THOUGHT}.</", "think", ">", "\n\nIt says", " alpha beta."],
    "the closing tag alone": [THOUGHT, ".\n", "</think>", "\n\n", SAYS],
    "the closing tag alone, in pieces": [THOUGHT, ".</thi", "nk>It says", " alpha beta."],
    "other tags": [f"[THINK]{THOUGHT}.[/THINK]", SAYS],
    "Gemma's tags, and a mark of the end": [f"<|channel>thought\n{THOUGHT}.<chan", f"nel|>{SAYS}", "<|im_", "end|>"],
}


def sending(format: str, *events: Event) -> Answer:
    """Return an answer of these events, billed as it is reported by ``spoken``."""
    return Answer(garbage=written(format, events), input_tokens=90, output_tokens=20)


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", REASONING)
def test_reasoning_in_the_text_is_not_printed(
    command: Command, wire: OpenWire, state: Path, format: str, case: str
) -> None:
    server = wire(sending(format, *spoken(format, *REASONING[case])))
    ended = command("-o", "jsonl", env=reaching(server, format))
    assert ended.code == 0
    assert THOUGHT not in ended.out
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert "".join(line["text"] for line in lines if line["event"] == "answer_streamed").strip() == SAYS
    assert lines[-1]["answer"] == SAYS
    assert book_of(state).phases == ["settled"]


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text", [f"<think>{THOUGHT}</think>I look.", f"{THOUGHT}\n</think>\nI look."])
def test_reasoning_in_the_text_is_not_sent_back(command: Command, wire: OpenWire, format: str, text: str) -> None:
    looks = calling(format, ("list_files", ["{}"]), text=text)
    server = wire([sending(format, *looks), sending(format, *spoken(format, SAYS))])
    ended = command("--json", env=reaching(server, format))
    assert (ended.code, ended.document["answer"], ended.document["turns"]) == (0, SAYS, 2)
    _, again = server.books.chat_requests
    assert b"I look." in again.raw
    assert THOUGHT.encode() not in again.raw
    assert b"think>" not in again.raw


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("is_tagged", [True, False], ids=["between tags", "in a field"])
def test_answer_that_is_all_reasoning_is_shown_under_so_far(
    command: Command, wire: OpenWire, state: Path, format: str, *, is_tagged: bool
) -> None:
    texts, thoughts = ([f"<think>{SAYS}</think>"], ()) if is_tagged else ([], (SAYS,))
    server = wire(sending(format, *spoken(format, *texts, thoughts=thoughts)), repeat=True)
    ended = command(env=reaching(server, format))
    assert (ended.code, ended.out) == (1, "")
    assert "error: the model gave no answer: all it wrote is reasoning\n" in ended.err
    assert f"--- so far ---\n{SAYS}\n" in ended.err
    assert book_of(state).phases == ["settled"]


def test_reasoning_that_the_output_limit_cut_is_told_as_such(command: Command, wire: OpenWire) -> None:
    server = wire(sending("openai", *spoken("openai", f"<think>{THOUGHT}", stop="length")), repeat=True)
    ended = command("--json", env=reaching(server, "openai"))
    document = ended.document
    assert (ended.code, document["complete"], document["answer"]) == (1, False, THOUGHT)
    assert document["error"]["message"].startswith("the model reached its output limit while it was reasoning")
    assert "--max-output-tokens" in document["error"]["hint"]


def test_second_answer_of_a_server_that_opens_no_tag_waits_for_the_closing_one(
    command: Command, wire: OpenWire
) -> None:
    looks = calling("openai", ("list_files", ["{}"]), text=f"{THOUGHT}</think>I look.")
    server = wire(
        [sending("openai", *looks), sending("openai", *spoken("openai", *REASONING["the closing tag alone"]))]
    )
    ended = command("-o", "jsonl", env=reaching(server, "openai"))
    pieces = [
        (line["text"], line["kind"])
        for line in map(json.loads, ended.out.splitlines())
        if line["event"] == "answer_streamed"
    ]
    assert pieces[-1] == (SAYS, "answer")
    assert THOUGHT not in ended.out


def test_pieces_that_cannot_be_reasoning_any_more_are_printed_at_once(command: Command, wire: OpenWire) -> None:
    looks = calling("openai", ("list_files", ["{}"]), text="I look.")
    server = wire([sending("openai", *looks), sending("openai", *spoken("openai", "It says", " alpha beta."))])
    ended = command("-o", "jsonl", env=reaching(server, "openai"))
    lines = [json.loads(line) for line in ended.out.splitlines()]
    kinds = [(line["text"], line["kind"]) for line in lines if line["event"] == "answer_streamed"]
    assert kinds == [("I look.", "unsure"), ("It says", "answer"), (" alpha beta.", "answer")]
    assert [line["seq"] for line in lines] == sorted(line["seq"] for line in lines)


CALL = '{"name": "list_files", "arguments": {"path": "."}}'
CALLS = {
    "tags": f"<tool_call>\n{CALL}\n</tool_call>",
    "a JSON object": CALL,
    "a block": f"```json\n{CALL}\n```",
    "Python's form": 'list_files(path=".")',
    "Gemma's form": '<|tool_call>call:list_files{path:<|"|>.<|"|>}<tool_call|>',
}


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CALLS)
def test_call_as_text_is_taken_as_the_call_and_never_printed(
    command: Command, wire: OpenWire, state: Path, format: str, case: str
) -> None:
    server = wire([sending(format, *spoken(format, *CALLS[case])), sending(format, *spoken(format, SAYS))])
    ended = command("-o", "jsonl", "-v", env=reaching(server, format))
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, lines[-1]["answer"]) == (0, SAYS)
    assert lines[-1]["tools"] == [{"name": "list_files", "calls": 1, "failed": 0}]
    assert "".join(line["text"] for line in lines if line["event"] == "answer_streamed") == SAYS
    assert "the model wrote its call of list_files as text: taken as the call" in ended.err
    assert book_of(state).phases == ["settled", "settled"]


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
def test_call_as_text_beside_words_is_told_to_the_model_once(command: Command, wire: OpenWire, format: str) -> None:
    text = f"I would do this:\n```json\n{CALL}\n```\nIt lists the folder."
    server = wire([sending(format, *spoken(format, text)), sending(format, *spoken(format, SAYS))])
    ended = command("-o", "jsonl", env=reaching(server, format))
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, lines[-1]["answer"], lines[-1]["tools"]) == (0, SAYS, [])
    assert "".join(line["text"] for line in lines if line["event"] == "answer_streamed") == f"I would do this:\n{SAYS}"
    assert "asking it once for a real call" in ended.err
    assert b"It was not run." in server.books.chat_requests[1].raw


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
def test_answer_that_stays_a_call_as_text_is_not_on_stdout(command: Command, wire: OpenWire, format: str) -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>'
    server = wire(sending(format, *spoken(format, text)), repeat=True)
    ended = command(env=reaching(server, format))
    assert (ended.code, ended.out) == (1, "")
    assert "error: the model wrote a tool call as text in place of an answer\n" in ended.err
    assert "agentctl providers test" in ended.err
    assert len(server.books.chat_requests) == 2
