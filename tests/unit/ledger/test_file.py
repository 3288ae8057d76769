"""Damaged and foreign ledger files: each gives one error with a hint, and nothing is spent."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path, PosixPath

import pytest

from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from agentctl.ledger.database import Database
from agentctl.ledger.inspection import inspect_ledger
from agentctl.ledger.report import costs_window
from tests.support.ledger.connections import collect


async def opened(path: Path) -> SqliteLedger:
    ledger = SqliteLedger(path)
    await ledger.open_run("run", CostLimit(), task="", agent="", labels={})
    return ledger


async def refused(path: Path) -> StateError:
    ledger = SqliteLedger(path)
    with pytest.raises(StateError) as caught:
        await ledger.open_run("r", CostLimit(), task="", agent="", labels={})
    await ledger.aclose()
    return caught.value


async def test_a_damaged_header_is_refused(path: Path) -> None:
    await (await opened(path)).aclose()
    path.write_bytes(b"garbage" * 1000)
    error = await refused(path)
    assert "not a database" in error.message
    assert "mv " in error.hint
    with pytest.raises(StateError):
        costs_window(path, seconds=60)


async def test_a_damaged_page_is_refused(path: Path) -> None:
    await (await opened(path)).aclose()
    whole = bytearray(path.read_bytes())
    whole[4096 : 4096 * 12] = b"\xff" * (4096 * 11)
    path.write_bytes(whole)
    assert "malformed" in (await refused(path)).message


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "another program" in (await refused(path)).message
    assert path.read_bytes() == before


async def test_a_newer_ledger_is_not_touched(path: Path) -> None:
    await (await opened(path)).aclose()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    error = await refused(path)
    assert "newer agentctl" in error.message
    assert "upgrade" in error.hint


def test_a_ledger_that_is_gone_while_it_is_opened_leaves_no_connection(path: Path) -> None:
    class Vanishing(Database):
        def _identities(self) -> tuple[tuple[int, int], ...]:
            raise FileNotFoundError(2, "gone")

    with pytest.raises(StateError):
        Vanishing(path)
    collect()  # a connection that is dropped open is an error of the test: tests/support/ledger/connections.py


@pytest.mark.parametrize("look", [inspect_ledger, lambda path: costs_window(path, seconds=60)], ids=["doctor", "costs"])
def test_a_ledger_that_is_created_between_two_looks_has_not_lost_anything(
    path: Path, look: Callable[[Path], object]
) -> None:
    created = list[Database]()

    class Created(PosixPath):
        """A place where another process creates the ledger after the first look."""

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            try:
                return super().stat(follow_symlinks=follow_symlinks)
            finally:
                if not created:
                    created.append(Database(path))

        def exists(self, *, follow_symlinks: bool = True) -> bool:
            with suppress(OSError):
                return bool(self.stat(follow_symlinks=follow_symlinks))
            return False

    look(Created(path))
    assert len(created) == 1
    created[0].close()


async def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = await refused(tmp_path / "file" / "ledger.db")
    assert str(tmp_path / "file" / "ledger.db") in error.message


async def test_a_symbolic_link_in_the_ledgers_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "ledger.db").symlink_to(tmp_path / "target")
    await refused(tmp_path / "ledger.db")
    assert (tmp_path / "target").read_text() == ""
