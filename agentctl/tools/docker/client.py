"""Send requests to a container engine: parse its address (DOCKER_HOST), limit responses, give each error a hint."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import anyio

from agentctl.core.errors import EngineUnavailable

if TYPE_CHECKING:
    import aiodocker
    import aiohttp

    from agentctl.tools.docker.products import Product


DEFAULT_HOST = "unix:///var/run/docker.sock"
MOST_ANSWER = 32 * 1024 * 1024


class Address(NamedTuple):
    """The address of an engine: a socket's ``path``, or a ``url``; ``shown`` is as the user wrote it."""

    shown: str
    path: str | None = None
    url: str | None = None
    named_by: str | None = None

    def __str__(self) -> str:
        return f"{self.shown} (from {self.named_by})" if self.named_by else self.shown


def parse_address(given: str | None, named_by: str = "DOCKER_HOST") -> Address:
    """Parse an engine's address; None or an empty text is the default socket.

    Raises:
        EngineUnavailable: the address is malformed or of an unsupported kind; the hint has a line to paste.
    """
    if not given or not given.strip():
        return Address(DEFAULT_HOST, path=DEFAULT_HOST.removeprefix("unix://"))
    shown = given.strip()
    scheme, found, rest = shown.partition("://")
    if scheme == "unix" and found:
        if rest.startswith("/") and rest != "/" and "\0" not in rest:
            return Address(shown, path=rest, named_by=named_by)
        raise _address_error(
            shown, named_by, "a socket's path begins with /", f"unix:///{rest.strip('/') or DEFAULT_HOST[8:]}"
        )
    if found and scheme in ("tcp", "http"):
        try:
            parts = urlsplit(shown)
            host, port = parts.hostname, parts.port or 2375
        except ValueError:
            host, port = None, 0
        if not host or "@" in rest or (parts.path not in ("", "/")) or parts.query:
            raise _address_error(shown, named_by, "it needs a host and a port", "tcp://127.0.0.1:2375")
        return Address(shown, url=f"http://{f'[{host}]' if ':' in host else host}:{port}", named_by=named_by)
    if found and scheme in ("ssh", "https", "npipe", "fd"):
        what = {"ssh": "ssh", "https": "TLS", "npipe": "Windows pipes", "fd": "handed-down sockets"}[scheme]
        hint = (
            f"ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock {rest} &   then: export {named_by}=unix:///tmp/docker.sock"
            if scheme == "ssh"
            else f"export {named_by}={DEFAULT_HOST}"
        )
        raise EngineUnavailable(f"{named_by} is {shown}; engines over {what} are not supported yet.", hint=hint)
    hint = (
        f"unix://{shown}" if shown.startswith("/") else f"tcp://{shown}" if ":" in shown and not found else DEFAULT_HOST
    )
    raise _address_error(shown, named_by, "it must begin with unix:// or tcp://", hint)


def _address_error(shown: str, named_by: str, why: str, hint: str) -> EngineUnavailable:
    return EngineUnavailable(
        f'{named_by} is "{shown}", which is not an engine\'s address: {why}.', hint=f"export {named_by}={hint}"
    )


def likely_program(docker_host: str | None) -> str:
    """Return podman, or docker: what probably listens at an address, by its name and that of what it links to."""
    path = (docker_host or DEFAULT_HOST).strip().removeprefix("unix://")
    return "podman" if path.startswith("/") and "podman" in f"{path} {os.path.realpath(path)}" else "docker"


class EngineRefused(EngineUnavailable):
    """The engine refused a request: its ``code`` (an HTTP status) and its ``reason``, in one line."""

    def __init__(self, message: str, *, code: int, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code, self.reason = code, reason


class EngineNotFound(EngineRefused):
    """The engine does not know this object (404)."""


class EngineResponse(NamedTuple):
    """A response being received: its status (below 300, or 304: already in that state) and its chunks."""

    status: int
    pieces: AsyncIterator[bytes]


class DockerEngine:
    """A client of one container engine, opened in the event loop of the first call. Close it."""

    def __init__(self, docker_host: str | None, *, named_by: str = "DOCKER_HOST", patience: float = 10.0) -> None:
        self._given, self._named_by, self._patience = docker_host, named_by, patience
        self._client: aiodocker.Docker | None = None
        self._connector: aiohttp.BaseConnector | None = None
        self._product: Product | None = None
        self._version: Mapping[str, object] = {}

    @property
    def product(self) -> Product:
        """What the engine is: by its own answer to the first request, until then by its address."""
        from agentctl.tools.docker.products import likely_product  # noqa: PLC0415 - for hints only

        return self._product or likely_product(self.address.path)

    @property
    def address(self) -> Address:
        """The engine's address.

        Raises:
            EngineUnavailable: the given address is invalid.
        """
        return parse_address(self._given, self._named_by)

    async def aclose(self) -> None:
        """Close the client and its connections, also while being cancelled; a later read opens a new one."""
        client, connector, self._client, self._connector = self._client, self._connector, None, None
        with anyio.move_on_after(2, shield=True):
            if client is not None:
                await client.close()
            if connector is not None:
                await connector.close()

    async def get(self, path: str, **params: str) -> Any:  # noqa: ANN401 - JSON, taken apart at the border
        """Send one read; return the parsed answer.

        Raises:
            EngineUnavailable: the engine cannot be reached, or its answer is invalid.
            EngineNotFound: it answers 404.
        """
        async with self.request("GET", path, params) as answer:
            return self._parse(await self._body(answer))

    async def version(self) -> Mapping[str, object]:
        """Return the engine's answer to the question for its version, which is asked once.

        Raises:
            EngineUnavailable: as ``get``.
        """
        async with self.request("GET", "_ping", {}):  # what opens a connection asks for the version
            return self._version

    async def change(
        self,
        method: Literal["POST", "DELETE"],
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        patience: float | None = None,
        **params: str,
    ) -> tuple[int, Any]:
        """Request one change (a POST is never sent twice); return the status (304: already in that state) and the
        answer.

        ``patience`` is in seconds. Without an answer it is unknown whether the change was made, and the error says so.

        Raises:
            EngineUnavailable: as ``get``; ``EngineRefused`` with the engine's reason.
        """
        async with self.request(method, path, params, body=body, patience=patience) as answer:
            whole = await self._body(answer)
            return answer.status, self._parse(whole) if whole.strip() else None

    @asynccontextmanager
    async def stream(self, path: str, **params: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send one read, and yield the response in pieces, for as long as the engine's patience lasts.

        Raises:
            EngineUnavailable: as ``get``.
        """
        async with self.request("GET", path, params) as answer:
            yield answer.pieces

    @asynccontextmanager
    async def request(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        params: Mapping[str, str],
        *,
        body: Mapping[str, object] | None = None,
        patience: float | None = None,
        silence_only: bool = False,
    ) -> AsyncIterator[EngineResponse]:
        """Send a request, and yield the response; ``patience`` counts from the last piece if ``silence_only``.

        Raises:
            EngineUnavailable: as ``get``.
        """
        library = await anyio.to_thread.run_sync(_aiohttp)  # 0.3 s: in a thread, the screen stays alive
        address = self.address
        patience = self._patience if patience is None else patience
        doubt = "" if method == "GET" else " Whether the change was made is not known: look with docker_ps(all=true)."
        try:
            with anyio.fail_after(patience) as scope:
                client = await self._open(library, address)
                url = f"{client.docker_host}/{client.api_version}/{path}"
                async with client.session.request(
                    method, url, params=params, json=body, allow_redirects=False
                ) as answer:
                    if answer.status >= 300 and answer.status != 304:
                        refusal = await _read_whole(answer.content, 4096)
                        raise _refusal(answer.status, refusal, address, self.product)
                    yield EngineResponse(
                        answer.status, _pieces(answer.content, scope, patience if silence_only else None)
                    )
        except TimeoutError as exc:
            raise EngineUnavailable(
                f"The container engine at {address} did not answer within {patience:g} s.{doubt}",
                hint=f"is it overloaded or hung? {self.product.restart}",
            ) from exc
        except library.ClientConnectorDNSError as exc:
            host = urlsplit(address.url or "").hostname
            raise EngineUnavailable(f"{address}: the host {host} was not found.", hint=_other(address)) from exc
        except library.ClientConnectorError as exc:
            raise _connect_error(exc.os_error, address) from exc
        except (library.ServerDisconnectedError, library.ClientOSError, library.ClientPayloadError) as exc:
            raise EngineUnavailable(
                f"The container engine at {address} closed the connection in mid-answer.{doubt}",
                hint=self.product.start,
            ) from exc
        except library.ClientError as exc:
            raise self._protocol_error(type(exc).__name__) from exc

    async def _body(self, answer: EngineResponse) -> bytes:
        body = bytearray()
        async for piece in answer.pieces:
            body += piece
            if len(body) > MOST_ANSWER:
                raise self._protocol_error(f"more than {MOST_ANSWER // 1024**2} MB")
        return bytes(body)

    def _parse(self, body: bytes) -> Any:  # noqa: ANN401 - JSON, taken apart at the border
        try:
            return json.loads(body)
        except ValueError as exc:
            raise self._protocol_error(f"not JSON ({body[:40]!r})") from exc

    async def _open(self, library: ModuleType, address: Address) -> aiodocker.Docker:
        if self._client is None:
            import aiodocker

            # The client's own connector would read DOCKER_TLS_VERIFY from the environment.
            self._connector = library.UnixConnector(address.path) if address.path else library.TCPConnector()
            self._client = aiodocker.Docker(
                address.url or "unix://localhost", connector=self._connector, timeout=library.ClientTimeout()
            )
        client = self._client
        if client.api_version == "auto":
            async with client.session.get(f"{client.docker_host}/version", allow_redirects=False) as answer:
                body = await _read_whole(answer.content, 64 * 1024)
                if answer.status != 200:
                    raise _refusal(answer.status, body, address, self.product)
            try:
                said = json.loads(body)
                client.api_version = f"v{said['ApiVersion']}"
            except (ValueError, KeyError, TypeError) as exc:
                raise self._protocol_error("no version") from exc
            from agentctl.tools.docker.products import product_of  # noqa: PLC0415 - once an engine answers

            self._version, self._product = said, product_of(said, address.path)
        return client

    def _protocol_error(self, what: str) -> EngineUnavailable:
        address = self.address
        return EngineUnavailable(
            f"The service at {address} does not answer like a container engine: {what}.", hint=_other(address)
        )


async def _pieces(
    content: aiohttp.StreamReader, scope: anyio.CancelScope, silence: float | None
) -> AsyncIterator[bytes]:
    async for piece in content.iter_chunked(64 * 1024):
        if silence is not None:
            scope.deadline = anyio.current_time() + silence
        yield piece


async def _read_whole(content: aiohttp.StreamReader, most: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_chunked(4096):
        body += chunk
        if len(body) >= most:
            break
    return bytes(body[:most])


def _aiohttp() -> ModuleType:
    import aiodocker  # noqa: F401 - loads the other; both are slow
    import aiohttp

    return aiohttp


def _other(address: Address) -> str:
    if address.named_by is None:
        return _start(address)
    return f"unset {address.named_by}   (uses {DEFAULT_HOST}), or give the right address"


def _start(address: Address) -> str:
    from agentctl.tools.docker.products import start_hint  # noqa: PLC0415 - for hints only

    return start_hint(address.path, is_default=address.named_by is None)


def _connect_error(cause: OSError, address: Address) -> EngineUnavailable:
    code = cause.errno
    if code in (errno.EACCES, errno.EPERM):
        from agentctl.tools.docker.products import likely_product  # noqa: PLC0415 - for hints only

        return EngineUnavailable(
            f"No permission for the container engine's socket {address.path}.",
            hint=likely_product(address.path).permission,
        )
    if code in (errno.ENOENT, errno.ENOTDIR) and address.path:
        there = f"{address} does not exist" if address.named_by else f"there is no socket {address.path}"
        return EngineUnavailable(f"No container engine is running: {there}.", hint=_hint(address))
    if code in (errno.ECONNREFUSED, errno.ENOTSOCK) and address.path:
        return EngineUnavailable(f"No container engine is running: nothing answers at {address}.", hint=_hint(address))
    why = (cause.strerror or str(cause)).lower()
    if code == errno.ECONNREFUSED or "refused" in why:
        why = "nothing listens there"
    return EngineUnavailable(f"No container engine can be reached at {address}: {why}.", hint=_hint(address))


def _hint(address: Address) -> str:
    return _start(address) if address.named_by is None else f"{_start(address)}; or {_other(address)}"


def _refusal(status: int, body: bytes, address: Address, product: Product) -> EngineUnavailable:
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = body.decode(errors="replace").strip()
    said = " ".join(said.split())[:300]
    if "HTTP request to an HTTPS server" in said:
        return EngineUnavailable(
            f"The engine at {address} speaks TLS, which is not supported yet.", hint=_other(address)
        )
    if status == 404:
        what = f"The container engine at {address} does not know this: {said or status}."
        return EngineNotFound(what, code=status, reason=said)
    return EngineRefused(
        f"The container engine at {address} refused with {status}: {said or 'no reason given'}.",
        code=status,
        reason=said,
        hint=f"look at its log: {product.log}" if status >= 500 else "",
    )
