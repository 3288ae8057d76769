"""Cuts a conversation to a size: the least relevant goes, what must stay loses its middles. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from agentctl.digest import Digest, joined, split
from agentctl.measure import PLAIN, Measure
from agentctl.messages import Message
from agentctl.relevance import relevances
from agentctl.tokens import LEAST_LEFT
from agentctl.units import Unit, units_of

_DIGEST_SHARE, _DIGEST_MOST = 12, 500  # a twelfth of the room, at most so many tokens
_SUMMARY_SHARE = 6  # of the room beside that: for a model's summary in it


class Cut(NamedTuple):
    """What is left: each message with its place in what was given, and the tokens of all. It may still be too much."""

    kept: tuple[tuple[int, Message], ...]
    tokens: int


def cut(
    messages: Sequence[Message],
    room: int,
    *,
    keep_user: int,
    keep_assistant: int,
    more: Mapping[int, int] | None = None,
    cut_to_percent: int = 50,
    measure: Measure = PLAIN,
    summary: str = "",
) -> Cut:
    """Return ``messages`` cut to about ``cut_to_percent`` of ``room`` tokens, or as near as what must stay allows.

    ``more`` are tokens, by place, that a message takes beside its own. What no provider would take goes first.
    """
    desk = _Desk(messages, more or {}, measure)
    task = next((place for place, message in enumerate(messages) if message.role == "user"), None)
    before = desk.take_digest(task) if task is not None else Digest()
    spare = min(room // _DIGEST_SHARE, _DIGEST_MOST) if task is not None else 0
    spare += min(room // _SUMMARY_SHARE, measure.text(summary or before.summary) * 5 // 4)  # each line has a mark
    half, limit = room * cut_to_percent // 100 - spare, room - spare

    units = units_of(messages)
    sound = [unit for unit in units if unit.sound]
    newest = frozenset(sound[-1].places if sound else ())
    gone = [unit for unit in units if not unit.sound]
    for unit in gone:
        desk.drop(unit)
    if room // 2 >= LEAST_LEFT:
        desk.level(desk.of("tool"), room // 2)

    stay = newest | _must_stay(messages, sound, keep_user, keep_assistant)
    loose = [unit for unit in sound if stay.isdisjoint(unit.places)]
    fixed = desk.tokens - sum(map(desk.size, loose))
    goal = max(half, fixed + (limit - fixed) // 8)  # where what must stay takes half, a part of the rest stays too
    if desk.tokens > goal:
        for unit in _least_relevant_first(desk.left, loose, task, newest):
            if desk.tokens <= goal:
                break
            desk.drop(unit)
            gone.append(unit)

    if desk.tokens > room * 3 // 4:  # else the next cut would come too soon
        desk.squeeze([place for place in desk.of("tool") if place not in newest], limit)
    for roles in (("tool",), ("tool", "assistant")):
        if desk.tokens > limit:
            desk.squeeze(desk.of(*roles), limit)
    if task is not None:
        digest = joined(before, [[messages[place] for place in unit.places] for unit in sorted(gone)], desk.left[task])
        if summary:
            digest = Digest(digest.messages, (), summary)
        desk.append(task, digest.text(min(spare, room - desk.tokens), measure))
    return Cut(tuple(sorted(desk.left.items())), desk.tokens)


class _Desk:
    """A conversation being cut: what is left of it, by place, and its tokens."""

    def __init__(self, messages: Sequence[Message], more: Mapping[int, int], measure: Measure) -> None:
        self._measure, self._more = measure, more
        self.left = dict(enumerate(messages))
        self._sizes = {place: measure.message(message) + more.get(place, 0) for place, message in self.left.items()}
        self.tokens = sum(self._sizes.values())

    def of(self, *roles: str) -> list[int]:
        return [place for place, message in self.left.items() if message.role in roles]

    def size(self, unit: Unit) -> int:
        return sum(self._sizes[place] for place in unit.places)

    def drop(self, unit: Unit) -> None:
        for place in unit.places:
            del self.left[place]
            self.tokens -= self._sizes.pop(place)

    def append(self, place: int, text: str) -> None:
        if text:
            self._rewrite(place, self.left[place].text + text)

    def take_digest(self, place: int) -> Digest:
        words, digest = split(self.left[place].text)
        self._rewrite(place, words)
        return digest

    def level(self, places: Collection[int], most: int) -> None:
        """Cut every text down to ``most`` tokens."""
        for place in places:
            self._rewrite(place, self._measure.cut_middle(self.left[place].text, most))

    def squeeze(self, places: Collection[int], limit: int) -> None:
        """Cut the longest texts to one common length, so that they take half of what the rest leaves them."""
        sizes = sorted(self._measure.text(self.left[place].text) for place in places)
        left = (limit - (self.tokens - sum(sizes))) // 2
        for place, size in enumerate(sizes):
            share = left // (len(sizes) - place)
            if size > share:
                self.level(places, max(share, LEAST_LEFT))
                return
            left -= size

    def _rewrite(self, place: int, text: str) -> None:
        message = self.left[place]
        if text == message.text:
            return
        self.left[place] = replace(message, text=text)
        size = self._measure.message(self.left[place]) + self._more.get(place, 0)
        self.tokens += size - self._sizes[place]
        self._sizes[place] = size


def _must_stay(messages: Sequence[Message], sound: Sequence[Unit], keep_user: int, keep_assistant: int) -> set[int]:
    def places(role: str) -> list[int]:
        return [place for unit in sound for place in unit.places if messages[place].role == role]

    users, assistants = places("user"), places("assistant")
    last_users = users[max(0, len(users) - keep_user) :]
    return {*places("system"), *users[:1], *last_users, *assistants[max(0, len(assistants) - keep_assistant) :]}


def _least_relevant_first(
    left: Mapping[int, Message], loose: Sequence[Unit], task: int | None, newest: Collection[int]
) -> list[Unit]:
    """Order the units that may go; of two that are as relevant the older goes first."""
    users = [message for message in left.values() if message.role == "user"]
    scores = relevances(
        [[left[place] for place in unit.places] for unit in loose],
        task=[] if task is None else [left[task]],
        latest=[*users[-1:], *(left[place] for place in sorted(newest))],
    )
    return [unit for _, unit in sorted(zip(scores, loose, strict=True), key=lambda pair: (pair[0], pair[1].places))]
