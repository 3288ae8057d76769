"""The first connection of a run is opened while the rest is loaded: once, without a byte, and never waited for long."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.streams.tls import TLSStream

from agentctl.core.errors import ProviderError, UsageError
from agentctl.core.limits import CostLimit
from agentctl.core.pricing import ModelFacts
from agentctl.providers import early_connection
from agentctl.providers.connections import NetworkTransport
from agentctl.providers.early_connection import EarlyConnection, find, open_early
from agentctl.providers.endpoints import reached_at
from agentctl.providers.factory import OpenAIProvider
from agentctl.runner.assemble import check_startable, make_provider
from agentctl.settings import choose_provider, load_settings
from tests.support.certificates import Certificate
from tests.support.formats import KEY, Wire, answer_of, asked
from tests.support.wire.server import Answer, Fault, WireServer


@pytest.fixture(autouse=True)
def early_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_connection, "open_early", open_early)
    monkeypatch.setattr(early_connection, "_STARTED", {})


@contextmanager
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.settimeout(5)
        yield found


def early_to(port: int, **more: float) -> EarlyConnection:
    return EarlyConnection(("127.0.0.1", port), **more)


def network_with(early: EarlyConnection | None) -> NetworkTransport:
    """Return the connections of a run that opened this one."""
    if early is None:
        return NetworkTransport()
    early_connection._STARTED[early.place] = early
    return NetworkTransport(url=f"http://{early.place[0]}:{early.place[1]}/v1")


async def test_connection_is_given_once_to_its_own_place_and_nothing_is_sent() -> None:
    with listener() as server:
        port = server.getsockname()[1]
        early = early_to(port)
        assert await early.take(("127.0.0.1", port + 1)) is None
        found = await early.take(("127.0.0.1", port))
        assert found is not None
        assert await early.take(("127.0.0.1", port)) is None
        with found, server.accept()[0] as peer:
            peer.settimeout(0.05)
            with pytest.raises(TimeoutError):
                peer.recv(1)


async def test_connection_that_nobody_takes_is_closed_when_it_is_too_old() -> None:
    with listener() as server:
        early = early_to(server.getsockname()[1], idle_s=0.05)
        with server.accept()[0] as peer:
            peer.settimeout(5)
            assert await anyio.to_thread.run_sync(peer.recv, 1) == b""
        assert await early.take(early.place) is None


@pytest.mark.parametrize("goodbye", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_connection_that_the_server_spoke_on_or_left_is_not_used(goodbye: bytes) -> None:
    with listener() as server:
        early = early_to(server.getsockname()[1])
        with server.accept()[0] as peer:
            peer.sendall(goodbye)
            if not goodbye:
                peer.shutdown(socket.SHUT_WR)
            await anyio.sleep(0.05)
            assert await early.take(early.place) is None
            peer.settimeout(5)
            with suppress(ConnectionResetError):  # what it had said was not read
                assert peer.recv(1) == b""


async def test_place_where_nothing_listens_gives_none_at_once() -> None:
    with listener() as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    assert await early_to(port).take(("127.0.0.1", port)) is None
    assert time.monotonic() - began < 5


async def test_connection_that_comes_too_late_is_closed_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_connection, "PATIENCE_S", 0.05)
    let_go = threading.Event()
    usual = socket.create_connection

    def slow(*place: object, **more: object) -> socket.socket:
        let_go.wait(10)
        return usual(*place, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", slow)
    with listener() as server:
        early = early_to(server.getsockname()[1])
        assert await early.take(early.place) is None
        let_go.set()
        with server.accept()[0] as peer:
            peer.settimeout(5)
            assert await anyio.to_thread.run_sync(peer.recv, 1) == b""


async def early_provider(server: WireServer, early: EarlyConnection | None = None) -> OpenAIProvider:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=server.openai_url)
    provider._network.set(network_with(early or early_to(server.port)))
    return provider


async def test_first_request_takes_the_early_connection_and_the_next_keep_it(wire: Wire) -> None:
    server = wire(Answer("ok"), repeat=True)
    provider = await early_provider(server)
    assert server.books.wait(lambda books: books.connections == 1)
    for _ in range(3):
        await answer_of(provider, asked())
    await provider.aclose()
    assert (server.books.connections, len(server.books.chat_requests)) == (1, 3)


async def test_request_opens_its_own_connection_where_the_early_one_is_of_no_use(wire: Wire) -> None:
    server = wire(Answer("ok"), repeat=True)
    with listener() as other:
        provider = await early_provider(server, early_to(other.getsockname()[1], idle_s=0.05))
        await answer_of(provider, asked())
        await provider.aclose()
    assert (server.books.connections, len(server.books.chat_requests)) == (1, 1)


async def test_error_without_a_server_is_the_usual_one() -> None:
    with listener() as taken:
        port = taken.getsockname()[1]
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
    found = []
    for early in (None, early_to(port)):
        provider._network.set(network_with(early))
        with pytest.raises(ProviderError) as caught:
            await answer_of(provider, asked())
        found.append((type(caught.value), caught.value.message, caught.value.unsent, caught.value.billed))
    assert found[0] == found[1]
    assert found[0][2:] == (True, "no")


@pytest.mark.parametrize("step", [Fault(hang_up=True), Fault(reset=True)])
async def test_request_that_is_lost_on_an_early_connection_is_not_sent_again(wire: Wire, step: Fault) -> None:
    server = wire([step, Answer("again")])
    provider = await early_provider(server)
    with pytest.raises(ProviderError) as caught:
        await answer_of(provider, asked())
    await provider.aclose()
    assert (caught.value.unsent, caught.value.billed) == (False, "unknown")
    assert len(server.books.requests) == 1


async def test_tls_is_spoken_on_it_with_the_usual_trust(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):  # the client does not trust it
                tls = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=certificate.tls, standard_compatible=False
                )
                await tls.receive()
                await tls.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                await anyio.sleep(5)

    served = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = served.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
    async with anyio.create_task_group() as group:
        group.start_soon(served.serve, answer)
        request = httpx.Request("GET", f"https://127.0.0.1:{port}/")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            async with network_with(early_to(port)) as network:
                await network.handle_async_request(request)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
        early = early_to(port)
        async with network_with(early) as network:
            assert (await network.handle_async_request(request)).status_code == 204
            assert await early.take(early.place) is None, "it was taken"
        group.cancel_scope.cancel()
    await served.aclose()


def test_nothing_is_opened_to_this_host_through_a_proxy_or_to_no_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for url in (
        "http://127.0.0.1:1/v1",
        "http://localhost/v1",
        "https://api.openai.com/v1",
        "ftp://x/",
        "http://[",
        "",
    ):
        open_early(url)
        assert find(url) is None
    assert early_connection._STARTED == {}


REMOTE = "http://198.51.100.1:9/v1"  # set aside for documents: nobody answers there


@pytest.mark.parametrize(
    ("variables", "is_opened"),
    [
        ({"LLM_MODEL": "openai/gpt-4o"}, True),
        ({"LLM_MODEL": "openai/gpt-4o", "LLM_CLIENT": "litellm"}, False),
        ({"LLM_MODEL": "openai/no-price"}, False),
        ({"LLM_MODEL": "openai/o3-pro", "LLM_CLIENT": "lean"}, False),
        ({"LLM_PROVIDER": "builtin"}, False),
    ],
)
def test_run_opens_it_only_behind_the_checks_that_end_it_with_2_or_77(
    tmp_path: Path, variables: dict[str, str], is_opened: bool
) -> None:
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": REMOTE, **variables}
    loaded = load_settings(flags={}, environ=environ, cwd=tmp_path, config=None, remember=False)
    choice = choose_provider(loaded)
    with suppress(UsageError):
        check_startable(loaded, choice)
    assert find(REMOTE) is None, "a run that is only estimated opens nothing"
    with suppress(UsageError):
        make_provider(loaded, choice, CostLimit(max_cost_per_task=Decimal(1)))
    assert (find(REMOTE) is not None) is is_opened


def test_address_of_a_model_is_where_its_requests_go() -> None:
    assert reached_at(ModelFacts("openai", "gpt-4o")) == "https://api.openai.com/v1"
    assert reached_at(ModelFacts("xai", "grok-4")) == "https://api.x.ai/v1"
    assert reached_at(ModelFacts("lab", "m", base_url="https://lab.invalid/v1")) == "https://lab.invalid/v1"
