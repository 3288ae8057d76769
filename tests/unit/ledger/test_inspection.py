"""Inspection: whether the ledger is readable, consistent and writable, without changing it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from agentctl.ledger.inspection import LedgerStatus, inspect_ledger


async def opened(path: Path) -> None:
    """Make a ledger, as the first run does."""
    session = SqliteLedger(path)
    try:
        await session.open_run("r", CostLimit(), task="t", agent="a", labels={})
        await session.close_run("r", "done")
    finally:
        await session.aclose()


def test_missing_ledger_is_not_made(tmp_path: Path) -> None:
    assert inspect_ledger(tmp_path / "state" / "ledger.db") == LedgerStatus(there=False)
    assert list(tmp_path.iterdir()) == []


async def test_sound_ledger_passes_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await opened(path)
    with closing(sqlite3.connect(path)) as witness:  # it is told of every commit of another
        before = witness.execute("PRAGMA data_version").fetchone()
        assert inspect_ledger(path) == LedgerStatus(there=True)
        assert witness.execute("PRAGMA data_version").fetchone() == before


async def test_busy_writer_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await opened(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert inspect_ledger(path, patience_s=0.05).busy
    finally:
        other.close()
    assert not inspect_ledger(path).busy


async def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await opened(path)
    db = sqlite3.connect(path)
    page = int(db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'scopes'").fetchone()[0])
    size = int(db.execute("PRAGMA page_size").fetchone()[0])
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert damage_of(path)


def damage_of(path: Path) -> str:
    """Return the damage found, by SQLite or by the check."""
    try:
        return inspect_ledger(path).damage
    except StateError as error:
        return error.message if "malformed" in error.message else ""


def test_file_that_is_not_a_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match="ledger"):
        inspect_ledger(path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE other (x)")
    db.commit()
    db.close()
    with pytest.raises(StateError, match="a database of another program"):
        inspect_ledger(path)
