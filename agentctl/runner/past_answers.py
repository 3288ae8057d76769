"""The answers that an earlier part of a run has paid for and not acted on: each one stands in for one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentctl.budget.rules import Hold, Purpose
from agentctl.core.messages import Completion

_OVER = datetime.min.replace(tzinfo=UTC)  # the deadline of a hold that is not waited for

if TYPE_CHECKING:  # used only by resumed runs
    from agentctl.journal.replay import PastAnswer


class PastAnswers:
    """Hands out the answers of one run in the order in which they came.

    Once a call is made for another purpose than that of the next answer, its conversation is another one, and none of
    them is an answer to it.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._left: list[PastAnswer] = []

    def add(self, answers: Sequence[PastAnswer]) -> None:
        """Take the answers of a run that is resumed."""
        self._left += answers

    def clear(self) -> None:
        """Forget them: the conversation goes on in another way."""
        self._left.clear()

    def has(self, purpose: Purpose) -> bool:
        """Return whether a call for ``purpose`` would be answered now."""
        return any(answer.purpose == purpose for answer in self._left)

    def take(self, purpose: Purpose) -> tuple[Completion, Hold] | None:
        """Return the next answer for ``purpose``, with its hold; None if there is none."""
        if not self._left:
            return None
        while self._left:
            answer = self._left.pop(0)
            if answer.purpose == purpose:
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
