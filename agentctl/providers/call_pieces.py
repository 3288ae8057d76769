"""Join the pieces of an answer's tool calls, and read their arguments as models and servers really write them. Pure.

Loaded with the first piece of a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from agentctl.core.messages import ToolCall
from agentctl.providers.wires.exchange import CallPiece

_MOST_CHARACTERS_QUOTED = 1000
_MOST_ENCODINGS = 4  # JSON in a JSON string, and so on
_LONGEST_NUMBER = 9
_MOST_MENDED = 20_000  # characters of arguments that are no JSON
_BLANK = " \t\r\n\0\ufeff"
_ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')
_NOTHING = frozenset(("", "null", "none", "undefined"))
_END_MARKS = re.compile(r"(?:\s*<\|[^<>|]{0,40}\|>)+\s*\Z")  # a chat template's own, at the end of a text
_MARKDOWN = re.compile(r"```(?:json)?\s*\n(.*)```", re.DOTALL)
_NO_OBJECT = "no_json_object"


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    came_whole: bool = False

    @property
    def whole(self) -> Mapping[str, object] | None:
        """The JSON object that the pieces are, None if they are none (yet)."""
        return _object_of("".join(self.pieces)) if self.pieces and self.pieces[-1].rstrip().endswith("}") else None


class CallJoiner:
    """Joins pieces to calls: by the place that the server names, else by their id, else by their order in an event.

    ``earlier`` are the ids of the conversation's calls: no call of the answer gets one of them.
    """

    def __init__(self, earlier: Collection[str] = ()) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._earlier = earlier

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_whole(self) -> bool:
        """Whether each call has a name, and arguments that are an object or nothing."""
        return all(call.name and _NO_OBJECT not in call.arguments for call in self.build())

    def add(self, piece: CallPiece) -> bool:
        """Add a piece; return whether it opened a call."""
        call = self._find(piece)
        is_new = call is None
        if call is None:
            if not piece.opens:
                return False
            call = _Call(came_whole=piece.place is None)
            self._calls.append(call)
        if piece.place is not None:
            self._at[piece.place] = call
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        if piece.arguments:
            call.pieces.append(piece.arguments)
        return is_new

    def _find(self, piece: CallPiece) -> _Call | None:
        """Return the call that a piece belongs to, None for a new one."""
        with_id = next((call for call in reversed(self._calls) if piece.id and call.id == piece.id), None)
        if piece.place is None:
            return next((call for call in self._calls if _is_repeated(piece, call)), None)
        there = self._at.get(piece.place)
        if there is not None and piece.id and there.id and piece.id != there.id and not _goes_on(piece, there):
            there = None  # some servers number every call 0
        if piece.is_counted and with_id is not None:
            return with_id
        if there is None:
            is_open = with_id is not None and not (piece.name and with_id.whole)
            return with_id if is_open else None
        if piece.is_counted and piece.id and not there.id and piece.name:
            return None
        return None if piece.name and not piece.id and _is_another(piece, there) else there

    def build(self) -> tuple[ToolCall, ...]:
        """Return the calls; one without an id, or whose id is taken, gets one that no other call has.

        One without an id that is the same as an earlier one, or has nothing beside it, is not another call.
        """
        taken, given, found = set(self._earlier), {call.id for call in self._calls}, list[ToolCall]()
        number = max(map(_number_of, taken), default=0)
        for call in self._calls:
            id, arguments = call.id, _read_pieces(call.pieces)
            if not id and not call.came_whole and _is_told(found, call.name, arguments):
                continue
            number += 1
            if not id or id in taken:
                while (id := f"call_{number}") in taken or id in given:
                    number += 1
            taken.add(id)
            found.append(ToolCall(id, call.name, arguments))
        return tuple(found)


def _is_another(piece: CallPiece, call: _Call) -> bool:
    """Return whether a piece with a name and no id opens another call: this one is whole, and does not come again.

    A piece that only begins like this one opens another; if the rest is the same, too, ``build`` takes one of them.
    """
    whole = call.whole
    again = _object_of(piece.arguments) if piece.arguments else None if piece.is_counted else whole
    return bool(whole) and again not in ({}, whole)


def _goes_on(piece: CallPiece, call: _Call) -> bool:
    """Return whether a piece with another id is no call of its own: some servers give each piece a new id."""
    is_begun = bool(call.pieces) and call.whole is None
    return not piece.name or (is_begun and bool(piece.arguments) and not piece.arguments.lstrip().startswith("{"))


def _is_told(calls: Sequence[ToolCall], name: str, arguments: Mapping[str, object]) -> bool:
    """Return whether a call says no more than one of these."""
    return any(call.name == name and arguments in ({}, call.arguments) for call in calls)


def _is_repeated(piece: CallPiece, call: _Call) -> bool:
    """Return whether a whole call is one that came before."""
    is_same = piece.name == call.name and (piece.id or call.id) == (call.id or piece.id)
    return is_same and parse_arguments(piece.arguments) == parse_arguments("".join(call.pieces))


def _object_of(text: str) -> Mapping[str, object] | None:
    """Return the JSON object that a text is, None if it is none."""
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number_of(id: str) -> int:
    """Return the number of an id of ours, 0 for another one."""
    number = id.removeprefix("call_")
    return int(number) if number != id and number.isdecimal() and len(number) < _LONGEST_NUMBER else 0


def _read_pieces(pieces: Sequence[str]) -> Mapping[str, object]:
    """Return the arguments that pieces make; a last one that repeats all the others is the whole of it."""
    text = "".join(pieces)
    found = parse_arguments(text)
    if _NO_OBJECT not in found or len(pieces) < 2:
        return found
    last = pieces[-1]
    grows = all(after.startswith(before) for before, after in pairwise(pieces))
    if grows or last.startswith(text[: -len(last)]):
        again = parse_arguments(last)
        return found if _NO_OBJECT in again else again
    return found


def parse_arguments(text: str) -> Mapping[str, object]:
    """Return a call's arguments; if they are not one JSON object, the tool's own validation tells the model.

    Nothing at all, in any spelling (``null``, ``""``, ``"null"``, ``[]``), is no arguments. An object inside a JSON
    string or alone in a list is read, with newlines in its strings as they are, and so is one in a Markdown block or
    before a ``<|…|>``, one in Python's form, with a brace too many, or with a backslash that JSON does not have. The
    same object twice is one, and an empty one beside another is none.
    """
    found: object = text
    for _ in range(_MOST_ENCODINGS):
        if not isinstance(found, str):
            break
        found = _decode(found)
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
        found = found[0]
    if found is None or found == []:
        return {}
    return found if isinstance(found, dict) else {_NO_OBJECT: text[:_MOST_CHARACTERS_QUOTED]}


def _decode(text: str) -> object:
    """Return the JSON value that ``text`` holds, None for nothing, False for text that is not JSON."""
    text = _END_MARKS.sub("", text).strip(_BLANK)
    if (block := _MARKDOWN.fullmatch(text)) is not None:
        text = block[1].strip()
    if text.lower() in _NOTHING:
        return None
    for read in (_values, _mended_values):
        try:
            return _one_of(read(text))
        except (ValueError, TypeError, RecursionError, SyntaxError, MemoryError):
            continue
    return False


def _mended_values(text: str) -> list[object]:
    """Return the object that a text means which is no JSON for one of a few known reasons.

    Raises:
        ValueError: it is none.
        SyntaxError, TypeError: it is none.
    """
    if not text.startswith("{") or len(text) > _MOST_MENDED:
        raise ValueError("no object")
    escaped = _ESCAPE.sub(lambda found: found[0] if found[1] else "\\\\", text)
    with suppress(ValueError):
        value, end = json.JSONDecoder(strict=False).raw_decode(escaped)
        if isinstance(value, dict) and value and not escaped[end:].strip("}] \n"):
            return [value]
    import ast  # noqa: PLC0415 - few calls are written like this
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a backslash that Python does not have, either
        found = ast.literal_eval(text)
    json.dumps(found, allow_nan=False)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError("no object")
    return [found]


def _values(text: str) -> list[object]:
    """Return the JSON values that stand one after the other in a text.

    Raises:
        ValueError: there is something else.
    """
    decoder, values, place = json.JSONDecoder(strict=False), list[object](), 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        values.append(value)
        while place < len(text) and text[place].isspace():
            place += 1
    return values


def _one_of(values: Sequence[object]) -> object:
    """Return the only value that says something; some servers send an empty object first, or the whole again.

    Raises:
        ValueError: there are several.
    """
    if len(values) == 1:
        return values[0]
    told = [value for value in values if value not in ({}, None, "")]
    if any(value != told[0] for value in told):
        raise ValueError("several values")
    return told[0] if told else {}
