"""What a run's calls came to, one entry a call: read off its events."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from agentctl.core.events import (
    CallDoubted,
    CallHeld,
    CallSettled,
    CallUnsettled,
    CallVoided,
    Record,
    RunFinished,
    RunStarted,
)


class Expense(NamedTuple):
    """One call that was charged, or that is in doubt.

    ``tokens`` is what counts against the token limit. In doubt the other token counts are None and ``nano`` is the
    worst case; else ``nano`` (nano-dollars) is the charge, None where the price is unknown. ``cached_input_tokens`` are
    included in ``input_tokens``. ``at`` is UTC.
    """

    at: datetime
    run_id: str
    agent: str
    task: str
    provider: str
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    tokens: int
    nano: int | None
    in_doubt: bool


class ExpenseCollector:
    """Follows the records of runs, several at once if need be, and forgets each when it ends."""

    def __init__(self) -> None:
        self._runs: dict[str, RunStarted] = {}
        self._held: dict[str, CallHeld] = {}
        self._unsettled: dict[str, CallUnsettled] = {}

    def take(self, record: Record) -> Expense | None:
        """Return what this record says was spent, None for most of them."""
        event = record.event
        if isinstance(event, CallSettled | CallDoubted | CallVoided):
            self._unsettled.pop(record.run_id, None)  # written after all
        match event:
            case RunStarted():
                self._runs[record.run_id] = event
            case RunFinished():
                found = self._left_unsettled(record)
                self._runs.pop(record.run_id, None)
                return found
            case CallUnsettled():
                self._unsettled[record.run_id] = event
            case CallHeld():
                self._held[event.attempt_id] = event
            case CallVoided():
                self._held.pop(event.attempt_id, None)
            case CallSettled():
                used = event.usage
                reported = (used.input_tokens, used.output_tokens, used.cached_input_tokens)
                return self._expense(record, event, reported, used.total_tokens, event.cost_nano)
            case CallDoubted():
                return self._expense(record, event, (None, None, None), event.tokens, event.nano)
            case _:
                pass
        return None

    def _left_unsettled(self, record: Record) -> Expense | None:
        """Return the call that a run ended with because the ledger could not be written; it may have been paid for."""
        event = self._unsettled.pop(record.run_id, None)
        if event is None or event.conclusion == "void":
            return None
        used = event.usage
        if used is None:
            doubted = CallDoubted(event.attempt_id, event.nano, event.tokens, event.reason)
            return self._expense(record, doubted, (None, None, None), event.tokens, event.nano)
        settled = CallSettled(event.attempt_id, used, event.nano)
        reported = (used.input_tokens, used.output_tokens, used.cached_input_tokens)
        return self._expense(record, settled, reported, event.tokens, event.nano)

    def _expense(
        self,
        record: Record,
        event: CallSettled | CallDoubted,
        reported: tuple[int | None, int | None, int | None],
        tokens: int,
        nano: int | None,
    ) -> Expense:
        run, held = self._runs.get(record.run_id), self._held.pop(event.attempt_id, None)
        in_doubt = isinstance(event, CallDoubted)
        agent, task = (run.agent, run.task) if run else ("", "")
        provider, model = (held.provider, held.model) if held else (run.provider, run.model) if run else ("", None)
        return Expense(record.at, record.run_id, agent, task, provider, model, *reported, tokens, nano, in_doubt)
