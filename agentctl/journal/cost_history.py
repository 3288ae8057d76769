"""Mirror the last 1000 calls in a JSON file for other programs; the ledger stays authoritative.

The file is one list, oldest first, one call per line: ``{"at", "run_id", "agent", "task", "provider", "model",
"input_tokens", "output_tokens", "cached_input_tokens", "tokens", "cost_usd", "nano_usd", "in_doubt"}``; unknown values
are null.

``ExpenseCollector`` takes the cost of each call from the events of a run.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from agentctl.core.errors import AgentctlError, StateError
from agentctl.core.events import (
    CallDoubted,
    CallHeld,
    CallSettled,
    CallUnsettled,
    CallVoided,
    Record,
    RunFinished,
    RunResumed,
    RunStarted,
)
from agentctl.core.files import write_atomically
from agentctl.core.pricing import to_usd
from agentctl.core.redaction import redact
from agentctl.core.text import replace_lone_escapes, safe_text

MOST_RECORDS = 1000
MOST_BYTES = 8 * 1024 * 1024
MOST_TASK = 200  # most characters of a task that are kept
PATIENCE_S = 5.0
_OURS = {"at", "run_id", "provider", "nano_usd"}


class _ForeignFile(StateError):
    """The file existed before, and is not a cost history."""


class CostHistory:
    """An observer that adds each call to ``path``; the file is created with the first one.

    The file is replaced atomically (0600); a lock file beside it serialises processes, so that none loses another's
    calls. A file that is not a cost history is left alone. A failed write is reported once, by ``warn``, tried once
    more when the run ends, and never stops a run.
    """

    def __init__(
        self, path: Path, *, secrets: Iterable[str] = (), warn: Callable[[str], None], patience_s: float = PATIENCE_S
    ) -> None:
        self.path = path
        self._patience_s = patience_s
        self._secrets = tuple(secrets)
        self._warn = warn
        self._expenses = ExpenseCollector()
        self._waiting: list[str] = []
        self._failed = False

    async def observe(self, record: Record) -> None:
        """Process one record; a call that was charged or is in doubt is in the file when this returns."""
        expense = self._expenses.collect(record)
        if expense is not None:
            self._waiting = [*self._waiting, _encode_expense(expense, self._secrets)][-MOST_RECORDS:]
        if self._waiting and (isinstance(record.event, RunFinished) or not self._failed):
            await anyio.to_thread.run_sync(self._write)

    def _write(self) -> None:
        from agentctl.ledger.locks import queue_lock  # noqa: PLC0415 - it loads SQLite, needed only to write

        try:
            with queue_lock(self.path.with_name(f"{self.path.name}.lock"), patience_s=self._patience_s):
                lines = [*_read_lines(self.path), *self._waiting][-MOST_RECORDS:]
                write_atomically(self.path, "[\n" + ",\n".join(lines) + "\n]\n", for_folder=True)
        except (OSError, AgentctlError) as error:
            if not self._failed:
                self._warn(safe_text(f"the cost history {self.path} was not written: {self._reason(error)}"))
            self._failed = True
        else:
            self._waiting, self._failed = [], False

    def _reason(self, error: OSError | AgentctlError) -> str:
        match error:
            case _ForeignFile():
                return f"{error.message} ({error.hint})"
            case AgentctlError():
                return f"another process holds {self.path.name}.lock ({error.hint})"
            case FileNotFoundError():
                return f"the folder {self.path.parent} does not exist"
            case OSError(errno=errno.ELOOP):
                return "it is a symbolic link (name the file itself)"
            case OSError():
                return f"{error.strerror or error}"


def _encode_expense(expense: Expense, secrets: Sequence[str] = ()) -> str:
    """Encode a call as one line of JSON: dollars as a number and, exactly, in nano-dollars."""
    task = redact(expense.task, secrets)
    said = {
        "at": expense.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "run_id": expense.run_id,
        "agent": expense.agent,
        "task": task if len(task) <= MOST_TASK else task[: MOST_TASK - 1] + "…",
        "provider": expense.provider,
        "model": expense.model,
        "input_tokens": expense.input_tokens,
        "output_tokens": expense.output_tokens,
        "cached_input_tokens": expense.cached_input_tokens,
        "tokens": expense.tokens,
        "cost_usd": None if expense.nano is None else float(to_usd(expense.nano)),
        "nano_usd": expense.nano,
        "in_doubt": expense.in_doubt,
    }
    return replace_lone_escapes(json.dumps(said))


def _read_lines(path: Path) -> list[str]:
    """Read the records of the file, each on one line.

    Raises:
        _ForeignFile: the file is not a cost history.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        data = _read(file) if stat.S_ISREG(os.fstat(file).st_mode) else None
    finally:
        os.close(file)
    if data is not None and not data.strip():
        return []
    try:
        records = json.loads(data) if data is not None and len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        records = None
    if not isinstance(records, list) or not all(isinstance(one, dict) and one.keys() >= _OURS for one in records):
        raise _ForeignFile("it is not a cost history and was left unchanged", hint="move it away, or name another file")
    return [replace_lone_escapes(json.dumps(one)) for one in records]


def _read(file: int) -> bytes:
    with os.fdopen(file, "rb", closefd=False) as handle:
        return handle.read(MOST_BYTES + 1)


class Expense(NamedTuple):
    """One call that was charged, or that is in doubt.

    ``tokens`` is the number that counts against the token limit. In doubt the other token counts are None and ``nano``
    is the worst case; else ``nano`` (nano-dollars) is the charge, None where the price is unknown.
    ``cached_input_tokens`` are included in ``input_tokens``. ``at`` is UTC.
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
    """Follows the records of runs, concurrently if need be, and forgets each run when it ends."""

    def __init__(self) -> None:
        self._runs: dict[str, RunStarted | RunResumed] = {}
        self._held: dict[str, CallHeld] = {}
        self._unsettled: dict[str, CallUnsettled] = {}

    def collect(self, record: Record) -> Expense | None:
        """Process one record, and return the call that it charges or puts in doubt; None for most records."""
        event = record.event
        if isinstance(event, CallSettled | CallDoubted | CallVoided):
            self._unsettled.pop(record.run_id, None)  # the ledger has it now
        match event:
            case RunStarted() | RunResumed():
                self._runs[record.run_id] = event
            case RunFinished():
                found = self._unsettled_expense(record)
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

    def _unsettled_expense(self, record: Record) -> Expense | None:
        """Return the call with which a run ended because the ledger could not be written; it may have been paid for."""
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
