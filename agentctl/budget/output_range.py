"""Choose the range of output tokens that a request asks for. Pure.

The most is what an answer may need; the least is what is still of use. ``rules.judge`` then grants the largest number
of that range that fits all limits, and that number is sent as the request's maximum (its clamp).
"""

from __future__ import annotations

from typing import NamedTuple

from agentctl.core.pricing import ModelFacts

DEFAULT_OUTPUT = 4096
DEFAULT_REASONING_OUTPUT = 16384
LEAST_OUTPUT = 256
LEAST_REASONING_OUTPUT = 2048
TURN_OUTPUT = 1024  # of a turn with tools: most of them need less than a tenth of this
TURN_REASONING_OUTPUT = 4096  # the same, with thoughts of the usual length
TURN_FACTOR = 4  # times the dearest output so far


class OutputRange(NamedTuple):
    """Output tokens: the least that would do, and the most that is wanted."""

    least: int
    most: int


def choose_output(facts: ModelFacts, max_output_tokens: int | None = None) -> OutputRange:
    """Return the output to ask for: ``most`` within the model's ceiling, ``least`` that still makes an answer.

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
    """Return the output to ask for in a turn that may call tools: four times the ``dearest`` output of the run so far.

    Never below 1024 tokens, with reasoning 4096, with a thinking budget that budget + 1024, and never above the usual
    most. ``thinks``: it has reported thoughts, whatever the tables say of it. ``max_output_tokens`` was set by the user
    and stays as it is. ``dearest`` None: the run has no output yet, so the usual range. The first answer may be the
    whole answer of a plain question, and one that is cut is paid for twice; a smaller first hold would make no later
    charge smaller, and it stands against a limit that is still empty.
    """
    usual = choose_output(facts, max_output_tokens)
    if max_output_tokens is not None or dearest is None:
        return usual
    floor = TURN_REASONING_OUTPUT if facts.reasoning or thinks else TURN_OUTPUT
    if facts.thinking_budget is not None:
        floor = max(floor, facts.thinking_budget + TURN_OUTPUT)
    return OutputRange(usual.least, min(usual.most, max(floor, usual.least, TURN_FACTOR * dearest)))


def choose_retry_output(
    facts: ModelFacts, max_output_tokens: int | None, *, wanted: OutputRange, granted: int, probe: bool = False
) -> OutputRange | None:
    """Return the output to ask for once more after ``granted`` tokens cut an answer; None: it would be cut again.

    ``wanted`` is what was asked for. Below the usual most the answer was cut to save a hold, so it is asked for with
    the double at least and the double of the usual most at most: what the usual range would have brought is not lost. A
    limit that granted less than the usual most is asked for all of it. Else it is the double, unless the user set the
    most. ``probe``: the provider was tried with the least, and any more will do.
    """
    usual = choose_output(facts, max_output_tokens)
    double = usual.most if max_output_tokens is not None else choose_output(facts, usual.most * 2).most
    is_adapted = wanted.most < usual.most
    most = double if is_adapted or granted >= usual.most else usual.most
    if most <= granted:
        return None
    if probe:
        return OutputRange(granted + 1, most)
    return OutputRange(min(2 * granted, most) if is_adapted else most, most)


def choose_summary_output(facts: ModelFacts, tokens: int, max_output_tokens: int | None = None) -> OutputRange:
    """Return the output to ask for where ``tokens`` of text are wanted: no less would do, and thoughts come on top."""
    own = choose_output(facts, max_output_tokens)
    thinks = facts.reasoning or facts.thinking_budget is not None
    most = min(own.least + tokens if thinks else tokens, own.most)
    return OutputRange(most, most)


def fit_window(wanted: OutputRange, room: int | None) -> OutputRange:
    """Return what of a range a window has ``room`` (tokens) for, never below its least; None: no window is known."""
    return wanted if room is None else OutputRange(wanted.least, max(wanted.least, min(wanted.most, room)))
