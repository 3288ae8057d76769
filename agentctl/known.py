"""What is known of messages that were looked at before, so that a growing conversation is looked at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from agentctl.measure import PLAIN, Measure
from agentctl.messages import Message

if TYPE_CHECKING:
    from agentctl.relevance import Look

_MOST = 20_000


class Known:
    """Remembers sizes and words by the messages themselves, which are values: who changes one makes a new one.

    With it or without, an answer is the same. It holds at most ``most`` messages and as many groups; what is beyond
    is forgotten, and looked at anew.
    """

    __slots__ = ("_held", "_looks", "_measure", "_most", "_sizes")

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._measure = PLAIN
        self._held: list[Message] = []  # an id means a message as long as it is held
        self._sizes: dict[int, int] = {}
        self._looks: dict[tuple[int, ...], tuple[tuple[Message, ...], Look]] = {}

    def sizes(self, messages: Sequence[Message], measure: Measure) -> list[int]:
        """Return the tokens of each message."""
        if measure != self._measure:
            self._measure = measure
            self._forget_sizes()
        found = list(map(self._sizes.get, map(id, messages)))
        if None not in found:
            return found  # type: ignore[return-value] # just looked
        sizes = [measure.message(messages[place]) if size is None else size for place, size in enumerate(found)]
        new = [(messages[place], sizes[place]) for place, size in enumerate(found) if size is None]
        if len(self._held) + len(new) > self._most:
            self._forget_sizes()
            new = list(zip(messages, sizes, strict=True))[-self._most :]
        self._held += [message for message, _ in new]
        self._sizes.update((id(message), size) for message, size in new)
        return sizes

    def looks(self, groups: Iterable[tuple[Message, ...]]) -> list[Look]:
        """Return what is seen of each group of messages."""
        from agentctl.relevance import look  # noqa: PLC0415 - most runs never fill their context

        known, seen = self._looks, []
        for group in groups:
            key = tuple(map(id, group))
            if (entry := known.get(key)) is None:
                if len(known) >= self._most:
                    known.clear()
                entry = known[key] = (group, look(group))
            seen.append(entry[1])
        return seen

    def only(self, messages: Sequence[Message]) -> None:
        """Forget what is not among ``messages``."""
        left = set(map(id, messages))
        self._held = [message for message in self._held if id(message) in left]
        self._sizes = {id(message): self._sizes[id(message)] for message in self._held}
        self._looks = {key: entry for key, entry in self._looks.items() if left.issuperset(key)}

    def _forget_sizes(self) -> None:
        self._held, self._sizes = [], {}
