"""Import the history of a ledger in a file into a fleet's ledger: each row once, by its id, in short transactions.

The file is only read, and its ledger is checked first. On the server each imported attempt has a single entry, its end.
An attempt that was made on the server begins with another entry; ``audit.Replay`` distinguishes them by that. Times are
moved by the difference of the clocks, so an amount leaves the hour when it would have left it in the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from agentctl.core.errors import StateError, UsageError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger import attempts, runs
from agentctl.ledger.check import check
from agentctl.ledger.clock import HOUR_US, ReadClock, system_clock
from agentctl.ledger.inspection import read_view
from agentctl.ledger.postgres.fleet_database import FleetDatabase
from agentctl.ledger.postgres.server import REACH_S, ConnectionLost, ServerUnreachable, TransactionAborted, pause
from agentctl.ledger.reconcile import refuse_under_way
from agentctl.ledger.schema import APPLICATION_ID
from agentctl.ledger.spool import Spool
from agentctl.ledger.transaction import Transaction

T = TypeVar("T")

PAGE = 100  # attempts in one transaction, for which all others wait
AGREE_US = 1_000_000  # clocks that differ by less are taken for the same
_MAGIC = b"SQLite format 3\0"
_ID_AT = 68  # where the header of a database has its application id
_ENTRY = "imported from a ledger in a file"

_OWNER = ("id", "pid", "host", "boot_id", "started_us", "ended_us", "user_name", "ci_run")
_SCOPE = (
    *("id", "kind", "parent_id", "limit_nano", "limit_tokens", "task", "agent", "labels", "opened_us", "expires_us"),
    *("closed_us", "status", "bound_to", "opened_by", "limits"),
)
#: The columns that the end of an attempt writes, in addition to phase and amounts.
_CHARGE = (
    *("answered_model", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens"),
    *("reasoning_tokens", "reason", "provider_fault", "settled_by", "charged_by", "charged_model", "charged_tier"),
    *("charged_prices", "charged_dearest", "charged_source", "charged_version", "charged_digest"),
    *("hour_write_tokens", "billed_nano"),
)
_ATTEMPT = (
    *("id", "run_id", "owner_id", "purpose", "phase", "provider", "model", "base_url", "prices", "price_source"),
    *("price_version", "price_digest", "input_bound", "granted_output", "hold_nano", "hold_tokens", "ceiling_nano"),
    *("ceiling_tokens", "nano", "tokens", "admitted", "held_us", "sent_us", "deadline_us", "ended_us"),
    *("leaves_hour_us", "counted", "miscount_cleared_us", *_CHARGE),
)
_OVERRUN = ("attempt_id", "provider", "model", "at_us", "cleared_us", "input_tokens", "output_tokens", "nano")
_SUBSTITUTE = (
    *("provider", "base_url", "model", "answered_model", "tier", "prices", "price_source", "price_version"),
    *("price_digest", "attempt_id", "at_us", "cleared_us"),
)
#: The columns whose times are the ledger's own. A lease expires by the clock of who signed it.
_TIMES = frozenset(
    {
        *("started_us", "ended_us", "opened_us", "closed_us", "held_us", "sent_us", "deadline_us", "leaves_hour_us"),
        *("miscount_cleared_us", "at_us", "cleared_us"),
    }
)
#: Order of belief in how an attempt ended: what is further behind replaces what is on the server.
_BELIEF = ("doubt", "hand", "export", "void", "usage")


class FileImport(NamedTuple):
    """What an import brought; nano-dollars. ``known`` rows were there already.

    ``updated`` attempts were there, and their end is known better now. ``interrupted`` ones were sent by a process that
    has ended: they are in doubt. ``unsent`` holds of such a process cost nothing, and are left out. ``spent_nano`` and
    ``in_doubt_nano`` are the amounts of the imported attempts. ``unsettled`` conclusions are still in the file's spool.
    """

    runs: int = 0
    known_runs: int = 0
    attempts: int = 0
    updated: int = 0
    known: int = 0
    interrupted: int = 0
    unsent: int = 0
    unknown_calls: int = 0
    spent_nano: int = 0
    in_doubt_nano: int = 0
    unsettled: int = 0
    shift_us: int = 0


Row = Mapping[str, Any]


def import_file(
    address: PostgresAddress, path: Path, *, clock: ReadClock | None = None, page: int = PAGE
) -> FileImport:
    """Bring the runs, attempts and processes of the ledger at ``path`` into the one at ``address``.

    What is there already is not brought again, so an import that was interrupted is completed by another one.

    Raises:
        UsageError: the file is missing, empty, or not a ledger of agentctl.
        ActionDenied: a run of the file is in progress, or may be.
        StateError: the file is damaged, inconsistent or newer than this program, or the server cannot be used.
    """
    clock = clock or system_clock()
    _refuse_no_ledger(path)
    database = FleetDatabase(address)
    try:
        with database.read():  # a server that is missing is found before the file is read, which may take long
            pass
        _refuse_inconsistent(path, clock)
        with read_view(path, clock) as source:
            if source is None:
                raise UsageError(f"the ledger {path} is empty: there is nothing to import")
            refuse_under_way(source, "it cannot be imported now")
            return _Import(database, source, page).run()._replace(unsettled=sum(1 for _ in Spool(path).read()))
    finally:
        database.close()


def _refuse_no_ledger(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(_ID_AT + 4)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise UsageError(f"{path} cannot be read: {said}", hint="agentctl ledger import ledger.db") from error
    if head and (
        not head.startswith(_MAGIC) or int.from_bytes(head[_ID_AT:], "big") not in (0, APPLICATION_ID)
    ):  # 0: all of it is still in the log
        raise UsageError(f"{path} is not a ledger of agentctl", hint="agentctl ledger import ledger.db")


def _refuse_inconsistent(path: Path, clock: ReadClock) -> None:
    wrong = check(path, clock=clock).wrong
    if wrong:
        raise StateError(
            f"the ledger {path} is not consistent, so nothing is imported: {wrong[0]}",
            hint="to see what is wrong, without AGENTCTL_LEDGER: agentctl ledger check",
        )


class _Import:
    """One import from a view of a file."""

    def __init__(self, database: FleetDatabase, source: Transaction, page: int) -> None:
        self._database, self._source, self._page = database, source, page
        self._found = FileImport()
        self._shift_us = 0

    def run(self) -> FileImport:
        """Import all rows: processes and runs first, which attempts refer to."""
        with self._database.read() as tx:
            shift_us = tx.now_us - self._source.now_us
        self._shift_us = shift_us if abs(shift_us) >= AGREE_US else 0
        self._all(self._rows("owners", _OWNER), self._add_owners)
        self._all(self._rows("scopes", _SCOPE, order="rowid"), self._add_scopes)
        self._all(self._rows("attempts", _ATTEMPT, order="rowid"), self._add_attempts)
        self._all(self._rows("overruns", _OVERRUN), lambda tx, rows: self._add(tx, "overruns", rows, FileImport()))
        self._all(
            self._rows("substitutes", _SUBSTITUTE), lambda tx, rows: self._add(tx, "substitutes", rows, FileImport())
        )
        return self._found._replace(shift_us=self._shift_us)

    def _rows(self, table: str, columns: Sequence[str], *, order: str = "1") -> Iterator[Row]:
        """Yield the rows of a table of the file, with times as the server has them."""
        sql = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"  # noqa: S608 - our own names
        for row in self._source.db.execute(sql):
            yield {
                name: value + self._shift_us if value and name in _TIMES else value
                for name, value in zip(columns, row, strict=True)
            }

    def _all(self, rows: Iterable[Row], add: Callable[[Transaction, list[Row]], FileImport]) -> None:
        """Add rows in pages, each in one transaction, which is tried again if others were in the way."""
        rows = iter(rows)
        while page := list(islice(rows, self._page)):
            added = self._written(lambda tx, page=page: add(tx, page))  # type: ignore[misc]
            self._found = FileImport(*map(sum, zip(self._found, added, strict=True)))

    def _written(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a transaction, again if that may help: it looks up what is there first."""
        started, lost_at, tried = time.monotonic(), None, 0
        while True:
            try:
                with self._database.write() as tx:
                    return work(tx)
            except TransactionAborted:
                if time.monotonic() - started > self._database.address.budget_wait_s:
                    raise
            except (ConnectionLost, ServerUnreachable):
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > REACH_S:
                    raise
            time.sleep(pause(tried))
            tried += 1

    def _add(self, tx: Transaction, table: str, rows: Sequence[Row], counted: FileImport) -> FileImport:
        """Insert the rows that are not there; return ``counted``."""
        for row in rows:
            _insert(tx, table, row)
        return counted

    def _add_owners(self, tx: Transaction, rows: Sequence[Row]) -> FileImport:
        ended = [{**row, "ended_us": row["ended_us"] or tx.now_us} for row in rows]  # none of them lives
        return self._add(tx, "owners", ended, FileImport())

    def _add_scopes(self, tx: Transaction, rows: Sequence[Row]) -> FileImport:
        known = _known(tx, "scopes", "id", rows)
        for row in rows:
            if row["id"] in known:
                continue
            left = row["closed_us"] is None and row["kind"] == "run"
            closed = {"closed_us": tx.now_us, "status": runs.UNFINISHED} if left else {}
            _insert(tx, "scopes", {**row, **closed})
        names = {row["id"] for row in rows if row["kind"] == "run"}
        return FileImport(runs=len(names - known.keys()), known_runs=len(names & known.keys()))

    def _add_attempts(self, tx: Transaction, rows: Sequence[Row]) -> FileImport:
        known, found = _known(tx, "attempts", "id, phase, settled_by", rows), FileImport()
        for row in rows:
            if row["phase"] in ("kept", "held"):
                found = found._replace(unsent=found.unsent + 1)
                continue
            there = known.get(row["id"])
            is_open = row["phase"] == "sent"
            ended = _in_doubt(row, tx.now_us) if is_open else row
            if there is None:
                _insert(tx, "attempts", ended)
                _append(tx, ended)
                found = found._replace(attempts=found.attempts + 1, interrupted=found.interrupted + is_open)
            elif _belief(ended["phase"], ended["settled_by"]) > _belief(*there):
                _correct(tx, ended)
                found = found._replace(updated=found.updated + 1)
            else:
                found = found._replace(known=found.known + 1)
                continue
            found = _with_amount(found, ended)
        return found


def _known(tx: Transaction, table: str, columns: str, rows: Sequence[Row]) -> dict[str, tuple[Any, ...]]:
    """Return the rows that are on the server already, by their id, with the ``columns`` behind it."""
    marks = ", ".join("?" * len(rows))
    sql = f"SELECT {columns} FROM {table} WHERE id IN ({marks})"  # noqa: S608 - our own names
    return {row[0]: tuple(row[1:]) for row in tx.db.execute(sql, [row["id"] for row in rows]).fetchall()}


def _insert(tx: Transaction, table: str, row: Row) -> None:
    columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    tx.db.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", row)  # noqa: S608 - our own names


def _in_doubt(row: Row, now_us: int) -> Row:
    """Return the row of an attempt whose process ended before it was settled: in doubt at its worst case."""
    leaves_us = max(row["deadline_us"], now_us) + HOUR_US
    return {**row, "phase": "doubt", "reason": runs.PROCESS_ENDED, "ended_us": now_us, "leaves_hour_us": leaves_us}


def _append(tx: Transaction, row: Row) -> None:
    """Append the one entry of an imported attempt, at the time of its end."""
    tx.db.execute(
        "INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row["id"], row["ended_us"], tx.wall_us, row["phase"], row["nano"], row["tokens"], _ENTRY),
    )


def _correct(tx: Transaction, row: Row) -> None:
    """Write how an attempt ended that was imported before; it counts in the hour as a charge made now."""
    leaves_us = {"void": 0, "doubt": max(row["deadline_us"], tx.now_us) + HOUR_US}.get(
        row["phase"], tx.now_us + HOUR_US
    )
    attempts.conclude(tx, row["id"], row["phase"], row["nano"], row["tokens"], _ENTRY, leaves_us=leaves_us)
    written = ", ".join(f"{name} = :{name}" for name in _CHARGE)
    values = {name: row[name] for name in (*_CHARGE, "id")}
    tx.db.execute(f"UPDATE attempts SET {written} WHERE id = :id", values)  # noqa: S608 - our own names


def _belief(phase: str, settled_by: str | None) -> int:
    """Return the place of an attempt's end in the order of belief; of one that is still open the last."""
    kind = phase if phase in ("doubt", "void") else settled_by or "usage"
    return _BELIEF.index(kind) if phase in ("doubt", "void", "settled") else len(_BELIEF)


def _with_amount(found: FileImport, row: Row) -> FileImport:
    if row["nano"] is None:
        return found._replace(unknown_calls=found.unknown_calls + 1)
    if row["phase"] == "doubt":
        return found._replace(in_doubt_nano=found.in_doubt_nano + row["nano"])
    return found._replace(spent_nano=found.spent_nano + row["nano"])
