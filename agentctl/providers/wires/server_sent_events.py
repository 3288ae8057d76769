"""Read the events of an answer from its bytes: lines first, then server-sent events or one JSON document a line. Pure.

Strict where the standard is, so that two readers see the same events, and lenient where a paid answer would be lost:
a stream may end without its last empty line, a line that is a whole JSON object or ``[DONE]`` needs no empty line
behind it, and a JSON document may stand outside of the format, in one line or in several. Bytes are UTF-8, whatever a
header says; one that is not becomes U+FFFD.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple, Protocol

from agentctl.providers.usage_fields import parse_fraction, parse_integer

MOST_EVENT_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_DONE = "[DONE]"
_MOST_DONE_BYTES = 80
_FIELDS = frozenset((b"", b"data", b"event", b"id", b"retry", b"error"))
_LAST_LINE = re.compile(rb"data:[ \t]*\[DONE\][ \t]*")
_BEGINS = re.compile(rb"\s*\[?\s*\{")  # of a document
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?')

Event = dict[str, object]
"""One parsed event."""


class AnswerTooLong(ValueError):
    """A line, an event or an error document is longer than any real answer."""


class ServerEvent(NamedTuple):
    """One event: its ``type`` ("": not named) and its data."""

    type: str
    data: str


class LineReader:
    """Splits bytes into lines, which end with LF, CR or CRLF; a mark of the byte order at the start is left out."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._is_behind_cr = False
        self._is_first = True

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that end in ``data``.

        Raises:
            AnswerTooLong: a line has no end.
        """
        if self._is_behind_cr and data:
            self._is_behind_cr = False
            data = data.removeprefix(b"\n")
        found = list[bytes]()
        for line in data.splitlines(keepends=True):  # of bytes: at LF, CR and CRLF only
            self._parts.append(line)
            self._size += len(line)
            if self._size > MOST_EVENT_BYTES:
                raise AnswerTooLong("a line of the answer has no end")
            if line.endswith((b"\n", b"\r")):
                found.append(self._take().rstrip(b"\r\n"))
        self._is_behind_cr = self._is_behind_cr or data.endswith(b"\r")
        return found

    @property
    def is_done(self) -> bool:
        """Whether the line that has not ended is the mark of a stream's end."""
        return self._size < _MOST_DONE_BYTES and _LAST_LINE.fullmatch(b"".join(self._parts)) is not None

    def close(self) -> list[bytes]:
        """Return the rest as the last line, if there is any."""
        rest = self._take()
        return [rest] if rest else []

    def _take(self) -> bytes:
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(_BOM)
        return line


class DocumentGatherer:
    """Gathers the lines of a JSON object, or of a list of them, outside of the format, until it is closed."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = self._depth = 0

    @property
    def is_open(self) -> bool:
        """Whether a document has begun and not ended."""
        return bool(self._lines)

    def add(self, line: bytes) -> list[ServerEvent]:
        """Add a line; return the document, if that ends it, and one before it that was cut short.

        Raises:
            AnswerTooLong: the document has no end.
        """
        cut = self.close() if _is_whole(line) and line != b"{}" else []
        self._lines.append(line)
        self._size += len(line) + 1
        if self._size > MOST_EVENT_BYTES:
            raise AnswerTooLong("a document of the answer has no end")
        self._depth += _depth_of(line)
        return [*cut, *self.close()] if self._depth <= 0 else cut

    def close(self) -> list[ServerEvent]:
        """Return what was gathered, if there is anything."""
        found = [ServerEvent("", b"\n".join(self._lines).decode("utf-8", "replace"))] if self._lines else []
        self._lines.clear()
        self._size = self._depth = 0
        return found


def _depth_of(line: bytes) -> int:
    """Return how many more braces and brackets a line opens than it closes; those inside of strings do not count."""
    if b'"' in line and not (line.count(b"{") == line.count(b"}") and line.count(b"[") == line.count(b"]")):
        line = _STRING.sub(b"", line)
    return line.count(b"{") - line.count(b"}") + line.count(b"[") - line.count(b"]")


def _is_whole(line: bytes) -> bool:
    """Return whether a line looks like a whole JSON object."""
    return line.startswith(b"{") and line.endswith(b"}") and _depth_of(line) == 0


class EventDecoder(Protocol):
    """Turns the bytes of an answer into events; ``lines`` counts the lines so far, also those of no event.

    ``is_done``: what came last is ``[DONE]``, although its line has not ended.
    """

    lines: int

    @property
    def is_done(self) -> bool: ...

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that end in ``data``."""
        ...

    def close(self) -> list[ServerEvent]:
        """Return the event that the end of the answer ends."""
        ...


class ServerSentEventDecoder:
    """Decodes a ``text/event-stream``: fields ``event`` and ``data``, several lines of data to an event, comments."""

    def __init__(self) -> None:
        self.lines = 0
        self._reader = LineReader()
        self._document = DocumentGatherer()
        self._type = ""
        self._data: list[bytes] = []
        self._size = 0

    @property
    def is_done(self) -> bool:
        """Whether the stream says that it is over, although the line has not ended."""
        return self._reader.is_done

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that end in ``data``.

        Raises:
            AnswerTooLong: a line or an event has no end.
        """
        return self._decode(self._reader.feed(data))

    def close(self) -> list[ServerEvent]:
        """Return the event that was not ended by an empty line, if there is one."""
        return [*self._decode([*self._reader.close(), b""]), *self._document.close()]

    def _decode(self, lines: list[bytes]) -> list[ServerEvent]:
        found = list[ServerEvent]()
        for line in lines:
            self.lines += 1
            name, _, value = line.partition(b":")  # a comment has the name ""
            is_field = bool(line) and name in _FIELDS
            if self._document.is_open and not is_field:
                found += self._document.add(line)
            elif not line:
                found += self._dispatch()
            elif _BEGINS.match(line):
                found += (*self._dispatch(), *self._document.add(line))
            elif is_field:
                found += self._document.close()  # it was cut short
                found += self._read_field(name, value.removeprefix(b" "))
        return found

    def _read_field(self, name: bytes, value: bytes) -> list[ServerEvent]:
        if name == b"event":
            self._type = value.decode("utf-8", "replace")
        if name == b"error":  # of older versions of llama.cpp
            self._type = "error"
        elif name != b"data":
            return []
        self._size += len(value) + 1
        if self._size > MOST_EVENT_BYTES:
            raise AnswerTooLong("an event of the answer has no end")
        self._data.append(value)
        text = value.strip()
        ends = len(self._data) == 1 and (text == _DONE.encode() or _is_whole(text))
        return self._dispatch() if ends else []

    def _dispatch(self) -> list[ServerEvent]:
        found = [ServerEvent(self._type, b"\n".join(self._data).decode("utf-8", "replace"))] if self._data else []
        self._type, self._size = "", 0
        self._data.clear()
        return found


class JsonLineDecoder:
    """Decodes a stream of one JSON document a line; one that is indented has several."""

    def __init__(self) -> None:
        self.lines = 0
        self._reader = LineReader()
        self._document = DocumentGatherer()

    @property
    def is_done(self) -> bool:
        """Never: the format has no mark for that."""
        return False

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the documents that end in ``data``.

        Raises:
            AnswerTooLong: a line or a document has no end.
        """
        return self._decode(self._reader.feed(data))

    def close(self) -> list[ServerEvent]:
        """Return the last document, if no line end follows it."""
        return [*self._decode(self._reader.close()), *self._document.close()]

    def _decode(self, lines: list[bytes]) -> list[ServerEvent]:
        found = list[ServerEvent]()
        for line in lines:
            self.lines += 1
            line = line.removeprefix(b"data:")  # of a gateway that sends the events of another format
            if self._document.is_open or _BEGINS.match(line):
                found += self._document.add(line)
            elif line.strip() and not line.startswith((b":", b"event:")):
                found.append(ServerEvent("", line.decode("utf-8", "replace")))
        return found


class JsonEvents:
    """Turns the bytes of an answer into parsed events, each of which is parsed once.

    ``over``: ``[DONE]`` came. An event that holds no JSON object is None.
    """

    def __init__(self, decoder: EventDecoder) -> None:
        self._decoder = decoder
        self.over = False

    @property
    def lines(self) -> int:
        """The lines so far: each is a sign of life, also a comment."""
        return self._decoder.lines

    def feed(self, data: bytes) -> list[Event | None]:
        """Return the events that end in ``data``, parsed.

        Raises:
            AnswerTooLong: a line or an event has no end.
        """
        found = self._parse(self._decoder.feed(data))
        self.over = self.over or self._decoder.is_done
        return found

    def close(self) -> list[Event | None]:
        """Return the event that the end of the answer ends, parsed."""
        return self._parse(self._decoder.close())

    def _parse(self, events: list[ServerEvent]) -> list[Event | None]:
        found = list[Event | None]()
        for event in events:
            several = _parse_objects(event.data)
            for parsed in several:
                if self.over and parsed.get("choices"):
                    continue  # the end is the end; only a usage may follow
                if event.type:
                    parsed.setdefault("type", event.type)
                found.append(parsed)
            if several:
                continue
            if event.data.removeprefix("data:").strip().strip('"').upper() == _DONE:
                self.over = True
            elif event.type == "error" and event.data.strip():
                found.append({"type": "error", "message": event.data.strip()})
            elif event.data.strip():
                found.append(None)
        return found


def _parse_objects(text: str) -> list[Event]:
    """Return the object that a text holds, also in a gateway's envelope, or those of a list; none for anything else."""
    try:
        parsed = json.loads(text.removeprefix("data:"), parse_int=parse_integer, parse_float=parse_fraction)
    except (ValueError, RecursionError):
        return []
    if isinstance(parsed, list) and all(isinstance(one, dict) for one in parsed):
        return [_opened(one) for one in parsed]
    return [_opened(parsed)] if isinstance(parsed, dict) else []


def _opened(event: Event) -> Event:
    """Return the answer in the envelope of a gateway, or an event as it is; a whole message gets its type."""
    for name in ("result", "data", "response"):
        inner = event.get(name)
        if isinstance(inner, dict) and "choices" in inner and "choices" not in event:
            return inner
    if "type" not in event and event.get("role") == "assistant" and isinstance(event.get("content"), list):
        return {**event, "type": "message"}
    return event
