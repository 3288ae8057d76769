"""Whether the book can be opened, believed and written, and when it last took a charge: asked without a mark."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agentctl.ledger.clock import as_datetime
from agentctl.ledger.database import translate_errors
from agentctl.ledger.errors import refuse_remnant
from agentctl.ledger.schema import schema_version


class LedgerStatus(NamedTuple):
    """How the book fares. ``there`` False: the first run makes it. ``checked`` False: too long to check in time.

    ``damage`` is what the check found, "" for none. ``busy``: somebody was writing all the time. The last charge in
    nano-dollars, None if there is none, or nobody knows what it cost.
    """

    there: bool
    checked: bool = True
    damage: str = ""
    busy: bool = False
    last_at: datetime | None = None
    last_nano: int | None = None
    last_model: str = ""


_LAST = """
SELECT ended_us, nano, provider, model FROM attempts
WHERE ended_us IS NOT NULL AND phase = 'settled' ORDER BY ended_us DESC LIMIT 1
"""


def condition(path: Path, *, patience_s: float = 1.0) -> LedgerStatus:
    """Look at the ledger; nothing is written.

    ``patience_s`` bounds the check, and the wait for another's writing, each.

    Raises:
        StateError: it cannot be opened, read or written, or is no ledger that this program knows.
    """
    with translate_errors(path):
        refuse_remnant(path)
        try:
            path.stat()
        except FileNotFoundError:
            return LedgerStatus(there=False)
        address = f"{path.absolute().as_uri()}?mode=rw"
        # Several threads: the alarm that ends a long check interrupts from its own.
        with closing(
            sqlite3.connect(address, uri=True, isolation_level=None, timeout=patience_s, check_same_thread=False)
        ) as db:
            db.execute("BEGIN")  # one view: another process may be migrating
            version = schema_version(db, path)
            db.execute("ROLLBACK")
            if not version:
                return LedgerStatus(there=False)
            last = db.execute(_LAST).fetchone()
            found = LedgerStatus(there=True, busy=_is_busy(db))
            if last is not None:
                ended_us, nano, provider, model = last
                name = f"{provider}/{model}" if model else provider
                found = found._replace(last_at=as_datetime(ended_us), last_nano=nano, last_model=name)
            return _checked(db, found, patience_s)


def _is_busy(db: sqlite3.Connection) -> bool:
    """Take the right to write, and give it back: a file that cannot be written refuses it."""
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return True
        raise
    db.execute("ROLLBACK")
    return False


def _checked(db: sqlite3.Connection, found: LedgerStatus, patience_s: float) -> LedgerStatus:
    alarm = threading.Timer(patience_s, db.interrupt)
    alarm.daemon = True
    alarm.start()
    try:
        said = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return found._replace(checked=False)
        raise
    finally:
        alarm.cancel()
        alarm.join()  # it must not interrupt what is closed
    return found._replace(damage="" if said == "ok" else said)
