"""Take the secrets of the user out of a recorded answer, also where a stream cut them into pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from agentctl.core.redaction import PLAIN_MARK
from agentctl.core.spellings import find_spellings

_MOST_DEPTH = 64

T = TypeVar("T", str, bytes)

Pieces = list[tuple[int, bytes]]
"""The pieces of an answer's body, each with the milliseconds after which it came."""

Span = tuple[int, int]


def hide_secrets(pieces: Pieces, secrets: Sequence[str]) -> Pieces:
    """Return the pieces without ``secrets``, each of which is a mark where it began.

    Events that hold a part of one are written anew; then a piece is a whole line.
    """
    if not secrets:
        return pieces
    whole = b"".join(data for _, data in pieces)
    text = whole.decode("utf-8", "surrogateescape")
    if spans := _spans(text, secrets):
        places = [(_bytes_before(text, start), _bytes_before(text, end)) for start, end in spans]
        kept, at = Pieces(), 0
        for ms, data in pieces:
            kept.append((ms, _without(data, at, places, PLAIN_MARK.encode())))
            at += len(data)
        pieces = kept
    if any(_spans(joined, secrets) for joined in joined_texts(b"".join(data for _, data in pieces))):
        return list(_rewritten(pieces, secrets))
    return pieces


def _spans(text: str, secrets: Sequence[str]) -> list[Span]:
    """Return where the secrets are in a text, in order; overlapping places are one."""
    found: list[Span] = []
    for start, end in sorted(find_spellings(text, secrets)):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _bytes_before(text: str, place: int) -> int:
    return len(text[:place].encode("utf-8", "surrogateescape"))


def _without(data: T, start: int, places: Sequence[Span], mark: T) -> T:
    """Return what stands at ``start`` of a whole without the secrets at ``places``, each a mark where it begins."""
    kept, at, end = data[:0], start, start + len(data)
    for first, last in places:
        if last <= at or first >= end:
            continue
        kept += data[at - start : max(first, at) - start] + (mark if first >= at else data[:0])
        at = max(at, min(last, end))
    return kept + data[at - start :]


def joined_texts(body: bytes) -> Sequence[str]:
    """Return the texts of an answer's events, those at the same place of each event joined."""
    places: dict[str, list[str]] = {}
    for raw in body.decode("utf-8", "replace").splitlines():
        event = _event_in(raw)
        for place, _, _, text in _texts(event):
            places.setdefault(place, []).append(text)
    return ["".join(pieces) for pieces in places.values() if len(pieces) > 1]


def _event_in(line: str) -> Any:  # noqa: ANN401 - JSON
    if "{" not in line:
        return None
    try:
        return json.loads(line.removeprefix("data:"))
    except (ValueError, RecursionError):
        return None


def _texts(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any, Any, str]]:  # noqa: ANN401 - JSON
    """Yield each text in a JSON value: its place, what holds it, its name or number there, and the text."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in members:
        if isinstance(item, str):
            yield f"{place}/{name}", value, name, item
        elif depth < _MOST_DEPTH:
            yield from _texts(item, f"{place}/{name}", depth + 1)


def _rewritten(pieces: Pieces, secrets: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    lines = list(_lines(pieces))
    events = [_event_in(text) for _, text in lines]
    held: dict[str, list[tuple[int, Any, Any, str]]] = {}
    for number, event in enumerate(events):
        for place, holder, name, text in _texts(event):
            held.setdefault(place, []).append((number, holder, name, text))
    changed = set[int]()
    for parts in held.values():
        places = _spans("".join(text for *_, text in parts), secrets)
        at = 0
        for number, holder, name, text in parts if places else ():
            holder[name] = _without(text, at, places, PLAIN_MARK)
            at += len(text)
            changed |= {number} if holder[name] != text else set()
    for number, (ms, text) in enumerate(lines):
        if number in changed:
            head = "data: " if text.startswith("data:") else ""
            text = head + json.dumps(events[number], ensure_ascii=False) + "\n"
        yield ms, text.encode("utf-8", "surrogateescape")


def _lines(pieces: Pieces) -> Iterator[tuple[int, str]]:
    """Yield the lines of a body with their ends, each when its last byte came."""
    rest, last = b"", 0
    for ms, data in pieces:
        *whole, rest = (rest + data).split(b"\n")
        last = ms
        yield from ((ms, f"{line.decode('utf-8', 'surrogateescape')}\n") for line in whole)
    if rest:
        yield last, rest.decode("utf-8", "surrogateescape")
