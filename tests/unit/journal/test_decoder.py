"""Each event is read back from its record as it was, and a record of another version as far as it can be."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from agentctl.core.events import ContextPruned, Event, Noted, Record, RunFinished, RunStarted, ToolFinished
from agentctl.core.messages import Message, ToolCall
from agentctl.core.results import LimitUse
from agentctl.journal.decoder import decode_record
from agentctl.journal.writer import encode_record

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
PLAIN: dict[object, object] = {str: "é x", int: 3, float: 0.5, bool: True, datetime: AT, Decimal: Decimal("1.50")}


def sample(hint: Any) -> Any:  # noqa: ANN401 - any annotation, and a value of it
    """Return a value of a type with something in each of its fields."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return sample(next(part for part in reversed(parts) if part is not type(None)))
    if origin is Literal:
        return parts[-1]
    if origin is tuple:
        return (sample(parts[0]),) if parts[-1] is Ellipsis else tuple(sample(part) for part in parts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"name": sample(parts[1])}
    if hint in (object, Any):
        return {"deep": [1, None, "x", {"true": False}]}
    if hint in PLAIN:
        return PLAIN[hint]
    names = [one.name for one in fields(hint)] if is_dataclass(hint) else hint._fields
    return hint(**{name: sample(get_type_hints(hint)[name]) for name in names})


def recorded(event: Event, **changes: object) -> dict[str, Any]:
    """Return the record of an event as a journal has it, with other values for some of its fields."""
    return {**json.loads(json.dumps(encode_record(Record("r1", 7, AT, event)))), **changes}


STARTED = RunStarted("task", "system", "flag", "openai", "flag", "m1", True, "/w", (), {"team": "web"})


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: str(kind.__name__))
def test_an_event_is_read_back_as_it_was_written(kind: Any) -> None:  # noqa: ANN401 - any event
    event = sample(kind)
    assert decode_record(recorded(event)) == Record("r1", 7, AT, event)


def test_places_and_messages_of_a_cut_are_told_apart() -> None:
    event = ContextPruned(9, 5, 2, left=(0, Message("user", "x"), 3))
    assert decode_record(recorded(event)) == Record("r1", 7, AT, event)


@pytest.mark.parametrize("change", [{}, {"sandbox": 7}, {"labels": "x"}, {"limits": [{"name": "max_moons"}]}])
def test_a_field_that_cannot_be_read_has_its_default(change: dict[str, object]) -> None:
    fields = recorded(STARTED, **change)
    fields.pop("version")
    found = decode_record(fields)
    assert found is not None
    labels = {} if "labels" in change else {"team": "web"}
    assert found.event == STARTED._replace(labels=labels)


def test_items_of_a_list_that_cannot_be_read_are_left_out() -> None:
    use = LimitUse("max_cost_per_task", "nano_usd", 5, 1)
    fields = recorded(STARTED._replace(limits=(use,)))
    fields["limits"] += [{"name": "max_moons_per_task", "unit": "moons", "ceiling": 1, "used": 0}, 7]
    found = decode_record(fields)
    assert found is not None
    assert isinstance(found.event, RunStarted)
    assert found.event.limits == (use,)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"event": 7},
        {"event": "moon_landed", "run_id": "r", "seq": 1, "at": "2026-11-30T00:00:00Z"},
        recorded(Noted("x"), seq="1"),
        recorded(Noted("x"), seq=True),
        recorded(Noted("x"), at="yesterday"),
        recorded(Noted("x"), at=None),
        recorded(Noted("x"), run_id=None),
        recorded(Noted("x"), text=None),
        recorded(ToolFinished(ToolCall("1", "t", {}), "x", 0.5), call={"id": "1"}),
        recorded(RunFinished(None), result=[]),  # type: ignore[arg-type]
    ],
)
def test_a_record_without_what_it_must_have_is_none(record: dict[str, object]) -> None:
    assert decode_record(record) is None


def test_a_record_of_any_depth_does_not_end_the_reader() -> None:
    deep: object = "x"
    for _ in range(5000):
        deep = [deep]
    fields = recorded(ToolFinished(ToolCall("1", "t", {}), "x", 0.5))
    fields["call"]["arguments"] = {"deep": deep}
    assert decode_record(fields) is not None
