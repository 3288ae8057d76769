"""Read the parts of a journal's records back: messages, calls, thoughts, notices and errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from agentctl.core.impact import DeniedCall
from agentctl.core.messages import Message, Role, Thought, ToolCall
from agentctl.core.results import ErrorInfo, FileNotice

Fields = Mapping[str, object]


def message_of(fields: Fields) -> Message:
    """Return a message of a conversation."""
    answered = fields.get("tool_call_id")
    return Message(
        cast("Role", str(fields["role"])),
        str(fields["text"]),
        tuple(call_of(fields_of(call)) for call in list_of(fields.get("tool_calls"))),
        None if answered is None else str(answered),
        thoughts_of(fields.get("thoughts")),
    )


def call_of(fields: Fields) -> ToolCall:
    """Return a tool call."""
    return ToolCall(str(fields["id"]), str(fields["name"]), fields_of(fields["arguments"]))


def thoughts_of(value: object) -> tuple[Thought, ...]:
    """Return the thoughts of an answer."""
    return tuple(
        Thought(
            str(one["text"]),
            str(one["signature"]),
            str(one["data"]),
            int_of(one["text_before"]),
            int_of(one["calls_before"]),
        )
        for one in map(fields_of, list_of(value))
    )


def notice_of(fields: Fields) -> FileNotice:
    """Return the notice of a file that other programs obey."""
    found = (fields.get(name) for name in ("moved_to", "restore_command"))
    moved, restore = (None if value is None else str(value) for value in found)
    return FileNotice(str(fields["path"]), str(fields["obeyed_by"]), moved, restore)


def error_of(value: object) -> ErrorInfo | None:
    """Return the error of a call, None if it had none."""
    if value is None:
        return None
    error = fields_of(value)
    return ErrorInfo(str(error["kind"]), str(error["message"]), str(error["hint"]))


def denied_of(record: Fields) -> DeniedCall:
    """Return the call that a record says was refused."""
    impact = fields_of(record.get("impact") or {})
    details, dangers = (tuple(map(str, list_of(impact.get(name)))) for name in ("details", "dangers"))
    said = str(record["reason"]), str(impact.get("does") or ""), details, dangers, str(record.get("hook") or "")
    return DeniedCall(str(fields_of(record["call"])["name"]), *said)


def fields_of(value: object) -> Fields:
    """Return an object of a record.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def list_of(value: object) -> Sequence[object]:
    """Return a list of a record, empty if it is none."""
    return value if isinstance(value, list) else ()


def int_of(value: object) -> int:
    """Return a whole number of a record, 0 if it is none."""
    return value if isinstance(value, int) else 0


def calls_of(record: Fields) -> tuple[ToolCall, ...]:
    """Return the calls of an answer; those that no tool may get have arguments that are not JSON, as they had."""
    calls = [call_of(fields_of(call)) for call in list_of(record["tool_calls"])]
    for place in list_of(record.get("unfit")):
        calls[int_of(place)] = ToolCall(calls[int_of(place)].id, calls[int_of(place)].name, {"": math.nan})
    return tuple(calls)
