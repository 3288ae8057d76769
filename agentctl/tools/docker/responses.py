"""Parse the engine's data, which may be malformed: its JSON, and a container's log line by line.

A field of the wrong type counts as missing. A log's frames are split into lines, and the last lines kept in bounded
memory.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.text import did_you_mean
from agentctl.tools.tables import cell

Doc = Mapping[str, object]
KEPT_BYTES = 60 * 1024
MORE_KEPT_BYTES = 4 * 1024 * 1024
#: The states of a container that has no process; Podman's are among them.
ENDED = frozenset(("created", "exited", "dead", "removing", "configured", "initialized", "stopped"))
_SPAN = re.compile(r"(\d{1,9})\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def documents(answer: object) -> list[Doc]:
    """Return the objects of a list.

    Raises:
        EngineUnavailable: the answer is not a list.
    """
    if not isinstance(answer, list):
        raise EngineUnavailable("The container engine returned an unexpected answer (not a list).")
    return [entry for entry in answer if isinstance(entry, dict)]


def document(answer: object) -> Doc:
    """Return the answer as one object.

    Raises:
        EngineUnavailable: the answer is not an object.
    """
    if not isinstance(answer, dict):
        raise EngineUnavailable("The container engine returned an unexpected answer (not an object).")
    return answer


def at(doc: object, *path: str) -> object:
    """Return the value at ``path``, or None."""
    for name in path:
        if not isinstance(doc, Mapping):
            return None
        doc = doc.get(name)
    return doc


def text(doc: object, *path: str) -> str:
    """Return the text at ``path``, or ""."""
    value = at(doc, *path)
    return value if isinstance(value, str) else ""


def number(doc: object, *path: str) -> int:
    """Return the whole number at ``path``, or 0."""
    value = at(doc, *path)
    return int(value) if isinstance(value, int | float) and abs(value) < 2**64 else 0


def many(doc: object, *path: str) -> list[Doc]:
    """Return the objects of the list at ``path``."""
    value = at(doc, *path)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def texts(doc: object, *path: str) -> list[str]:
    """Return the texts of the list at ``path``."""
    value = at(doc, *path)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def fields(doc: object, *path: str) -> Doc:
    """Return the object at ``path``, or an empty one."""
    value = at(doc, *path)
    return value if isinstance(value, dict) else {}


def moment(doc: object, *path: str) -> datetime | None:
    """Return the time at ``path`` (seconds, or RFC 3339 with up to nine decimals), or None; year 1 means never."""
    value = at(doc, *path)
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str) and not value.startswith("0001-"):
            found = datetime.fromisoformat(value)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def names_of(container: Doc) -> list[str]:
    """Return a listed container's names without the slash; names of links to it are left out."""
    names = [name.removeprefix("/") for name in texts(container, "Names")]
    return [name for name in names if "/" not in name] or [text(container, "Id")[:12]]


class ComposeService(NamedTuple):
    """What the labels of a container say about compose; ``is_one_off`` if ``compose run`` made it."""

    project: str
    service: str
    is_one_off: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """The names by which the service is asked for: ``web`` and ``shop/web``."""
        return self.service, f"{self.project}/{self.service}"


def service_of(labels: Doc) -> ComposeService | None:
    """Return the compose service that a container's labels name, or None; podman-compose has labels of its own."""
    project, service = (
        text(labels, f"com.docker.compose.{name}") or text(labels, f"io.podman.compose.{name}")
        for name in ("project", "service")
    )
    if not project:
        return None
    return ComposeService(project, service or "-", text(labels, "com.docker.compose.oneoff").lower() == "true")


def service_names(labels: Doc) -> tuple[str, ...]:
    """Return the names by which a container's compose service is asked for, if its labels name one."""
    found = service_of(labels)
    return found.names if found is not None and found.service != "-" else ()


def nearest(word: str, known: list[str]) -> str:
    """Return ``did you mean "x"?`` for the nearest name, else the only name that contains the word; or "".

    The names may be any text (labels are): it is shown in one line, with escapes.
    """
    known = [cell(name, 80) for name in known]
    if near := did_you_mean(word, known):
        return near
    holding = sorted(name for name in known if word.lower() in name.lower())
    return f'did you mean "{holding[0]}"?' if word and len(holding) == 1 else ""


def has_process(state: Doc) -> bool:
    """Return whether a container's process runs; the engine also calls one running that waits for its next start."""
    return state.get("Running") is True and state.get("Restarting") is not True


def has_ended(state: str) -> bool:
    """Return whether a listed container's state is one without a process; a word that is not known is none of these."""
    return state in ENDED


def parse_since(since: str | None, now: datetime, tool: str = "docker_logs") -> float | None:
    """Parse ``10m``, ``2h``, a time or a date; return seconds since 1970. A time without a zone is local.

    Raises:
        ToolError: ``since`` is not a time.
    """
    if since is None:
        return None
    wanted = since.strip().lower().removesuffix(" ago")
    if match := _SPAN.fullmatch(wanted):
        return (now - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])).timestamp()
    if re.fullmatch(r"\d{9,11}(\.\d{1,9})?", wanted):
        return float(wanted)
    try:
        found = datetime.fromisoformat(wanted.upper())
        return max(0.0, found.timestamp())
    except (ValueError, OverflowError):
        raise ToolError(
            f'{tool}: "since" is {since[:60]!r}, which is not a time',
            hint='write "10m", "2h", "1d" or 2026-01-31T08:00',
        ) from None


class Frames:
    """Splits a stream into pieces of stdout (1) and stderr (2), each with a header of eight bytes."""

    def __init__(self) -> None:
        self._raw = bytearray()

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the stream's number and the bytes of each piece that ``chunk`` completes.

        Raises:
            EngineUnavailable: the bytes are not frames.
        """
        self._raw += chunk
        while len(self._raw) >= 8:
            end = 8 + int.from_bytes(self._raw[4:8], "big")
            if self._raw[0] > 2 or end > 64 * 1024 * 1024:
                raise EngineUnavailable("The container engine's log stream is malformed.")
            if len(self._raw) < end:
                return
            stream, payload = self._raw[0], bytes(self._raw[8:end])
            del self._raw[:end]
            yield stream, payload


class LogStream:
    """Splits a log into lines: frames with headers of eight bytes, or plain bytes from a container with a terminal."""

    def __init__(self, *, framed: bool) -> None:
        self._frames = Frames() if framed else None
        self._open: dict[int, bytearray] = {}

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the lines that ``chunk`` completes."""
        for stream, payload in [(1, chunk)] if self._frames is None else self._frames.feed(chunk):
            yield from self._lines(stream, payload)

    def rest(self) -> Iterator[str]:
        """Yield the text after the last newline."""
        for left in self._open.values():
            if left:
                yield _decode(bytes(left))
        self._open.clear()

    def _lines(self, stream: int, payload: bytes) -> Iterator[str]:
        left = self._open.setdefault(stream, bytearray())
        left += payload
        *whole, last = bytes(left).split(b"\n")
        self._open[stream] = bytearray(last[-KEPT_BYTES:])
        for line in whole:
            yield _decode(line)


class LastLines:
    """Keeps the last lines that fit into ``most`` characters and counts the others."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self.kept: deque[str] = deque()
        self.lost = 0
        self._most, self._length = most, 0

    def add(self, line: str) -> None:
        """Keep a line; older ones make room."""
        line = line[: self._most]
        self.kept.append(line)
        self._length += len(line) + 1
        while self._length > self._most and len(self.kept) > 1:
            self._length -= len(self.kept.popleft()) + 1
            self.lost += 1


def _decode(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="backslashreplace")
