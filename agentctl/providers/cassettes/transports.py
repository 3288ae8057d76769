"""The transports of a cassette, behind the gate that every request passes: one records what comes, one gives it back.

Bodies are recorded decoded. httpx takes a while to load: import this module only when something is to be sent.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx

from agentctl.providers.cassettes.cassette_file import Line, chunks_of
from agentctl.providers.connection_errors import root_causes
from agentctl.providers.connections import NetworkTransport
from agentctl.providers.content_coding import PlainBody
from agentctl.settings.host import proxy_for

if TYPE_CHECKING:
    from agentctl.providers.cassettes.recording import RecordedAttempt, RecordingNetwork
    from agentctl.providers.cassettes.replaying import ReplayNetwork

_GZIP = b"\x1f"  # no text begins so


class StandStill(httpx.ReadTimeout):
    """The recorded answer stops here, as its client went away; ``outcome`` is what that was to the client."""

    def __init__(self, outcome: Exception) -> None:
        super().__init__("the recorded answer stops here")
        self.outcome = outcome


class RecordingTransport(NetworkTransport):
    """The connections of one provider, of whose answers a recording is made."""

    def __init__(self, url: str, network: RecordingNetwork) -> None:
        plain = httpx.URL(url).scheme == "http"
        super().__init__(verify=not plain, proxy=proxy_for(url), url=url)
        self._recorder = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and record its answer, or why there is none."""
        attempt = self._recorder.begin(request.content)
        try:
            response = await super().handle_async_request(request)
        except Exception as error:
            attempt.fail(described(error))
            raise
        except BaseException:
            attempt.close()
            raise
        coding = response.headers.pop("content-encoding", "")
        attempt.answer(response.status_code, response.headers)
        body = _RecordedBody(response.stream, attempt, coding)  # type: ignore[arg-type] # an async transport's
        return httpx.Response(
            response.status_code, headers=response.headers, stream=body, extensions=response.extensions
        )


class _RecordedBody(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, attempt: RecordedAttempt, coding: str) -> None:
        self._stream, self._attempt, self._coding = stream, attempt, coding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        try:
            first = await anext(pieces, b"")
            if first and (self._coding or first.startswith(_GZIP)):
                pieces = PlainBody(first, pieces, self._coding)
            elif first:
                self._attempt.add(first)
                yield first
            async for piece in pieces:
                self._attempt.add(piece)
                yield piece
        except Exception as error:
            self._attempt.fail(described(error))
            raise
        self._attempt.end()

    async def aclose(self) -> None:
        self._attempt.close()
        await self._stream.aclose()


class ReplayTransport(httpx.AsyncBaseTransport):
    """Answers from a cassette, and opens no connection."""

    def __init__(self, network: ReplayNetwork) -> None:
        self._cassette = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the recorded answer to a request, or raise the recorded error.

        Raises:
            CassetteError: it was not recorded.
        """
        began = time.monotonic()
        found = self._cassette.take(request.content)
        if found.line["status"] is None:
            await _wait_until(began, found.line.get("end_ms"), found.waits)
            raise StandStill(found.outcome) if found.is_cut else rebuilt(found.line)
        headers: Any = found.line["headers"]
        status: Any = found.line["status"]
        await _wait_until(began, found.line.get("answered_ms"), found.waits)
        return httpx.Response(status, headers=headers, stream=_ReplayedBody(found, began), request=request)


class Found:
    """A recorded attempt as it is replayed: ``waits`` for what came when it came; ``outcome`` of one that was cut."""

    def __init__(self, line: Line, *, waits: bool, outcome: Exception) -> None:
        self.line, self.waits, self.outcome = line, waits, outcome

    @property
    def is_cut(self) -> bool:
        """Whether its client went away before the end."""
        return self.line["end"] == "closed"


class _ReplayedBody(httpx.AsyncByteStream):
    def __init__(self, found: Found, began: float) -> None:
        self._found, self._began = found, began

    async def __aiter__(self) -> AsyncIterator[bytes]:
        found = self._found
        for chunk in chunks_of(found.line):
            if chunk is not None:
                await _wait_until(self._began, chunk.ms, found.waits)
                yield chunk.data
        await _wait_until(self._began, found.line.get("end_ms"), found.waits)
        if found.is_cut:
            raise StandStill(found.outcome)
        if found.line["end"] == "error":
            raise rebuilt(found.line)

    async def aclose(self) -> None:
        pass


async def _wait_until(began: float, ms: object, waits: bool) -> None:
    if waits and isinstance(ms, int):
        await anyio.sleep(max(0.0, began + ms / 1000 - time.monotonic()))
    else:
        await anyio.lowlevel.checkpoint()


def described(error: Exception) -> dict[str, object]:
    """Return an error of the network as a cassette keeps it, with the errors behind it."""
    causes = [cause for cause in root_causes(error) if cause is not error]
    return {"type": _name(error), "text": str(error), "causes": [_cause(cause) for cause in causes]}


def _name(error: BaseException) -> str:
    return type(error).__name__


def _cause(error: BaseException) -> dict[str, object]:
    facts = {"type": _name(error), "text": getattr(error, "strerror", None) or str(error)}
    for name in ("errno", "reason", "verify_code", "verify_message"):
        if isinstance(value := getattr(error, name, None), int | str):
            facts[name] = value
    return facts


def rebuilt(line: Line) -> Exception:
    """Return the error of the network that a cassette keeps of an attempt."""
    facts: Any = line.get("error")
    facts = facts if isinstance(facts, Mapping) else {}
    kind = getattr(httpx, str(facts.get("type")), None)
    is_error = isinstance(kind, type) and issubclass(kind, httpx.TransportError | httpx.StreamError)
    error: Exception = (kind if is_error and kind is not None else httpx.ReadError)(str(facts.get("text", "")))
    listed = facts.get("causes")
    causes = (
        [_rebuilt_cause(cause) for cause in listed if isinstance(cause, Mapping)] if isinstance(listed, list) else []
    )
    if causes:
        error.__cause__ = causes[0] if len(causes) == 1 else ExceptionGroup("all of them failed", causes)
    return error


def _rebuilt_cause(facts: Mapping[str, object]) -> Exception:
    kind, text, number = str(facts.get("type")), str(facts.get("text", "")), facts.get("errno")
    number = number if isinstance(number, int) else 0
    error: Exception
    match kind:
        case "gaierror":
            return socket.gaierror(number, text)
        case "SSLCertVerificationError":
            error = ssl.SSLCertVerificationError(number, text)
        case _ if kind.startswith("SSL"):
            error = ssl.SSLError(number, text)
        case "TimeoutError":
            return TimeoutError(text)
        case _ if number:
            return OSError(number, text)
        case _:
            named = getattr(httpx, kind, None)
            is_error = isinstance(named, type) and issubclass(named, httpx.TransportError)
            return (named if is_error and named is not None else httpx.TransportError)(text)
    for name in ("reason", "verify_code", "verify_message"):
        with contextlib.suppress(AttributeError):
            setattr(error, name, facts.get(name))
    return error
