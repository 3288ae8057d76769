"""Close leases in the ledger: nothing more is sent below one, and its book says what it has spent there."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any, NamedTuple

from agentctl.core.leases import Lease, LeaseError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.ledger import lease_scopes, runs
from agentctl.ledger.clock import ReadClock, as_datetime
from agentctl.ledger.engines import exists, open_database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.sums import run_amounts
from agentctl.ledger.transaction import Transaction

_ROW = "SELECT closed_us, bound_to, opened_us FROM scopes WHERE id = ? AND kind = 'lease'"
_COUNTS = """
SELECT count(*), count(*) FILTER (WHERE a.nano IS NULL) FROM attempts AS a
JOIN scope_paths AS p ON p.scope_id = a.run_id WHERE p.above_id = ? AND a.phase IN ('settled', 'doubt', 'sent')
"""


class LeaseBook(NamedTuple):
    """What one ledger says of a closed lease; amounts in nano-dollars.

    ``in_doubt_nano`` includes the worst case of calls that are still on their way. ``unpriced`` counts the calls of
    unknown price. ``book`` is the id of this use of the lease: a second ledger has another one. ``revision`` is the id
    of this state of the book, ``earlier`` are those of the states that it replaces.
    """

    book: str
    revision: str
    earlier: tuple[str, ...]
    spent_nano: int
    in_doubt_nano: int
    calls: int
    unpriced: int
    opened_at: datetime
    closed_at: datetime


def close_lease(
    path: LedgerAddress, lease: Lease, *, unused: bool = False, clock: ReadClock | None = None
) -> LeaseBook:
    """Close a lease in the ledger at ``path`` for good, and return what it has spent there.

    Nothing more is sent below it; what was only held is void. Closing it again returns the same book, unless an amount
    in doubt was settled since. ``unused``: a lease that this ledger does not know is closed without spending.

    Raises:
        LeaseError: the ledger does not know the lease, or has another one of the same id.
        StateError: the ledger cannot be used.
    """
    if not unused and not exists(path):
        raise _unknown(lease, path)
    database = open_database(path, clock=clock)
    try:
        LedgerSession(database, owner_id="", pid=os.getpid()).apply_spooled()
        with database.write() as tx:
            runs.conclude_dead_owners(tx, but="")
            if lease_scopes.find(tx, lease) is None:
                if not unused:
                    raise _unknown(lease, path)
                lease_scopes.register(tx, lease)
            runs.close(tx, lease.scope_id, "closed")
            return _book(tx, lease)
    finally:
        database.close()


def _book(tx: Transaction, lease: Lease) -> LeaseBook:
    """Return the book of a closed lease; a new revision is written if its amounts have changed."""
    closed_us, bound_to, opened_us = tx.db.execute(_ROW, (lease.scope_id,)).fetchone()
    known: dict[str, Any] = json.loads(bound_to)
    amounts = run_amounts(tx, lease.scope_id, "nano")[0]
    calls, unpriced = tx.db.execute(_COUNTS, (lease.scope_id,)).fetchone()
    state = [amounts.spent, amounts.in_doubt + amounts.held, calls, unpriced]
    revisions: list[str] = known.get("revisions", [])
    if not revisions or known.get("state") != state:
        revisions = [*revisions, os.urandom(8).hex()]
        known |= {"revisions": revisions, "state": state}
        tx.db.execute("UPDATE scopes SET bound_to = ? WHERE id = ?", (json.dumps(known), lease.scope_id))
    return LeaseBook(
        known["book"],
        revisions[-1],
        tuple(revisions[:-1]),
        *(state[0], state[1], state[2], state[3]),
        as_datetime(opened_us),
        as_datetime(closed_us),
    )


def _unknown(lease: Lease, path: LedgerAddress) -> LeaseError:
    return LeaseError(
        f"lease {lease.id} was not used in the ledger {path}: without an account it counts in full",
        hint="use the AGENTCTL_STATE_DIR of its runs; if there was none: agentctl budget close --unused",
    )
