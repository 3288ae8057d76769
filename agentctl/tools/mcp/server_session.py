"""One connected MCP server: open it, list its tools, call them, and say why it ended. It is served by a task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import PurePath
from typing import Any, Protocol, cast

import anyio
from anyio.abc import TaskStatus
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
    Tool,
)
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context
from pydantic import TypeAdapter, ValidationError

from agentctl.core.errors import AgentctlError, ToolError
from agentctl.core.text import safe_text
from agentctl.core.trace_context import current_trace, trace_variables
from agentctl.core.version import __version__
from agentctl.settings.mcp_values import McpServer
from agentctl.tools.mcp.call_results import text_of
from agentctl.tools.mcp.catalogue import MOST_TOOLS, SaidTool
from agentctl.tools.mcp.http_endpoint import http_client
from agentctl.tools.mcp.line_transport import MOST_LINE_BYTES, ServerPipes, Streams, TransportNotes, line_streams

_MOST_PAGES = 100
_TO_END_S = 0.5
_NOT_FOUND = 127  # a shell's exit code for a program that it does not find
_LONGEST_SAID = 300  # characters of a server's own words in a message
_FETCHERS = frozenset({"npx", "pnpx", "bunx", "uvx", "uv", "pipx"})
_RESULT: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(CallToolResult | InputRequiredResult)


class RunningServer(ServerPipes, Protocol):
    """The process of a server in the sandbox."""

    @property
    def stderr_tail(self) -> str:
        """The end of what it wrote to stderr."""
        ...

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        ...


StartServer = Callable[[McpServer], AbstractAsyncContextManager[RunningServer]]
"""Starts the process of a stdio server in the sandbox; leaving the context ends all its processes."""


class ConnectFailed(Exception):
    """A server could not be connected, for the reason in its text; ``is_late``: it took too long."""

    def __init__(self, why: str, *, is_late: bool = False) -> None:
        super().__init__(why)
        self.is_late = is_late


class ServerSession:
    """A server while a run uses it; ``start`` starts a stdio server. ``tools`` are in the server's own words.

    ``is_whole`` is False if there were more tools than are read. ``asked`` are the requests of the server to us, which
    were refused.
    """

    def __init__(self, server: McpServer, *, start: StartServer) -> None:
        self.server = server
        self.tools: tuple[SaidTool, ...] = ()
        self.is_whole = True
        self.protocol: str | None = None
        self._start = start
        self._notes = TransportNotes()
        self._process: RunningServer | None = None
        self._session: ClientSession | None = None
        self._closing = anyio.Event()
        self._ended = anyio.Event()

    @property
    def asked(self) -> tuple[str, ...]:
        """The methods that the server called, sorted."""
        return tuple(sorted(self._notes.asked))

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Connect, report that as started, and stay until ``close``.

        Raises:
            ConnectFailed: before it was started.
        """
        options, is_connected = self.server.options, False
        client_info = Implementation(name="agentctl", version=__version__)
        try:
            async with (
                self._streams() as (read, write),
                ClientSession(read, write, client_info=client_info) as session,
            ):
                with anyio.move_on_after(options.connect_timeout_s):
                    await self._connect(session, options.connect_timeout_s / 2)
                    await self._list(session)
                    is_connected = True
                if is_connected:
                    self._session, self.protocol = session, session.protocol_version
                    task_status.started()
                    await self._closing.wait()
        except Exception as error:
            if not is_connected:
                raise ConnectFailed(self._with_advice(self._why(error))) from error
        finally:
            self._session = None
            self._ended.set()
        if not is_connected:
            waited = f"it was not ready within {options.connect_timeout_s:g} s{self._skipped()}"
            raise ConnectFailed(self._with_advice(self._with_stderr(waited)), is_late=True)

    async def close(self) -> None:
        """End the server, and wait until all its processes are gone."""
        self._closing.set()
        await self._ended.wait()

    async def call(self, name: str, arguments: Mapping[str, object], *, on_progress: ProgressFnT | None = None) -> str:
        """Call a tool by the server's own name for it, and return the text of its result.

        Raises:
            ToolError: it failed, it took too long, or the server is gone.
        """
        server, session, options = self.server.name, self._session, self.server.options
        if session is None:
            raise ToolError(self._end_of(server), hint="continue without it")
        meta = cast("Any", {name.lower(): value for name, value in trace_variables().items()} or None)
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=dict(arguments), _meta=meta))
        try:
            with _within_current_span():
                result = await session.send_request(request, _RESULT, options.call_timeout_s, None, on_progress)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                await self._wait_for_end()
            raise self._call_error(error) from error
        except ValidationError as error:
            said = f"{server} answered in a form that the protocol does not have"
            raise ToolError(said, hint="continue without this tool") from error
        except RecursionError as error:
            raise ToolError(f"{server} answered in too many levels", hint="continue without this tool") from error
        if isinstance(result, InputRequiredResult):
            hint = "give it what it needs as arguments, or continue without it"
            raise ToolError(f"{server} asks for input in the middle of the call, and agentctl gives it none", hint=hint)
        text = text_of(result)
        if result.is_error:
            raise ToolError(text or "the tool failed, and does not say why")
        return text or "(no output)"

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Streams]:
        if self.server.is_remote:
            async with (
                http_client(self.server, self._notes) as client,
                streamable_http_client(
                    self.server.url, http_client=client, max_sse_event_size=MOST_LINE_BYTES
                ) as streams,
            ):
                yield streams
            return
        async with self._start(self.server) as self._process, line_streams(self._process, self._notes) as lines:
            yield lines

    async def _connect(self, session: ClientSession, patience: float) -> None:
        """Agree on a protocol: by ``server/discover``, or by the handshake of before, if that is not answered well."""
        for _ in range(2):
            with anyio.move_on_after(patience):
                try:
                    await session.discover()
                    return
                except (MCPError, RuntimeError, ValidationError) as error:
                    if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
                        raise
            try:
                await session.initialize()
                return
            except MCPError as error:
                if error.code != UNSUPPORTED_PROTOCOL_VERSION:  # else it has answered the first question meanwhile
                    raise
        raise ConnectFailed("it speaks no version of the protocol that agentctl speaks")

    async def _list(self, session: ClientSession) -> None:
        found: list[SaidTool] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            found += map(_said, page.tools[: MOST_TOOLS + 1 - len(found)])
            cursor = page.next_cursor
            if not cursor or len(found) > MOST_TOOLS:
                break
        self.tools, self.is_whole = tuple(found[:MOST_TOOLS]), len(found) <= MOST_TOOLS and not cursor

    async def _wait_for_end(self) -> None:
        """Wait a moment for the exit code of a process whose pipe is closed."""
        with anyio.move_on_after(_TO_END_S):
            while self._process is not None and self._process.exit_code is None:  # noqa: ASYNC110 - no event tells
                await anyio.sleep(0.01)

    def _call_error(self, error: MCPError) -> AgentctlError:
        server, options = self.server.name, self.server.options
        if error.code == REQUEST_TIMEOUT:
            said = f"{server} did not answer within {options.call_timeout_s:g} s{self._skipped()}"
            said = f"{said}; what it began may still go on"
            return ToolError(said, hint="ask for less at once, or look at what it has done")
        if self._notes.fault:
            return ToolError(f"{server} failed: {self._notes.fault}", hint="continue without it")
        if error.code == CONNECTION_CLOSED:
            return ToolError(self._end_of(server), hint="continue without it")
        return ToolError(f"{server} refused the call: {_short(error.message)}")

    def _end_of(self, server: str) -> str:
        return self._with_stderr(f"{server} has ended{self._fault()}")

    def _fault(self) -> str:
        if self._notes.fault:
            return f": {self._notes.fault}"
        code = None if self._process is None else self._process.exit_code
        if code == _NOT_FOUND and not self.tools:
            return f": {_short(self.server.command)} is not there, or is hidden in the sandbox (see sandbox_read)"
        return "" if code is None else f" (exit {code})"

    def _skipped(self) -> str:
        return f" ({self._notes.skipped} lines of its stdout are no JSON-RPC)" if self._notes.skipped else ""

    def _with_stderr(self, said: str) -> str:
        tail = "" if self._process is None else _short(self._process.stderr_tail, from_end=True)
        return f"{said}; its last words: {tail}" if tail else said

    def _with_advice(self, said: str) -> str:
        """Return why a server could not be connected, and what to do if its program has to be fetched first."""
        name, options = PurePath(self.server.command).name, self.server.options
        if name not in _FETCHERS or options.network or options.sandbox == "none":
            return said
        return f'{said}; {name} fetches it at each start: install it and name its program, or set "network": true'

    def _why(self, error: BaseException) -> str:
        """Return why a server could not be connected."""
        cause = _first(error)
        if isinstance(cause, ConnectFailed):
            return str(cause)
        if isinstance(cause, AgentctlError):
            return f"{cause.message} ({cause.hint})" if cause.hint else cause.message
        if self._notes.fault:
            return self._with_stderr(self._notes.fault)
        if isinstance(cause, MCPError) and cause.code != CONNECTION_CLOSED:
            return f"it refuses the connection: {_short(cause.message)}"
        if isinstance(cause, MCPError):
            return self._with_stderr(f"it ended at once{self._fault()}")
        if isinstance(cause, ValidationError):
            return "it answers in a form that the protocol does not have"
        return self._with_stderr(f"{type(cause).__name__}: {_short(str(cause))}")


def _said(tool: Tool) -> SaidTool:
    claims = tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
    schema: Any = tool.input_schema
    return SaidTool(tool.name, tool.description or "", schema, claims, tool.output_schema)


@contextmanager
def _within_current_span() -> Iterator[None]:
    """Let the SDK, which writes a parent of its own into ``_meta`` if it finds one, find the current span."""
    current = current_trace.get()
    if current is None:
        yield
        return
    flags = TraceFlags(TraceFlags.SAMPLED if current.is_sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([current.state]) if current.state else None
    context = SpanContext(int(current.trace_id, 16), int(current.span_id, 16), True, flags, state)
    token = attach(set_span_in_context(NonRecordingSpan(context)))
    try:
        yield
    finally:
        detach(token)


def _first(error: BaseException) -> BaseException:
    """Return the first error in groups of them: the transports run in groups of tasks."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _short(text: str, *, from_end: bool = False) -> str:
    line = " ".join(safe_text(text).split())
    if len(line) <= _LONGEST_SAID:
        return line
    return f"…{line[-_LONGEST_SAID + 1 :]}" if from_end else f"{line[: _LONGEST_SAID - 1]}…"
