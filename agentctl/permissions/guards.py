"""Limit a model's tool calls in one turn, and how often it may repeat one. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from agentctl.core.messages import ToolCall

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MOST_LEVELS = 20


class LoopLimits(NamedTuple):
    """The limits of a loop. After ``identical_calls`` identical calls the model is warned once; then the run fails."""

    max_turns: int = 30
    calls_a_turn: int = 16
    reads_at_once: int = 8
    identical_calls: int = 3
    argument_characters: int = 32_768
    result_tokens: int = 25_000


def limit_tool_calls(
    calls: Sequence[ToolCall], limits: LoopLimits, *, turn: int
) -> tuple[tuple[ToolCall, ...], Mapping[str, str]]:
    """Return the calls of a turn, normalized so that they can be sent back, and why some (by id) must not run.

    Beyond ``calls_a_turn`` one more call is kept, to carry the refusal of the rest. Names get plain characters, ids
    become unique, and arguments that are not JSON, too deep or too long are emptied and refused.
    """
    kept: list[ToolCall] = []
    refused: dict[str, str] = {}
    for number, call in enumerate(calls[: limits.calls_a_turn + 1], 1):
        plain = 0 < len(call.id) <= 128 and call.id.isascii() and call.id.isprintable()
        call_id = call.id if plain else f"call_{turn}_{number}"
        while any(call_id == other.id for other in kept):
            call_id = f"{call_id}_{number}"
        written = arguments_text(call.arguments)
        if number > limits.calls_a_turn:
            rest = len(calls) - limits.calls_a_turn
            refused[call_id] = f"not run, nor the others of {rest}: at most {limits.calls_a_turn} calls in one turn"
        elif written is None or len(written) > limits.argument_characters:
            refused[call_id] = (
                f"not run: the arguments are not a JSON object of at most {limits.argument_characters} characters"
            )
        arguments = {} if call_id in refused else call.arguments
        kept.append(replace(call, id=call_id, name=plain_name(call.name), arguments=arguments))
    return tuple(kept), refused


def plain_name(name: str) -> str:
    """Return a tool's name as every provider accepts it: letters, digits, ``_`` and ``-``, at most 64."""
    return _NOT_IN_NAMES.sub("_", name[:64]) or "unnamed"


def arguments_text(arguments: Mapping[str, object]) -> str | None:
    """Return arguments as canonical JSON, independent of their order; None if they are not valid JSON."""
    if not _shallow(arguments, _MOST_LEVELS):
        return None
    try:
        return json.dumps(dict(arguments), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return None


class RepeatGuard:
    """Counts identical calls in a row, over all turns of a run."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._last = ""
        self._times = 0
        self._told = False

    def check_repeats(self, calls: Sequence[ToolCall]) -> Mapping[str, str] | None:
        """Return the refusal of each repeated call (by id); None if an earlier turn was refused for it already."""
        said: dict[str, str] = {}
        for call in calls:
            asked = f"{call.name} {arguments_text(call.arguments)}"
            if asked != self._last:
                self._last, self._times, self._told = asked, 0, False
            self._times += 1
            if self._times < self._most:
                continue
            if self._told:
                return None
            said[call.id] = (
                f"not run: {call.name} was called with these arguments {self._times} times in a row; "
                "use the results you have, or do something else"
            )
        self._told = self._times >= self._most
        return said


def _shallow(value: object, levels: int) -> bool:
    if isinstance(value, Mapping):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, (list, tuple)):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value)
    return True
