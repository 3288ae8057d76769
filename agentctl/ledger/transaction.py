"""The open transaction that the ledger's functions work in, whatever engine it is of.

Their SQL is SQLite's; ``postgres.dialect`` translates what PostgreSQL writes differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of rows that were changed."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 - a row is a tuple, and None behind the last one
        """Return the next row, None behind the last one."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class SqlConnection(Protocol):
    """A connection on which a transaction is open; positional and named parameters, as SQLite has them."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Rows:  # noqa: ANN401 - a sequence or a mapping
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Rows:
        """Run one statement for each of the parameters."""
        ...


class Owners(Protocol):
    """Tells which owners (processes that spend) of a ledger are alive."""

    def is_dead(self, owner_id: str) -> bool:
        """Return whether an owner is dead; False also if that is unknown."""
        ...

    def liveness(self, owner_id: str) -> bool | None:
        """Return whether an owner is alive, None if that is unknown."""
        ...

    def ids(self) -> tuple[str, ...]:
        """Return the owners that have not ended in an orderly way."""
        ...


class Transaction(NamedTuple):
    """An open transaction: the connection, the ledger's time and the wall clock at its beginning, and the owners."""

    db: SqlConnection
    now_us: int
    wall_us: int
    owners: Owners


class LedgerDatabase(Protocol):
    """A ledger as one process uses it, a transaction at a time; ``str()`` names it in messages.

    ``path`` is the place beside which files of this machine are kept: what could not be written.
    """

    path: Path

    def write(
        self, *, soon: bool = False, run_id: str = "", attempt_id: str = ""
    ) -> AbstractContextManager[Transaction]:
        """Begin a transaction that writes, and commit it; any exception rolls back. ``run_id`` is whose limits it
        judges by, ``attempt_id`` the attempt that it is about.
        """
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """Give a consistent view; nothing is written."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
