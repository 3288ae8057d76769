"""Write the rows of runs, inside a transaction: opened below one another, closed, and concluded for dead processes.

A child run shows the id of its parent and a secret, the capability; the ledger stores only its hash. Each hold of a
child counts in every run above it (``sums.limits_of``). A parent counts as ended if its process is not known to be
alive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from agentctl.budget.rules import Ask, LimitState, PastSpending, ceiling_of, extra_ceilings
from agentctl.core.errors import ActionDenied, AgentctlError, UnknownPrice, UsageError
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.core.pricing import price_command
from agentctl.ledger import attempts, lease_scopes
from agentctl.ledger.clock import HOUR_US
from agentctl.ledger.transaction import Transaction

UNFINISHED = "unfinished"  # the status of a run whose process died
MOST_DEPTH = 16  # runs on one path, the outermost included

_PARENT = "SELECT capability_hash FROM scopes WHERE id = ? AND kind = 'run'"
_DEPTH = """
SELECT count(*) FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id WHERE p.scope_id = ? AND s.kind = 'run'
"""
_PATH = """
SELECT s.id, s.opened_by, s.closed_us IS NOT NULL FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id
WHERE p.scope_id = ? AND p.depth >= ? AND s.kind = 'run' ORDER BY p.depth
"""

IsGone = Callable[[str], bool]
"""Whether the process of an owner is not known to be alive."""


def digest_of(capability: str) -> str:
    """Return the hash of a capability that the ledger stores: SHA-256, in hexadecimal."""
    import hashlib  # noqa: PLC0415 - most runs have no capability

    return hashlib.sha256(capability.encode("utf-8", "surrogatepass")).hexdigest()


def _further(limits: CostLimit) -> str:
    """Return the ceilings that a run has in addition to its own two, as JSON."""
    hour = ceiling_of(limits, "max_cost_per_hour")
    return json.dumps({**extra_ceilings(limits), **({} if hour is None else {"max_cost_per_hour": hour})})


class NewRun(NamedTuple):
    """A run to insert; without a ``capability`` it can have no children."""

    id: str
    owner_id: str
    task: str
    agent: str
    labels: Mapping[str, str]
    parent: Parent | Lease | None = None
    capability: str = ""


def parent_id_of(parent: Parent | Lease | None) -> str | None:
    """Return the id of the scope that a run is directly below; None: it is at the top."""
    if isinstance(parent, Lease):
        return parent.scope_id
    return None if parent is None else parent.run_id


def insert(tx: Transaction, run: NewRun, limits: CostLimit) -> None:
    """Insert a run and all of its limits, which bind the runs below it, too; register its lease at the first use."""
    if isinstance(run.parent, Lease) and lease_scopes.find(tx, run.parent) is None:
        lease_scopes.register(tx, run.parent)
    values = {
        "id": run.id,
        "kind": "run",
        "parent_id": parent_id_of(run.parent),
        "capability_hash": digest_of(run.capability) if run.capability else None,
        "opened_by": run.owner_id,
        "limit_nano": ceiling_of(limits, "max_cost_per_task"),
        "limit_tokens": limits.max_tokens_per_task,
        "limits": _further(limits),
        "task": attempts.storable(run.task),
        "agent": attempts.storable(run.agent),
        "labels": json.dumps(dict(run.labels)),
        "opened_us": tx.now_us,
    }
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    tx.db.execute(f"INSERT INTO scopes ({columns}) VALUES ({marks})", values)  # noqa: S608 - our own names


_PARENT_OF = """
SELECT s.parent_id, s.opened_by, s.closed_us IS NOT NULL, CASE WHEN p.kind = 'run' THEN 1 ELSE 0 END
FROM scopes AS s LEFT JOIN scopes AS p ON p.id = s.parent_id WHERE s.id = ? AND s.kind = 'run'
"""
_UNPRICED = "SELECT 1 FROM attempts WHERE run_id = ? AND phase IN ('settled', 'doubt') AND nano IS NULL LIMIT 1"
_PAST = """
SELECT phase, nano, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens,
    coalesce(answered_model, model)
FROM attempts WHERE run_id = ? AND phase IN ('settled', 'doubt', 'sent') ORDER BY ended_us, rowid
"""


def reopen(tx: Transaction, run: NewRun, limits: CostLimit, is_gone: IsGone) -> AgentctlError | None:
    """Open a run again, with ``limits`` in place of its old ones; return the error if that is not possible.

    Its attempts stay its own, so what they spent and have in doubt counts against the new limits, too. A call that was
    on its way when its process died is in doubt from here on, at its worst case.
    """
    row = tx.db.execute(_PARENT_OF, (attempts.storable(run.id),)).fetchone()
    if row is None:
        return UsageError(
            f"run {run.id} is not in the ledger, so what it has spent is unknown",
            hint="use the state folder that it ran with: AGENTCTL_STATE_DIR",
        )
    parent_id, owner_id, is_closed, is_below_run = row
    if not is_below_run and (run.parent is None or isinstance(run.parent, Lease)):
        if (refused := lease_scopes.refusal_to_resume(run.parent, run.id, parent_id)) is not None:
            return refused
    else:
        # Below another parent, or none, its calls would no longer count where they must.
        where = f"it belongs to run {parent_id}" if is_below_run else "this command was started by another run"
        return ActionDenied(
            f"run {run.id} cannot be resumed: {where}",
            hint=f"go on in a run of its own: agentctl runs resume {run.id} --fork",
        )
    if not is_closed and owner_id is not None and not is_gone(owner_id):
        found = tx.db.execute("SELECT pid, host FROM owners WHERE id = ?", (owner_id,)).fetchone()
        where = "another process" if found is None else f"process {found[0]} on {found[1]}"
        return UsageError(f"run {run.id} is still running, in {where}", hint="wait until it has ended")
    if limits.max_cost_per_task is not None and tx.db.execute(_UNPRICED, (run.id,)).fetchone():
        return UnknownPrice(
            f"run {run.id} has made calls whose price is unknown, so no dollar limit can be a total of it",
            hint=f"add --max-cost none, or go on in a run of its own: agentctl runs resume {run.id} --fork",
        )
    tx.db.execute(
        "UPDATE scopes SET limit_nano = ?, limit_tokens = ?, limits = ?, capability_hash = ?, opened_by = ?,"
        " closed_us = NULL, status = NULL WHERE id = ?",
        (
            *(ceiling_of(limits, "max_cost_per_task"), limits.max_tokens_per_task, _further(limits)),
            *(digest_of(run.capability) if run.capability else None, run.owner_id, run.id),
        ),
    )
    return None


def past_spending(tx: Transaction, run_id: str) -> PastSpending:
    """Add up what a run itself has spent and has in doubt; a call that is on its way counts as in doubt."""
    past = PastSpending()
    for phase, nano, *counts, model in tx.db.execute(_PAST, (run_id,)):
        if phase != "settled":
            doubt = None if nano is None or past.in_doubt_nano is None else past.in_doubt_nano + nano
            past = past._replace(in_doubt_nano=doubt)
            continue
        cost = None if nano is None or past.cost_nano is None else past.cost_nano + nano
        names = past.models if model is None or model in past.models else (*past.models, model)
        usage = past.usage + Usage(*(count or 0 for count in counts))
        past = past._replace(usage=usage, cost_nano=cost, models=names)
    return past


def refusal_below(tx: Transaction, parent: Parent | Lease, is_gone: IsGone, path: object) -> AgentctlError | None:
    """Return the error if no run may be opened below ``parent`` in the ledger at ``path``, None if one may."""
    if isinstance(parent, Lease):
        return lease_scopes.refusal_to_enter(tx, parent)
    import hmac  # noqa: PLC0415 - most runs have no parent

    named = f"run {parent.run_id}, which this run belongs to,"
    row = tx.db.execute(_PARENT, (attempts.storable(parent.run_id),)).fetchone()
    if row is None:
        return ActionDenied(
            f"{named} is not in the ledger {path}",
            hint="keep the AGENTCTL_STATE_DIR of that run, or put its AGENTCTL_LEDGER into your own .env;"
            " if it is a replay, replay its tools, too: --replay-tools",
        )
    if row[0] is None or not hmac.compare_digest(row[0], digest_of(parent.capability)):
        return ActionDenied(
            f"the capability for {named} is wrong",
            hint="keep AGENTCTL_PARENT_RUN and AGENTCTL_PARENT_CAPABILITY as that run set them",
        )
    if (ended_id := _first_ended(tx, parent.run_id, is_gone, from_depth=0)) is not None:
        return _ended(ended_id)
    most = MOST_DEPTH if parent.most_runs is None else min(MOST_DEPTH, parent.most_runs)
    if tx.db.execute(_DEPTH, (parent.run_id,)).fetchone()[0] >= most:
        return ActionDenied(f"{named} is already {most} runs deep", hint="start this run from an outer run")
    if parent.lease_id is not None:
        missing = lease_scopes.missing_above(tx, parent.run_id, parent.lease_id)
        return missing or lease_scopes.refusal_above(tx, parent.run_id)
    return lease_scopes.refusal_above(tx, parent.run_id)


def refusal_above(tx: Transaction, run_id: str, is_gone: IsGone) -> AgentctlError | None:
    """Return the error if a run above this one has ended, or its lease, so that nothing more may be sent; else None."""
    ended_id = _first_ended(tx, run_id, is_gone, from_depth=1)
    return lease_scopes.refusal_above(tx, run_id) if ended_id is None else _ended(ended_id)


def is_gone(tx: Transaction, owner_id: str, *, but: str) -> bool:
    """Return whether an owner other than ``but`` is not known to be alive; a dead one is concluded."""
    if owner_id == but:
        return False
    if tx.owners.is_dead(owner_id):
        conclude_dead_owner(tx, owner_id)
        return True
    return tx.owners.liveness(owner_id) is not True


def _first_ended(tx: Transaction, run_id: str, is_gone: IsGone, *, from_depth: int) -> str | None:
    for scope_id, owner_id, is_closed in tx.db.execute(_PATH, (run_id, from_depth)).fetchall():
        if is_closed or owner_id is None or is_gone(owner_id):
            return str(scope_id)
    return None


def _ended(run_id: str) -> ActionDenied:
    return ActionDenied(
        f"run {run_id}, which this run belongs to, has ended: nothing more is sent",
        hint="start this run again outside the other one",
    )


def require_bounded_cost(ask: Ask, rooms: tuple[LimitState, ...]) -> None:
    """Refuse a request of unbounded cost under the dollar limit of a run above, whatever the run's own limits are.

    Raises:
        UnknownPrice: the model has no price, or no bound of its input is known.
    """
    facts = ask.facts
    if not facts.metered or (facts.price is not None and facts.unbounded is None):
        return
    for room in rooms:
        if room.unit == "nano_usd" and room.ceiling is not None and room.run_id not in ("", ask.run_id):
            whose = "its lease has" if room.limit == "max_cost_per_lease" else f"run {room.run_id} above this one has"
            name = f"{facts.provider}/{facts.model}"
            bounded = facts.unbounded is None
            reason = f"the price of {name} is unknown" if bounded else f"{name} has no bound ({facts.unbounded})"
            prices = f", or set its real prices: {price_command(name)}" if bounded else ""
            raise UnknownPrice(
                f"{reason}, and {whose} a dollar limit",
                hint=f"choose another model{prices}",
            )


PROCESS_ENDED = "its process ended"


def was_left_by_dead_owner(tx: Transaction, attempt_id: str) -> bool:
    """Return whether an attempt is in doubt only because its process was found dead, or was taken for dead."""
    found = tx.db.execute("SELECT 1 FROM attempts WHERE id = ? AND reason = ?", (attempt_id, PROCESS_ENDED)).fetchone()
    return found is not None


def conclude_dead_owner(tx: Transaction, owner_id: str) -> None:
    """Void a dead owner's holds, leave its sent attempts in doubt at the worst case, and close its runs."""
    left = tx.db.execute(
        "SELECT id, phase, nano, tokens FROM attempts WHERE leaves_hour_us IS NULL AND owner_id = ? ORDER BY id",
        (owner_id,),
    ).fetchall()
    for attempt_id, phase, nano, tokens in left:
        if phase == "sent":
            attempts.doubt(tx, attempt_id, nano, tokens, PROCESS_ENDED, provider_fault=False)
        else:
            attempts.void(tx, attempt_id, "its process ended before sending")
    tx.db.execute("DELETE FROM waiters WHERE owner_id = ?", (owner_id,))
    open_runs = "SELECT id FROM scopes WHERE opened_by = ? AND closed_us IS NULL ORDER BY id"
    for (run_id,) in tx.db.execute(open_runs, (owner_id,)).fetchall():
        close(tx, run_id, UNFINISHED)
    tx.db.execute("UPDATE owners SET ended_us = ? WHERE id = ? AND ended_us IS NULL", (tx.now_us, owner_id))


def close(tx: Transaction, run_id: str, status: str) -> None:
    """Close a run: its unsent holds, and those of the runs below it, are void, and they leave the queue.

    ``UNFINISHED``: its process is taken for dead. If it is alive after all, it continues, but no run below it does.
    """
    tx.db.execute(
        "UPDATE scopes SET closed_us = ?, status = ? WHERE id = ? AND (closed_us IS NULL OR status = ?)",
        (tx.now_us, status, run_id, UNFINISHED),
    )
    least_depth = int(status == UNFINISHED)
    below = f"run_id IN (SELECT scope_id FROM scope_paths WHERE above_id = ? AND depth >= {least_depth})"  # noqa: S608
    void_held(tx, below, run_id, reason="its run ended before sending", kept=True)
    tx.db.execute(f"DELETE FROM waiters WHERE {below}", (run_id,))  # noqa: S608 - our own words


def conclude_dead_owners(tx: Transaction, *, but: str) -> None:
    """Conclude every owner of an open amount or run whose lock is free, and void the holds past their deadline.

    In the order of their ids, so that a hold whose process and run are both gone has the same reason on each engine.
    """
    found = tx.db.execute(
        "SELECT owner_id FROM attempts WHERE leaves_hour_us IS NULL AND owner_id <> :but"
        " UNION SELECT owner_id FROM waiters WHERE owner_id <> :but AND seen_us >= 0"
        " UNION SELECT opened_by FROM scopes WHERE closed_us IS NULL AND opened_by <> :but ORDER BY 1",
        {"but": but},
    ).fetchall()
    for (owner_id,) in found:
        if tx.owners.is_dead(owner_id):
            conclude_dead_owner(tx, owner_id)
        elif tx.owners.liveness(owner_id) is None:
            _conclude_overdue(tx, owner_id)
    void_held(tx, "deadline_us <= ?", tx.now_us, reason="not sent before its deadline")


def _conclude_overdue(tx: Transaction, owner_id: str) -> None:
    """Conclude what an owner has left open too long, if it is unknown whether it lives.

    Sent attempts are in doubt once their deadline is over, reserves are void after an hour; both would count for ever
    otherwise. An owner that lives loses nothing: usage settles an attempt in doubt, and it can reserve again.
    """
    left = tx.db.execute(
        "SELECT id, phase, nano, tokens FROM attempts WHERE leaves_hour_us IS NULL AND owner_id = ?"
        " AND (phase = 'sent' AND deadline_us <= ? OR phase = 'kept' AND held_us <= ?)",
        (owner_id, tx.now_us, tx.now_us - HOUR_US),
    ).fetchall()
    for attempt_id, phase, nano, tokens in left:
        if phase == "sent":
            attempts.doubt(tx, attempt_id, nano, tokens, "its process may have ended", provider_fault=False)
        else:
            attempts.void(tx, attempt_id, "its process may have ended")


def void_held(tx: Transaction, condition: str, value: object, *, reason: str, kept: bool = False) -> None:
    """Void the holds of ``condition`` (SQL of this package) that were not sent; ``kept``: reserves, too."""
    phases = "('held', 'kept')" if kept else "('held')"
    still_open = f"SELECT id FROM attempts WHERE leaves_hour_us IS NULL AND phase IN {phases}"  # noqa: S608 - our own
    found = tx.db.execute(f"{still_open} AND {condition} ORDER BY id", (value,)).fetchall()
    for (attempt_id,) in found:
        attempts.void(tx, attempt_id, reason)


def remove_dead_locks(tx: Transaction, *, but: str) -> None:
    """Remove the lock files of dead owners, and conclude what they left."""
    for owner_id in tx.owners.ids():
        if owner_id != but and tx.owners.is_dead(owner_id):
            conclude_dead_owner(tx, owner_id)
