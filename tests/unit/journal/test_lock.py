"""The lock of a journal, taken while another process removes it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from agentctl.core.errors import StateError
from agentctl.journal.lock import lock_journal
from agentctl.journal.removal import remove_files


def test_a_journal_that_is_removed_meanwhile_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run would pay for calls that no record shows."""
    journal, lock = tmp_path / "r1.jsonl", fcntl.flock
    journal.write_text("{}\n")

    def remove_first(file: int, operation: int) -> None:
        monkeypatch.undo()
        remove_files(journal)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with pytest.raises(StateError, match="it was removed") as caught:
        lock_journal(journal)
    assert caught.value.hint == "agentctl runs list   shows the runs"
