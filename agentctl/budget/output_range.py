"""Choose the range of output tokens that a request asks for. Pure.

The most is what an answer may need; the least is the smallest useful answer. ``rules.judge`` then grants the largest
number of that range that fits all limits, and that number is sent as the request's maximum (its clamp).
"""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

from agentctl.core.pricing import ModelFacts

DEFAULT_OUTPUT = 4096
DEFAULT_REASONING_OUTPUT = 16384
LEAST_OUTPUT = 256
LEAST_REASONING_OUTPUT = 2048
TURN_OUTPUT = 1024  # for a turn with tools; most of them need less than a tenth of this
TURN_REASONING_OUTPUT = 4096  # the same, with reasoning of the usual length
TURN_FACTOR = 4  # times the largest output so far
_LINES_LOOKED_AT, _LEAST_ROUND = 200, 20  # lines, characters


class OutputRange(NamedTuple):
    """A range of output tokens: the least that is useful, and the most that is wanted."""

    least: int
    most: int


def choose_output(facts: ModelFacts, max_output_tokens: int | None = None) -> OutputRange:
    """Return the output to ask for: ``most`` within the model's ceiling, ``least`` as the smallest useful answer.

    With a thinking budget ``least`` is that budget + 256; the budget may shrink to the provider's minimum.
    """
    if max_output_tokens is None:
        max_output_tokens = DEFAULT_REASONING_OUTPUT if facts.reasoning else DEFAULT_OUTPUT
    most = max_output_tokens if facts.output_ceiling is None else min(max_output_tokens, facts.output_ceiling)
    least = LEAST_REASONING_OUTPUT if facts.reasoning else LEAST_OUTPUT
    if facts.thinking_budget is not None:
        floor = facts.least_thinking_budget
        least = (facts.thinking_budget if floor is None else min(floor, facts.thinking_budget)) + LEAST_OUTPUT
    return OutputRange(min(least, most), most)


def choose_turn_output(
    facts: ModelFacts, max_output_tokens: int | None, dearest: int | None, *, thinks: bool = False
) -> OutputRange:
    """Return the output to ask for in a turn that may call tools: four times the largest (``dearest``) output so far.

    The result is at least 1024 tokens, with reasoning 4096, with a thinking budget that budget + 1024, and at most the
    usual most. ``thinks``: the model has reported thoughts, whatever the tables say. ``max_output_tokens`` was set by
    the user and is kept. ``dearest`` None: the run has no output yet, so the usual range. The first answer may be the
    whole answer to a plain question, and an answer that is cut is paid for twice. A smaller first hold would not reduce
    any later charge, and the limits are still empty then.
    """
    usual = choose_output(facts, max_output_tokens)
    if max_output_tokens is not None or dearest is None:
        return usual
    floor = TURN_REASONING_OUTPUT if facts.reasoning or thinks else TURN_OUTPUT
    if facts.thinking_budget is not None:
        floor = max(floor, facts.thinking_budget + TURN_OUTPUT)
    return OutputRange(usual.least, min(usual.most, max(floor, usual.least, TURN_FACTOR * dearest)))


def choose_retry_output(
    facts: ModelFacts,
    max_output_tokens: int | None,
    *,
    wanted: OutputRange,
    granted: int,
    probe: bool = False,
    text: str = "",
) -> OutputRange | None:
    """Return the output for the one retry of an answer that was cut at ``granted`` tokens; None: no retry would help.

    ``wanted`` is what was asked for. If it was below the usual most, to save a hold, ask for at least twice as much and
    at most twice the usual most, so that nothing is lost against the usual range. If a limit granted less than the
    usual most, ask for all of it. Otherwise double it, unless the user set the most. ``probe``: the provider was tried
    with the least, so any larger number is enough. A ``text`` that repeats its lines without an end gets no retry.
    """
    if repeats_lines(text):
        return None
    usual = choose_output(facts, max_output_tokens)
    double = usual.most if max_output_tokens is not None else choose_output(facts, usual.most * 2).most
    is_adapted = wanted.most < usual.most
    most = double if is_adapted or granted >= usual.most else usual.most
    if most <= granted:
        return None
    if probe:
        return OutputRange(granted + 1, most)
    return OutputRange(min(2 * granted, most) if is_adapted else most, most)


def repeats_lines(text: str) -> bool:
    """Return whether a text ends in a round of lines, the same ones at least three times."""
    lines = [line for line in text.splitlines() if line.strip()][-_LINES_LOOKED_AT:-1]  # the last one may be cut
    for period in range(1, len(lines) // 3 + 1):
        last = lines[-period:]
        if sum(map(len, last)) >= _LEAST_ROUND and lines[-3 * period :] == last * 3:
            return True
    return False


def choose_summary_output(facts: ModelFacts, tokens: int, max_output_tokens: int | None = None) -> OutputRange:
    """Return the output to ask for to get ``tokens`` of text: no less is useful, and reasoning comes on top."""
    own = choose_output(facts, max_output_tokens)
    thinks = facts.reasoning or facts.thinking_budget is not None
    most = min(own.least + tokens if thinks else tokens, own.most)
    return OutputRange(most, most)


def fit_window(wanted: OutputRange, room: int | None) -> OutputRange:
    """Limit a range to a window's ``room`` in tokens, never below its least; None: the window is unknown."""
    return wanted if room is None else OutputRange(wanted.least, max(wanted.least, min(wanted.most, room)))


def affords(tokens: int | None, wanted: OutputRange) -> TypeGuard[int]:
    """Return whether credits for ``tokens`` of output pay for an answer that is shorter than wanted but useful."""
    return tokens is not None and wanted.least <= tokens < wanted.most
