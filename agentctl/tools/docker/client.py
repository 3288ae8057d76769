"""Where a container engine listens, as DOCKER_HOST says it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from agentctl.core.errors import EngineUnavailable

DEFAULT_HOST = "unix:///var/run/docker.sock"


class Address(NamedTuple):
    """Where an engine listens: a socket's ``path``, or a ``url``; ``shown`` is how the user wrote it."""

    shown: str
    path: str | None = None
    url: str | None = None
    named_by: str | None = None

    def __str__(self) -> str:
        return f"{self.shown} (from {self.named_by})" if self.named_by else self.shown


def parse_address(given: str | None, named_by: str = "DOCKER_HOST") -> Address:
    """Return the address that ``given`` means; None or an empty text is the default socket.

    Raises:
        EngineUnavailable: malformed, or of a kind that is not spoken, with a line to paste.
    """
    if not given or not given.strip():
        return Address(DEFAULT_HOST, path=DEFAULT_HOST.removeprefix("unix://"))
    shown = given.strip()
    scheme, found, rest = shown.partition("://")
    if scheme == "unix" and found:
        if rest.startswith("/") and rest != "/" and "\0" not in rest:
            return Address(shown, path=rest, named_by=named_by)
        raise _malformed(
            shown, named_by, "a socket's path begins with /", f"unix:///{rest.strip('/') or DEFAULT_HOST[8:]}"
        )
    if found and scheme in ("tcp", "http"):
        try:
            parts = urlsplit(shown)
            host, port = parts.hostname, parts.port or 2375
        except ValueError:
            host, port = None, 0
        if not host or "@" in rest or (parts.path not in ("", "/")) or parts.query:
            raise _malformed(shown, named_by, "it needs a host and a port", "tcp://127.0.0.1:2375")
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
    raise _malformed(shown, named_by, "it must begin with unix:// or tcp://", hint)


def _malformed(shown: str, named_by: str, why: str, hint: str) -> EngineUnavailable:
    return EngineUnavailable(
        f'{named_by} is "{shown}", which is no engine\'s address: {why}.', hint=f"export {named_by}={hint}"
    )
