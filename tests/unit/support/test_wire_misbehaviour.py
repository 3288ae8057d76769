"""What goes wrong on the way: clamps, usage that lies, streams that are cut, and clients that leave."""

from __future__ import annotations

import json
import select
import socket

import pytest

from tests.support.wire.client import FORMATS, ask, begin, connect
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import CutAt, Format, Json, Reported
from tests.support.wire.server import Answer, Call, Rates, Tokens, WireServer

LONG = Answer("word " * 40, input_tokens=100, output_tokens=40)
CUTS: tuple[CutAt, ...] = ("headers", "first", "middle", "before_finish", "before_usage", "before_end")


def usages(form: Format, events: list[Json]) -> list[Json]:
    """Return every usage block, in order."""
    if form == "openai":
        return [event["usage"] for event in events if event.get("usage") is not None]
    if form == "anthropic":
        found = [event.get("message", event).get("usage") for event in events]
        return [usage for usage in found if usage is not None]
    return [event for event in events if "eval_count" in event]


def output_of(usage: Json) -> object:
    return next(usage[name] for name in ("completion_tokens", "output_tokens", "eval_count") if name in usage)


def stops(form: Format, events: list[Json]) -> list[str]:
    if form == "openai":
        choices = [choice for event in events for choice in event["choices"]]
        return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if form == "anthropic":
        return [event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta"]
    return [event["done_reason"] for event in events if event["done"]]


@pytest.mark.parametrize("form", FORMATS)
def test_clamp_cuts_the_answer_and_the_bill(wire: OpenWire, form: Format) -> None:
    server = wire(LONG)
    got = ask(server, form, stream=True, clamp=10)
    asked = server.books.chat_requests[0].asked
    assert asked is not None
    assert asked.clamp == 10
    assert stops(form, got.events) == ["max_tokens" if form == "anthropic" else "length"]
    assert output_of(usages(form, got.events)[-1]) == 10
    assert server.books.entries[0].tokens == Tokens(100, 10)


@pytest.mark.parametrize("form", FORMATS)
def test_a_server_that_does_not_obey_says_all_of_it(wire: OpenWire, form: Format) -> None:
    server = wire(Answer("word", output_tokens=500, obeys=False))
    got = ask(server, form, stream=True, clamp=10)
    assert output_of(usages(form, got.events)[-1]) == server.books.entries[0].tokens.output == 500


def test_a_call_cut_by_the_clamp_is_half_a_call(wire: OpenWire) -> None:
    said = Answer("abcd", (Call("f", {"name": "x" * 86}),), output_tokens=25)
    got = ask(wire(said), "openai", clamp=5)
    choice = got.json["choices"][0]
    assert (choice["message"]["tool_calls"][0]["function"]["arguments"], choice["finish_reason"]) == (
        '{"name":"xxxxxxx',
        "length",
    )
    assert "tool_calls" not in ask(wire(said), "ollama", clamp=5).json["message"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("kind", "outputs"),
    [("report", [40]), ("omit", []), ("zero", [0]), ("twice", [20, 40]), ("early", [20]), ("falls", [40, 4])],
)
def test_usage_is_false_as_scripted(wire: OpenWire, form: Format, kind: Reported, outputs: list[int]) -> None:
    server = wire(Answer("word " * 40, input_tokens=100, output_tokens=40, usage=kind))
    found = [output_of(usage) for usage in usages(form, ask(server, form, stream=True).events)]
    if form == "anthropic":  # its start always counts the first token, and knows no more
        outputs = {
            "report": [1, 40],
            "omit": [],
            "zero": [0, 0],
            "twice": [1, 20, 40],
            "early": [1],
            "falls": [1, 40, 4],
        }[kind]
    assert found == outputs
    assert server.books.entries[0].tokens == Tokens(100, 40)


@pytest.mark.parametrize("form", FORMATS)
def test_garbled_usage_has_no_valid_number(wire: OpenWire, form: Format) -> None:
    last = usages(form, ask(wire(Answer("a", usage="garbage")), form, stream=True).events)[-1]
    names = ("prompt_tokens", "input_tokens", "prompt_eval_count")
    assert next(last[name] for name in names if name in last) == "many"
    assert output_of(last) in (-7, None) or output_of(last) is True


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cut_at", CUTS)
def test_a_cut_closes_the_connection_there_and_the_bill_stands(wire: OpenWire, form: Format, cut_at: CutAt) -> None:
    whole = ask(wire(LONG), form, stream=True)
    server = wire(Answer(LONG.text, input_tokens=100, output_tokens=40, cut_at=cut_at))
    got = ask(server, form, stream=True)
    assert (got.status, got.complete, server.books.entries[0].tokens) == (200, False, Tokens(100, 40))
    ends = "message_stop" if form == "anthropic" else "[DONE]" if form == "openai" else '"done":true'
    assert ends not in got.raw.decode()
    counted = output_of(usages(form, got.events)[-1]) == 40 if usages(form, got.events) else False
    assert counted is (cut_at == "before_end" and form != "ollama")
    assert bool(stops(form, got.events)) is (
        (cut_at == "before_usage" and form == "openai") or (cut_at == "before_end" and form != "ollama")
    )
    assert len(got.raw) < len(whole.raw)
    assert (got.raw == b"") is (cut_at == "headers")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cut_at", CUTS)
def test_a_document_can_be_cut_too(wire: OpenWire, form: Format, cut_at: CutAt) -> None:
    got = ask(wire(Answer("word " * 40, cut_at=cut_at)), form)
    assert (got.status, got.complete) == (200, False)
    assert len(got.raw) < int(got.headers["content-length"])


@pytest.mark.parametrize("size", [0, 1, 57, 300])
def test_a_cut_falls_on_the_byte(wire: OpenWire, size: int) -> None:
    got = ask(wire(Answer("ünïcödé " * 40, cut_after=size)), "openai", stream=True)
    assert (len(got.raw), got.complete) == (size, False)


@pytest.mark.parametrize("form", FORMATS)
def test_a_clean_cut_ends_as_http_should_but_not_as_the_format_should(wire: OpenWire, form: Format) -> None:
    server = wire(Answer("word " * 40, clean_cut=True), repeat=True)
    got = ask(server, form, stream=True)
    assert (got.complete, stops(form, got.events)) == (True, [])
    document = ask(server, form)
    assert document.complete
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads(document.raw)


def test_garbage_has_the_right_type(wire: OpenWire) -> None:
    got = ask(wire(Answer(garbage=b"\xff\x00<html>")), "anthropic", stream=True)
    assert (got.raw, got.headers["content-type"]) == (b"\xff\x00<html>", "text/event-stream; charset=utf-8")
    assert ask(wire(Answer(garbage=b"{")), "ollama").raw == b"{"


def heard_of(server: WireServer) -> bool:
    return server.books.wait(lambda books: len(books.hung_up) == 1)


@pytest.mark.parametrize("form", FORMATS)
def test_a_stall_sends_half_and_lasts_until_the_client_goes(wire: OpenWire, form: Format) -> None:
    server = wire(Answer("word " * 40, stall=True))
    sock = begin(server, form)
    came = b""
    while b"word" not in came:
        came += sock.recv(65536)
    assert server.books.hung_up == ()
    sock.close()
    assert heard_of(server)
    assert [entry.nano > 0 for entry in server.books.entries] == [True]


def test_pieces_come_one_after_the_other(wire: OpenWire) -> None:
    with begin(wire(Answer("word " * 40, gap_s=30)), "openai") as sock:
        came = b""
        while b"data: " not in came or select.select([sock], [], [], 0.2)[0]:
            came += sock.recv(65536)
    assert (came.count(b"data: "), b'"role":"assistant"' in came) == (1, True)


@pytest.mark.parametrize(
    "step", [Answer("a", pause_s=30), Answer("word " * 40, gap_s=30), Answer("a", cut_at="headers", stall=True)]
)
def test_a_client_that_leaves_during_a_wait_is_noticed(wire: OpenWire, step: Answer) -> None:
    server = wire(step)
    sock = begin(server, "openai")
    assert server.books.wait(lambda books: len(books.entries) == 1)
    sock.close()
    assert heard_of(server)
    assert server.books.hung_up == server.books.chat_requests


def test_a_client_that_leaves_a_long_answer_unread_is_noticed(wire: OpenWire) -> None:
    server = wire(Answer("word " * 4_000_000))
    sock = begin(server, "openai")
    sock.recv(1)
    sock.close()
    assert heard_of(server)


def test_a_client_that_resets_is_noticed(wire: OpenWire) -> None:
    server = wire(Answer("a", pause_s=30))
    sock = begin(server, "ollama")
    assert server.books.wait(lambda books: len(books.entries) == 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()
    assert heard_of(server)


def test_a_client_that_reads_to_the_end_did_not_hang_up(wire: OpenWire) -> None:
    server = wire(Answer("word " * 10, gap_s=0.001))
    assert ask(server, "openai", stream=True).complete
    server.close()
    assert server.books.hung_up == ()


def test_a_server_that_closes_blames_no_client(wire: OpenWire) -> None:
    server = wire(Answer("word " * 10, stall=True), rates=Rates(1, 1))  # type: ignore[arg-type]
    line = connect(server)
    line.request("POST", "/api/chat", b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}')
    came = line.getresponse()
    assert b"word" in came.readline()
    server.close()
    line.close()
    came.close()
    assert server.books.hung_up == ()
