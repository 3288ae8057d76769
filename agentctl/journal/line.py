"""How an event becomes one line of a journal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache

from agentctl.core.events import Record
from agentctl.core.text import redact


def encode_record(record: Record) -> dict[str, object]:
    """Return a record as a JSON object: event, run_id, seq, at, then the event's own fields.

    Times are UTC with a Z, Decimals are strings, what is no finite number is null.
    """
    kind: type = type(record.event)
    event = _encoded(record.event)
    assert isinstance(event, dict)  # noqa: S101 - every event has fields
    return {
        "event": _past_tense(kind),
        "run_id": record.run_id,
        "seq": record.seq,
        "at": _encoded(record.at),
        **event,
    }


@cache
def _past_tense(kind: type) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).removeprefix("_")


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    named: tuple[str, ...] | None = getattr(kind, "_fields", None)
    return tuple(field.name for field in fields(kind)) if named is None else named


def _encoded(value: object) -> object:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if is_dataclass(value) or hasattr(value, "_fields"):
        kind: type = type(value)
        return {name: _encoded(getattr(value, name)) for name in _field_names(kind)}
    if isinstance(value, Mapping):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_encoded(item) for item in value]
    return str(value)  # Decimal, Path


def redact_value(value: object, secrets: tuple[str, ...]) -> object:
    """Take secrets out of every text in an encoded value; before it is JSON, where their spelling is another."""
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, dict):
        return {redact(key, secrets): redact_value(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_value(item, secrets) for item in value]
    return value
