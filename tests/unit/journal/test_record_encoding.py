"""Every event becomes one object of JSON, and nothing in it is lost."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentctl.core.events import BreakerTripped, CallSettled, Event, MessageAdded, Record, ToolStarted
from agentctl.core.messages import Message, ToolCall, Usage
from agentctl.core.results import BreakerInfo
from agentctl.journal.writer import encode_record

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=9))])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.decimals()
ANY_VALUE = VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(ANY_TEXT, VALUES, max_size=2)
LEAVES: dict[object, st.SearchStrategy[Any]] = {
    str: ANY_TEXT,
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(),
    object: ANY_VALUE,
    Any: ANY_VALUE,
    type(None): st.none(),
    datetime: st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=ZONES),
}


def anything(hint: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - a type, as the events write it
    """Make values of a type."""
    if hint in LEAVES:
        return LEAVES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([anything(argument) for argument in arguments])
    if origin is tuple:
        return st.lists(anything(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(ANY_TEXT, anything(arguments[1]), max_size=2)
    assert isinstance(hint, type)
    hints = get_type_hints(hint)
    return st.builds(hint, **{name: anything(kind) for name, kind in hints.items()})


KINDS = get_args(Event)
RECORDS = st.sampled_from(KINDS).flatmap(
    lambda kind: st.builds(Record, ANY_TEXT, st.integers(1), LEAVES[datetime], anything(kind))
)
NOON = datetime(2026, 11, 22, 12, 0, 0, 5000, UTC)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS)
def test_every_event_survives_the_way_through_json(record: Record) -> None:
    line = encode_record(record)
    written = json.dumps(line, allow_nan=False)
    assert written.isascii()
    assert "\n" not in written
    assert json.loads(written) == line
    assert list(line)[:4] == ["event", "run_id", "seq", "at"]
    assert set(line) == {"event", "run_id", "seq", "at", *record.event._fields}
    assert datetime.fromisoformat(str(line["at"])) == record.at


@settings(max_examples=1)
@given(st.data())
def test_every_kind_of_event_has_a_name_of_its_own_in_the_past_tense(data: st.DataObject) -> None:
    assert len({encode_record(Record("r", 1, NOON, data.draw(anything(kind))))["event"] for kind in KINDS}) == len(
        KINDS
    )


def test_a_line_says_what_when_and_where() -> None:
    event = CallSettled("a1", Usage(10, 5), cost_nano=12_300)
    assert encode_record(Record("7f3a", 4, NOON.astimezone(timezone(timedelta(hours=1))), event)) == {
        "event": "call_settled",
        "run_id": "7f3a",
        "seq": 4,
        "at": "2026-11-22T12:00:00.005000Z",
        "attempt_id": "a1",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "cached_input_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
        },
        "cost_nano": 12_300,
        "overrun": False,
        "counted": False,
    }


def test_tuples_and_what_is_inside_them_become_lists_and_objects() -> None:
    call = ToolCall("c1", "docker_ps", {"all": True, "price": Decimal("0.10"), "odd": float("nan")})
    line = encode_record(Record("r", 1, NOON, MessageAdded(Message("assistant", "", (call,)))))
    arguments = {"all": True, "price": "0.10", "odd": None}
    assert line["message"] == {
        "role": "assistant",
        "text": "",
        "tool_calls": [{"id": "c1", "name": "docker_ps", "arguments": arguments}],
        "tool_call_id": None,
        "thoughts": [],
    }
    assert encode_record(Record("r", 1, NOON, ToolStarted(call)))["event"] == "tool_started"


def test_a_time_inside_an_event_is_written_like_that_of_the_record() -> None:
    breaker = BreakerInfo("max_cost_per_hour", "nano_usd", 5, 4, 0, 6, NOON, "wait")
    line = encode_record(Record("r", 1, NOON, BreakerTripped(breaker)))
    assert isinstance(line["breaker"], dict)
    assert line["breaker"]["free_at"] == line["at"] == "2026-11-22T12:00:00.005000Z"
