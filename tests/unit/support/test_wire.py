"""The server and its books: money, scripts, connections, and the end."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from tests.support.wire.client import FORMATS, PATHS, ask, begin, body_for, connect, get, headers_for, send
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Format
from tests.support.wire.server import Answer, Fault, Rates, Tokens, WireRequest, WireServer

RATES = Rates(Decimal("2.5"), Decimal(10), cached=Decimal("0.25"), cache_write=Decimal("3.125"), reasoning=Decimal(12))


@pytest.mark.parametrize("form", FORMATS)
def test_a_bill_is_by_class_and_the_same_in_every_format(wire: OpenWire, form: Format) -> None:
    said = Answer("a", input_tokens=1000, cached=200, cache_write=100, output_tokens=50, reasoning=20)
    server = wire(said, rates=RATES)
    assert ask(server, form).status == 200
    (entry,) = server.books.entries
    # 700 at 2.5, 200 at 0.25, 100 at 3.125, 30 at 10, 20 at 12
    assert (entry.nano, entry.tokens) == (
        1_750_000 + 50_000 + 312_500 + 300_000 + 240_000,
        Tokens(1000, 50, 200, 100, 20),
    )
    assert (entry.format, entry.path, entry.model, entry.asked.model) == (form, PATHS[form], "m", "m")


def test_a_class_without_a_rate_costs_what_its_parent_costs() -> None:
    assert Rates(Decimal(2), Decimal(10)).nano(Tokens(10, 10, 3, 3, 4)) == 10 * 2_000 + 10 * 10_000


@pytest.mark.parametrize(
    ("tokens", "nano"), [(Tokens(), 0), (Tokens(1), 1), (Tokens(9_999), 1), (Tokens(10_001), 2), (Tokens(1, 1), 1)]
)
def test_a_bill_is_rounded_up_once(tokens: Tokens, nano: int) -> None:
    assert Rates(Decimal("0.0000001"), Decimal("0.0000001")).nano(tokens) == nano


def test_rates_go_by_path_model_or_format(wire: OpenWire) -> None:
    one, two = Rates(Decimal(1), Decimal(0)), Rates(Decimal(2), Decimal(0))
    said = Answer("a", input_tokens=10)
    server = wire(said, rates={"/v1/chat/completions": one, "anthropic": two})
    for form in FORMATS:
        ask(server, form)
    assert [entry.nano for entry in server.books.entries] == [10_000, 20_000, 0]
    chosen = wire(said, rates=lambda asked: two if asked.clamp == 5 else one)
    ask(chosen, "openai", clamp=5)
    ask(chosen, "openai")
    assert [entry.nano for entry in chosen.books.entries] == [20_000, 10_000]


def test_a_fixed_bill_takes_no_notice_of_tokens(wire: OpenWire) -> None:
    server = wire([Answer("a"), Answer("a", bill_nano=7)], bill_nano=40_000_000)
    for _ in range(2):
        ask(server, "openai")
    assert ([entry.nano for entry in server.books.entries], server.books.billed_nano) == ([40_000_000, 7], 40_000_007)


def test_counts_not_given_are_plausible(wire: OpenWire) -> None:
    server = wire(Answer("a" * 40, reasoning=3))
    ask(server, "openai")
    raw = server.books.chat_requests[0].raw
    assert server.books.entries[0].tokens == Tokens(len(raw) // 4, 40 // 4 + 1 + 3, reasoning=3)


def test_a_script_goes_step_by_step_and_says_when_it_is_used_up(wire: OpenWire) -> None:
    server = wire([Answer("one"), lambda asked: Answer(f"clamp {asked.clamp}")])
    said = [ask(server, "ollama", clamp=9) for _ in range(3)]
    assert [got.json["message"]["content"] for got in said[:2]] == ["one", "clamp 9"]
    assert (said[2].status, "only 2 steps" in said[2].raw.decode()) == (500, True)
    server.play([Answer("on"), Answer("and on")], repeat=True)
    assert [ask(server, "ollama").json["message"]["content"] for _ in range(3)] == ["on", "and on", "and on"]
    assert len(server.books.entries) == 5


@pytest.mark.parametrize("wrong", [Answer(input_tokens=1, cached=2), Answer(output_tokens=1, reasoning=2), None])
def test_a_mistake_in_a_script_comes_out_at_the_end(wrong: Answer | None) -> None:
    def mind(_: WireRequest) -> Answer:
        if wrong is None:
            raise ValueError("a part of me is missing")
        return wrong

    with pytest.raises(ValueError, match="a part"), WireServer(mind) as server:
        assert ask(server, "openai").status == 500
    assert server.books.entries == ()


def test_requests_are_recorded_as_they_came(wire: OpenWire) -> None:
    server = wire(Answer("a"))
    line = connect(server)
    body = body_for("anthropic", clamp=77)
    send(line, "POST", "/v1/messages?beta=true", body, {"X-Api-Key": "k", "Anthropic-Version": "2023-06-01"})
    send(line, "GET", "/v1/models?limit=1000", None, {"x-api-key": "k", "anthropic-version": "2023-06-01"})
    line.close()
    first, second = server.books.requests
    assert (first.number, first.method, first.path, first.body) == (1, "POST", "/v1/messages", body)
    assert (first.headers["x-api-key"], json.loads(first.raw), second.path) == ("k", body, "/v1/models")
    assert (first.asked is not None, second.asked) == (True, None)
    assert server.books.chat_requests == (first,)


def test_connection_serves_many_requests(wire: OpenWire) -> None:
    server = wire([Answer("a"), Fault(429), Answer("b", clean_cut=True), Answer("c", cut_at="first"), Answer("d")])
    line = connect(server)
    for complete in (True, True, True, False, True):
        assert send(line, "POST", PATHS["openai"], body_for("openai", stream=True)).complete is complete
        if not complete:
            line.close()  # the next request opens another
    line.close()
    assert [heard.connection for heard in server.books.requests] == [1, 1, 1, 1, 2]
    assert server.books.connections == 2


@pytest.mark.parametrize("word", ["Connection: close", "Connection: CLOSE"])
def test_a_client_may_want_the_connection_closed(wire: OpenWire, word: str) -> None:
    with socket.create_connection(("127.0.0.1", wire().port), timeout=5) as sock:
        sock.sendall(f"GET /api/version HTTP/1.1\r\nhost: x\r\n{word}\r\n\r\n".encode())
        came = b""
        while part := sock.recv(65536):
            came += part
    assert came.endswith(b'{"version":"0.12.6"}')


def test_a_chunked_request_and_one_that_waits_are_read(wire: OpenWire) -> None:
    server = wire(Answer("a"))
    raw = json.dumps(body_for("ollama")).encode()
    line = connect(server)
    line.request("POST", "/api/chat", iter([raw[:9], raw[9:]]), {"transfer-encoding": "chunked"}, encode_chunked=True)
    assert line.getresponse().read().startswith(b'{"model":"m"')
    line.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        head = f"POST /api/chat HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {len(raw)}\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(raw)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [heard.raw for heard in server.books.chat_requests] == [raw, raw]


def test_nonsense_ends_the_connection(wire: OpenWire) -> None:
    server = wire()
    for nonsense in (b"\r\n", b"hello\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            sock.sendall(nonsense)
            assert sock.recv(10) == b""
    assert server.books.requests == ()


def test_sixteen_are_served_at_the_same_time(wire: OpenWire) -> None:
    together = threading.Barrier(16, timeout=10)

    def mind(asked: WireRequest) -> Answer:
        together.wait()
        return Answer("a", input_tokens=100, output_tokens=1)

    server = wire(mind)
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda form: ask(server, form, stream=True), FORMATS * 16))[:48]
    assert {one.status for one in got} == {200}
    assert (server.books.most_at_once, server.books.billed_nano) == (16, 48 * 110_000)
    assert (server.books.connections, [entry.number for entry in server.books.requests]) == (48, list(range(1, 49)))


@pytest.mark.parametrize("form", FORMATS)
def test_the_end_leaves_no_thread_and_no_connection(form: Format) -> None:
    before = set(threading.enumerate())
    with WireServer(Answer("word " * 40, stall=True)) as server:
        stalled = begin(server, form)
        idle = connect(server)
        idle.connect()
        assert server.books.wait(lambda books: len(books.entries) == 1 and books.connections == 2)
    assert set(threading.enumerate()) == before
    while stalled.recv(65536):
        pass
    stalled.close()
    idle.close()
    server.close()  # twice is once
    with pytest.raises(ConnectionRefusedError):
        connect(server).connect()


def test_models_are_listed_as_each_provider_lists_them(wire: OpenWire) -> None:
    server = wire(models=["llama3.1:latest"], context_length=8192, capabilities=("completion",))
    assert get(server, "/v1/models").json["data"][0]["id"] == "llama3.1:latest"
    listing = get(server, "/v1/models", headers_for("anthropic")).json
    assert (listing["data"][0]["type"], listing["has_more"], listing["first_id"]) == ("model", False, "llama3.1:latest")
    assert get(server, "/v1/models/llama3.1:latest", headers_for("anthropic")).json["id"] == "llama3.1:latest"
    assert [model["name"] for model in get(server, "/api/tags").json["models"]] == ["llama3.1:latest"]
    line = connect(server)
    card = send(line, "POST", "/api/show", {"model": "llama3.1"}).json
    assert (card["capabilities"], card["model_info"]["llama.context_length"]) == (["completion"], 8192)
    assert send(line, "POST", "/api/show", {"model": "none"}).json == {"error": "model 'none' not found"}
    line.request("HEAD", "/")
    assert line.getresponse().status == 404
    line.close()
    assert get(server, "/").raw == b"Ollama is running"
    assert server.books.chat_requests == ()


def test_records_can_be_read_over_the_wire(wire: OpenWire) -> None:
    server = wire(Answer("a"), bill_nano=9)
    ask(server, "openai")
    assert get(server, "/_books").json["billed_nano"] == 9
    assert len(server.books.requests) == 1
