"""What an answer means: how a run ends, and what it costs, for answers as real servers send them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import reaching
from tests.support.command_line import Ended
from tests.support.parity.streams import Event, calling, chunk, spoken, written
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
Command = Callable[..., Ended]
HALF = "It says alp"
BROKEN = {
    "openai": ("abort", "error", "timeout", "cancelled", "insufficient_system_resource", "ABORT", "a new word", "null"),
    "anthropic": ("pause_turn", "a_new_word"),
    "ollama": ("load", "unload", "a_new_word"),
}
ENDED = {
    "openai": ("STOP", "eos", "eos_token", "COMPLETE", "end_turn", "stop_sequence", "function_call", "Tool_Calls"),
    "anthropic": ("stop_sequence", "END_TURN", "tool_use"),
    "ollama": ("Stop",),
}
REFUSED = {
    "openai": ("content_filter", "refusal", "SAFETY", "RECITATION", "PROHIBITED_CONTENT"),
    "anthropic": ("refusal",),
    "ollama": ("content_filter",),
}
CUT = {
    "openai": ("length", "max_tokens", "MAX_TOKENS", "model_length"),
    "anthropic": ("model_context_window_exceeded",),
    "ollama": ("LENGTH",),
}


def rows(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(format, word) for format, words in table.items() for word in words]


def sending(format: str, *events: Event) -> Answer:
    """Return an answer of these events, billed as it is reported by ``spoken``."""
    return Answer(garbage=written(format, events), input_tokens=90, output_tokens=20)


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(BROKEN))
def test_unknown_finish_reason_is_a_provider_that_broke_off(
    command: Command, wire: OpenWire, state: Path, format: str, word: str
) -> None:
    server = wire(sending(format, *spoken(format, HALF, stop=word)), repeat=True)
    ended = command("--json", env=reaching(server, format))
    document = ended.document
    assert (ended.code, document["status"], document["error"]["kind"]) == (4, "unavailable", "provider")
    assert document["error"]["message"] == f"{format} broke off its answer: the finish reason is {word}"
    assert (document["complete"], document["answer"]) == (False, HALF)
    assert book_of(state).phases == ["settled"]
    assert document["cost"]["in_doubt_usd"] == 0


@pytest.mark.both_clients
def test_text_of_an_answer_that_broke_off_is_under_so_far(command: Command, wire: OpenWire) -> None:
    server = wire(sending("openai", *spoken("openai", HALF, stop="abort")), repeat=True)
    ended = command(env=reaching(server, "openai"))
    assert (ended.code, ended.out) == (4, "")
    assert HALF in ended.err
    assert "so far" in ended.err
    assert "error: openai broke off its answer: the finish reason is abort\n" in ended.err


@pytest.mark.both_clients
@pytest.mark.parametrize("format", BROKEN)
def test_call_of_an_answer_that_broke_off_is_not_executed(
    command: Command, wire: OpenWire, tmp_path: Path, format: str
) -> None:
    arguments = '{"path": "new.txt", "content": "half"}'
    events = calling(format, ("write_file", [arguments]))
    for event in events:
        if format == "openai" and event["choices"] and event["choices"][0]["finish_reason"]:
            event["choices"][0]["finish_reason"] = "abort"
        elif "delta" in event and "stop_reason" in event["delta"]:
            event["delta"]["stop_reason"] = "abort"
        elif event.get("done"):
            event["done_reason"] = "abort"
    server = wire([sending(format, *events), sending(format, *spoken(format, "Done."))])
    ended = command("--json", "-y", env=reaching(server, format))
    assert (ended.code, ended.document["tools"]) == (4, [])
    assert len(server.books.chat_requests) == 1
    assert not list(tmp_path.rglob("new.txt"))


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(ENDED))
def test_known_finish_reason_in_any_case_ends_well(command: Command, wire: OpenWire, format: str, word: str) -> None:
    server = wire(sending(format, *spoken(format, "All of it.", stop=word)))
    ended = command(env=reaching(server, format))
    assert (ended.code, ended.out) == (0, "All of it.\n")


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(REFUSED))
def test_refusing_finish_reason_is_a_refusal(command: Command, wire: OpenWire, format: str, word: str) -> None:
    server = wire(sending(format, *spoken(format, "I would rather", stop=word)))
    ended = command("--json", env=reaching(server, format))
    document = ended.document
    assert (ended.code, document["error"]["message"]) == (1, "the model refused the task")
    assert (document["complete"], document["answer"]) == (False, "I would rather")


@pytest.mark.both_clients
@pytest.mark.parametrize(("format", "word"), rows(CUT))
def test_cutting_finish_reason_is_a_cut_answer(command: Command, wire: OpenWire, format: str, word: str) -> None:
    server = wire(sending(format, *spoken(format, HALF, stop=word)), repeat=True)
    ended = command(env=reaching(server, format))
    assert (ended.code, ended.out) == (0, f"{HALF}\n")
    assert "the answer was cut at its output limit" in ended.err


@pytest.mark.both_clients
@pytest.mark.parametrize("words", [("abort", "stop"), ("stop", "abort")])
def test_of_two_finish_reasons_the_worse_counts(command: Command, wire: OpenWire, words: tuple[str, str]) -> None:
    *said, usage = spoken("openai", HALF)[:-2] + [chunk({}, word) for word in words] + spoken("openai")[-1:]
    ended = command("--json", env=reaching(wire(sending("openai", *said, usage)), "openai"))
    assert ended.code == 4
    assert "abort" in ended.document["error"]["message"]


@pytest.mark.both_clients
def test_error_inside_a_choice_is_an_error(command: Command, wire: OpenWire) -> None:
    failed = chunk({"content": ""}, "error")
    failed["choices"][0]["error"] = {"code": 502, "message": "Upstream idle timeout exceeded"}
    events = [*spoken("openai", HALF)[:-2], failed, *spoken("openai")[-1:]]
    ended = command(
        "--json", "--max-cost", "0.10", env=reaching(wire(sending("openai", *events), repeat=True), "openai")
    )
    document = ended.document
    assert (ended.code, document["complete"], document["answer"]) == (4, False, HALF)
    assert "openai interrupted its answer: Upstream idle timeout exceeded" in document["error"]["message"]
