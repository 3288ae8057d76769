"""The groups of a conversation (a tool call and its results stay together), and a cache of their sizes and words.

A conversation grows at its end, so the sizes, groups, words and names of its beginning are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from math import ceil
from operator import is_
from typing import TYPE_CHECKING, NamedTuple

from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.messages import Message

if TYPE_CHECKING:
    from agentctl.context.relevance import GroupFeatures


_MOST = 20_000
_Messages = tuple[Message, ...]


class _Conversation(NamedTuple):
    """A conversation with its groups and the features of each."""

    messages: Sequence[Message] = ()
    groups: Sequence[TurnGroup] = ()
    features: Sequence[GroupFeatures] = ()


class MessageCache:
    """Caches sizes, groups, words and names of messages, which are immutable values.

    Results are the same with it or without. It holds at most ``most`` messages and as many groups; others are forgotten
    and computed again. Its entries are replaced, not changed, so threads may share it.
    """

    __slots__ = ("_features", "_last", "_left", "_most", "_names", "_sizes")

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # an id identifies a message only while that is alive, so each entry holds its message
        self._sizes: tuple[Callable[[str], int], dict[int, tuple[Message, int]]] = (PLAIN.count, {})
        self._features: dict[tuple[int, ...], tuple[_Messages, GroupFeatures]] = {}
        self._names: dict[int, tuple[Message, Set[str]]] = {}
        self._last = _Conversation()
        self._left: tuple[Sequence[Message], ...] = ()

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
        plain, factor = measure.scaled(1.0), measure.factor  # a model's reports change the factor, not the count
        for place in new:
            found[place] = messages[place], plain.message(messages[place])
        if len(known) + len(new) > self._most:
            known = {}
            self._sizes = measure.count, known
        known.update((id(entry[0]), entry) for place in new[-self._most :] if (entry := found[place]))
        sizes = [entry[1] if entry else 0 for entry in found]
        return sizes if factor == 1 else [ceil(size * factor) for size in sizes]

    def features(self, messages: Sequence[Message]) -> tuple[Sequence[TurnGroup], Sequence[GroupFeatures]]:
        """Return the groups of a conversation and their features; if it grew, only its end is read."""
        from agentctl.context.relevance import extract_features  # noqa: PLC0415 - most runs never fill their context

        last = self._last
        start, same = _grown_from(last, messages)
        groups, features = list(last.groups[:same]), list(last.features[:same])
        for places, sound in group_turns(messages[start:]):
            group = TurnGroup(tuple([start + at for at in places]), sound) if start else TurnGroup(places, sound)
            said = tuple([messages[at] for at in group.places])
            groups.append(group)
            features.append(self._get_or_extract(said, extract_features) if self._most else extract_features(said))
        is_kept = len(messages) <= self._most
        self._last = _Conversation(tuple(messages), groups, features) if is_kept else _Conversation()
        return groups, features

    def names(self, message: Message) -> Set[str]:
        """Return the names in a message and in its calls."""
        from agentctl.context.kept_names import names_of  # noqa: PLC0415 - most runs never fill their context

        if (entry := self._names.get(id(message))) is None:
            entry = message, names_of(message)
            if self._most:
                if len(self._names) >= self._most:
                    self._names = {}
                self._names[id(message)] = entry
        return entry[1]

    def prepare(self, messages: Sequence[Message]) -> None:
        """Compute now what a cut of ``messages`` needs, so that it takes less time when it comes."""
        self.features(messages)
        for message in messages:
            self.names(message)

    def retain(self, *conversations: Sequence[Message]) -> None:
        """Forget all but the messages of ``conversations``, at the next use, so that the cut itself is not slower."""
        self._left = conversations

    def _get_or_extract(self, group: _Messages, extract: Callable[[_Messages], GroupFeatures]) -> GroupFeatures:
        key = tuple(map(id, group))
        if (entry := self._features.get(key)) is None:
            if len(self._features) >= self._most:
                self._features = {}
            entry = self._features[key] = (group, extract(group))
        return entry[1]

    def _forget(self) -> None:
        if not (conversations := self._left):
            return
        self._left = ()
        left = {id(message) for messages in conversations for message in messages}
        count, known = self._sizes
        features, last = self._features, self._last.messages
        if not (last and left.issuperset(map(id, last))):
            self._last = _Conversation()
        if len(known) > len(left):
            self._sizes = count, {at: known[at] for at in left if at in known}
        if len(self._names) > len(left):
            self._names = {at: one for at, one in self._names.items() if at in left}
        if len(features) > len(left):
            self._features = {key: one for key, one in features.items() if left.issuperset(key)}


def _grown_from(last: _Conversation, messages: Sequence[Message]) -> tuple[int, int]:
    """Return the place from which the groups may differ from those of ``last``, and how many groups precede it."""
    place = len(last.messages)
    if place > len(messages) or not all(map(is_, last.messages, messages)):
        return 0, 0
    while place and last.messages[place - 1].role == "tool":
        place -= 1
    place = max(0, place - 1)
    same = len(last.groups)
    while same and last.groups[same - 1].places[0] >= place:
        same -= 1
    return place, same


class TurnGroup(NamedTuple):
    """The places of one message, or of tool calls and their results.

    Not ``sound``: a result without its call, or calls without their results; no provider accepts either. Calls at the
    very end are still waiting, and sound.
    """

    places: tuple[int, ...]
    sound: bool


def group_turns(messages: Sequence[Message]) -> tuple[TurnGroup, ...]:
    """Group tool calls with their results, in the order of their first messages; each place is in exactly one group."""
    groups: list[TurnGroup] = []
    open_at = 0  # the group whose results may still come
    waiting: list[str] = []
    answers: list[int] = []
    for place, message in enumerate(messages):
        if message.role != "tool":
            if answers:
                groups[open_at] = TurnGroup((*groups[open_at].places, *answers), sound=False)
            waiting, answers = [call.id for call in message.tool_calls] if message.tool_calls else [], []
            open_at = len(groups)
            groups.append(TurnGroup((place,), not waiting))
        elif (answered := _find_waiting(waiting, message.tool_call_id)) is None:
            groups.append(TurnGroup((place,), sound=False))
        else:
            del waiting[answered]
            answers.append(place)
            if not waiting:
                groups[open_at] = TurnGroup((*groups[open_at].places, *answers), sound=True)
                answers = []
    if waiting:
        groups[open_at] = TurnGroup((*groups[open_at].places, *answers), sound=True)
    return tuple(groups)


def _find_waiting(waiting: list[str], answer_id: str | None) -> int | None:
    """Return the waiting call that is answered: the one with that id or, if one side has no ids, the next."""
    if answer_id in waiting:
        return waiting.index(answer_id)
    if not answer_id and waiting:
        return 0
    return waiting.index("") if "" in waiting else None
