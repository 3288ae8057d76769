"""The invariant of the bill, checked from outside after every step: the server's record against the ledger's rows."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.wire.books import Books, Entry

HOUR_US = 3_600_000_000
OPEN = ("kept", "held", "sent")


class Row(NamedTuple):
    """One attempt: nano-dollars (None: no price), tokens; ``admitted`` is JSON: limit to ceiling and total before."""

    id: str
    run_id: str
    owner_id: str
    phase: str
    nano: int | None
    tokens: int
    hold_nano: int | None
    hold_tokens: int
    admitted: str
    sent_us: int | None
    ended_us: int | None
    deadline_us: int
    settled_by: str | None

    @property
    def over(self) -> bool:
        """Whether it came to more than was held for it."""
        return self.tokens > self.hold_tokens or (self.nano or 0) > (self.hold_nano or 0)


class Step(NamedTuple):
    """One line of the history, which is never changed."""

    number: int
    attempt: str
    at_us: int
    phase: str
    nano: int | None
    tokens: int


@dataclass(slots=True)
class Standing:
    """What one attempt counted after the last step that was replayed."""

    run_id: str
    phase: str = "held"
    nano: int = 0
    tokens: int = 0
    leaves_us: int | None = None


@dataclass(slots=True)
class Replay:
    """Replays one ledger's history independently, and checks each admission in it.

    ``place`` is a file, or the address of a PostgreSQL server.
    """

    place: Path | str
    rows: dict[str, Row] = field(default_factory=dict)
    standing: dict[str, Standing] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    last: int = 0

    def look(self) -> list[str]:
        """Read new entries; return the admissions that should have been refused."""
        if isinstance(self.place, Path) and not self.place.exists():
            return []
        try:
            rows, new = self._read()
        except sqlite3.OperationalError as error:
            return [] if "no such table" in str(error) else [str(error)]  # it is just being made
        except sqlite3.DatabaseError:
            return []  # damaged by a test that is about that: nothing is admitted there any more
        self.rows = {row.id: row for row in map(Row._make, rows)}
        return [wrong for step in map(Step._make, new) for wrong in self._take(step)]

    def _read(self) -> tuple[list[Any], list[Any]]:
        """Return the attempts and the new entries, and note the parents, all of one moment."""
        with closing(self._connect()) as db:
            rows = db.execute(f"SELECT {', '.join(Row._fields)} FROM attempts").fetchall()  # noqa: S608 - our own names
            columns = "id, attempt_id, at_us, phase, nano, tokens"
            new = db.execute(f"SELECT {columns} FROM entries WHERE id > {self.last} ORDER BY id").fetchall()  # noqa: S608
            self.parents = dict(db.execute("SELECT id, parent_id FROM scopes").fetchall())
        return rows, new

    def _connect(self) -> Any:  # noqa: ANN401 - of either engine
        """Open the ledger with a transaction that sees one moment."""
        if isinstance(self.place, Path):
            db = sqlite3.connect(f"{self.place.as_uri()}?mode=ro", uri=True, timeout=30)
            db.execute("BEGIN")
            return db
        import psycopg

        fleet = psycopg.connect(self.place, autocommit=True)
        fleet.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = agentctl")
        return fleet

    def _take(self, step: Step) -> list[str]:
        row = self.rows[step.attempt]
        wrong = self._judge(row, step) if step.phase == "held" else []
        ends = None if step.phase in OPEN else max(step.at_us, row.deadline_us if step.phase == "doubt" else 0)
        leaves = None if ends is None else ends + HOUR_US
        self.standing[row.id] = Standing(row.run_id, step.phase, step.nano or 0, step.tokens, leaves)
        self.last = step.number
        return wrong

    def _judge(self, row: Row, step: Step) -> list[str]:
        """Add up what stood against each limit when the attempt was admitted, and hold it against the limit."""
        others = [one for name, one in self.standing.items() if name != row.id]
        hour = [one for one in others if one.leaves_us is None or one.leaves_us > step.at_us]
        kept = [one for one in others if one.phase == "kept"]  # may make way for this one in the same transaction
        spare, spare_tokens = sum(one.nano for one in kept), sum(one.tokens for one in kept)
        wrong = []
        for name, (ceiling, before) in json.loads(row.admitted).items():
            limit, _, scope = name.partition("@")
            below = [one for one in others if (scope or row.run_id) in self._path(one.run_id)]
            own = (row.hold_nano or 0) if "cost" in limit else row.hold_tokens if "tokens" in limit else 1
            true = {
                "max_cost_per_task": (sum(one.nano for one in below), spare),
                "max_cost_per_hour": (sum(one.nano for one in hour), spare),
                "max_tokens_per_task": (sum(one.tokens for one in below), spare_tokens),
            }
            most, less = true.get(limit, (before, 0))  # of any further limit its own word is taken
            if not most - less <= before <= most:
                wrong.append(f"{row.id}: {before} was taken to stand against {limit}, and it was {most}")
            if ceiling is not None and before + own > ceiling:
                wrong.append(f"{row.id}: admitted at {before} + {own}, above {limit} {ceiling}")
        return wrong

    def _path(self, run_id: str) -> Iterator[str]:
        """Yield a run and those above it."""
        above: str | None = run_id
        while above is not None:
            yield above
            above = self.parents[above]


class Audit:
    """Checks every step of every watched server; ``steps`` counts the checks.

    spent ≤ billed ≤ spent + held + in doubt, and each admission within the limits that stand with it. What was reported
    above a hold may be spent at its dearest class. Bills that break an assumption of the promise are judged apart, in
    ``close``.
    """

    def __init__(self, *ledgers: Path | str) -> None:
        self._replays = [Replay(path) for path in ledgers]
        self._books: list[Books] = []
        self._lock = threading.Lock()
        self.wrong: list[str] = []
        self.steps = 0

    def follow(self, ledger: Path | str) -> None:
        """Read another ledger too."""
        with self._lock:
            self._replays.append(Replay(ledger))

    def watch(self, books: Books) -> None:
        """Look at each step of a server."""
        self._books.append(books)
        books.watch(self.look)

    def look(self) -> None:
        """Check once, reading the server's record before and after the ledger, since both go on meanwhile."""
        with self._lock:
            self.steps += 1
            before = self._bills()
            for replay in self._replays:
                self.wrong += replay.look()
            after = self._bills()
            spent, total = self.spent, self.total
            due = sum(bill.nano for bill in before if bill.breaks is None)
            is_over = any(row.over for row in self._rows())  # a report above its hold may count at the dearest class
            most = sum(max(bill.nano, (bill.dearest_nano if is_over else bill.reported_nano) or 0) for bill in after)
            if due > total:
                self.wrong.append(f"step {self.steps}: {due} billed, and only {total} spent, held or in doubt")
            if spent > most:
                self.wrong.append(f"step {self.steps}: {spent} spent, and only {most} billed")

    def close(self) -> None:
        """Check for the last time, and judge bills that break an assumption.

        Raises:
            AssertionError: The bill was not kept at some step.
        """
        self.look()
        with self._lock:
            self.wrong += self._judge_apart()
        if self.wrong:
            raise AssertionError("\n".join(self.wrong[:20]))

    @property
    def spent(self) -> int:
        """What was settled by usage that was believed, in nano-dollars."""
        return sum(row.nano or 0 for row in self._rows() if row.phase == "settled" and row.settled_by == "usage")

    def nano(self, phase: str) -> int:
        """Return the sum of what stands in a phase."""
        return sum(row.nano or 0 for row in self._rows() if row.phase == phase)

    @property
    def total(self) -> int:
        """Everything that counts: spent, held and in doubt."""
        return sum(row.nano or 0 for row in self._rows())

    def _rows(self) -> Iterable[Row]:
        return (row for replay in self._replays for row in replay.rows.values())

    def _bills(self) -> tuple[Entry, ...]:
        return tuple(entry for books in self._books for entry in books.entries)

    def _judge_apart(self) -> list[str]:
        """At most one call over for each process, recorded in full, and nothing sent by its run after it."""
        wrong = []
        over = [row for row in self._rows() if row.over]
        for row in over:
            if sum(one.owner_id == row.owner_id for one in over) > 1:
                wrong.append(f"{row.id}: not the only call of its process that came to more than its hold")
            later = [one.id for one in self._rows() if one.run_id == row.run_id and (one.sent_us or 0) > _end(row)]
            if later:
                wrong.append(f"{row.id} came to more than its hold, and its run sent {later} after it")
        reported = ("clamp", "bound", "model", None)
        full = sum(bill.nano for bill in self._bills() if bill.reported_nano is not None and bill.breaks in reported)
        if full > self.total:
            wrong.append(f"{full} were billed and reported, and only {self.total} are recorded")
        return wrong


def _end(row: Row) -> int:
    return row.deadline_us if row.ended_us is None else row.ended_us
