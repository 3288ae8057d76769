"""The lock of a journal: who holds it, and what if it is removed or cannot be written."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from agentctl.core.errors import StateError, UsageError
from agentctl.journal import lock
from agentctl.journal.lock import lock_journal
from agentctl.journal.removal import remove_files


def test_a_journal_that_is_removed_meanwhile_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run would pay for calls that no record shows."""
    journal, flock = tmp_path / "r1.jsonl", fcntl.flock
    journal.write_text("{}\n")

    def remove_first(file: int, operation: int) -> None:
        monkeypatch.undo()
        remove_files(journal)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with pytest.raises(StateError, match="it was removed") as caught:
        lock_journal(journal)
    assert caught.value.hint == "agentctl runs list   shows the runs"


@pytest.mark.parametrize("device", ["as it is", "of a subvolume"])
def test_the_holder_is_named_also_where_the_kernel_shows_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    journal = tmp_path / "r1.jsonl"
    journal.write_text("{}\n")
    held = lock_journal(journal)
    locks = tmp_path / "locks"
    text, inode = Path("/proc/locks").read_text(), os.fstat(held).st_ino
    shown = [line.split()[5] for line in text.splitlines() if line.split()[5].endswith(f":{inode}")]
    locks.write_text(text if device == "as it is" else text.replace(shown[0], f"00:99:{inode}"))
    monkeypatch.setattr(lock, "_LOCKS", locks)
    with pytest.raises(UsageError, match=f"run r1 is still running, in process {os.getpid()}"):
        lock_journal(journal)
    os.close(held)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_journal_that_may_not_be_written_has_a_hint_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StateError, match="cannot be written") as caught:
        lock_journal(tmp_path / "r1.jsonl")
    assert "AGENTCTL_STATE_DIR" not in caught.value.hint, "the run is not there"
