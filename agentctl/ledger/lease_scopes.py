"""The rows of leases, inside a transaction: registered at first use, and valid by the ledger's clock and its own.

A lease is a scope at the top of a path: every hold of the runs below it counts in its amount. It belongs to no process.
``bound_to`` of its row is a JSON object: the digest of the signed text, a random id of this use (``book``), and where
the lease is valid; ``lease_books`` adds to it. A wall clock that is behind the highest that this ledger has seen makes
a lease no longer valid: otherwise setting it back would extend the lease.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from agentctl.core.errors import AgentctlError
from agentctl.core.leases import CLOCK_SKEW_US, Lease, LeaseError
from agentctl.ledger.clock import as_datetime
from agentctl.ledger.transaction import Transaction

_COLUMNS = "id, expires_us, closed_us, bound_to"
_ROW = f"SELECT {_COLUMNS} FROM scopes WHERE id = ? AND kind = 'lease'"  # noqa: S608 - our own names
_ABOVE = f"""
SELECT {_COLUMNS} FROM scopes WHERE kind = 'lease' AND id IN (SELECT above_id FROM scope_paths WHERE scope_id = ?)
"""  # noqa: S608 - our own names
_NEW_SPLIT = "give the job a lease of a new split: agentctl help fleet"


class LeaseRow(NamedTuple):
    """The row of a lease."""

    scope_id: str
    expires_us: int
    closed_us: int | None
    bound_to: str

    @property
    def digest(self) -> str:
        """The digest of its signed text."""
        return str(json.loads(self.bound_to)["digest"])


def find(tx: Transaction, lease: Lease) -> LeaseRow | None:
    """Return the row of a lease; None if this ledger does not know it.

    Raises:
        LeaseError: it knows another lease of the same id.
    """
    found = tx.db.execute(_ROW, (lease.scope_id,)).fetchone()
    row = None if found is None else LeaseRow(*found)
    if row is not None and row.digest != lease.digest:
        raise LeaseError(
            f"this ledger knows another lease of the id {lease.id}",
            hint="use the lease that the first run of this job had",
        )
    return row


def register(tx: Transaction, lease: Lease) -> None:
    """Insert the row of a lease."""
    known = {"digest": lease.digest, "book": os.urandom(8).hex(), "bound_to": lease.bound_to}
    tx.db.execute(
        "INSERT INTO scopes (id, kind, limit_nano, opened_us, expires_us, bound_to) VALUES (?, 'lease', ?, ?, ?, ?)",
        (lease.scope_id, lease.nano, tx.now_us, lease.expires_us, json.dumps(known)),
    )


def refusal_to_enter(tx: Transaction, lease: Lease) -> LeaseError | None:
    """Return the error if no run may be opened below a lease now, None if one may; nothing is written."""
    if _seen_us(tx) < lease.issued_us - CLOCK_SKEW_US:
        return LeaseError(
            f"the clock reads {_at(tx.wall_us)}, but lease {lease.id} was issued at {_at(lease.issued_us)}",
            hint="set the clock of this machine",
        )
    try:
        row = find(tx, lease)
    except LeaseError as error:
        return error
    return _refusal(tx, row or LeaseRow(lease.scope_id, lease.expires_us, None, ""))


def refusal_above(tx: Transaction, scope_id: str) -> LeaseError | None:
    """Return the error if the lease above a run has expired or was closed; None without one, or if it is valid."""
    found = tx.db.execute(_ABOVE, (scope_id,)).fetchone()
    return None if found is None else _refusal(tx, LeaseRow(*found))


def scope_above(tx: Transaction, run_id: str) -> str:
    """Return the id of the lease's scope that a run belongs to, "" for none."""
    found = tx.db.execute(_ABOVE, (run_id,)).fetchone()
    return "" if found is None else str(found[0])


def missing_above(tx: Transaction, run_id: str, lease_id: str) -> LeaseError | None:
    """Return the error if a run does not belong to a lease (``lease_id`` "": to any), None if it does."""
    scope_id = scope_above(tx, run_id)
    if scope_id and (not lease_id or scope_id == Lease(lease_id, 0, 0, 0, "").scope_id):
        return None
    named = f"lease {lease_id}" if lease_id else "a lease"
    return LeaseError(
        f"run {run_id}, which this run belongs to, was not started with {named}",
        hint="give the outermost run the lease: agentctl run --lease FILE",
    )


def refusal_to_resume(lease: Lease | None, run_id: str, parent_id: str | None) -> AgentctlError | None:
    """Return the error if a run below ``parent_id``, a run, a lease or none, may not go on with ``lease``."""
    if parent_id == (None if lease is None else lease.scope_id):
        return None
    if lease is None:
        named = str(parent_id).removeprefix("lease-")
        return LeaseError(
            f"run {run_id} belongs to lease {named}",
            hint=f"give that lease again: agentctl runs resume {run_id} --lease FILE",
        )
    return LeaseError(
        f"run {run_id} was not started with lease {lease.id}, and its calls so far would not count in it",
        hint=f"go on in a run of its own: agentctl runs resume {run_id} --fork",
    )


def _refusal(tx: Transaction, row: LeaseRow) -> LeaseError | None:
    lease_id, seen_us = row.scope_id.removeprefix("lease-"), _seen_us(tx)
    if row.closed_us is not None:
        return LeaseError(f"lease {lease_id} was closed in this ledger: its account is written", hint=_NEW_SPLIT)
    if tx.wall_us < seen_us - CLOCK_SKEW_US:
        return LeaseError(
            f"the clock reads {_at(tx.wall_us)}, but this ledger has seen {_at(seen_us)}: lease {lease_id} may be over",
            hint="set the clock of this machine; if it was ahead before: agentctl ledger reconcile --clock",
        )
    if seen_us >= row.expires_us:
        return LeaseError(f"lease {lease_id} expired at {_at(row.expires_us)}", hint=_NEW_SPLIT)
    return None


def _seen_us(tx: Transaction) -> int:
    """Return the wall clock, or the highest time that this ledger has seen, if that is later."""
    row = tx.db.execute("SELECT highest_wall_us FROM clock").fetchone()
    return max(tx.wall_us, 0 if row is None else int(row[0]))


def _at(us: int) -> str:
    return f"{as_datetime(us):%Y-%m-%d %H:%M:%S} UTC"
