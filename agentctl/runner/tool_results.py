"""Limit how much of the context the tool results of a turn take, each and all together."""

from __future__ import annotations

from collections.abc import Callable

from agentctl.context.tokens import BYTES_PER_TOKEN, LEAST_LEFT, Measure
from agentctl.context.truncation import Excerpt, Origin, SplitText, find_mark, split_text
from agentctl.core.errors import AgentctlError
from agentctl.core.events import Emit, Noted
from agentctl.protocols import ArtifactStore

_LONGEST_TOKEN = 64  # characters: what is longer than so many for each token is not counted, it is too long
_ROUNDS = 8


class TurnBudget:
    """The tokens that the results of one turn have left; what a small one leaves is for those that follow."""

    def __init__(self, calls: int, *, each: int, together: int) -> None:
        self._calls, self._each, self._left = calls, each, together

    def room(self) -> int:
        """Return how much the next one may take."""
        return max(LEAST_LEFT, min(self._each, self._left // max(1, self._calls)))

    def take(self, tokens: int) -> None:
        """Subtract one result."""
        self._calls -= 1
        self._left -= tokens


class ResultBudget:
    """Cuts the results of a run to their shares, in tokens; a ``keeper`` stores what is cut in full.

    ``measure`` is asked anew each time: it learns. ``together`` 0: a turn has no share of its own. ``readable`` says
    whether the model has a tool that reads on.
    """

    def __init__(
        self,
        *,
        each: int,
        together: int,
        measure: Callable[[], Measure],
        emit: Emit,
        readable: Callable[[], bool],
        keeper: ArtifactStore | None = None,
    ) -> None:
        self._each, self._together, self._measure = each, together, measure
        self._emit, self._readable, self._keeper = emit, readable, keeper
        self._warned = False

    def turn(self, calls: int) -> TurnBudget:
        """Return the budget of a turn of ``calls`` calls."""
        return TurnBudget(calls, each=self._each, together=self._together or self._each * calls)

    def size(self, text: str) -> int:
        """Return the tokens of a result; its length in characters where it is far too long to be counted."""
        if len(text) > self._each * _LONGEST_TOKEN:
            return len(text)
        return self._measure().text(text)

    def short(self, text: str, room: int) -> str:
        """Return ``text``, its middle cut where it is too long; nothing is stored."""
        return self._measure().cut_middle(text, max(LEAST_LEFT, room))

    async def cut(self, number: int, tool: str, text: str, room: int) -> str:
        """Return ``text`` cut to ``room``, with a mark that names where the whole of it is."""
        measure = self._measure()
        if isinstance(text, Excerpt):
            origin = text.origin._replace(readable=self._readable())
            if text.halves is not None:
                return _fit(text.halves._replace(origin=origin), room, measure)
            found = find_mark(text) if origin.onward else None
            if found is None or found.tail or found.origin.path != origin.path:  # what it quotes is no mark of its own
                found = split_text(text, origin)
            return _fit(found, room, measure)
        if self._keeper is not None:
            try:
                kept = await self._keeper.keep(number, tool, text)
            except AgentctlError as error:
                if not self._warned:
                    self._warned = True
                    await self._emit(Noted(f"{error.message} ({error.hint})", "warning"))
            else:
                return _fit(split_text(kept.text, Origin(kept.path, readable=self._readable())), room, measure)
        return measure.cut_middle(text, room)


def _fit(text: SplitText, room: int, measure: Measure) -> str:
    most = int(room * BYTES_PER_TOKEN / measure.factor)
    for _ in range(_ROUNDS):
        cut = text.cut(most)
        size = measure.text(cut)
        if size <= room:
            break
        most = min(most * 15 // 16, most * room // size)
    return cut


__all__ = ["ResultBudget", "TurnBudget"]
