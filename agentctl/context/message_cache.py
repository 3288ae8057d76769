"""What is known of messages that were looked at before, so that a growing conversation is looked at once.

What belongs together in a conversation: tool calls and their answers. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from operator import is_
from typing import TYPE_CHECKING, NamedTuple

from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.messages import Message

if TYPE_CHECKING:
    from agentctl.context.relevance import GroupFeatures


_MOST = 20_000
Group = tuple[Message, ...]


class _Talk(NamedTuple):
    """A conversation with its units, and what is seen of each."""

    messages: Sequence[Message] = ()
    units: Sequence[TurnGroup] = ()
    looks: Sequence[GroupFeatures] = ()


class MessageCache:
    """Remembers sizes, units and words by the messages themselves, which are values: who changes one makes a new one.

    With it or without, an answer is the same. It holds at most ``most`` messages and as many groups of them; what is
    beyond is forgotten, and looked at anew. What it holds is replaced, not changed, so threads may share it.
    """

    __slots__ = ("_last", "_left", "_looks", "_most", "_sizes")

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # an id means a message as long as that is held, so each stands beside what is known of it
        self._sizes: tuple[Callable[[str], int], dict[int, tuple[Message, int]]] = (PLAIN.count, {})
        self._looks: dict[tuple[int, ...], tuple[Group, GroupFeatures]] = {}
        self._last = _Talk()
        self._left: Sequence[Message] | None = None

    def sizes(self, messages: Sequence[Message], measure: Measure) -> list[int]:
        """Return the tokens of each message."""
        if not self._most:
            return list(map(measure.message, messages))
        self._forget()
        count, known = self._sizes
        if count != measure.count:
            known = {}
            self._sizes = measure.count, known
        found = list(map(known.get, map(id, messages)))
        new = [place for place, entry in enumerate(found) if entry is None] if None in found else []
        plain, factor = measure.scaled(1.0), measure.factor  # a model's reports change the factor, and no count
        for place in new:
            found[place] = messages[place], plain.message(messages[place])
        if len(known) + len(new) > self._most:
            known = {}
            self._sizes = measure.count, known
        known.update((id(entry[0]), entry) for place in new[-self._most :] if (entry := found[place]))
        sizes = [entry[1] if entry else 0 for entry in found]
        return sizes if factor == 1 else [ceil(size * factor) for size in sizes]

    def seen(self, messages: Sequence[Message]) -> tuple[Sequence[TurnGroup], Sequence[GroupFeatures]]:
        """Return the units of a conversation, and what is seen of each; of one that grew only its end is looked at."""
        from agentctl.context.relevance import extract_features  # noqa: PLC0415 - most runs never fill their context

        last = self._last
        start, same = _grown_from(last, messages)
        units, looks = list(last.units[:same]), list(last.looks[:same])
        for places, sound in group_turns(messages[start:]):
            unit = TurnGroup(tuple([start + at for at in places]), sound) if start else TurnGroup(places, sound)
            group = tuple([messages[at] for at in unit.places])
            units.append(unit)
            looks.append(self._remembered(group, extract_features) if self._most else extract_features(group))
        self._last = _Talk(tuple(messages), units, looks) if len(messages) <= self._most else _Talk()
        return units, looks

    def only(self, messages: Sequence[Message]) -> None:
        """Forget what is not among ``messages``: with the next look, because a cut has cost enough."""
        self._left = messages

    def _remembered(self, group: Group, extract_features: Callable[[Group], GroupFeatures]) -> GroupFeatures:
        key = tuple(map(id, group))
        if (entry := self._looks.get(key)) is None:
            if len(self._looks) >= self._most:
                self._looks = {}
            entry = self._looks[key] = (group, extract_features(group))
        return entry[1]

    def _forget(self) -> None:
        if (left := self._left) is None:
            return
        count, known = self._sizes
        looks = self._looks
        keys = [tuple([id(left[place]) for place in unit.places]) for unit in group_turns(left)]
        self._left, self._last = None, _Talk()
        self._sizes = count, {at: known[at] for at in map(id, left) if at in known}
        self._looks = {key: looks[key] for key in keys if key in looks}


def _grown_from(last: _Talk, messages: Sequence[Message]) -> tuple[int, int]:
    """Return the place from which on units may be others than those of ``last``, and how many are before it."""
    place = len(last.messages)
    if place > len(messages) or not all(map(is_, last.messages, messages)):
        return 0, 0
    while place and last.messages[place - 1].role == "tool":
        place -= 1
    place = max(0, place - 1)
    same = len(last.units)
    while same and last.units[same - 1].places[0] >= place:
        same -= 1
    return place, same


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
