"""Read the events of an answer from its bytes: lines first, then server-sent events or one JSON document a line. Pure.

Strict where the standard is, so that two readers see the same events, and lenient where a paid answer would be lost:
a stream may end without its last empty line, and a JSON document may stand in a line without ``data:``. Bytes are
UTF-8, whatever a header says; one that is not becomes U+FFFD.
"""

from __future__ import annotations

import json
from typing import NamedTuple, Protocol

from agentctl.providers.usage_fields import parse_fraction, parse_integer

MOST_EVENT_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_DONE = "[DONE]"

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


class EventDecoder(Protocol):
    """Turns the bytes of an answer into events; ``lines`` counts the lines so far, also those of no event."""

    lines: int

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
        self._type = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that end in ``data``.

        Raises:
            AnswerTooLong: a line or an event has no end.
        """
        return self._decode(self._reader.feed(data))

    def close(self) -> list[ServerEvent]:
        """Return the event that was not ended by an empty line, if there is one."""
        return self._decode([*self._reader.close(), b""])

    def _decode(self, lines: list[bytes]) -> list[ServerEvent]:
        found = list[ServerEvent]()
        for line in lines:
            self.lines += 1
            if not line:
                found += self._dispatch()
                continue
            if line.startswith(b"{"):  # a document outside of the format: an error, as gateways send it
                found += (*self._dispatch(), ServerEvent("", line.decode("utf-8", "replace")))
                continue
            name, _, value = line.partition(b":")  # a comment has the name ""
            if name == b"data":
                self._size += len(line)
                if self._size > MOST_EVENT_BYTES:
                    raise AnswerTooLong("an event of the answer has no end")
                self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
            elif name == b"event":
                self._type = value.removeprefix(b" ").decode("utf-8", "replace")
        return found

    def _dispatch(self) -> list[ServerEvent]:
        event = ServerEvent(self._type, "\n".join(self._data))
        found = [event] if self._data else []
        self._type, self._size = "", 0
        self._data.clear()
        return found


class JsonLineDecoder:
    """Decodes a stream of one JSON document a line."""

    def __init__(self) -> None:
        self.lines = 0
        self._reader = LineReader()

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the documents that end in ``data``.

        Raises:
            AnswerTooLong: a line has no end.
        """
        return self._decode(self._reader.feed(data))

    def close(self) -> list[ServerEvent]:
        """Return the last document, if no line end follows it."""
        return self._decode(self._reader.close())

    def _decode(self, lines: list[bytes]) -> list[ServerEvent]:
        self.lines += len(lines)
        return [ServerEvent("", line.decode("utf-8", "replace")) for line in lines if line.strip()]


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
        return self._parse(self._decoder.feed(data))

    def close(self) -> list[Event | None]:
        """Return the event that the end of the answer ends, parsed."""
        return self._parse(self._decoder.close())

    def _parse(self, events: list[ServerEvent]) -> list[Event | None]:
        found = list[Event | None]()
        for event in events:
            whole = _parse_object(event.data)
            # A server that leaves out the empty lines sends one document a line.
            texts = [event.data] if whole is not None or "\n" not in event.data else event.data.split("\n")
            for text in texts:
                parsed = whole if whole is not None else _parse_object(text)
                if parsed is not None:
                    if event.type:
                        parsed.setdefault("type", event.type)
                    found.append(parsed)
                elif text.strip() == _DONE:
                    self.over = True
                elif text.strip():
                    found.append(None)
        return found


def _parse_object(text: str) -> Event | None:
    try:
        parsed = json.loads(text, parse_int=parse_integer, parse_float=parse_fraction)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
