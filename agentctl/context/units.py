"""What belongs together in a conversation: tool calls and their answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agentctl.core.messages import Message


class TurnGroup(NamedTuple):
    """The places of one message, or of tool calls and the answers behind them.

    Not ``sound``: an answer that nobody asked for, or calls that were left without their answers; no provider takes
    either. Calls at the very end are still waiting, and sound.
    """

    places: tuple[int, ...]
    sound: bool


def group_turns(messages: Sequence[Message]) -> tuple[TurnGroup, ...]:
    """Return the units in the order of their first messages; each place is in exactly one of them."""
    units: list[TurnGroup] = []
    open_at = 0  # the unit whose answers may still come
    waiting: list[str] = []
    answers: list[int] = []
    for place, message in enumerate(messages):
        if message.role != "tool":
            if answers:
                units[open_at] = TurnGroup((*units[open_at].places, *answers), sound=False)
            waiting, answers = [call.id for call in message.tool_calls] if message.tool_calls else [], []
            open_at = len(units)
            units.append(TurnGroup((place,), not waiting))
        elif (answered := _answered(waiting, message.tool_call_id)) is None:
            units.append(TurnGroup((place,), sound=False))
        else:
            del waiting[answered]
            answers.append(place)
            if not waiting:
                units[open_at] = TurnGroup((*units[open_at].places, *answers), sound=True)
                answers = []
    if waiting:
        units[open_at] = TurnGroup((*units[open_at].places, *answers), sound=True)
    return tuple(units)


def _answered(waiting: list[str], answer_id: str | None) -> int | None:
    """Return which waiting call is answered: the one of that id, else, where one side has no ids, the next."""
    if answer_id in waiting:
        return waiting.index(answer_id)
    if not answer_id and waiting:
        return 0
    return waiting.index("") if "" in waiting else None
