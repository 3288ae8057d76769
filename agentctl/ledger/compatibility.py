"""A ledger of an older schema, read as one of this schema: by views of one connection, so that nothing is written.

A reader must not migrate a file, and may not be able to; a copy of it takes seconds and gigabytes. The views have the
names of this schema's tables and hide the file's own. Columns and tables that were added since come from the schema
itself; what a migration computes from the rows is computed here by the same rule, for the rows that are asked for.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from agentctl.ledger.schema import migrate
from agentctl.ledger.sums import WIDTHS_US

_SUM_NANO = "sum(coalesce(nano, 0) >> 32) AS nano_hi, sum(coalesce(nano, 0) & 4294967295) AS nano_lo"
_SUM_TOKENS = "sum(tokens >> 32) AS tokens_hi, sum(tokens & 4294967295) AS tokens_lo"


def _bucket(width_us: int) -> str:
    return f"""
    SELECT {width_us} AS width_us, leaves_hour_us / {width_us} AS bucket, phase, {_SUM_NANO} FROM main.attempts
    WHERE leaves_hour_us IS NOT NULL AND phase <> 'void' GROUP BY leaves_hour_us / {width_us}, phase"""  # noqa: S608


# What schema 2 keeps in tables. Schema 1 had no runs inside runs.
_COMPUTED = {
    "scope_paths": "SELECT id AS scope_id, id AS above_id, 0 AS depth FROM main.scopes",
    "scope_totals": f"""
    SELECT run_id AS scope_id, phase, {_SUM_NANO}, {_SUM_TOKENS} FROM main.attempts
    WHERE phase <> 'void' GROUP BY run_id, phase""",  # noqa: S608 - our own words
    "window_totals": f"""
    SELECT 0 AS width_us, 0 AS bucket, phase, {_SUM_NANO} FROM main.attempts
    WHERE leaves_hour_us IS NULL AND phase <> 'void' GROUP BY phase
    UNION ALL {" UNION ALL ".join(map(_bucket, WIDTHS_US))}""",  # noqa: S608 - our own words
    "widths": f"SELECT 0 AS width_us UNION ALL VALUES {', '.join(f'({width})' for width in WIDTHS_US)}",
}
_VALUES = {("clock", "highest_wall_us"): "max(wall_us, now_us)"}


def add_views(db: sqlite3.Connection) -> None:
    """Let ``db``, a ledger of an older schema, be read by the names of this schema; only this connection sees it."""
    with closing(migrate(sqlite3.connect(":memory:", isolation_level=None))) as model:
        for (table,) in model.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
            known, wanted = _columns(db, table), _columns(model, table)
            if not known and table in _COMPUTED:
                db.execute(f"CREATE TEMP VIEW {table} AS {_COMPUTED[table]}")
            elif not known:
                db.execute(f"CREATE TEMP TABLE {table} ({', '.join(wanted)})")
            elif added := [name for name in wanted if name not in known]:
                values = ", ".join(f"{_VALUES.get((table, name), wanted[name])} AS {name}" for name in added)
                db.execute(f"CREATE TEMP VIEW {table} AS SELECT rowid AS rowid, *, {values} FROM main.{table}")  # noqa: S608


def _columns(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return the columns of a table of the file itself, each with its default as SQL; empty if it has no such table."""
    return {row[1]: row[4] or "NULL" for row in db.execute(f"PRAGMA main.table_info({table})")}
