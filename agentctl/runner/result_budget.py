"""Cut the results of a turn to their shares of the context; what is cut is stored in full.

A text over its share keeps its head and its tail, with a mark of ``context.truncation`` between them, and is stored in
full by ``journal.artifacts``. This budget counts tokens, not money.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentctl.context.tokens import BYTES_PER_TOKEN, LEAST_LEFT, Measure
from agentctl.context.truncation import Excerpt, Origin, SplitText, find_mark, split_text
from agentctl.core.errors import AgentctlError
from agentctl.core.events import Emit, Noted
from agentctl.core.messages import ToolSpec
from agentctl.protocols import ArtifactStore, Tool

_LONGEST_TOKEN = 64  # characters: a text with more of them per allowed token is too long, and is not counted
_ROUNDS = 8


class TurnBudget:
    """The tokens left for the results of one turn; later results may use the rest of a small result's share."""

    def __init__(self, calls: int, *, each: int, together: int) -> None:
        self._calls, self._each, self._left = calls, each, together

    def room(self) -> int:
        """Return how many tokens the next result may take."""
        return max(LEAST_LEFT, min(self._each, self._left // max(1, self._calls)))

    def take(self, tokens: int) -> None:
        """Subtract the tokens of one result."""
        self._calls -= 1
        self._left -= tokens


class ResultBudget:
    """Cuts the results of a run to their shares, in tokens; an ``artifact_store`` stores cut results in full.

    ``measure`` is called each time, as the measure changes while it learns. ``together`` 0: a turn has no share of its
    own. ``readable`` says whether the model has a tool to read the rest.
    """

    def __init__(
        self,
        *,
        each: int,
        together: int,
        measure: Callable[[], Measure],
        emit: Emit,
        readable: Callable[[], bool],
        artifact_store: ArtifactStore | None = None,
    ) -> None:
        self._each, self._together, self._measure = each, together, measure
        self._emit, self._readable, self._artifact_store = emit, readable, artifact_store
        self._warned = False

    def resize(self, each: int, together: int) -> None:
        """Set the tokens of one result, and of all results of a turn."""
        self._each, self._together = each, together

    def beside(self, tools: Sequence[ToolSpec]) -> int:
        """Return what the schemas of ``tools`` take of a request."""
        return self._measure().beside(tools)

    def turn(self, calls: int) -> TurnBudget:
        """Return the budget of a turn of ``calls`` calls."""
        return TurnBudget(calls, each=self._each, together=self._together or self._each * calls)

    def size(self, text: str) -> int:
        """Return the tokens of a result, or its length in characters if it is far too long to be counted."""
        if len(text) > self._each * _LONGEST_TOKEN:
            return len(text)
        return self._measure().text(text)

    def room_of(self, tool: Tool | None, room: int) -> int:
        """Return how many tokens a result of ``tool`` may take: ``room``, or less for a tool with a ``most_result``."""
        most = getattr(tool, "most_result", None)
        return room if most is None else min(room, max(LEAST_LEFT, int(most / BYTES_PER_TOKEN)))

    def short(self, text: str, room: int) -> str:
        """Return ``text``, with its middle cut if it is too long; nothing is stored."""
        return self._measure().cut_middle(text, max(LEAST_LEFT, room))

    async def cut(self, number: int, tool: str, text: str, room: int) -> str:
        """Return ``text`` cut to ``room`` tokens, with a mark that names the place of the full text."""
        measure = self._measure()
        if isinstance(text, Excerpt):
            origin = text.origin._replace(readable=self._readable())
            if text.halves is not None:
                return _fit(text.halves._replace(origin=origin), room, measure)
            found = find_mark(text) if origin.onward else None
            if found is None or found.tail or found.origin.path != origin.path:  # a quoted mark is not its own
                found = split_text(text, origin)
            return _fit(found, room, measure)
        if self._artifact_store is not None:
            try:
                kept = await self._artifact_store.keep(number, tool, text)
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
