"""Servers at an address: both eras of the protocol, and what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentctl.core.errors import ToolError
from agentctl.settings.mcp_values import McpOptions, McpServer
from agentctl.tools.mcp.server_group import McpConnections
from tests.support.mcp_servers.http_server import KEY, FaultyApp, serving
from tests.support.mcp_servers.opened import opened

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["events", "json"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, FaultyApp]]:
    with serving(json_response=request.param == "json") as found:
        yield found


@pytest.fixture
def app(served: tuple[str, FaultyApp]) -> FaultyApp:
    app = served[1]
    app.fault, app.heard = "", []
    return app


@pytest.fixture
def remote(served: tuple[str, FaultyApp]) -> McpServer:
    options = McpOptions(connect_timeout_s=5.0, call_timeout_s=5.0)
    return McpServer("docs", url=served[0], headers={"Authorization": f"Bearer {KEY}"}, options=options)


async def shout(servers: McpConnections, text: str) -> str:
    tool = servers.tool("docs__shout")
    assert tool is not None
    return await tool({"text": text})


@pytest.mark.parametrize(("fault", "protocol"), [("", "2026-07-28"), ("old", "2025-11-25")])
async def test_both_eras_of_the_protocol_are_spoken(
    app: FaultyApp, remote: McpServer, fault: str, protocol: str
) -> None:
    app.fault = fault
    async with opened(remote) as servers:
        assert (servers.statuses[0].protocol, servers.statuses[0].sandbox) == (protocol, None)
        assert await shout(servers, "hi") == "HI"
    assert {headers["accept-encoding"] for _, headers in app.heard} == {"identity"}
    assert "GET" not in {method for method, _ in app.heard}  # no channel for requests of the server's own


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (401, "it answers 401 Unauthorized: its key is missing or wrong"),
        (404, "it answers 404 Not Found: nothing is at its path"),
        (500, "it answers 500 Internal Server Error"),
        ("elsewhere", "it redirects (307), and redirects are not followed"),
        ("cut", "the connection was cut in the middle of an answer"),
    ],
)
async def test_a_failure_is_told_at_the_start_and_in_a_call(
    app: FaultyApp, remote: McpServer, fault: int | str, why: str
) -> None:
    app.fault, app.target = fault, remote.url + "/"
    async with opened(remote) as servers:
        assert why in servers.statuses[0].why
        assert KEY not in " ".join(servers.lines)
    app.fault = ""
    async with opened(remote) as servers:
        app.fault = fault
        with pytest.raises(ToolError, match="docs failed: ") as caught:
            await shout(servers, "hi")
        assert why in caught.value.message
        app.fault = ""
        assert await shout(servers, "again") == "AGAIN"


async def test_a_key_goes_to_no_other_origin(
    app: FaultyApp, remote: McpServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as (elsewhere, other):
        app.fault, app.target = "elsewhere", elsewhere
        async with opened(remote):
            pass
        assert other.heard == []
    assert KEY not in "".join(capfd.readouterr())


async def test_an_answer_has_a_most_length(app: FaultyApp, remote: McpServer) -> None:
    async with opened(remote) as servers:
        tool = servers.tool("docs__large")
        assert tool is not None
        with pytest.raises(ToolError, match="has more than 16 MiB"):
            await tool({})
        assert await shout(servers, "still here") == "STILL HERE"


async def test_an_address_where_nothing_answers_is_told(remote: McpServer) -> None:
    async with opened(remote._replace(url="http://127.0.0.1:9/mcp")) as servers:
        assert "docs is left out: it cannot be reached: " in servers.lines[0]
