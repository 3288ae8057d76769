"""Speak the Model Context Protocol with a host on stdin and stdout, by the official SDK.

Both descriptors are kept aside: what else reads stdin finds its end, and what else writes to stdout, a child too,
writes to stderr. Neither a host that says nothing nor one that does not read keeps the server from ending.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token

from agentctl.cli.mcp.served_arguments import ServedToolSpec
from agentctl.cli.mcp.served_tools import ServedResult, ServedTools
from agentctl.core.trace_context import TRACE_PARENT, TRACE_STATE, current_trace, read_trace_context
from agentctl.core.version import __version__

MOST_BYTES = 16 * 1024 * 1024  # of a message
_PIECE = select.PIPE_BUF  # a pipe that can be written takes so much at once
_LOOK_MS = 200


async def serve_stdio(tools: ServedTools, wire: Wire) -> None:
    """Serve one host until it goes away: calls that are under way are cancelled, each of which ends its run."""
    await anyio.to_thread.run_sync(_load)
    from mcp.server.stdio import stdio_server

    server = make_server(tools)
    with anyio.CancelScope() as scope:
        lines, out = _Lines(wire.stdin), _Out(wire.stdout, scope.cancel)
        try:
            async with stdio_server(lines, out) as (received, sent):  # type: ignore[arg-type]  # all that it needs
                await server.run(received, sent, server.create_initialization_options())
        finally:
            out.stop()


def make_server(tools: Served) -> Any:  # noqa: ANN401 - a type of the extra
    """Return the SDK's server of ``tools``."""
    from mcp import types
    from mcp.server.lowlevel import Server

    def described(spec: ServedToolSpec) -> types.Tool:
        hints = types.ToolAnnotations(read_only_hint=spec.only_reads)
        return types.Tool(
            name=spec.name, description=spec.description, input_schema=dict(spec.parameters), annotations=hints
        )

    async def list_tools(context: object, params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[described(spec) for spec in tools.specs])

    async def call_tool(context: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        meta = params.meta or {}
        parent, state = (meta.get(name.lower()) for name in (TRACE_PARENT, TRACE_STATE))
        if isinstance(parent, str):  # the call has a task of its own
            current_trace.set(read_trace_context(parent, state if isinstance(state, str) else ""))
        result = await tools.call(params.name, params.arguments or {})
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=text) for text in result.texts],
            structured_content=None if result.document is None else dict(result.document),
            is_error=bool(result.error),
        )

    return Server("agentctl", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


class Served(Protocol):
    """What answers the calls of hosts."""

    specs: tuple[ServedToolSpec, ...]

    async def call(self, name: str, given: Mapping[str, Any]) -> ServedResult:
        """Return the result of one call."""
        ...


class Wire(NamedTuple):
    """The descriptors that lead to the host."""

    stdin: int
    stdout: int


@contextmanager
def kept_aside() -> Iterator[Wire]:
    """Keep stdin and stdout aside for the protocol, and give them back at the end."""
    wire = Wire(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        yield wire
    finally:
        os.close(nothing)
        os.dup2(wire.stdin, 0)
        os.dup2(wire.stdout, 1)
        os.close(wire.stdout)  # the other one may still be waited for, by a thread that ends with the process


class _Lines:
    """The lines from a descriptor, which a thread waits for: it may be a pipe, a terminal or a file."""

    def __init__(self, file: int) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[str](0)
        reader = threading.Thread(target=self._read, args=(file, current_token()), name="MCP host", daemon=True)
        reader.start()

    def _read(self, file: int, token: EventLoopToken) -> None:
        pending = b""
        with suppress(Exception):  # the event loop has ended
            with suppress(OSError):
                while len(pending) <= MOST_BYTES and (piece := os.read(file, 65_536)):
                    *lines, pending = (pending + piece).split(b"\n")
                    for line in lines:
                        anyio.from_thread.run(self._send.send, line.decode(errors="replace"), token=token)
            anyio.from_thread.run(self._send.aclose, token=token)

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class _Out:
    """Writes to a descriptor; ``lost`` is called when nobody reads it any more."""

    def __init__(self, file: int, lost: Callable[[], None]) -> None:
        self._file, self._lost = file, lost
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let a write that waits for its reader end."""
        self._stopped.set()

    async def write(self, text: str) -> None:
        """Write a message."""
        write = partial(self._write, text.encode(errors="replace"))
        try:
            await anyio.to_thread.run_sync(write, abandon_on_cancel=True)
        except OSError:
            self._lost()

    async def flush(self) -> None:
        """Do nothing: what is written is on its way."""

    def _write(self, data: bytes) -> None:
        ready, left = select.poll(), memoryview(data)
        ready.register(self._file, select.POLLOUT)
        while left and not self._stopped.is_set():
            if ready.poll(_LOOK_MS):
                left = left[os.write(self._file, left[:_PIECE]) :]


def _load() -> None:
    for name in ("mcp.server.lowlevel", "mcp.server.stdio"):
        import_module(name)
