"""The answers that an earlier part of a run has paid for and not acted on: each one stands in for one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentctl.budget.rules import Hold, Purpose
from agentctl.core.messages import Completion

_OVER = datetime.min.replace(tzinfo=UTC)  # the deadline of a hold that is not waited for

if TYPE_CHECKING:  # used only by resumed runs
    from agentctl.journal.past_run import PastAnswer


class PastAnswers:
    """Hands out the answers of one turn, each for its purpose, in the order in which they came.

    Once a call is made, or another turn begins, the conversation is another one, and none of them is an answer to it.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._turn = 0
        self._left: list[PastAnswer] = []

    def add(self, answers: Sequence[PastAnswer], turn: int) -> None:
        """Take the answers that a resumed run has to the requests of ``turn``."""
        self._left, self._turn = [*answers], turn

    def clear(self) -> None:
        """Forget them: the conversation goes on in another way."""
        self._left.clear()

    def begin_turn(self, turn: int) -> bool:
        """Return whether the request of ``turn`` would be answered now; an earlier turn's answers are no longer."""
        if turn != self._turn:
            self.clear()
        return any(answer.purpose == "turn" for answer in self._left)

    def take(self, purpose: Purpose, *, is_last: bool) -> tuple[Completion, Hold] | None:
        """Return the next answer for ``purpose``, with its hold; None if there is none.

        ``is_last``: it is asked for behind the answer of the turn, and no turn follows.
        """
        wanted = "closing" if purpose == "turn" and is_last else purpose
        for place, answer in enumerate(self._left):
            if answer.purpose == wanted:
                del self._left[: place + 1]
                hold = Hold(
                    answer.attempt_id,
                    self._run_id,
                    answer.input_bound,
                    answer.granted_output,
                    answer.hold_nano,
                    answer.hold_tokens,
                    _OVER,
                    answer.probe,
                )
                return answer.completion, hold
        return None
