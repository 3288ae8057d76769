"""Read the records of a journal back as events, as screens take them: the inverse of ``writer.encode_record``."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from agentctl.core.events import Event, Record
from agentctl.journal.record_parts import Fields
from agentctl.journal.writer import event_name

_MISSING = object()


class _Field(NamedTuple):
    """A field of a class: its name, its type, and its default (``_MISSING``: it must be given)."""

    name: str
    hint: Any
    default: object


def decode_record(fields_: Fields) -> Record | None:
    """Return a record of a journal, None for one that this version cannot read, as of a later version.

    Where a field is absent or of another type, its default holds; a record without what it must have is None.
    """
    kind = _kinds().get(str(fields_.get("event")))
    if kind is None:
        return None
    try:
        run_id, seq = _decode(fields_.get("run_id"), str), _decode(fields_.get("seq"), int)
        event = _decode(dict(fields_), kind)
        return Record(run_id, seq, _decode(fields_.get("at"), datetime), event)
    except (ValueError, TypeError, RecursionError):
        return None


@cache
def _kinds() -> Mapping[str, type]:
    return {event_name(kind): kind for kind in get_args(Event)}


@cache
def _fields_of(kind: type) -> tuple[_Field, ...] | None:
    """Return the fields of a named tuple or dataclass, None of another type."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        found = []
        for one in fields(kind):
            default: object = one.default if one.default is not MISSING else _MISSING
            if one.default_factory is not MISSING:
                default = one.default_factory()
            found.append(_Field(one.name, hints[one.name], default))
        return tuple(found)
    names: tuple[str, ...] | None = getattr(kind, "_fields", None)
    if names is None:
        return None
    hints, defaults = get_type_hints(kind), getattr(kind, "_field_defaults", {})
    return tuple(_Field(name, hints[name], defaults.get(name, _MISSING)) for name in names)


def _decode(value: object, hint: Any) -> Any:  # noqa: ANN401 - any annotation, and its value
    """Return ``value`` as its type says.

    Raises:
        ValueError: it is of another type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(value, parts)
    if origin is Literal:
        if value in parts:
            return value
    elif origin is tuple:
        return _decode_tuple(value, parts)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, dict):
            return {name: _decode(item, parts[1]) for name, item in value.items()}
    elif hint in (object, Any):
        return value
    elif hint is datetime and isinstance(value, str):
        return datetime.fromisoformat(value)
    elif hint is Decimal and isinstance(value, str):
        return _decimal(value)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif hint is type(None) or hint in (str, int, float, bool):
        if type(value) is hint:
            return value
    elif (found := _fields_of(hint)) is not None and isinstance(value, dict):
        return hint(**{one.name: _field(value, one) for one in found})
    raise ValueError(f"{value!r} is not of {hint}")


def _field(given: Fields, one: _Field) -> object:
    try:
        return _decode(given[one.name], one.hint)
    except (KeyError, ValueError) as exc:
        if one.default is _MISSING:
            raise ValueError(f"{one.name} is missing") from exc
        return one.default


def _decode_union(value: object, parts: tuple[Any, ...]) -> object:
    for part in parts:
        try:
            return _decode(value, part)
        except ValueError:
            continue
    raise ValueError(f"{value!r} is of none of {parts}")


def _decode_tuple(value: object, parts: tuple[Any, ...]) -> tuple[object, ...]:
    """Return a list as a tuple; of one with any number of items, those of another type are left out."""
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list")
    if parts[-1] is not Ellipsis:
        return tuple(_decode(item, part) for item, part in zip(value, parts, strict=True))
    found = []
    for item in value:
        try:
            found.append(_decode(item, parts[0]))
        except ValueError:
            continue
    return tuple(found)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError as exc:
        raise ValueError(f"{text} is not a number") from exc
