"""Only the request that was held passes the gate: its clamp, size, address and request for usage are checked."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from agentctl.core.errors import Rejected
from agentctl.providers.http_gate import Attempt, Gate, RequestTerms
from agentctl.providers.stream_readers import OpenAIReader
from tests.support.formats import Wire
from tests.support.wire.server import Answer

USAGE = {"stream_options": {"include_usage": True}}


def body(**fields: object) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": True, **fields}


async def post(attempt: Attempt, url: str, said: object) -> httpx.Response:
    async with (
        httpx.AsyncHTTPTransport() as network,
        httpx.AsyncClient(transport=Gate(network, attempt), trust_env=False, follow_redirects=True) as client,
    ):
        response = await client.post(url, json=said)
        await response.aread()
        return response


def attempt_at(url: str, most_bytes: int = 5000) -> Attempt:
    return Attempt(RequestTerms(50, most_bytes, url, asks_for_usage=True), OpenAIReader())


async def test_request_within_its_announced_bounds_passes_once(wire: Wire) -> None:
    server = wire(Answer("ok"))
    attempt = attempt_at(server.openai_url)
    url = f"{server.openai_url}/chat/completions"
    assert (await post(attempt, url, body(**USAGE))).status_code == 200
    assert (attempt.sent, attempt.connected, attempt.ended, attempt.reader.finished) == (True, True, True, True)
    with pytest.raises(httpx.ConnectError, match="a second one is not sent"):
        await post(attempt, url, body(**USAGE))
    assert (len(server.books.chat_requests), attempt.refusal) == (1, None)


BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "no clamp": ({"max_tokens": None}, "any number of output tokens"),
    "a higher clamp": ({"max_tokens": 51}, "50 were granted"),
    "a lower clamp": ({"max_tokens": 49}, "50 were granted"),
    "a truth for a number": ({"max_tokens": True}, "50 were granted"),
    "two clamps that differ": ({"max_completion_tokens": 500}, "50 were granted"),
    "another clamp among the options": ({"options": {"num_predict": -1}}, "50 were granted"),
    "two answers": ({"n": 2}, "more than one answer"),
    "no question for the usage": ({"stream_options": None}, "does not ask for the usage"),
    "too long": ({"messages": [{"role": "user", "content": "x" * 6000}]}, "5000 were bounded"),
    "too long once it is normalised": (
        {"messages": [{"role": "user", "content": "\ufdfa" * 200}]},
        "5000 were bounded",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_request_beyond_its_announced_bounds_is_not_sent(wire: Wire, case: str) -> None:
    change, reason = BROKEN[case]
    server = wire(Answer("ok"))
    attempt = attempt_at(server.openai_url)
    with pytest.raises(httpx.ConnectError):
        await post(attempt, f"{server.openai_url}/chat/completions", {**body(**USAGE), **change})
    assert isinstance(attempt.refusal, Rejected)
    assert attempt.refusal.unsent
    assert reason in attempt.refusal.message
    assert (attempt.sent, server.books.connections) == (False, 0)


async def test_a_request_to_another_address_is_not_sent(wire: Wire) -> None:
    server, other = wire(Answer("ok")), wire(Answer("stolen"))
    attempt = attempt_at(server.openai_url)
    with pytest.raises(httpx.ConnectError):
        await post(attempt, f"{other.openai_url}/chat/completions", body(**USAGE))
    assert attempt.refusal is not None
    assert (attempt.sent, other.books.connections, server.books.connections) == (False, 0, 0)


async def test_an_answer_is_asked_for_plain_so_that_it_can_be_read_along(wire: Wire) -> None:
    server = wire(Answer("ok"))
    await post(attempt_at(server.openai_url), f"{server.openai_url}/chat/completions", body(**USAGE))
    assert server.books.chat_requests[0].headers["accept-encoding"] == "identity"


async def test_an_error_document_without_an_end_is_given_up() -> None:
    async def endless(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\n\r\n")
            try:
                while True:
                    await stream.send(b"x" * 65536)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, endless)
        attempt = attempt_at(f"http://127.0.0.1:{port}")
        with pytest.raises(ValueError, match="has no end"):
            await post(attempt, f"http://127.0.0.1:{port}/v1/chat/completions", body(**USAGE))
        assert len(attempt.body) < 1_000_000
        group.cancel_scope.cancel()
    await listener.aclose()


def test_a_request_that_is_late_does_not_leave() -> None:
    terms = RequestTerms(50, 5000, "http://h/v1", asks_for_usage=True, is_late=lambda: True)
    late = Attempt(terms, OpenAIReader())
    late.hand_over(traced=True)
    late.trace("connection.connect_tcp.complete", {})
    with pytest.raises(httpx.ConnectError, match="withdrawn"):
        late.trace("http11.send_request_headers.started", {})
    assert late.withdraw() == "unsent"
