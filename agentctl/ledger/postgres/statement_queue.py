"""Send a transaction's statements in few round trips: while it is open, everybody else waits for the hour's row.

A statement is sent when its result is asked for, and those before it with it. What the last transaction of the same
kind has asked for is asked along: the answers are kept under the exact statements and values, so a wrong guess costs a
query and is never read, and a write drops what it may have changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.core.errors import InternalError
from agentctl.ledger.postgres.dialect import adapt, translate
from agentctl.ledger.transaction import Rows

if TYPE_CHECKING:
    import psycopg

_READS = re.compile(r"\s*(SELECT|WITH)\b")
_WRITTEN = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)")
#: The tables that triggers write, too.
_ALONG = {"attempts": ("scope_totals", "window_totals"), "scopes": ("scope_paths",)}
_NEAR_US = 400 * 24 * 3600 * 1_000_000  # a number so close to the ledger's time is a time


class _Time(NamedTuple):
    """A value that is so many microseconds after the ledger's time."""

    offset_us: int


class _Subject(NamedTuple):
    """The id that a transaction is about."""


class Habit(NamedTuple):
    """A statement that a transaction asked for, with its values as they follow from time and subject."""

    statement: str
    values: tuple[tuple[str | None, object], ...]

    @property
    def needs_time(self) -> bool:
        """Whether the ledger's time must be known."""
        return any(isinstance(value, _Time) for _, value in self.values)

    def at(self, now_us: int, subject: str) -> Any:  # noqa: ANN401 - a sequence or a mapping
        """Return the values at another time, for another subject."""
        found = [
            (name, now_us + value.offset_us if isinstance(value, _Time) else subject if value == _Subject() else value)
            for name, value in self.values
        ]
        return dict(found) if found and found[0][0] is not None else tuple(value for _, value in found)


def _lost() -> Exception:
    import psycopg

    return psycopg.OperationalError("the server closed the connection before it had answered")


def _habit(statement: str, values: Any, now_us: int, subject: str) -> Habit:  # noqa: ANN401
    def general(value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value - now_us) < _NEAR_US:
            return _Time(value - now_us)
        return _Subject() if value == subject else value

    pairs = values.items() if isinstance(values, Mapping) else ((None, value) for value in values)
    return Habit(statement, tuple((name, general(value)) for name, value in pairs))


def _key(statement: str, values: Any) -> tuple[str, object]:  # noqa: ANN401
    return statement, tuple(sorted(values.items())) if isinstance(values, Mapping) else tuple(values)


class _Deferred:
    """The result of a statement, which is sent when somebody looks."""

    def __init__(self, queue: StatementQueue, statement: str, values: Any) -> None:  # noqa: ANN401
        self.statement, self.values = statement, values
        self._queue = queue
        self.cursor: psycopg.Cursor[Any] | None = None

    def _sent(self) -> psycopg.Cursor[Any]:
        if self.cursor is None:
            self._queue.send()
        if self.cursor is None:
            raise InternalError("a statement was not sent")
        return self.cursor

    def rewind(self) -> None:
        """Return to the first row."""
        if self.cursor is not None and self.cursor.rownumber:
            self.cursor.scroll(0, mode="absolute")

    @property
    def rowcount(self) -> int:
        return self._sent().rowcount

    @property
    def statusmessage(self) -> str | None:
        return self._sent().statusmessage

    def fetchone(self) -> Any:  # noqa: ANN401 - a row is a tuple
        return self._sent().fetchone()

    def fetchall(self) -> list[Any]:
        return self._sent().fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sent())


class StatementQueue:
    """A connection on which a transaction is to be opened; it takes the ledger's statements, in SQLite's words."""

    def __init__(self, db: psycopg.Connection, habits: Iterable[Habit] = (), subject: str = "") -> None:
        self._db, self._subject = db, subject
        self._waiting: list[_Deferred] = []
        self._ahead = list(habits)
        self._known: dict[tuple[str, object], _Deferred] = {}
        self._asked: list[tuple[str, Any]] = []
        self.now_us: int | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> Rows:  # noqa: ANN401 - a sequence or a mapping
        """Take one statement; an error of the server comes when its result, or a later one, is asked for."""
        return self.put(translate(sql), adapt(sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Rows:
        """Take one statement for each of the parameters, and return the last result."""
        taken = [self.execute(sql, values) for values in parameters]
        return taken[-1] if taken else self.execute("SELECT 1 WHERE false")

    def put(self, statement: str, values: Any = ()) -> _Deferred:  # noqa: ANN401
        """Take a statement in PostgreSQL's words."""
        if _READS.match(statement):
            if self._subject:
                self._asked.append((statement, values))
            if (known := self._known.get(_key(statement, values))) is not None:
                known.rewind()
                return known
        elif (written := _WRITTEN.match(statement)) is not None:
            self._forget(written[1])
        taken = _Deferred(self, statement, values)
        self._waiting.append(taken)
        return taken

    def _forget(self, table: str) -> None:
        """Drop the answers that a write to a table may have changed."""
        changed = re.compile(rf"\b(?:{'|'.join((table, *_ALONG.get(table, ())))})\b")
        self._known = {key: known for key, known in self._known.items() if not changed.search(key[0])}

    def send(self) -> None:
        """Send what waits, and what will probably be asked for, in one round trip."""
        waiting, self._waiting = self._waiting, []
        held_back = []
        for habit in self._ahead:
            if self.now_us is None and habit.needs_time:
                held_back.append(habit)
                continue
            guess = _Deferred(self, habit.statement, habit.at(self.now_us or 0, self._subject))
            if (key := _key(guess.statement, guess.values)) not in self._known:
                self._known[key] = guess
                waiting.append(guess)
        self._ahead = held_back
        if len(waiting) == 1:
            waiting[0].cursor = self._db.execute(waiting[0].statement.encode(), waiting[0].values)
        elif waiting:
            with self._db.pipeline():
                for one in waiting:
                    one.cursor = self._db.execute(one.statement.encode(), one.values)
            # psycopg leaves a pipeline without an error once there is nothing more to fetch.
            if any(one.cursor is None or one.cursor.pgresult is None for one in waiting):
                raise _lost()

    def drop_guesses(self) -> None:
        """Ask for nothing more than what is needed."""
        self._ahead = []

    def habits(self) -> tuple[Habit, ...]:
        """Return what was asked for, for the next transaction of this kind."""
        now_us = self.now_us or 0
        return tuple(_habit(statement, values, now_us, self._subject) for statement, values in self._asked)
