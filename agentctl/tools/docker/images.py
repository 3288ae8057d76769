"""An image's name, long or familiar: ``docker.io/library/nginx:latest`` is ``nginx``. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from agentctl.core.errors import ToolError
from agentctl.tools.tables import cell

_HUB = "docker.io"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>localhost(?::\d{{1,5}})?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d{{1,5}})?|[A-Za-z0-9-]+:\d{{1,5}}"
    rf"|\[[0-9a-fA-F:]+\](?::\d{{1,5}})?)/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_IDENTITY = re.compile(r"(?:sha256:)?[0-9a-f]{4,64}")


class Reference(NamedTuple):
    """An image's name taken apart; ``str()`` is the familiar form, ``name`` the same without tag and digest."""

    domain: str
    path: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        """The repository, without ``docker.io/`` and ``library/``."""
        if self.domain != _HUB:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    def __str__(self) -> str:
        if self.digest:
            return f"{self.name}@{self.digest}"
        return self.name if self.tag == "latest" else f"{self.name}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """Return the image that ``text`` names; without a tag it is ``latest``, with a digest the tag says nothing.

    Raises:
        ToolError: it is no image's name.
    """
    match = _REFERENCE.fullmatch(text) if len(text) <= 500 else None
    if match is None or re.fullmatch(r"[0-9a-f]{64}", text):
        raise ToolError(
            f"{cell(text, 80)!r} is no image's name", hint="give it like nginx, redis:7 or ghcr.io/owner/app:1.2"
        )
    domain, path = match["domain"] or _HUB, match["path"]
    if domain == f"index.{_HUB}":
        domain = _HUB
    if domain == _HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(domain, path, "" if match["digest"] else match["tag"] or "latest", match["digest"] or "")


def familiar_name(text: str) -> str:
    """Return an image's name as people write it, or ``text`` itself if it is none."""
    try:
        return str(parse_reference(text))
    except ToolError:
        return text


def is_identity(text: str) -> bool:
    """Whether ``text`` may be an image's id or the start of one."""
    return _IDENTITY.fullmatch(text) is not None


__all__ = ["Reference", "familiar_name", "is_identity", "parse_reference"]
