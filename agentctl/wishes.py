"""How many output tokens to ask for: the least of use, and the most that is wished for. Pure."""

from __future__ import annotations

from typing import NamedTuple

from agentctl.pricing import ModelFacts

DEFAULT_OUTPUT = 4096
DEFAULT_REASONING_OUTPUT = 16384
LEAST_OUTPUT = 256
LEAST_REASONING_OUTPUT = 2048


class Wish(NamedTuple):
    """Output tokens: the least that would do, and the most that is wanted."""

    least: int
    most: int


def wish(facts: ModelFacts, max_output_tokens: int | None = None) -> Wish:
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
    return Wish(min(least, most), most)


def wish_for_summary(facts: ModelFacts, tokens: int, max_output_tokens: int | None = None) -> Wish:
    """Return the output to ask for where ``tokens`` of text are wanted: no less would do, and thoughts come on top."""
    own = wish(facts, max_output_tokens)
    thinks = facts.reasoning or facts.thinking_budget is not None
    most = min(own.least + tokens if thinks else tokens, own.most)
    return Wish(most, most)


def within(wanted: Wish, room: int | None) -> Wish:
    """Return what of a wish a window has ``room`` (tokens) for, never below its least; None: no window is known."""
    return wanted if room is None else Wish(wanted.least, max(wanted.least, min(wanted.most, room)))
