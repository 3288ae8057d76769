"""Connect to the server of a fleet's ledger, with bounded waits, and translate its errors."""

from __future__ import annotations

import logging
import random
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentctl.core.errors import LedgerBusy, StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger.database import CommitFailed
from agentctl.ledger.postgres.ddl import MIGRATIONS, newer_error, older_error
from agentctl.ledger.postgres.refusals import HINTS, STANDBY_HINT, read_refusal

if TYPE_CHECKING:
    import psycopg

LEAST_SERVER = 14
REACH_S = 5.0  # until a server counts as unreachable
ANSWER_S = 6.0  # the longest wait for one answer; the server gives up before
LOCK_MS, STATEMENT_MS, IDLE_MS = 4_000, 5_000, 5_000
LIMITS = (
    f"SET LOCAL lock_timeout = {LOCK_MS}; SET LOCAL statement_timeout = {STATEMENT_MS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS};"
    " SET LOCAL search_path = agentctl, pg_catalog, pg_temp;"
)
SET_LOCAL = (  # SET LOCAL of all of them in one statement
    "SELECT set_config('synchronous_commit', 'on', true),"
    f" set_config('lock_timeout', '{LOCK_MS}', true), set_config('statement_timeout', '{STATEMENT_MS}', true),"
    f" set_config('idle_in_transaction_session_timeout', '{IDLE_MS}', true),"
    " set_config('search_path', 'agentctl, pg_catalog, pg_temp', true)"
)
VERIFIED = "verify-full"
ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates of public authorities in one file."""
_BUSY = {"40001", "40P01", "55P03", "57014", "25P03"}
"""Serialization failure, deadlock, lock timeout, statement timeout, idle within a transaction: tried again."""
_NO_SLOT = ("too many clients", "remaining connection slots", "too many connections", "no more connections allowed")
"""What a server says that has no free connection (53300: libpq does not tell the code of a refusal): tried again."""


class TransactionAborted(LedgerBusy):
    """The server rolled a transaction back because of others: nothing was written, and it may be tried again."""


class ConnectionLost(CommitFailed):
    """The connection ended within a transaction. If COMMIT was sent, it may have been written: look it up by its id."""


class ServerUnreachable(StateError):
    """No connection could be made in time."""


def pause(tried: int) -> float:
    """Return the seconds to wait before a transaction is tried again: longer each time, at random."""
    return random.uniform(0.2, 1.0) * min(0.02 * float(2 ** min(tried, 10)), 1.0)  # noqa: S311 - not a secret


def connect(address: PostgresAddress, *, timeout_s: float = REACH_S) -> psycopg.Connection:
    """Return a connection in autocommit mode without prepared statements, as PgBouncer's transaction mode needs.

    Raises:
        ServerUnreachable: no server answers in time.
        StateError: psycopg is missing, or the server refuses.
    """
    connection, failure = _bounded()
    try:
        db: psycopg.Connection = connection.connect(
            address.url,
            **_system_roots(address),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=max(2, (int(timeout_s) - 1) // address.hosts),  # of each host; libpq knows no less
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=2,
            tcp_user_timeout=int(REACH_S * 1000),
            fallback_application_name="agentctl",
        )
    except failure as error:
        raise translated(error, address, connecting=True) from error
    _adapt(db)
    try:
        if db.info.server_version < LEAST_SERVER * 10_000:
            said = f"{address} is PostgreSQL {db.info.server_version // 10_000}, which is too old"
            raise StateError(said, hint=f"use PostgreSQL {LEAST_SERVER} or newer")
    except BaseException:
        db.close()
        raise
    return db


def _system_roots(address: PostgresAddress) -> dict[str, str]:
    """Return options for ``sslrootcert=system``: the OpenSSL in psycopg's wheels looks in a folder of its own."""
    if address.options.get("sslrootcert") != "system" or address.options.get("sslmode", VERIFIED) != VERIFIED:
        return {}
    import ssl  # noqa: PLC0415 - most addresses name a file, or none

    found = ssl.get_default_verify_paths().cafile or next((one for one in ROOTS if Path(one).is_file()), None)
    return {} if found is None else {"sslrootcert": found, "sslmode": VERIFIED}


@cache
def _bounded() -> tuple[Any, type[psycopg.Error]]:
    """Return the class of connections that give up on a server that does not answer, and psycopg's own error."""
    try:
        import psycopg
    except ImportError as error:
        raise StateError(
            "a ledger on PostgreSQL needs psycopg, which is not installed",
            hint="pip install 'agentctl-cli[postgres]'",
        ) from error
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # a lost connection is told once, by us

    class BoundedConnection(psycopg.Connection):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401
            try:
                return super().wait(gen, interval, ANSWER_S if timeout is None else timeout)
            except psycopg.errors._WaitTimeout as error:
                self.close()
                raise psycopg.OperationalError(f"no answer within {ANSWER_S:g} s") from error

    return BoundedConnection, psycopg.Error


def _adapt(db: psycopg.Connection) -> None:
    """Load sums as whole numbers, and send each number as the 64 bits that the columns have."""
    from psycopg.adapt import Loader
    from psycopg.types.numeric import Int8Dumper

    class WholeLoader(Loader):
        def load(self, data: bytes | bytearray | memoryview) -> int:
            return int(bytes(data))

    db.adapters.register_loader("numeric", WholeLoader)
    db.adapters.register_dumper(int, Int8Dumper)


def translated(error: psycopg.Error, address: PostgresAddress, *, connecting: bool = False) -> StateError:
    """Return an error of psycopg or the server as one of ours, without the password."""
    code = error.sqlstate or ""
    said = address.redact(" ".join((error.diag.message_primary or str(error)).split()))
    about = f"the ledger {address} cannot be used: {said}"
    if connecting and any(words in said for words in _NO_SLOT):
        return TransactionAborted(about, hint="raise max_connections, or put PgBouncer between")
    if not connecting and code in _BUSY:
        return TransactionAborted(about, hint="try again; --budget-wait says how long to wait for others")
    if connecting:
        refusal = read_refusal(said, reach=f"check that the server runs: pg_isready -d {shlex.quote(str(address))}")
        kind = StateError if refusal.is_lasting else ServerUnreachable
        return kind(f"the ledger {address} cannot be used: {refusal.said}", hint=refusal.hint)
    if code == "25006" or "read-only" in said or "recovery" in said:
        return StateError(f"{address} is a standby, or read-only: {said}", hint=STANDBY_HINT)
    if code in ("3F000", "42P01", "42883"):
        return older_error(0, role=address.user)
    if code == "22003":
        return StateError(about, hint="the number is too large for the ledger")
    if not code or code.startswith(("08", "57P")):
        return ConnectionLost(about, hint="check that the server runs, and the network to it")
    return StateError(about, hint=HINTS.get(code, "check the server's log"))


def refuse_another_schema(version: int) -> None:
    """Refuse a ledger whose schema is not the one of this program.

    Raises:
        StateError: it is older, and must be migrated, or newer.
    """
    if version < len(MIGRATIONS):
        raise older_error(version)
    if version > len(MIGRATIONS):
        raise newer_error(version)
