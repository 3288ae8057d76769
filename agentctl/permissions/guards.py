"""Limit a model's tool calls in one turn and their repetition; the errors of a model that gets nowhere. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from agentctl.core.errors import ActionDenied, TaskFailed
from agentctl.core.messages import Completion, ToolCall
from agentctl.protocols import Tool
from agentctl.tools.toolbox import DELEGATE, real_name

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MOST_LEVELS = 20
_LONGEST_ROUND = 3  # calls
_MOST_DENIALS = 3  # of one call


class LoopLimits(NamedTuple):
    """The limits of a loop. After ``identical_calls`` identical calls the model is warned once; then the run fails."""

    max_turns: int = 30
    calls_a_turn: int = 16
    reads_at_once: int = 8
    identical_calls: int = 3
    argument_characters: int = 32_768
    result_tokens: int = 25_000


def limit_tool_calls(
    calls: Sequence[ToolCall],
    limits: LoopLimits,
    *,
    turn: int,
    known: Collection[str] | None = None,
    taken: Collection[str] = (),
) -> tuple[tuple[ToolCall, ...], Mapping[str, str]]:
    """Return the calls of a turn, normalized so that they can be sent back, and why some (by id) must not run.

    Beyond ``calls_a_turn`` one more call is kept, to carry the refusal of the rest. A name becomes that of the tool
    that it means (``known`` are the run's tools; None: it stays), and gets plain characters. Ids become unique,
    also among those of earlier turns (``taken``). Arguments that are not JSON, too deep or too long are emptied and
    refused.
    """
    kept: list[ToolCall] = []
    refused: dict[str, str] = {}
    for number, call in enumerate(calls[: limits.calls_a_turn + 1], 1):
        plain = 0 < len(call.id) <= 128 and call.id.isascii() and call.id.isprintable()
        call_id = call.id if plain else f"call_{turn}_{number}"
        while call_id in taken or any(call_id == other.id for other in kept):
            call_id = f"{call_id}_{number}"
        written = arguments_text(call.arguments)
        if number > limits.calls_a_turn:
            rest = len(calls) - limits.calls_a_turn
            refused[call_id] = f"not run, nor the others of {rest}: at most {limits.calls_a_turn} calls in one turn"
        elif written is None or len(written) > limits.argument_characters:
            refused[call_id] = (
                f"not run: the arguments are not a JSON object of at most {limits.argument_characters} characters"
            )
        name = call.name if known is None else real_name(call.name, known)
        arguments = {} if call_id in refused else call.arguments
        kept.append(replace(call, id=call_id, name=plain_name(name), arguments=arguments))
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


def are_fit(arguments: Mapping[str, object]) -> bool:
    """Return whether a tool may get these arguments: they are JSON, not too deep and not too long."""
    written = arguments_text(arguments)
    return written is not None and len(written) <= LoopLimits().argument_characters


def call_key(call: ToolCall) -> str:
    """Return the text that identical calls share: name and arguments.

    The same task for the same agent is an identical call, whatever it may cost.
    """
    given = call.arguments
    if call.name == DELEGATE:
        given = {name: " ".join(str(given.get(name, "")).split()) for name in ("agent", "task")}
    return f"{call.name} {arguments_text(given)}"


def only_reads(tool: Tool) -> bool:
    """Return whether nothing can be different after a call: a delegated run may change things, though the call reads.

    What such a run may do is judged at its own calls.
    """
    return tool.effect == "read" and tool.spec.name != DELEGATE


class _Made(NamedTuple):
    """A call as it was made; ``result`` is None until it is known, "" if the call was not run."""

    asked: str
    result: str | None = None


class RepeatGuard:
    """Recognizes a call that is repeated, alone (A, A, A) or in a round of two or three (A, B, A, B).

    A call alone may come ``most`` - 1 times in a row. A round may come once, or ``most`` - 1 times if its results
    change, as they do for a model that waits for something.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: list[_Made] = []
        self._told = False

    def check_repeats(
        self, calls: Sequence[ToolCall], *, at_hand: Mapping[str, bool] | None = None
    ) -> Mapping[str, str] | None:
        """Return the refusal of each repeated call (by id); None if an earlier turn was refused for it already.

        Calls ``at_hand`` (by id) are not refused: the result that the model has answers them, and tells it the same, if
        it is sure to come again (True).
        """
        said: dict[str, str] = {}
        is_told = self._told
        for call in calls:
            self._made.append(_Made(call_key(call)))
            period = self._period()
            if not period:
                self._told = is_told = False
                continue
            if at_hand and call.id in at_hand:
                is_told = is_told or at_hand[call.id]
                continue
            if self._told:
                return None
            is_told = True
            self._made[-1] = self._made[-1]._replace(result="")
            said[call.id] = (
                f"not run: {self._describe(call.name, period)}; use the results you have, or do something else"
            )
        self._told = is_told
        del self._made[: -_LONGEST_ROUND * (self._most + 1) - len(calls)]
        return said

    def add_results(self, results: Sequence[str]) -> None:
        """Record the results of the calls that were checked last, in their order."""
        for place, result in enumerate(results, len(self._made) - len(results)):
            if self._made[place].result is None:
                self._made[place] = self._made[place]._replace(result=result)

    def forget_results(self) -> None:
        """Forget what the calls returned, as the model no longer has it: asking again is no round without a change."""
        self._made = [made._replace(result=None) for made in self._made]

    def _period(self) -> int:
        """Return the length of the round that the last call repeats, 0 if it repeats none."""
        if self._times(1) >= self._most:
            return 1
        for period in range(2, _LONGEST_ROUND + 1):
            last = self._made[-period:]
            if len({made.asked for made in last}) > 1 and (
                self._times(period) >= self._most or (self._times(period) >= 2 and self._is_unchanged(period))
            ):
                return period
        return 0

    def _times(self, period: int) -> int:
        """Return how many times the last ``period`` calls were made in a row."""
        times = 1
        while (times + 1) * period <= len(self._made) and all(
            self._made[-1 - back].asked == self._made[-1 - back - times * period].asked for back in range(period)
        ):
            times += 1
        return times

    def _is_unchanged(self, period: int) -> bool:
        """Return whether each earlier call of the last round had the same result as in the round before."""
        for back in range(1, period):
            one, before = self._made[-1 - back].result, self._made[-1 - back - period].result
            if one is None or before is None or (one != before and one and before):
                return False
        return True

    def _describe(self, name: str, period: int) -> str:
        times = self._times(period)
        if period == 1:
            return f"{name} was called with these arguments {times} times in a row"
        names = ", ".join(made.asked.partition(" ")[0] for made in self._made[-period:])
        return f"{names} were called with the same arguments {times} times in a row"


class DenialGuard:
    """Recognizes a call that is made again although it was denied."""

    def __init__(self) -> None:
        self._denied: dict[str, tuple[int, ActionDenied]] = {}

    def error_of(self, calls: Sequence[ToolCall]) -> ActionDenied | None:
        """Return the denial of the last of these calls that was ever denied, None if none was."""
        found = [self._denied[key][1] for key in map(call_key, calls) if key in self._denied]
        return found[-1] if found else None

    def check_denials(
        self, calls: Sequence[ToolCall], results: Sequence[object], *, nothing_since: bool
    ) -> ActionDenied | None:
        """Record the denials among the results of a turn; return the one that ends the run, None to go on.

        It ends if a denied call is made again and nothing has succeeded between (``nothing_since``) or beside it, and
        in any case the third time.
        """
        pairs = zip(calls, results, strict=True)
        denied = {call_key(call): result for call, result in pairs if isinstance(result, ActionDenied)}
        ends: ActionDenied | None = None
        alone = nothing_since and not any(isinstance(result, str) for result in results)
        for key, error in denied.items():
            times = self._denied[key][0] + 1 if key in self._denied else 1
            self._denied[key] = times, error
            if times >= _MOST_DENIALS or (times > 1 and alone):
                ends = error
        return ends


def _shallow(value: object, levels: int) -> bool:
    if isinstance(value, Mapping):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, (list, tuple)):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value)
    return True


def no_answer_error() -> TaskFailed:
    """Return the error of a model that was asked for an answer from the results, and gave none."""
    return TaskFailed("the model did not answer from the results", hint="run it again, or choose another model")


def empty_answer_error(answer: Completion) -> TaskFailed:
    """Return the error of an answer without text."""
    if not answer.reasoning.strip():
        return TaskFailed("the model gave an empty answer", hint="run it again, or choose another model")
    if answer.stop == "length":
        said = "the model reached its output limit while it was reasoning, and gave no answer"
        return TaskFailed(said, hint="raise --max-output-tokens, or choose another model")
    return TaskFailed(
        "the model gave no answer: all it wrote is reasoning", hint="run it again, or choose another model"
    )


def repeated_call_error(name: str) -> TaskFailed:
    """Return the error of a model that calls a tool again and again."""
    return TaskFailed(
        f"{name} was called repeatedly with the same arguments",
        hint="describe the task more precisely, or choose another model",
    )
