"""Reads conversations, and remembers what it read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agentctl.context.formats import Part, kind_of, parts_of, refuse
from agentctl.core.messages import Message

_PARTS = 200  # lists and dicts in one message


class ParseCache:
    """Reads conversations, and remembers at most ``most`` messages that it read, as long as nobody changed them."""

    __slots__ = ("_most", "_read")

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._read: dict[int, tuple[object, object, tuple[Part, ...]]] = {}  # by id: what was given, and a copy of it

    def read(self, messages: object) -> tuple[Part, ...]:
        """Return a conversation of our messages, of dicts, or of both.

        Raises:
            UsageError: it is none; names the message's place, counted from 0.
        """
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            refuse("messages", f"must be a list of messages, and is {kind_of(messages)}")
        found: list[Part] = []
        for place, given in enumerate(messages):
            entry = self._read.get(id(given))
            if entry is None or not (entry[1] is given or entry[1] == given):
                parts = tuple(parts_of(place, given))
                self._remember(given, parts)
            elif (parts := entry[2])[0].place != place:  # something before it was cut
                parts = tuple(part._replace(place=place) for part in parts)
                self._read[id(given)] = (entry[0], entry[1], parts)
            found += parts
        return tuple(found)

    def only(self, messages: Iterable[object]) -> None:
        """Forget what is not among ``messages``."""
        self._read = {at: self._read[at] for at in map(id, messages) if at in self._read}

    def _remember(self, given: object, parts: tuple[Part, ...]) -> None:
        try:
            copied = given if isinstance(given, Message) else _copied(given, [None] * _PARTS)
        except ValueError:
            self._read.pop(id(given), None)
            return
        if len(self._read) >= self._most:
            self._read.clear()
        self._read[id(given)] = (given, copied, parts)


def _copied(value: object, left: list[None], deepest: int = 8) -> object:
    """Return a copy that equals ``value`` as long as nobody changes that; each part of it takes one of ``left``.

    Raises:
        ValueError: more than texts (1 equals True and 1.0, which are written in other ways), or more than a few.
    """
    if type(value) is str or value is None:
        return value
    if not left or not deepest:
        raise ValueError
    left.pop()
    if type(value) is dict:
        return {_copied(key, left, 0): _copied(one, left, deepest - 1) for key, one in value.items()}
    if type(value) is list:
        return [_copied(one, left, deepest - 1) for one in value]
    raise ValueError
