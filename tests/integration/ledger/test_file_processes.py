"""Tests that start processes, beside ``tests/unit/ledger/test_file.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from tests.support.disks import small_disk
from tests.support.ledger.parts import ask


async def opened(path: Path) -> SqliteLedger:
    ledger = SqliteLedger(path)
    await ledger.open_run("run", CostLimit(), task="", agent="", labels={})
    return ledger


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "size=512k") as disk:
        yield disk


async def hold_many(ledger: SqliteLedger) -> None:
    for number in range(200):
        await ledger.reserve(ask(f"more-{number}", tokens=1))


@pytest.mark.needs("root", "mounts")
async def test_a_full_disk_refuses_to_spend_and_keeps_what_it_had(disk: Path) -> None:
    ledger = await opened(disk / "ledger.db")
    await ledger.reserve(ask("kept"))
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize))
    with pytest.raises(StateError, match="full") as caught:
        await hold_many(ledger)
    assert "free some space" in caught.value.hint
    (disk / "filler").unlink()
    assert (await ledger.spend("run")).run_nano.held >= 256_000_000
    await ledger.aclose()
