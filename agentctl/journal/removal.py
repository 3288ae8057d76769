"""Remove the files of runs: the journal and the folder with full results. The ledger keeps its rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import AgentctlError
from agentctl.core.files import sync_folder
from agentctl.journal.lock import lock_journal
from agentctl.journal.reader import read_run
from agentctl.journal.writer import ENDING, journal_error

_HEAD = 8  # records within which a fork names the run that it goes on from


class RunFiles(NamedTuple):
    """The files of a run: their size in bytes, and when the journal was last written (seconds since 1970)."""

    journal: Path
    size: int
    written_at: float

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.journal.name.removesuffix(ENDING)


def run_files(journal: Path) -> RunFiles:
    """Return the files of a run and their size; what vanishes meanwhile counts as empty."""
    size, written_at = 0, 0.0
    with suppress(OSError):
        status = journal.lstat()
        size, written_at = status.st_size, status.st_mtime
    with suppress(OSError):
        size += sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(journal.with_suffix("")))
    return RunFiles(journal, size, written_at)


def forks_of(folder: Path) -> Mapping[str, str]:
    """Return each run that another was forked from, with the id of that fork; broken journals are skipped."""
    found: dict[str, str] = {}
    for path in folder.glob(f"*{ENDING}"):
        run_id = path.name.removesuffix(ENDING)
        with suppress(AgentctlError):
            for record in islice(read_run(path), _HEAD):
                source = record.get("source") if record.get("event") == "run_resumed" else None
                if isinstance(source, str) and source != run_id:
                    found[source] = run_id
    return found


def remove_files(journal: Path) -> None:
    """Remove the files of a run that has ended, the journal last: a removal that was cut short can be repeated.

    Raises:
        UsageError: the run is alive.
        StateError: a file cannot be removed.
    """
    locked = lock_journal(journal)
    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(journal.with_suffix(""))
        journal.unlink()
        sync_folder(journal.parent)
    except OSError as exc:
        raise journal_error(exc, f"the run {journal.name.removesuffix(ENDING)} cannot be removed") from exc
    finally:
        os.close(locked)
