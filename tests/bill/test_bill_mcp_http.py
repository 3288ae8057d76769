"""``agentctl mcp serve --http``: who may ask, and what ends a run."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PENNY, TASK, assert_accounted, reaching
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer

Started = tuple[WireServer, subprocess.Popen[bytes], str, str]


@pytest.fixture
def started(shell: Commands, wire: OpenWire, state: Path) -> Iterator[Started]:
    """A server with its address and its token."""
    server = wire(partial(PENNY.busy, stall=True), rates=PENNY.rates, keys=[KEY])
    words = ("mcp", "serve", "--http", "127.0.0.1:0", "--default-max-cost", "0.4")
    process = shell.start(*words, env=reaching(server, "openai") | {"LLM_MODEL": PENNY.model})
    assert process.stderr is not None
    said = b""
    while b"listens" not in said:
        said = process.stderr.readline()
        assert said, process.poll()
    found = re.search(r"http://\S+/mcp", said.decode())
    assert found is not None
    file = state / "mcp-serve.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    yield server, process, found[0], file.read_text().strip()
    process.kill()
    process.communicate()


def status_of(url: str, **headers: str) -> int:
    """Return the status that a request with these headers gets."""
    import httpx

    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    more = {"accept": "application/json, text/event-stream", **headers}
    return httpx.post(url, json=body, headers=more).status_code


def test_only_a_host_of_this_machine_with_the_token_is_answered(started: Started) -> None:
    _, _, url, token = started
    right = {"authorization": f"Bearer {token}"}
    assert status_of(url) == 401
    assert status_of(url, authorization="Bearer " + "0" * 64) == 401
    assert status_of(url, authorization=token) == 401
    assert status_of(url, **right, host="attacker.example:80") == 421
    assert status_of(url, **right, origin="http://attacker.example") == 403
    assert status_of(url, **right, origin="null") == 403
    assert status_of(url.removesuffix("/mcp"), **right) == 404
    assert status_of(url, **right) not in (401, 403, 404, 421)


async def _call(url: str, token: str, server: WireServer) -> None:
    """Ask for a run by the official client, and cancel the call when its first request is under way."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools][:2] == ["run_task", "costs"]
        await _until_under_way(server, client.call_tool, "run_task", {"task": TASK})


async def _close(url: str, token: str, server: WireServer) -> None:
    """Ask for a run as older hosts do, and close the connection without a word."""
    await _until_under_way(server, _ask_until_cut, url, token)


async def _until_under_way(
    server: WireServer, work: Callable[..., Coroutine[Any, Any, object]], *given: object
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(work, *given)
        heard = partial(server.books.wait, lambda books: len(books.entries) == 1, 50)
        assert await anyio.to_thread.run_sync(heard)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("leave", [_call, _close])
def test_a_host_that_closes_the_connection_stops_its_run(
    started: Started, state: Path, leave: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    server, process, url, token = started
    anyio.run(leave, url, token, server)
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, b"Traceback" in err) == (143, False), err
    book = book_of(state)
    assert book.phases == ["doubt"]
    assert_accounted(server.books, book)


def test_a_signal_ends_the_runs_of_all_hosts(started: Started, state: Path) -> None:
    server, process, url, token = started

    async def leave() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_ask_until_cut, url, token)
            heard = partial(server.books.wait, lambda books: len(books.entries) == 1, 50)
            assert await anyio.to_thread.run_sync(heard)
            process.send_signal(signal.SIGTERM)

    anyio.run(leave)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, b"Traceback" in err) == (143, False), err
    assert book_of(state).phases == ["doubt"]


async def _ask_until_cut(url: str, token: str) -> None:
    import httpx

    said: dict[str, Any] = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {token}"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    async with httpx.AsyncClient(timeout=60) as client:
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        answer = await client.post(url, json=body, headers=said)
        said["mcp-session-id"] = answer.headers["mcp-session-id"]
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await client.post(url, json=body, headers=said)
        body = {"name": "run_task", "arguments": {"task": TASK}}
        try:
            await client.post(
                url, json={"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": body}, headers=said
            )
        except httpx.TransportError:
            return


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.168.0.1:80", "example.com:80", "127.0.0.1:99999", "x"])
def test_an_address_that_others_could_reach_is_refused(address: str) -> None:
    from agentctl.cli.mcp.served_http import parse_address
    from agentctl.core.errors import UsageError

    with pytest.raises(UsageError, match="--http"):
        parse_address(address)
