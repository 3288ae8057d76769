"""A call of which no byte left is void, any other in doubt; checked against the bytes that reached a listener."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

from agentctl.core.errors import AgentctlError, AuthFailed, ProviderUnavailable
from agentctl.core.events import CallSent, CallVoided, Event
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Message, Request
from agentctl.core.pricing import Price
from agentctl.ledger import SqliteLedger
from agentctl.protocols import LLMProvider
from agentctl.providers.connections import NetworkTransport
from agentctl.providers.http_gate import Attempt, Gate, RequestTerms
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.scripted import ScriptedProvider
from agentctl.providers.stream_readers import OpenAIReader
from agentctl.runner.model_calls import ModelCalls
from tests.bill.ear import (
    Ear,
    Talk,
    close_after,
    hold,
    proxy,
    read_nothing,
    reset_at_once,
    reset_early,
)
from tests.support.bill.bodies import spoken
from tests.support.bill.book import Attempt as Row
from tests.support.bill.book import book_of
from tests.support.bill.flood import chunked
from tests.support.bill.parts import KEY, TASK, Here, this_client
from tests.support.command_line import Commands
from tests.support.model_calls import ANSWER, FACTS
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer

pytestmark = pytest.mark.usefixtures("litellm_is_warm")
MODEL = "gpt-4-turbo"
SOON_S = 0.4
HELLO = (Message("user", "hello"),)
LONG = (Message("user", "long " * 1_000_000),)  # more than the buffers of a connection hold


@pytest.fixture(scope="module")
def litellm_is_warm(litellm_is_loaded: None) -> None:
    """Make a first request, which loads more of litellm."""
    with suppress(AgentctlError):
        anyio.run(remote("ftp://127.0.0.1").ainvoke, "hello")


class Desk(NamedTuple):
    """A run on a ledger of its own; ``events`` is what its journal would hold."""

    folder: Path
    calls: ModelCalls
    events: list[Event]

    @property
    def row(self) -> Row:
        (row,) = book_of(self.folder).attempts
        return row

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, CallVoided)]


@asynccontextmanager
async def desk(folder: Path, provider: LLMProvider, **more: Any) -> AsyncIterator[Desk]:  # noqa: ANN401
    """Give a run that asks ``provider`` once."""
    events: list[Event] = []

    async def emit(event: Event) -> None:
        events.append(event)

    ledger = SqliteLedger(folder / "ledger.db")
    limits = CostLimit(max_cost_per_task=Decimal(500), max_cost_per_hour=None, max_tokens_per_task=None)
    try:
        await ledger.open_run("r", limits, task="t", agent="a", labels={})
        settings = {"retries": 0, "silence_s": 30.0, **more}
        calls = ModelCalls(provider=provider, ledger=ledger, run_id="r", limits=limits, emit=emit, **settings)
        yield Desk(folder, calls, events)
    finally:
        if isinstance(provider, RemoteProvider):
            await provider.aclose()
        await ledger.aclose()


def remote(url: str, *, key: str = KEY) -> RemoteProvider:
    return RemoteProvider("openai", MODEL, api_key=key, base_url=f"{url}/v1", via=this_client())


async def ended(
    found: Desk, how: str, messages: tuple[Message, ...] = HELLO, reached: threading.Event | None = None
) -> AgentctlError | None:
    """Make the call until it ends by itself, or cancel it when ``reached`` is set (None: after a while)."""
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            if reached is None:
                await anyio.sleep(SOON_S)
            else:
                await anyio.to_thread.run_sync(reached.wait, 30)
            group.cancel_scope.cancel()

        if how == "cancelled":
            group.start_soon(cancel)
        try:
            await found.calls.ask(messages)
        except AgentctlError as error:
            return error
        finally:
            group.cancel_scope.cancel()
    return None


class Place(NamedTuple):
    """Where a call ends: the listener, the address that is asked for, and the proxy in between."""

    talk: Talk = hold
    url: str = "{ear}"
    proxy: str = ""
    accepts: bool = True
    by_itself: bool = False


def tunnelled(talk: Talk = hold, *, accepts: bool = True, by_itself: bool = False) -> Place:
    """Return a place that is reached through a proxy, by CONNECT."""
    return Place(talk, "https://gateway.invalid", "{ear}", accepts, by_itself)


BEFORE_A_BYTE = {
    "nobody accepts": Place(accepts=False),
    "nobody says a word in TLS": Place(url="https://127.0.0.1:{port}"),
    "TLS is closed": Place(lambda ear, sock: None, url="https://127.0.0.1:{port}", by_itself=True),
    "TLS is reset": Place(reset_at_once, url="https://127.0.0.1:{port}", by_itself=True),
    "TLS is no TLS": Place(
        lambda ear, sock: sock.sendall(b"HTTP/1.1 400 No\r\n\r\n"), url="https://127.0.0.1:{port}", by_itself=True
    ),
    "no such host": Place(url="http://gateway.invalid", by_itself=True),
    "a host that cannot be": Place(url=f"http://{'a' * 70}.invalid", by_itself=True),
    "a silent proxy": tunnelled(proxy()),
    "a proxy that closes": tunnelled(close_after, by_itself=True),
    "a proxy that wants a password": tunnelled(
        proxy(b"HTTP/1.1 407 Password\r\ncontent-length: 0\r\n\r\n"), by_itself=True
    ),
    "a proxy that reaches nobody": tunnelled(
        proxy(b"HTTP/1.1 502 Nobody\r\ncontent-length: 3\r\n\r\nno!"), by_itself=True
    ),
    "nobody says a word in TLS behind a proxy": tunnelled(proxy(b"HTTP/1.1 200 Go on\r\n\r\n")),
    "TLS is closed behind a proxy": tunnelled(
        proxy(b"HTTP/1.1 200 Go on\r\n\r\n", then=lambda ear, sock: None), by_itself=True
    ),
    "nobody accepts at the proxy": tunnelled(accepts=False),
}
ENDS = [
    (name, how)
    for name, place in BEFORE_A_BYTE.items()
    for how in (("by itself",) if place.by_itself else ("silence", "deadline", "cancelled"))
]


@pytest.mark.both_clients
@pytest.mark.parametrize(("name", "how"), ENDS)
async def test_a_call_that_ends_before_a_byte_of_it_left_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    place = BEFORE_A_BYTE[name]
    times = {"silence": {"silence_s": SOON_S}, "deadline": {"deadline_s": SOON_S}}.get(how, {})
    with Ear(place.talk, accepts=place.accepts) as ear:
        if place.proxy:
            monkeypatch.setenv("https_proxy", place.proxy.format(ear=ear.url))
        provider = remote(place.url.format(ear=ear.url, port=ear.port))
        async with desk(tmp_path, provider, **times) as found:
            error = await ended(found, how)
    assert ear.request == b""
    assert (found.row.phase, found.row.nano) == ("void", 0)
    assert found.reasons == [found.row.reason]
    if how == "cancelled":
        assert found.reasons == ["not sent: interrupted"]
    else:
        assert isinstance(error, ProviderUnavailable)
        assert (error.billed, error.unsent, error.hint != "") == ("no", True, True)


async def test_a_call_that_ends_while_a_name_is_looked_up_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        asked.set()
        go_on.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with desk(tmp_path, remote("http://gateway.invalid")) as found:
        await ended(found, "cancelled", reached=asked)
        go_on.set()
    assert (found.row.phase, found.reasons) == ("void", ["not sent: interrupted"])


async def test_users_price_does_not_hide_that_nothing_was_sent(tmp_path: Path) -> None:
    with Ear(accepts=False) as ear:
        provider = remote(ear.url)
        async with desk(tmp_path, FixedPriceProvider(provider, Price(Decimal(10), Decimal(30)))) as found:
            await ended(found, "cancelled")
        await provider.aclose()
    assert (found.row.phase, found.reasons) == ("void", ["not sent: interrupted"])


AFTER_A_BYTE = {
    "no answer": (Place(), HELLO),
    "no answer at a proxy": (Place(url="http://gateway.invalid", proxy="{ear}"), HELLO),
    "half of it sent": (Place(read_nothing), LONG),
    "closed without an answer": (Place(close_after, by_itself=True), HELLO),
    "reset in the body": (Place(reset_early, by_itself=True), LONG),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", AFTER_A_BYTE)
async def test_a_call_that_ends_after_a_byte_of_it_left_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place, messages = AFTER_A_BYTE[name]
    with Ear(place.talk) as ear:
        if place.proxy:
            monkeypatch.setenv("http_proxy", place.proxy.format(ear=ear.url))
        async with desk(tmp_path, remote(place.url.format(ear=ear.url))) as found:
            await ended(found, "by itself" if place.by_itself else "cancelled", messages, ear.reached)
    assert ear.request != b""
    assert (found.row.phase, found.row.nano, found.reasons) == ("doubt", found.row.hold_nano, [])


async def test_silence_after_the_request_is_in_doubt(tmp_path: Path) -> None:
    with Ear() as ear:
        async with desk(tmp_path, remote(ear.url), silence_s=2.0) as found:
            error = await ended(found, "silence")
    assert ear.request != b""
    assert found.row.phase == "doubt"
    assert isinstance(error, ProviderUnavailable)
    assert (error.billed, error.unsent) == ("unknown", False)


@pytest.mark.both_clients
@pytest.mark.parametrize("then", [hold, close_after, reset_early])
async def test_a_second_request_on_a_kept_connection_that_dies_is_in_doubt(tmp_path: Path, then: Talk) -> None:
    def talk(ear: Ear, sock: socket.socket) -> None:
        ear.take_request(sock)
        for piece in chunked((spoken({"content": "ok"}), b"")):
            sock.sendall(piece)
        ear.received.clear()
        then(ear, sock)

    with Ear(talk) as ear:
        async with desk(tmp_path, remote(ear.url)) as found:
            assert await ended(found, "by itself") is None
            await ended(found, "cancelled" if then is hold else "by itself", reached=ear.reached)
        assert ear.connections == 1
    assert ear.request != b""
    assert book_of(tmp_path).phases == ["settled", "doubt"]


async def test_a_kept_connection_that_died_before_is_not_used(tmp_path: Path) -> None:
    def talk(ear: Ear, sock: socket.socket) -> None:
        ear.take_request(sock)
        for piece in chunked((spoken({"content": "ok"}), b"")):
            sock.sendall(piece)

    with Ear(talk) as ear:
        async with desk(tmp_path, remote(ear.url)) as found:
            for _ in range(2):
                assert await ended(found, "by itself") is None
                await anyio.sleep(0.1)
        assert ear.connections == 2
    assert book_of(tmp_path).phases == ["settled", "settled"]


async def test_a_call_that_waits_for_a_connection_of_the_pool_is_void(tmp_path: Path) -> None:
    """A hundred calls are under way, which is the size of the pool."""
    with Ear() as ear:
        provider = remote(ear.url)

        async def wait_for_ever() -> None:
            async for _ in provider.stream(Request(MODEL, HELLO, max_output_tokens=50)):
                pass

        async with desk(tmp_path, provider) as found, anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(wait_for_ever)
            await anyio.to_thread.run_sync(ear.wait, lambda: ear.received.count(b"POST ") == 100)
            await ended(found, "cancelled")
            group.cancel_scope.cancel()
    assert (found.row.phase, found.reasons) == ("void", ["not sent: interrupted"])
    assert ear.received.count(b"POST ") == 100


@pytest.mark.parametrize("key", ["sk-good-key\n", "sk-good-key\r\nx-evil: 1", "sk-good-key "])
async def test_key_that_no_header_can_hold_voids_the_call_and_is_not_shown(tmp_path: Path, key: str) -> None:
    with Ear() as ear:
        provider = RemoteProvider("anthropic", "claude-haiku-4-5", api_key=KEY, base_url=ear.url, via=this_client())
        provider._api_key = key  # given as an argument or a setting it is refused earlier
        async with desk(tmp_path, provider) as found:
            error = await ended(found, "by itself")
    assert ear.request == b""
    assert isinstance(error, AuthFailed)
    assert "sk-good-key" not in error.message
    assert "set-key anthropic" in error.hint
    assert found.row.phase == "void"


# --- who says nothing --------------------------------------------------------------------------------------------


async def test_call_cancelled_before_any_request_is_void(tmp_path: Path) -> None:
    async with desk(tmp_path, ScriptedProvider([ANSWER], facts=FACTS)) as found:
        with anyio.CancelScope() as scope:
            emit = found.calls._emit

            async def cancel(event: Event) -> None:
                await emit(event)
                if isinstance(event, CallSent):
                    scope.cancel()

            found.calls._emit = cancel
            await found.calls.ask(HELLO)
    assert (found.row.phase, found.reasons) == ("void", ["not sent: interrupted"])


async def test_a_provider_that_does_not_say_how_far_it_came_may_have_sent_it(tmp_path: Path) -> None:
    async with desk(tmp_path, ScriptedProvider([lambda _: anyio.sleep_forever()], facts=FACTS)) as found:
        await ended(found, "cancelled")
    assert found.row.phase == "doubt"


@pytest.mark.parametrize("said", ["sent", "", None, ("unsent",), ValueError])
async def test_a_provider_that_says_something_else_may_have_sent_it(tmp_path: Path, said: object) -> None:
    class Odd(ScriptedProvider):
        def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
            return OddPieces()

    class OddPieces(AsyncIterator[Delta | Completion]):
        async def __anext__(self) -> Delta | Completion:
            await anyio.sleep_forever()
            raise StopAsyncIteration

        def withdraw(self) -> object:
            if isinstance(said, type):
                raise said("who knows")
            return said

    async with desk(tmp_path, Odd([], facts=FACTS)) as found:
        await ended(found, "cancelled")
    assert found.row.phase == "doubt"


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(RequestTerms(50, 5000, "", asks_for_usage=False), OpenAIReader())


BODY = {"model": "m", "messages": [], "max_tokens": 50}


async def test_a_network_that_does_not_report_its_steps_may_have_sent_it(attempt: Attempt) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with httpx.AsyncClient(transport=Gate(httpx.MockTransport(silent), attempt)) as client:
        with anyio.move_on_after(0.1):
            await client.post("http://gateway.invalid", json=BODY)
    assert (attempt.sent, attempt.withdraw()) == (True, "unknown")


@pytest.mark.parametrize(
    "steps",
    [
        ("http2.send_connection_init.started",),
        ("connection.connect_tcp.started", "http3.send_request_headers.started"),
        ("connection.connect_tcp.complete", "something.new"),
    ],
)
def test_a_step_that_is_not_known_to_come_before_the_request_may_have_sent_it(
    attempt: Attempt, steps: tuple[str, ...]
) -> None:
    attempt.hand_over(traced=False)
    assert attempt.connected
    for step in steps:
        attempt.trace(step, {})
    assert attempt.withdraw() == "unknown"


async def test_withdrawn_request_is_not_sent_later(
    wire: OpenWire, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, go_on, asked = wire(Answer("never")), threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(*words: Any, **more: Any) -> Any:  # noqa: ANN401
        asked.set()
        go_on.wait(30)
        return real(*words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    refused: list[Exception] = []
    async with NetworkTransport() as network, httpx.AsyncClient(transport=Gate(network, attempt)) as client:

        async def post() -> None:
            try:
                await client.post(f"http://localhost:{server.port}/v1/chat/completions", json=BODY)
            except httpx.ConnectError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(post)
            await anyio.to_thread.run_sync(asked.wait)
            assert attempt.withdraw() == "unsent"
            go_on.set()
        assert [str(error) for error in refused] == ["the request was withdrawn"]
        await post()
    assert len(refused) == 2
    assert server.books.requests == ()


async def test_request_withdrawn_before_the_network_is_not_sent(wire: OpenWire, attempt: Attempt) -> None:
    server = wire(Answer("never"))
    assert attempt.withdraw() == "unsent"
    async with NetworkTransport() as network, httpx.AsyncClient(transport=Gate(network, attempt)) as client:
        with pytest.raises(httpx.ConnectError):
            await client.post(f"{server.openai_url}/chat/completions", json=BODY)
    assert (attempt.sent, server.books.connections) == (False, 0)


# --- whole runs --------------------------------------------------------------------------------------------------


async def test_a_run_out_of_time_before_a_connection_has_nothing_in_doubt(user: Here) -> None:
    with Ear(accepts=False) as ear:
        environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{ear.url}/v1", "LLM_MODEL": MODEL}
        document = await user.run(environ, timeout=1.0)
    assert (document["exit_code"], document["cost"]["in_doubt_usd"]) == (124, 0)
    assert user.book.phases == ["void"]


def _is_sent(state: Path) -> bool:
    try:
        return bool(book_of(state).sent)
    except sqlite3.OperationalError:  # its tables are just being made
        return False


def test_a_command_that_is_terminated_while_it_connects_has_nothing_in_doubt(shell: Commands, state: Path) -> None:
    with Ear(accepts=False) as ear:
        environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{ear.url}/v1", "LLM_MODEL": MODEL}
        with shell.start("run", TASK, "--json", env=environ) as process:
            while process.poll() is None and not _is_sent(state):
                time.sleep(0.05)
            process.terminate()
            out, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["cost"]["in_doubt_usd"]) == (143, 0)
    assert [(row.phase, row.reason) for row in book_of(state).attempts] == [("void", "not sent: interrupted")]


UNLOADED = """
import sys, anyio
from decimal import Decimal
from pathlib import Path
from agentctl.runner.model_calls import ModelCalls
from agentctl.ledger import SqliteLedger
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message
from agentctl.providers.remote import RemoteProvider

async def main():
    async def emit(event): pass
    ledger, limits = SqliteLedger(Path(sys.argv[1])), CostLimit()
    await ledger.open_run("r", limits, task="t", agent="a", labels={})
    provider = RemoteProvider("openai", "gpt-4-turbo", api_key="sk-x", base_url=sys.argv[2], via="litellm")
    calls = ModelCalls(provider=provider, ledger=ledger, run_id="r", limits=limits, emit=emit)
    with anyio.move_on_after(0.05):
        await calls.ask((Message("user", "hello"),))
    assert "litellm.main" not in sys.modules
    await ledger.aclose()

anyio.run(main)
"""


def test_a_call_that_ends_while_litellm_is_loaded_is_void(tmp_path: Path) -> None:
    with Ear() as ear:
        words = (sys.executable, "-c", UNLOADED, str(tmp_path / "ledger.db"), f"{ear.url}/v1")
        subprocess.run(words, check=True, timeout=120)
    assert (ear.connections, book_of(tmp_path).phases) == (0, ["void"])


# --- an error instead of an answer -------------------------------------------------------------------------------


def sse(*documents: str) -> bytes:
    return b"".join(f"data: {document}\n\n".encode() for document in documents)


ROLE = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'  # noqa: E501
TEXT = '{"id":"c","choices":[{"index":0,"delta":{"content":"The"},"finish_reason":null}]}'
THOUGHT = '{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"Hm"},"finish_reason":null}]}'
USED = '{"id":"c","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":0}}'


def refusal(code: object, **more: object) -> str:
    return json.dumps({"error": {"message": "no", "code": code, **more}})


IN_A_STREAM: dict[str, tuple[bytes, str, str]] = {
    "429": (sse(refusal(429)), "void", "rate_limited"),
    "429 as a word": (sse(refusal("429")), "void", "rate_limited"),
    "a rate limit by its code": (sse(refusal("rate_limit_exceeded")), "void", "rate_limited"),
    "a rate limit by its type": (sse(refusal(None, type="rate_limit_error")), "void", "rate_limited"),
    "a rate limit as Gemini says it": (sse(refusal(429, status="RESOURCE_EXHAUSTED")), "void", "rate_limited"),
    "400": (sse(refusal(400)), "void", "unavailable"),
    "413": (sse(refusal(413)), "void", "context"),
    "422": (sse(refusal(422)), "void", "unavailable"),
    "401": (sse(refusal(401)), "void", "auth"),
    "402": (sse(refusal(402)), "void", "rate_limited"),
    "403": (sse(refusal(403)), "void", "auth"),
    "404": (sse(refusal(404)), "void", "model_gone"),
    "429 behind a comment": (b": PROCESSING\n\n" + sse(refusal(429)), "void", "rate_limited"),
    "429 after a role": (sse(ROLE, refusal(429)), "void", "rate_limited"),
    "429 with an empty choice": (
        sse(
            '{"error":{"code":429,"message":"no"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}'
        ),
        "void",
        "rate_limited",
    ),
    "429 alone in the body": (refusal(429).encode(), "void", "rate_limited"),
    "429 after a word": (sse(TEXT, refusal(429)), "doubt", "rate_limited"),
    "429 after a thought": (sse(THOUGHT, refusal(429)), "doubt", "rate_limited"),
    "429 after a usage": (sse(USED, refusal(429)), "doubt", "rate_limited"),
    "429 with a usage": (sse('{"error":{"code":429},"usage":{"prompt_tokens":9}}'), "doubt", "rate_limited"),
    "429 cut short": (sse(refusal(429))[:-6], "doubt", "unavailable"),
    "429 from a server's fault": (sse(refusal(429, type="server_error")), "doubt", "unavailable"),
    "500": (sse(refusal(500)), "doubt", "unavailable"),
    "529": (sse(refusal(None, type="overloaded_error")), "doubt", "unavailable"),
    "408": (sse(refusal(408)), "doubt", "unavailable"),
    "an unknown code": (sse(refusal("odd")), "doubt", "unavailable"),
    "no code": (sse(refusal(None)), "doubt", "unavailable"),
    "a sentence": (sse('{"error": "too many requests"}'), "void", "rate_limited"),
    "a sentence of no known meaning": (sse('{"error": "too many moons"}'), "doubt", "unavailable"),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("place", ["known", "strict"])
@pytest.mark.parametrize("name", IN_A_STREAM)
async def test_an_error_document_in_a_stream_is_void_where_its_status_would_be(
    tmp_path: Path, name: str, place: str
) -> None:
    body, phase, status = IN_A_STREAM[name]

    def talk(ear: Ear, sock: socket.socket) -> None:
        ear.take_request(sock)
        for piece in chunked((body, b"")):
            sock.sendall(piece)

    with Ear(talk) as ear:
        async with desk(tmp_path, remote(ear.url), doubt="strict" if place == "strict" else "normal") as found:
            error = await ended(found, "by itself")
    assert error is not None
    assert (found.row.phase, error.status) == (phase if place == "known" else "doubt", status)
    assert ear.received.count(b"POST ") == 1


@pytest.mark.parametrize("how", ["cancelled", "silence"])
@pytest.mark.parametrize(("status", "phase"), [(401, "void"), (402, "void"), (307, "void"), (429, "doubt")])
async def test_a_refusal_whose_body_never_ends_is_known_by_its_status(
    tmp_path: Path, status: int, phase: str, how: str
) -> None:
    def talk(ear: Ear, sock: socket.socket) -> None:
        ear.take_request(sock)
        sock.sendall(b"HTTP/1.1 %d No\r\ncontent-length: 100\r\n\r\n{" % status)
        ear.closing.wait(0.3)  # it is read by then
        ear.reached.set()
        ear.take_rest(sock)

    with Ear(talk) as ear:
        async with desk(tmp_path, remote(ear.url), silence_s=2.0 if how == "silence" else 30.0) as found:
            error = await ended(found, how, reached=ear.reached)
    assert found.row.phase == phase
    assert (error is None) == (how == "cancelled")


async def test_the_body_of_a_refusal_is_not_waited_for_without_end() -> None:
    def talk(ear: Ear, sock: socket.socket) -> None:
        ear.take_request(sock)
        sock.sendall(b"HTTP/1.1 401 No\r\ncontent-length: 100\r\n\r\n{")
        ear.take_rest(sock)

    attempt = Attempt(RequestTerms(50, 5000, "", asks_for_usage=False), OpenAIReader(), error_s=0.2)
    with Ear(talk) as ear:
        async with NetworkTransport() as network, httpx.AsyncClient(transport=Gate(network, attempt)) as client:
            with anyio.fail_after(30), pytest.raises(TimeoutError):
                await client.post(f"{ear.url}/v1/chat/completions", json=BODY)
    assert (attempt.status, attempt.body, attempt.ended, attempt.withdraw()) == (401, b"{", False, "refused")
