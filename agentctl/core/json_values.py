"""Strict JSON: one value of a text, without what two readers would read differently; pointers, and the short form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
MOST_LEVELS = 100  # of nesting, in any text that is read here
_LARGEST = 1.7976931348623157e308  # above it, most readers make a number infinite


def read_json(text: str) -> JSON:
    """Return the one JSON value that ``text`` is.

    Raises:
        ValueError: the text is not one JSON value; an object has a key twice; a number is NaN, infinite or beyond the
            range of a double; a string has half a surrogate pair, which cannot be printed; it is nested too deeply.
    """
    try:
        value: JSON = json.loads(
            text,
            object_pairs_hook=_read_object,
            parse_constant=_refuse_constant,
            parse_float=_read_float,
            parse_int=_read_int,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep") from None
    _check_values(value)
    return value


def read_object(text: str) -> dict[str, JSON]:
    """Return the JSON object that ``text`` is.

    Raises:
        ValueError: as of ``read_json``, or the value is not an object.
    """
    value = read_json(text)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def write_json(value: JSON) -> str:
    """Return a value as JSON on one line, without spaces, its keys in their order, other letters than ASCII as such.

    Raises:
        ValueError: it contains NaN or an infinite number, or itself.
        TypeError: it contains what JSON does not have.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def join_pointer(keys: Iterable[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) that the keys and indexes lead along; "" is the whole value."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def split_pointer(pointer: str) -> tuple[str, ...]:
    """Return the keys of a JSON pointer, which is "" or begins with a slash."""
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])


def _read_object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"an object has the key {json.dumps(twice[:80])} twice")
    return found


def _refuse_constant(word: str) -> JSON:
    raise ValueError(f"{word} is not a JSON number")


def _read_float(digits: str) -> float:
    number = float(digits)
    if abs(number) > _LARGEST:
        raise ValueError(f"the number {digits[:40]} is out of range")
    return number


def _read_int(digits: str) -> int:
    if len(digits) > 309 or abs(number := int(digits)) > _LARGEST:
        raise ValueError(f"the number {digits[:40]} is out of range")
    return number


def _check_values(value: JSON) -> None:
    """Check the nesting of a value, and the strings in it.

    Raises:
        ValueError: it is nested too deeply, or a string has half a surrogate pair.
    """
    level: list[JSON] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MOST_LEVELS + 1:
            raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
        below: list[JSON] = []
        for each in level:
            if isinstance(each, str):
                _check_string(each)
            elif isinstance(each, Mapping):
                for key in each:
                    _check_string(key)
                below.extend(each.values())
            elif isinstance(each, Sequence):
                below.extend(each)
        level = below


def _check_string(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the string {json.dumps(text[:80])} has half a surrogate pair") from None
