"""A ledger whose write lock another program holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from agentctl.core.messages import Request
from agentctl.providers.scripted import Step


class LockHolder:
    """Another program that takes the ledger's write lock, and lets it go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def lock(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute("BEGIN EXCLUSIVE")

    def unlock(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def lock_then(self, step: Step) -> list[Any]:
        """Return a step of a script that takes the lock, then answers as ``step`` does."""

        def lock(_: Request) -> None:
            self.lock()

        return [lock, *(step if isinstance(step, list) else [step])]
