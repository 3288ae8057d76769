"""Tests that start processes, beside ``tests/unit/ledger/test_network_disk.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.ledger.database import Database, file_system
from tests.support.ledger.fuse_mount import served


@pytest.fixture
def served_folder(tmp_path: Path) -> Iterator[Path]:
    with served(tmp_path / "remote") as point:
        yield point


def test_a_ledger_on_what_a_program_serves_is_refused_and_nothing_is_made_there(served_folder: Path) -> None:
    assert file_system(served_folder) == "fuse.sshfs"
    with pytest.raises(StateError, match=r"network file system \(fuse.sshfs\)") as caught:
        Database(served_folder / "state" / "ledger.db")
    assert caught.value.hint == "put it on a disk of this machine: AGENTCTL_STATE_DIR=/a/local/folder"
    assert not (served_folder / "state").exists()
