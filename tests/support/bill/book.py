"""Reads the ledger's file by SQL, without the program."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Attempt(NamedTuple):
    """One row: amounts in nano-dollars, ``nano`` what counts now; ``sent_us`` None if it was never marked as sent."""

    id: str
    run_id: str
    phase: str
    provider: str
    model: str
    answered_model: str | None
    purpose: str
    input_bound: int
    granted_output: int
    hold_nano: int
    nano: int
    sent_us: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Book:
    """Every attempt in the order of the holds; ``most_nano`` is the most that ever counted at once.

    ``kept`` are the rows that stood for a last answer, which are never sent themselves; they are no attempts.
    """

    attempts: tuple[Attempt, ...]
    most_nano: int
    kept: tuple[Attempt, ...] = ()

    @property
    def phases(self) -> list[str]:
        """How each attempt stands."""
        return [attempt.phase for attempt in self.attempts]

    @property
    def sent(self) -> tuple[Attempt, ...]:
        """What was marked as sent."""
        return tuple(attempt for attempt in self.attempts if attempt.sent_us is not None)

    @property
    def counted_nano(self) -> int:
        """Everything that counts against the limits."""
        return sum(attempt.nano for attempt in self.attempts)

    def nano(self, phase: str) -> int:
        """Return the sum of what stands in a phase."""
        return sum(attempt.nano for attempt in self.attempts if attempt.phase == phase)


def book_of(state: Path) -> Book:
    """Read the ledger of a state folder; a ledger that was never made is empty."""
    path = state / "ledger.db"
    if not path.exists():
        return Book((), 0)
    with closing(sqlite3.connect(path)) as db:
        columns = ", ".join(Attempt._fields)
        rows = db.execute(f"SELECT {columns} FROM attempts ORDER BY held_us, rowid").fetchall()  # noqa: S608
        steps = db.execute("SELECT attempt_id, nano FROM entries ORDER BY id").fetchall()
        kept = {row[0] for row in db.execute("SELECT DISTINCT attempt_id FROM entries WHERE phase = 'kept'")}
    attempts = tuple(map(Attempt._make, rows))
    return Book(
        tuple(one for one in attempts if one.id not in kept),
        _most(steps),
        tuple(one for one in attempts if one.id in kept),
    )


def _most(steps: list[tuple[str, int]]) -> int:
    """Replay every step and return the highest sum."""
    standing: dict[str, int] = {}
    most = 0
    for attempt, nano in steps:
        standing[attempt] = nano
        most = max(most, sum(standing.values()))
    return most
