"""Number the events of a run and hand them to every observer, in order, before the next step."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import anyio

from agentctl.core.errors import AgentctlError, InternalError
from agentctl.core.events import Event, Noted, Record, RunFinished
from agentctl.core.results import ErrorInfo, RunResult
from agentctl.protocols import Observer


class Recorder:
    """The only source of a run's records; ``observers`` are awaited in their order.

    ``warnings`` are the texts of all warnings so far. ``after`` is the number of the last record of an earlier part.
    """

    def __init__(
        self, run_id: str, observers: Sequence[Observer], now: Callable[[], datetime], *, after: int = 0
    ) -> None:
        self.run_id = run_id
        self._observers = observers
        self._now = now
        self._seq = after
        self._turn = anyio.Lock(fast_acquire=True)  # a free turn needs no round of the event loop
        self.warnings: tuple[str, ...] = ()

    def next_record(self, event: Event, at: datetime) -> Record:
        """Return the record that an event would be now, without passing it on."""
        return Record(self.run_id, self._seq + 1, at, event)

    async def emit(self, event: Event) -> None:
        """Pass an event to every observer, even under a cancellation; then raise the first failure."""
        if isinstance(event, Noted) and event.level == "warning":
            self.warnings = (*self.warnings, event.text)
        with anyio.CancelScope(shield=True):
            async with self._turn:
                self._seq += 1
                record = Record(self.run_id, self._seq, self._now(), event)
                failures: list[Exception] = []
                for observer in self._observers:
                    try:
                        await observer.observe(record)
                    except Exception as failure:  # noqa: BLE001 - raised below, when the others have it too
                        failures.append(failure)
        if failures:
            raise failures[0]

    async def warn(self, texts: Sequence[str]) -> None:
        """Emit a warning for each text."""
        for text in texts:
            await self.emit(Noted(text, "warning"))

    async def finish(self, result: RunResult) -> RunResult:
        """Pass the result to every observer, and return it.

        If an observer fails, the next ones get that failure as the end, unless there was one before.
        """
        self._seq += 1
        for observer in self._observers:
            try:
                await observer.observe(Record(self.run_id, self._seq, result.finished_at, RunFinished(result)))
            except Exception as failure:  # noqa: BLE001 - it becomes the run's own end
                if result.error is None:
                    error = as_agentctl_error(failure)
                    result = replace(result, status=error.status, complete=False, error=describe_error(error))
        return result


def as_agentctl_error(error: Exception) -> AgentctlError:
    """Convert ``error`` into one of ours; an unexpected one is a bug, named with its place."""
    if isinstance(error, AgentctlError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return InternalError(
        f"{type(error).__name__}: {error}{place}",
        hint="this is a bug of agentctl; its traceback is in the run's journal: agentctl runs show --json",
        trace="".join(traceback.format_exception(error)),
    )


def describe_error(error: AgentctlError | None) -> ErrorInfo | None:
    """Return an error as the result document shows it."""
    return ErrorInfo(error.kind, error.message, error.hint) if error else None
