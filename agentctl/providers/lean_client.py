"""Send requests over httpx in the wire formats that agentctl speaks itself: quick to load, strict, one request each.

httpx takes a tenth of a second to load: ``load_httpx`` does so, and only in a run that sends something.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread

from agentctl.core.errors import AuthFailed, ProviderUnavailable, Rejected, UsageError
from agentctl.core.messages import Request
from agentctl.providers.endpoints import access_of, auth_headers
from agentctl.providers.loopback_http import USER_AGENT
from agentctl.providers.routes import Outgoing, Route, Wire
from agentctl.providers.wires import anthropic_messages, ollama_chat, openai_chat
from agentctl.providers.wires.exchange import Body, BodyFacts, Piece
from agentctl.providers.wires.model_parameters import parameters_of
from agentctl.providers.wires.server_sent_events import (
    EventDecoder,
    JsonEvents,
    JsonLineDecoder,
    ServerSentEventDecoder,
)
from agentctl.settings.host import azure_version

if TYPE_CHECKING:
    import httpx

    from agentctl.providers.http_gate import Attempt, RequestTerms


_OF_LITELLM = frozenset({"allowed_openai_params"})  # what a route tells litellm, and no server
_MOST_EMPTY_LINES = 20_000  # a comment a second is usual
_LINES_PER_TOKEN = 8  # a hidden thought may be an empty event a token


class _NoAnswer(Exception):
    """There is no answer, or none that can be read; the attempt says why."""


class _Speech(NamedTuple):
    """How a wire is spoken: the path of its requests, their body, and the pieces of an answer."""

    path: str
    body: Callable[[Request, BodyFacts], Body]
    piece: Callable[[Mapping[str, object]], Piece | None]
    decoder: Callable[[], EventDecoder]


_SPEECHES: Mapping[Wire, _Speech] = {
    "openai_chat": _Speech(openai_chat.PATH, openai_chat.body, openai_chat.piece, ServerSentEventDecoder),
    "anthropic_messages": _Speech(
        anthropic_messages.PATH, anthropic_messages.body, anthropic_messages.piece, ServerSentEventDecoder
    ),
    "ollama_chat": _Speech(ollama_chat.PATH, ollama_chat.body, ollama_chat.piece, JsonLineDecoder),
}


def load_httpx() -> None:
    """Load httpx without its command line, which would bring rich and click."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment] # None: not to be imported
    modules.setdefault("httpx._main", None)
    try:
        import httpx  # noqa: F401 - for the modules that need it
    finally:
        if modules.get("httpx._main", modules) is None:
            modules.pop("httpx._main", None)  # another thread may have done it


class _Loading:
    """The import of httpx and of the modules that need it: one thread for the whole process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            load_httpx()
            import agentctl.providers.http_gate  # noqa: F401, PLC0415 - needs httpx
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
            self.error = error


_LOADING = _Loading()


def start_loading(url: str = "") -> None:
    """Start loading httpx in a thread, at most once, and meanwhile open the first connection to ``url``, if any."""
    if url:
        from agentctl.providers.early_connection import open_early  # noqa: PLC0415 - not for a direct call

        open_early(url)
    with _LOADING.lock:
        if _LOADING.thread is None:
            _LOADING.thread = threading.Thread(target=_LOADING.run, name="import httpx", daemon=True)
            _LOADING.thread.start()


async def wait_for_httpx() -> None:
    """Wait in a thread until httpx is loaded; the wait may be cancelled.

    Raises:
        UsageError: it cannot be loaded.
    """
    start_loading()
    if _LOADING.thread is not None and _LOADING.thread.is_alive():
        await anyio.to_thread.run_sync(_LOADING.thread.join, abandon_on_cancel=True)
    if _LOADING.error is not None:
        raise UsageError(
            f"httpx cannot be loaded: {type(_LOADING.error).__name__}: {_LOADING.error}",
            hint="reinstall agentctl with the versions pinned in requirements.lock",
        )


class LeanClient:
    """Calls the models of one provider in the wire format of its route.

    ``kind`` is whose habits it has, its own name or, for one of the user's own (``is_own``), another's.
    """

    def __init__(self, provider: str, route: Route, wire: Wire, kind: str, *, is_own: bool = False) -> None:
        self._provider, self._route, self._wire = provider, route, wire
        self._kind, self._is_own = kind, is_own

    @cached_property
    def _speech(self) -> _Speech:
        return _SPEECHES[self._wire]

    async def prepare(self) -> None:
        """Wait in a thread until httpx is loaded.

        Raises:
            UsageError: it cannot be loaded.
        """
        await wait_for_httpx()

    async def address(self, model: str, key: str | None, base_url: str) -> tuple[str | None, str]:
        """Return the key and the address to use; missing ones come from the provider's variables."""
        await self.prepare()
        found = access_of(self._provider, key, base_url)
        return found.key, found.base_url

    def attempt(self, terms: RequestTerms) -> Attempt:
        """Return the attempt for a request."""
        from agentctl.providers.http_gate import Attempt  # noqa: PLC0415 - needs httpx

        return Attempt(terms, self._route.reader(), decoder=JsonEvents(self._speech.decoder()))

    def send(self, outgoing: Outgoing, attempt: Attempt, network: httpx.AsyncBaseTransport) -> LeanAnswer:
        """Return the answer to a request, which is sent as soon as its first piece is asked for.

        Raises:
            AuthFailed: there is no key where one is needed, or it cannot be sent.
            Rejected: the model refuses a parameter.
        """
        attempt.written = self._speech.body(outgoing.request, self._facts(outgoing.facts))
        if self._kind == "azure":
            url = openai_chat.azure_url(outgoing.base_url, outgoing.facts.model, azure_version())
        else:
            url = _join(outgoing.base_url, self._speech.path)
        return LeanAnswer(url, self._headers(outgoing), attempt, network, self._speech.piece)

    def _facts(self, facts: BodyFacts) -> BodyFacts:
        """Return the facts with what this provider and this model want.

        Raises:
            Rejected: the model refuses the temperature.
        """
        route = self._route
        own = {name: value for name, value in route.extra.items() if name not in _OF_LITELLM}
        left_out = facts.refusals.left_out
        options = {
            name: value for name, value in {**own, **route.fields, **facts.options}.items() if name not in left_out
        }
        if self._wire != "openai_chat":
            return facts._replace(options=options)
        known = parameters_of(self._kind, facts.model)
        if "temperature" in known.refused and facts.temperature not in (None, 1):
            raise Rejected(
                f"{facts.model} does not support temperature={facts.temperature:g}",
                hint="send none: --temperature none",
                billed="no",
                unsent=True,
            )
        return facts._replace(
            model=facts.model if _is_full(facts.model, route.model_prefix) else route.model_prefix + facts.model,
            clamp_name=facts.refusals.clamp_name or known.clamp_name,
            system_role=known.system_role,
            options={name: value for name, value in options.items() if name not in known.refused},
        )

    def _headers(self, outgoing: Outgoing) -> dict[str, str]:
        key = outgoing.key
        if key is not None and not (key.isascii() and key.isprintable()):
            raise self._key_error(f"the key of {self._provider} contains a character that cannot be sent")
        if not key and self._kind == "anthropic" and not self._is_own:
            raise self._key_error(f"{self._provider} needs a key")
        auth = {"api-key": key} if key and self._kind == "azure" else auth_headers(self._kind, key or None)
        return {"accept": "*/*", "content-type": "application/json", "user-agent": USER_AGENT, **auth}

    def _key_error(self, message: str) -> AuthFailed:
        hint = f"agentctl providers set-key {self._provider}"
        return AuthFailed(message, hint=hint, billed="no", unsent=True)


class LeanAnswer(AsyncIterator[Piece]):
    """The pieces of an answer; an empty one is a sign of life. Some servers send text behind the finish reason."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        attempt: Attempt,
        network: httpx.AsyncBaseTransport,
        piece: Callable[[Mapping[str, object]], Piece | None],
    ) -> None:
        self._url, self._headers, self._attempt, self._network = url, headers, attempt, network
        self._piece = piece
        self._bytes: AsyncIterator[bytes] | None = None
        self._lines = 0
        self._empty = 0  # lines since the last piece
        self._has_stopped = self._is_over = False

    async def __anext__(self) -> Piece:
        if self._bytes is None:
            self._bytes = await self._post()
        attempt = self._attempt
        decoder = attempt.decoder
        while True:
            is_quiet = False  # an event held nothing: a ping, an empty delta, a usage
            while attempt.events:
                event = attempt.events.popleft()
                if event is None and self._has_stopped:
                    continue
                if event is None:
                    raise _NoAnswer("an event that holds no JSON object")
                if attempt.reader.error is not None and attempt.reader.error_in(event) is not None:
                    raise _NoAnswer("an error in the stream")
                piece = self._piece(event)
                if piece is not None and not piece.is_empty:
                    self._empty = 0
                    self._has_stopped = self._has_stopped or bool(piece.stop)
                    return piece
                self._check_flood()
                if piece is not None:
                    return piece
                is_quiet = True
            if is_quiet:
                return Piece()
            if self._is_over or attempt.reader.over:
                raise StopAsyncIteration
            self._is_over = not await self._read()  # the end of the bytes may end an event
            if decoder.lines > self._lines:
                self._empty += decoder.lines - self._lines
                self._lines = decoder.lines
                if not attempt.events:
                    self._check_flood()
                    return Piece()

    async def _read(self) -> bool:
        """Read the next bytes; return whether there were any."""
        if self._has_stopped:
            return await self._attempt.read_late()
        return self._bytes is not None and await anext(self._bytes, None) is not None

    def _check_flood(self) -> None:
        """Check that the lines without a piece are not more than a server can send that is still at work.

        Raises:
            ProviderUnavailable: they are.
        """
        if self._empty > _MOST_EMPTY_LINES + _LINES_PER_TOKEN * self._attempt.terms.max_output_tokens:
            raise ProviderUnavailable("the provider sends lines without end, and no answer", hint="try again")

    async def _post(self) -> AsyncIterator[bytes]:
        """Send the request; return the bytes of its answer.

        Raises:
            Exception: no answer; the attempt says why.
        """
        import httpx

        from agentctl.providers.http_gate import Gate  # noqa: PLC0415 - needs httpx

        written = self._attempt.written
        content = b"" if written is None else written.data
        request = httpx.Request("POST", self._url, headers=dict(self._headers), content=content)
        if request.url.userinfo:
            request = next(httpx.BasicAuth(request.url.username, request.url.password).auth_flow(request))
        response = await Gate(self._network, self._attempt).handle_async_request(request)
        body = aiter(response.stream)  # type: ignore[arg-type] # the gate's: an async stream
        if self._attempt.is_error:
            async for _ in body:
                pass
            raise _NoAnswer(f"HTTP {response.status_code}")
        return body

    async def aclose(self) -> None:
        """Do nothing: the attempt closes the connection."""


def _is_full(model: str, prefix: str) -> bool:
    """Return whether a name begins as the provider's full names do."""
    return model.startswith(prefix.partition("/")[0])


def _join(base_url: str, path: str) -> str:
    """Return the address of a request: the path follows the base, unless the base ends with it, before any query."""
    place, mark, query = base_url.partition("?")
    place = place.rstrip("/")
    if not place.endswith(path):
        if path.startswith("/v1/"):
            place = place.removesuffix("/v1")
        place += path
    return f"{place}{mark}{query}"
