"""One connection to a fleet's ledger; every write is one transaction at READ COMMITTED, which locks the hour first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agentctl.core.errors import StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger.postgres.ddl import MIGRATIONS
from agentctl.ledger.postgres.dialect import adapt, translate
from agentctl.ledger.postgres.failover import ServerFence, ServerState
from agentctl.ledger.postgres.fast_path_ddl import NOT_AS_SEEN
from agentctl.ledger.postgres.refusals import STANDBY_HINT
from agentctl.ledger.postgres.server import (
    LIMITS,
    REACH_S,
    SET_LOCAL,
    ConnectionLost,
    TransactionAborted,
    connect,
    refuse_another_schema,
    translated,
)
from agentctl.ledger.postgres.statement_queue import Habit, StatementQueue
from agentctl.ledger.transaction import Rows, Transaction

if TYPE_CHECKING:
    import psycopg

# Not READ WRITE: a database that was made read-only stays so.
_BEGIN = ("BEGIN ISOLATION LEVEL READ COMMITTED", SET_LOCAL)
_BEGIN_VIEW = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LIMITS} SET LOCAL statement_timeout = 0"
_BEGIN_TRIAL = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; {LIMITS} SET LOCAL statement_timeout = 0"
_LOCK = f"SELECT {', '.join(ServerState._fields)} FROM lock_ledger(%s)"  # noqa: S608 - our own names
_LOCK_AS_SEEN = f"SELECT {', '.join(ServerState._fields)} FROM lock_ledger_as_seen(%s, %s, %s, %s, %s, %s)"  # noqa: S608
#: The server is not the one that was seen, or the functions are not there: the way of ``write`` says why.
_UNUSUAL = (NOT_AS_SEEN, "42883", "3F000")
_TIME = """
SELECT ledger_time_us(), server_time_us(), i.version,
    CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END,
    0, '', (SELECT coalesce(max(id), 0) FROM entries), i.ledger_id FROM ledger_info AS i
"""
_LIVING = "SELECT id FROM owners WHERE ended_us IS NULL AND lease_until_us > %s"


class TranslatedConnection:
    """A connection of psycopg that takes the ledger's statements, which are in SQLite's words."""

    def __init__(self, db: psycopg.Connection) -> None:
        self._db = db

    def execute(self, sql: str, parameters: Any = (), /) -> Rows:  # noqa: ANN401 - a sequence or a mapping
        """Run one statement."""
        return self._db.execute(translate(sql).encode(), adapt(sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Rows:
        """Run one statement for each of the parameters."""
        cursor = self._db.cursor()
        cursor.executemany(translate(sql).encode(), [adapt(sql, values) for values in parameters])
        return cursor


Ask = Callable[[Any, Any], Iterable[Any]]
"""Runs a statement in PostgreSQL's words."""


class LeaseOwners:
    """The owners of a fleet's ledger: those live whose lease has not expired."""

    def __init__(self, ask: Ask, now_us: int) -> None:
        self._ask, self._now_us = ask, now_us
        self._living: frozenset[str] | None = None

    def ids(self) -> tuple[str, ...]:
        """Return the owners that live."""
        if self._living is None:
            self._living = frozenset(row[0] for row in self._ask(_LIVING, (self._now_us,)))
        return tuple(self._living)

    def is_dead(self, owner_id: str) -> bool:
        """Return whether an owner's lease has expired, or it has ended."""
        return owner_id not in self.ids()

    def liveness(self, owner_id: str) -> bool | None:
        """Return whether an owner's lease is valid."""
        return owner_id in self.ids()


class FleetDatabase:
    """A ledger on PostgreSQL as one thread at a time uses it; it connects at the first transaction, and again if lost.

    ``path`` is the place beside which files of this machine are kept. Every method raises StateError.
    """

    def __init__(self, address: PostgresAddress, *, reach_s: float = REACH_S) -> None:
        self.address = address
        self.path = address.beside
        self._reach_s = reach_s
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._db: psycopg.Connection | None = None
        self._warnings: list[str] = []
        self._fence = ServerFence(address)
        self._state: ServerState | None = None
        self.on_promotion: Callable[[Transaction], None] = lambda _: None
        self._habits: dict[tuple[bool, bool], tuple[Habit, ...]] = {}

    def __str__(self) -> str:
        return str(self.address)

    def _connected(self) -> psycopg.Connection:
        if os.getpid() != self._pid:
            raise StateError("the ledger was opened before a fork", hint="open it in the process that uses it")
        if self._db is not None and (self._db.closed or self._db.broken):
            self._drop()
        if self._db is None:
            self._db = connect(self.address, timeout_s=self._reach_s)
            self._db.add_notice_handler(self._note_warning)
        return self._db

    def _note_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(str(notice.message_primary))

    def _commit(self, queue: StatementQueue) -> None:
        """Commit, or raise ConnectionLost if the server warns: a wait for its standby may have been given up.

        A statement timeout, or an administrator, ends that wait, and then COMMIT succeeds with a warning.
        """
        self._warnings.clear()
        queue.drop_guesses()
        done = queue.put("COMMIT").statusmessage
        if done != "COMMIT":
            raise StateError(f"the ledger {self} did not commit: {done}", hint="check the server's log")
        if self._warnings:
            self._drop()
            raise ConnectionLost(
                f"the ledger {self} may not have reached its standby: {self._warnings[-1]}",
                hint="check that the standby runs: SELECT * FROM pg_stat_replication",
            )

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate errors, and give up a connection whose state is unknown."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            found = translated(error, self.address)
            self._roll_back() if isinstance(found, TransactionAborted) else self._drop()
            raise found from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        import psycopg

        if self._db is not None:
            try:
                self._db.execute("ROLLBACK")
            except psycopg.Error:
                self._drop()

    @contextmanager
    def write(self, *, soon: bool = False, run_id: str = "", attempt_id: str = "") -> Iterator[Transaction]:
        """Begin a transaction, lock the hour and the path of ``run_id``, and commit; any exception rolls back.

        Raises:
            TransactionAborted: others were in the way; nothing was written.
            ConnectionLost: the transaction may have been written; look it up by its id.
        """
        with self._mutex:
            db = self._connected()
            kind = (soon, bool(run_id))
            with self._errors():
                queue = StatementQueue(db, self._habits.get(kind, ()) if attempt_id else (), attempt_id)
                for statement in _BEGIN:
                    queue.put(statement)
                state = self._state = ServerState(*(queue.put(_LOCK, (run_id,)).fetchone() or ()))
                queue.now_us = state.now_us
                refuse_another_schema(state.version)
                is_promoted = self._fence.check(state)
                if run_id:
                    self.refuse_lossy()
                tx = Transaction(queue, state.now_us, state.wall_us, LeaseOwners(queue.put, state.now_us))
                if is_promoted:
                    self.on_promotion(tx)
                yield tx
                self._commit(queue)
                self._fence.note(state)
                if attempt_id:
                    self._habits[kind] = queue.habits()

    def call(
        self, sql: str, values: Mapping[str, object], *, run_id: str = "", spends: bool = False
    ) -> ServerState | None:
        """Run a transaction that locks and calls a function, in one round trip; None: the function has done nothing.

        ``spends``: not where a fail-over can lose what it writes; that holds with a ``run_id``, too.

        Raises:
            TransactionAborted: others were in the way; nothing was written.
            ConnectionLost: the transaction may have been written; look it up by its id.
        """
        import psycopg

        with self._mutex:
            db, seen = self._connected(), self._fence.seen
            if seen is None:
                return None
            accepts_loss = self.address.accept_lost_holds or not (run_id or spends)
            with self._errors():
                queue = StatementQueue(db)
                for statement in _BEGIN:
                    queue.put(statement)
                locked = queue.put(_LOCK_AS_SEEN, (run_id, len(MIGRATIONS), *seen, accepts_loss))
                called = queue.put(sql, values)
                try:
                    self._commit(queue)
                except psycopg.Error as error:
                    if error.sqlstate not in _UNUSUAL:
                        raise
                    self._roll_back()
                    return None
                state = ServerState(*locked.fetchone())
                self._fence.note(state)
                return state if called.fetchone()[0] else None

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a consistent view at the ledger's time; nothing is written. A standby is refused."""
        with self._view(_BEGIN_VIEW) as tx:
            yield tx

    @contextmanager
    def trial(self) -> Iterator[Transaction]:
        """Give a view in which rows can be added that are not kept."""
        with self._view(_BEGIN_TRIAL) as tx:
            yield tx

    @contextmanager
    def _view(self, begin: str) -> Iterator[Transaction]:
        with self._mutex:
            db = self._connected()
            with self._errors():
                self._fence.look()
                db.execute(begin)
                state = ServerState(*(db.execute(_TIME).fetchone() or (0, 0, 0, "", 0, "", 0, "")))
                refuse_another_schema(state.version)
                if not state.timeline:  # what was spent last may be missing, and a gate would pass
                    raise StateError(f"{self} is a standby, and may lack the latest spending", hint=STANDBY_HINT)
                self._fence.check(state)
                owners = LeaseOwners(db.execute, state.now_us)
                yield Transaction(TranslatedConnection(db), state.now_us, state.wall_us, owners)
                db.execute("ROLLBACK")

    def refuse_lossy(self) -> None:
        """Refuse to spend where a fail-over of the server can lose a hold; a transaction is open.

        Raises:
            StateError: a standby is attached, and COMMIT does not wait for it.
        """
        if self._state is not None:
            self._fence.refuse_lossy(self._state)

    def close(self) -> None:
        """Close the connection."""
        with self._mutex:
            self._fence.write()
            self._drop()
