"""The gate between a client and the network: it lets one checked request of an attempt through and reads the answer.

litellm posts again after a broken connection, and some of its routes retry whatever they are told. The gate refuses
the second request of an attempt, so there are never more requests on the wire than holds in the ledger.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import anyio
import httpcore
import httpx

from agentctl.budget.input_bound import json_bytes, text_bytes
from agentctl.core.errors import AgentctlError, Rejected
from agentctl.protocols import Outcome
from agentctl.providers.connections import NetworkTransport
from agentctl.providers.stream_readers import UsageReader
from agentctl.providers.wires.exchange import Body
from agentctl.providers.wires.server_sent_events import AnswerTooLong, Event, JsonEvents, ServerSentEventDecoder

CONNECT_S = 15.0
WRITE_S = 60.0
LATE_S = 10.0  # how long after the end of the answer its usage may come
COUNTED_S = 1.0  # the same once the usage of the whole came in an event of its own
_NO_LOSS = (httpx.HTTPError, httpx.StreamError, AnswerTooLong)  # behind the end of an answer
END_S = 0.25  # how long to wait for the end of the body after that, so that the connection can be reused
ERROR_S = 10.0  # how long the body of an error may take, as its status is known already
MOST_ERROR_BYTES = 256 * 1024
FREE_BY_STATUS = frozenset({401, 402, 403, 404, 405, 407})  # with any body; every redirect is free, too
_EVENTS_BEFORE_REQUEST = ("connection.", "proxy.", "socks.", "http11.response_closed")  # httpcore's: DNS, TCP, TLS
_ENDS = {mark.encode(): b"\\u%04x" % ord(mark) for mark in "\x85\u2028\u2029"} | {b"[DONE]": b"[DON\\u0045]"}
_NULL_DELTA = re.compile(rb'(?<!\\)"delta":\s*null')  # it fails on this one
#: Headers by which a library identifies the user, perhaps with the key of another provider from the environment.
_IDENTIFYING = (
    *("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "anthropic-version"),
    *("openai-organization", "openai-project"),
)
_CLAMPS = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "num_predict", "max_new_tokens"}
)


class RequestTerms(NamedTuple):
    """The terms for a request to pass the gate: its output clamp, size and address, and whether it asks for usage.

    ``auth`` are the only headers that may identify the user, None: the library's. ``is_late``: it may leave no more.
    """

    max_output_tokens: int
    most_bytes: int
    base_url: str
    asks_for_usage: bool
    auth: Mapping[str, str] | None = None
    is_late: Callable[[], bool] = bool


class Attempt:
    """One attempt on the wire and its outcome.

    ``sent``: the request was passed to the network. ``ended``: the whole answer came. ``body`` is the body of an
    answer other than 2xx, limited in size and to ``error_s`` seconds, or the beginning of one without events.
    ``broken`` is the error of the connection. An event is parsed once: the reader gets it, and it waits in ``events``
    (None: it holds no JSON object). Without a ``decoder`` the client parses the bytes itself, too. ``written`` is the
    request that the client is going to send, if it is ours; ``names`` are the fields of the one that was sent.
    ``on_life`` is called whenever a line of the answer ends, also one that no client hands on, such as a comment.
    """

    def __init__(
        self,
        terms: RequestTerms,
        reader: UsageReader,
        *,
        error_s: float = ERROR_S,
        decoder: JsonEvents | None = None,
    ) -> None:
        self.terms, self.reader, self.error_s = terms, reader, error_s
        self.decoder = decoder or JsonEvents(ServerSentEventDecoder())
        self.gives_bytes = decoder is None
        self.written: Body | None = None
        self.names: frozenset[str] = frozenset()
        self.events: deque[Event | None] = deque()
        self.on_life: Callable[[], object] | None = None
        self.sent = self.ended = self.withdrawn = False
        self._traced = self._departed = self._in_tunnel = self._unwritable = False
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self.broken: Exception | None = None
        self.refusal: AgentctlError | None = None
        self._tap: _TappedBody | None = None
        self._late = 0.0
        self._opened: httpcore.AsyncNetworkStream | None = None

    @property
    def is_error(self) -> bool:
        """Whether the answer is a redirect or an error document."""
        return self.status is not None and not 200 <= self.status < 300

    @property
    def is_free_refusal(self) -> bool:
        """Whether the status alone says that nothing was billed: a redirect, a wrong key, no credit, not found."""
        return self.status is not None and (300 <= self.status < 400 or self.status in FREE_BY_STATUS)

    @property
    def connected(self) -> bool:
        """Whether a byte of the request may have left; True where the network does not report its steps."""
        return self.sent and not self._unwritable and (self._departed or not self._traced)

    @property
    def in_tunnel(self) -> bool:
        """Whether a proxy was asked for a connection, and the request itself has not left."""
        return self._in_tunnel and not self._departed

    def withdraw(self) -> Outcome:
        """Stop the request from leaving; return its outcome: unsent, refused or unknown."""
        self.withdrawn = True
        if not self.connected:
            return "unsent"
        return "refused" if self.is_free_refusal else "unknown"

    def hand_over(self, *, traced: bool) -> None:
        """Record that the request goes to the network; ``traced``: that network is known to report each step."""
        self.sent, self._traced = True, traced

    def trace(self, event: str, about: Mapping[str, Any]) -> None:
        """Record a step of the network by httpcore's name: from the first byte of the headers on it may have left.

        An event that is not known to come before that byte counts as that byte.

        Raises:
            httpx.ConnectError: the request was withdrawn before that byte, which is not sent.
        """
        self._traced = True
        if event == "http11.send_request_headers.failed":  # of a tunnel or not: headers that HTTP forbids are not sent
            self._unwritable = type(about.get("exception")).__name__ == "LocalProtocolError"
        if self._departed:
            return
        if event.endswith("connect_tcp.complete"):
            self._opened = about.get("return_value")
        request = about.get("request")
        if request is not None:
            self._in_tunnel = request.method == b"CONNECT"  # this goes to a proxy, without the key and the conversation
        if event.startswith(_EVENTS_BEFORE_REQUEST) or self._in_tunnel:
            return
        if self.withdrawn or self.terms.is_late():
            raise httpx.ConnectError("the request was withdrawn")
        self._departed = True

    def fail(self, error: Exception) -> None:
        """Record the network's error before an answer began; one of ours is a refusal."""
        self.broken, self.refusal = error, error if isinstance(error, AgentctlError) else self.refusal
        self._traced = self._traced or isinstance(error, _UNSENT)

    async def read_late(self) -> bool:
        """Read on after the answer's end, as its usage may follow, or more of it; return whether anything came.

        This takes ``LATE_S`` in all. What breaks off now is no loss: the answer is complete, and paid for.
        """
        now, counted = anyio.current_time(), self.reader.has_counted
        self.on_life = None  # what follows the answer keeps nothing alive
        self._late = min(self._late or now + LATE_S, now + (COUNTED_S if counted else LATE_S))
        if self._tap is None or self.ended or self.reader.over:
            return False
        with suppress(*_NO_LOSS), anyio.move_on_after(self._late - now, shield=counted):
            return await anext(self._tap, None) is not None
        return False

    async def finish(self) -> None:
        """Read what the client left of the body, shielded near its end, so that the cost is not in doubt."""
        while await self.read_late():
            self.events.clear()  # nobody takes them any more
        if self._tap is None or self.ended:
            return
        with suppress(*_NO_LOSS), anyio.move_on_after(END_S, shield=self.reader.over or self.reader.has_counted):
            async for _ in self._tap:
                self.events.clear()

    def read(self, data: bytes) -> None:
        """Read the next bytes of the answer along.

        Raises:
            AnswerTooLong: a line has no end.
        """
        self._take(self.decoder.feed(data))

    def close(self) -> None:
        """Record that the whole answer came, and read its last event, if nothing has ended that."""
        if self.ended:
            return
        self.ended = True
        self._take(self.decoder.close())

    def fail_midway(self, error: Exception) -> None:
        """Record that the answer broke off, and read what came of its last event: a usage in it was reported."""
        self.broken = self.broken or error
        if not self.is_error:
            with suppress(AnswerTooLong):
                self._take(self.decoder.close())

    def _take(self, events: list[Event | None]) -> None:
        for event in events:
            if event is not None:
                self.reader.read(event)
        self.events += events
        self.reader.over = self.reader.over or self.decoder.over

    async def hang_up(self) -> None:
        """Close the connection unless the whole answer came."""
        if self._tap is not None:
            await self._tap.aclose()
        elif self._opened is not None and not self.connected:
            await self._opened.aclose()  # a handshake that is cancelled leaves it open

    def wrap_response(self, response: httpx.Response) -> httpx.Response:
        """Return the response with a body that the attempt's reader reads along."""
        self.status, self.headers = response.status_code, response.headers
        coding = response.headers.pop("content-encoding", "")  # the request asked for none: it is decoded here
        self._tap = _TappedBody(response.stream, self, coding)  # type: ignore[arg-type] # of an async transport: an async stream
        return httpx.Response(
            response.status_code, headers=response.headers, stream=self._tap, extensions=response.extensions
        )


_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class Gate(httpx.AsyncBaseTransport):
    """Lets one request through to ``network`` and refuses one that breaks the attempt's terms."""

    def __init__(self, network: httpx.AsyncBaseTransport, attempt: Attempt) -> None:
        self._network, self._attempt = network, attempt

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Check the request and pass it to the network.

        Raises:
            httpx.ConnectError: refused; ``attempt.refusal`` says why, unless it was the attempt's second request.
        """
        attempt = self._attempt
        if attempt.sent or attempt.withdrawn:
            raise httpx.ConnectError("an attempt is one request; a second one is not sent", request=request)
        why_not = _find_breach(request, await request.aread(), attempt)
        if why_not is not None:
            whose = "a request of litellm" if attempt.written is None else "its own request"
            attempt.refusal = Rejected(
                f"agentctl refused to send {whose}: {why_not}",
                hint="choose another model, and please report this",
                billed="no",
                unsent=True,
            )
            raise httpx.ConnectError(why_not, request=request)
        if attempt.terms.auth is not None:
            for name in _IDENTIFYING:
                request.headers.pop(name, None)
            request.headers.update(attempt.terms.auth)
        request.headers["accept-encoding"] = "identity"  # so that the answer can be read along
        request.extensions["timeout"] = {"connect": CONNECT_S, "pool": CONNECT_S, "write": WRITE_S, "read": None}
        request.extensions["trace"] = self._trace
        attempt.hand_over(traced=isinstance(self._network, NetworkTransport) and self._network.traced)
        try:
            return attempt.wrap_response(await self._network.handle_async_request(request))
        except Exception as error:
            attempt.fail(error)
            raise

    async def _trace(self, event: str, about: Mapping[str, Any]) -> None:
        """Record one step of the network; httpcore awaits this before it goes on."""
        if isinstance(self._network, NetworkTransport):
            self._network.traced = True
        self._attempt.trace(event, about)


class _TappedBody(httpx.AsyncByteStream):
    """The body of an answer, which the attempt's reader reads along."""

    def __init__(self, stream: httpx.AsyncByteStream, attempt: Attempt, coding: str) -> None:
        self._stream, self._attempt, self._coding = stream, attempt, coding
        self._is_first = True
        self._pieces = stream.__aiter__()
        self._rest = b""
        self._until = anyio.current_time() + attempt.error_s

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        attempt = self._attempt
        try:
            while True:
                piece = await self._next()
                self._read_along(piece)
                if attempt.is_error or not attempt.gives_bytes:
                    return piece
                whole, end, self._rest = (self._rest + piece).rpartition(b"\n")
                if end:
                    return b"\n".join(map(_for_litellm, whole.split(b"\n"))) + end
        except StopAsyncIteration:
            attempt.close()
            if self._rest:
                rest, self._rest = self._rest, b""
                return _for_litellm(rest)
            raise
        except (httpx.HTTPError, AnswerTooLong, TimeoutError) as error:
            attempt.fail_midway(error)
            raise

    async def _next(self) -> bytes:
        piece = await self._next_raw()
        if self._is_first and piece:
            self._is_first = False
            if self._coding or piece.startswith(b"\x1f"):  # gzip; no text begins so
                from agentctl.providers.content_coding import PlainBody  # noqa: PLC0415 - few servers do this

                self._pieces = PlainBody(piece, self._pieces, self._coding)
                return await self._next_raw()
        return piece

    async def _next_raw(self) -> bytes:
        if not self._attempt.is_error:
            return await anext(self._pieces)
        with anyio.fail_after(self._until - anyio.current_time()):
            return await anext(self._pieces)

    def _read_along(self, piece: bytes) -> None:
        attempt = self._attempt
        if attempt.on_life is not None and b"\n" in piece:
            attempt.on_life()
        if not attempt.is_error:
            attempt.read(piece)
            attempt.body = attempt.body or (b"" if attempt.reader.events else piece[:MOST_ERROR_BYTES])
            return
        attempt.body += piece
        if len(attempt.body) > MOST_ERROR_BYTES:
            raise AnswerTooLong("the error document has no end")

    async def aclose(self) -> None:
        await self._stream.aclose()


def _for_litellm(line: bytes) -> bytes:
    """Return a line of an answer with every other line end and ``[DONE]`` inside it escaped.

    litellm splits lines where Python does, and takes ``[DONE]`` anywhere in a line for the end of the stream.
    """
    line = line.removeprefix(b"\xef\xbb\xbf")  # with this mark of the byte order it loses the event
    if line.strip().removeprefix(b"data:").strip() == b"[DONE]":
        return line
    for raw, escaped in _ENDS.items():
        line = line.replace(raw, escaped)
    return _NULL_DELTA.sub(b'"delta":{}', line)


def _find_breach(request: httpx.Request, body: bytes, attempt: Attempt) -> str | None:
    """Return which of the attempt's terms a request breaks, or None.

    The bytes are parsed, unless they are those that were written from a content that is known.
    """
    terms, written = attempt.terms, attempt.written
    content: Any = None
    if written is not None and written.data == body:
        content = written.content
    else:
        with suppress(ValueError):
            content = json.loads(body)
    if request.method != "POST" or not isinstance(content, dict):
        return "it is not a JSON POST"
    marks = ("cache_control",) if b'"cache_control"' in body else ()
    attempt.names = frozenset(content).union(content.get("options") or (), marks)
    own = httpx.URL(terms.base_url)
    if terms.base_url and (request.url.scheme, request.url.netloc) != (own.scheme, own.netloc):
        return f"it goes to {request.url.host}"
    found = list(_clamps(content))
    if not found or any(value != terms.max_output_tokens or isinstance(value, bool) for value in found):
        return f"it asks for {found or 'any number of'} output tokens, {terms.max_output_tokens} were granted"
    if content.get("n", 1) != 1:
        return "it asks for more than one answer"
    if terms.asks_for_usage and (content.get("stream_options") or {}).get("include_usage") is not True:
        return "it does not ask for the usage"
    is_text = written is not None and content is written.content and not written.is_escaped
    size = text_bytes(body.decode()) if is_text else json_bytes(content)
    return f"it weighs {size} bytes, {terms.most_bytes} were bounded" if size > terms.most_bytes else None


def _clamps(body: Mapping[str, object]) -> list[object]:
    """Return every number in a request that limits its output: at the top level or among its options."""
    places = [body, body.get("options"), body.get("generationConfig"), body.get("generation_config")]
    return [
        value
        for place in places
        if isinstance(place, dict)
        for name, value in place.items()
        if name in _CLAMPS and value is not None
    ]
