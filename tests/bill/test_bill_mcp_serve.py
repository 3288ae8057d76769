"""``agentctl mcp serve`` on the wire: its runs together spend at most its limit, and end when the host goes away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.bill.book import book_of
from tests.support.bill.nests import scopes
from tests.support.bill.parts import KEY, PENNY, TASK, assert_accounted, assert_within, reaching
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, WireRequest, WireServer

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "host", "version": "1"},
}


def environ_of(server: WireServer) -> dict[str, str]:
    return reaching(server, "openai") | {"LLM_MODEL": PENNY.model}


async def _drive(server: WireServer) -> dict[str, Any]:
    """Call the tools as a host does, by the official client; three runs at once go on for as long as they can."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    argv = ["-m", "agentctl", "mcp", "serve", "--max-cost", "0.30"]
    parameters = StdioServerParameters(command=sys.executable, args=argv, env={**os.environ, **environ_of(server)})
    # its default is what sys.stderr was when the client was loaded, which may be no file
    with Path(os.devnull).open("w") as errors:  # noqa: ASYNC230 - it is not waited for
        async with Client(stdio_client(parameters, errlog=errors)) as client:
            return await _call_all(client)


async def _call_all(client: Any) -> dict[str, Any]:  # noqa: ANN401 - of the SDK, which is loaded late
    found: dict[str, Any] = {"runs": []}

    async def run() -> None:
        given = {"task": TASK, "max_cost_usd": 0.25, "timeout_s": 60}
        found["runs"].append(await client.call_tool("run_task", given))

    found["tools"] = [tool.name for tool in (await client.list_tools()).tools]
    found["above"] = await client.call_tool("run_task", {"task": TASK, "max_cost_usd": 9})
    found["missing"] = await client.call_tool("run_task", {"task": TASK})
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(run)
    for name in ("budget", "costs", "runs_show"):
        found[name] = (await client.call_tool(name, {})).structured_content
    return found


def test_the_runs_of_a_host_share_the_limit_of_the_server(
    state: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTCTL_BUDGET_WAIT", "2s")
    server = wire(PENNY.busy, rates=PENNY.rates, keys=[KEY])
    found = anyio.run(partial(_drive, server))
    assert found["tools"] == ["run_task", "costs", "budget", "runs_show"]
    assert found["above"].is_error
    assert "max_cost_usd is 9; all runs of this server together may cost 0.30" in found["above"].content[0].text
    assert found["missing"].is_error
    book, billed = book_of(state), server.books.billed_nano
    assert_accounted(server.books, book)
    assert_within(server.books, book, 300_000_000)
    documents = [run.structured_content for run in found["runs"]]
    assert [(run.is_error, one["status"]) for run, one in zip(found["runs"], documents, strict=True)] == [
        (True, "budget")
    ] * 3
    for run, document in zip(found["runs"], documents, strict=True):
        said, breaker = run.content[0].text, document["breaker"]
        numbers = re.search(r" is \$([\d.]+)[:;] .*could make it \$([\d.]+)", said)
        assert numbers is not None, said
        assert float(numbers[1]) == breaker["ceiling"]
        assert float(numbers[2]) == pytest.approx(breaker["would_be"], abs=0.0001)
        assert "does not get free" in said
    (scope,) = (one for one, above in scopes(state).items() if above is None)
    assert scopes(state) == {scope: None, **{one["run_id"]: scope for one in documents}}
    assert scope in {one["breaker"].get("run_id") for one in documents}
    assert found["budget"]["server"]["run_id"] == scope
    assert round(found["budget"]["server"]["spent_usd"] * 10**9) == billed
    assert round(found["costs"]["total"]["usd"] * 10**9) == billed
    assert found["runs_show"]["run_id"] in {one["run_id"] for one in documents}


class Host:
    """A host that speaks to a server by hand, and goes away as it likes."""

    def __init__(self, shell: Commands, server: WireServer, **more: str) -> None:
        words = ("mcp", "serve", "--default-max-cost", "0.4")
        environ = environ_of(server) | more
        self.process = shell.start(*words, stdin=subprocess.PIPE, env=environ)
        self.ask(1, "initialize", INITIALIZE)
        assert self.answer()["result"]["serverInfo"]["name"] == "agentctl"
        self.tell("notifications/initialized", {})

    def ask(self, number: int, method: str, params: Mapping[str, object]) -> None:
        self._send({"id": number, "method": method, "params": params})

    def tell(self, method: str, params: Mapping[str, object]) -> None:
        self._send({"method": method, "params": params})

    def run(self, number: int, **more: object) -> None:
        self.ask(number, "tools/call", {"name": "run_task", "arguments": {"task": TASK, **more}})

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found = json.loads(self.process.stdout.readline())
        assert isinstance(found, dict)
        return found

    def _send(self, message: Mapping[str, object]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()


@pytest.mark.parametrize("way", ["stdin ends", "SIGTERM"])
def test_a_host_that_goes_away_stops_its_run_whose_hold_is_kept(
    shell: Commands, state: Path, wire: OpenWire, way: str
) -> None:
    server = wire(partial(PENNY.busy, stall=True), rates=PENNY.rates, keys=[KEY])
    host = Host(shell, server)
    host.run(2)
    assert server.books.wait(lambda books: len(books.entries) == 1, 50), host.process.poll()
    if way == "SIGTERM":
        host.process.send_signal(signal.SIGTERM)
        code = host.process.wait(30)
    out, err = host.process.communicate(timeout=30)
    if way == "stdin ends":
        code = host.process.returncode
    assert (code, b"Traceback" in err) == (143 if way == "SIGTERM" else 0, False), err
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    book = book_of(state)
    assert book.phases == ["doubt"]
    assert_accounted(server.books, book)
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())


def test_a_cancelled_call_stops_its_run_and_no_other(shell: Commands, state: Path, wire: OpenWire) -> None:
    server = wire(partial(PENNY.busy, stall=True), rates=PENNY.rates, keys=[KEY])
    host = Host(shell, server)
    host.run(2)
    assert server.books.wait(lambda books: len(books.entries) == 1, 50), host.process.poll()
    host.tell("notifications/cancelled", {"requestId": 2})
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    server.play([PENNY.answer("It is fine.")])
    host.run(3)
    answer = host.answer()
    assert (answer["id"], answer["result"]["structuredContent"]["answer"]) == (3, "It is fine.")
    host.process.communicate(timeout=30)
    assert (host.process.returncode, book_of(state).phases) == (0, ["doubt", "settled"])


def commanding(asked: WireRequest) -> Answer:
    """Start a command that never ends and says its id."""
    command = "echo $$ > started.tmp && mv started.tmp started && exec sleep 1000"
    return PENNY.answer("Looking.", (Call("run_shell", {"command": command}),))


def test_a_host_that_goes_away_leaves_no_process(shell: Commands, wire: OpenWire) -> None:
    server = wire(commanding, rates=PENNY.rates, keys=[KEY])
    host = Host(shell, server, AGENTCTL_ALLOW="run_shell")
    host.run(2, read_only=False, task="Run the shell command ./wait")
    started, until = shell.folder / "started", time.monotonic() + 50
    while not started.exists() and time.monotonic() < until and len(server.books.entries) < 2:
        time.sleep(0.05)
    assert started.exists(), server.books.chat_requests[-1].asked
    pid = int(started.read_text())
    host.process.communicate(timeout=30)
    assert host.process.returncode == 0
    assert not Path(f"/proc/{pid}").exists()
