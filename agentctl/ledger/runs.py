"""Runs inside runs: who may open one below which, and whether everything above a run still goes on.

A child shows the id of its parent and a secret, the capability; the ledger knows only the hash of that. Each hold of
a child counts in every run above it (``sums.limits_of``). A run counts as ended, too, unless its process surely lives.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from agentctl.budget.rules import Ask, LimitState, ceiling_of, extra_ceilings
from agentctl.core.errors import ActionDenied, UnknownPrice
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.pricing import price_config_lines
from agentctl.ledger import attempts as rows
from agentctl.ledger.database import Transaction
from agentctl.ledger.locks import is_dead, liveness

MOST_DEPTH = 16  # runs on one path, the outermost included

_PARENT = "SELECT capability_hash FROM scopes WHERE id = ? AND kind = 'run'"
_DEPTH = "SELECT max(depth) + 1 FROM scope_paths WHERE scope_id = ?"
_PATH = """
SELECT s.id, s.opened_by, s.closed_us IS NOT NULL FROM scope_paths AS p JOIN scopes AS s ON s.id = p.above_id
WHERE p.scope_id = ? AND p.depth >= ? ORDER BY p.depth
"""

IsGone = Callable[[str], bool]
"""Whether nobody can be sure that the process of an owner lives."""


def digest_of(capability: str) -> str:
    """Return what the ledger stores of a capability: its SHA-256, in hexadecimal."""
    return hashlib.sha256(capability.encode("utf-8", "surrogatepass")).hexdigest()


class NewRun(NamedTuple):
    """What is entered of a run that begins; without a ``capability`` it can have no children."""

    id: str
    owner_id: str
    task: str
    agent: str
    labels: Mapping[str, str]
    parent: Parent | None = None
    capability: str = ""


def enter(tx: Transaction, run: NewRun, limits: CostLimit) -> None:
    """Enter a run and all of its limits: they bind the runs below it, too."""
    hour = ceiling_of(limits, "max_cost_per_hour")
    values = {
        "id": run.id,
        "kind": "run",
        "parent_id": None if run.parent is None else run.parent.run_id,
        "capability_hash": digest_of(run.capability) if run.capability else None,
        "opened_by": run.owner_id,
        "limit_nano": ceiling_of(limits, "max_cost_per_task"),
        "limit_tokens": limits.max_tokens_per_task,
        "limits": json.dumps({**extra_ceilings(limits), **({} if hour is None else {"max_cost_per_hour": hour})}),
        "task": rows.plain(run.task),
        "agent": rows.plain(run.agent),
        "labels": json.dumps(dict(run.labels)),
        "opened_us": tx.now_us,
    }
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    tx.db.execute(f"INSERT INTO scopes ({columns}) VALUES ({marks})", values)  # noqa: S608 - our own names


def refusal(tx: Transaction, parent: Parent, is_gone: IsGone, path: Path) -> ActionDenied | None:
    """Return why no run may be opened below ``parent`` in the ledger at ``path``, None if one may."""
    named = f"run {parent.run_id}, which this run belongs to,"
    row = tx.db.execute(_PARENT, (rows.plain(parent.run_id),)).fetchone()
    if row is None:
        return ActionDenied(
            f"{named} is not in the ledger {path}",
            hint="use the state folder of that run: leave AGENTCTL_STATE_DIR as that run set it",
        )
    if row[0] is None or not hmac.compare_digest(row[0], digest_of(parent.capability)):
        return ActionDenied(
            f"the capability for {named} is wrong",
            hint="leave AGENTCTL_PARENT_RUN and AGENTCTL_PARENT_CAPABILITY as that run set them",
        )
    if (ended_id := _first_ended(tx, parent.run_id, is_gone, from_depth=0)) is not None:
        return _ended(ended_id)
    if tx.db.execute(_DEPTH, (parent.run_id,)).fetchone()[0] >= MOST_DEPTH:
        return ActionDenied(
            f"{named} is already {MOST_DEPTH} runs deep", hint="start this run from one that is further out"
        )
    return None


def refusal_above(tx: Transaction, run_id: str, is_gone: IsGone) -> ActionDenied | None:
    """Return why nothing more may be sent by a run, whatever its limits: one above it has ended. None: all go on."""
    ended_id = _first_ended(tx, run_id, is_gone, from_depth=1)
    return None if ended_id is None else _ended(ended_id)


def is_gone(tx: Transaction, owners: Path, owner_id: str, *, but: str) -> bool:
    """Whether another owner than ``but`` has died, or nobody can tell; one that has died is buried."""
    if owner_id == but:
        return False
    if is_dead(owners, owner_id):
        rows.bury(tx, owner_id)
        return True
    return liveness(owners, owner_id) is not True


def _first_ended(tx: Transaction, run_id: str, is_gone: IsGone, *, from_depth: int) -> str | None:
    for scope_id, owner_id, is_closed in tx.db.execute(_PATH, (run_id, from_depth)).fetchall():
        if is_closed or owner_id is None or is_gone(owner_id):
            return str(scope_id)
    return None


def _ended(run_id: str) -> ActionDenied:
    return ActionDenied(
        f"run {run_id}, which this run belongs to, has ended: nothing more is sent",
        hint="start this run again, outside of that one",
    )


def refuse_the_unbounded(ask: Ask, rooms: tuple[LimitState, ...]) -> None:
    """Fail closed under the dollar limit of a run above, whatever limits the run itself has lifted.

    Raises:
        UnknownPrice: the model has no price, or no bound can be had for it.
    """
    facts = ask.facts
    if not facts.metered or (facts.price is not None and facts.unbounded is None):
        return
    for room in rooms:
        if room.unit == "nano_usd" and room.ceiling is not None and room.run_id not in ("", ask.run_id):
            name = f"{facts.provider}/{facts.model}"
            bounded = facts.unbounded is None
            lacks = f"the price of {name} is unknown" if bounded else f"{name} has no bound ({facts.unbounded})"
            prices = (
                f", or put its real prices at the end of config.toml:\n{price_config_lines(name)}" if bounded else ""
            )
            raise UnknownPrice(
                f"{lacks}, and run {room.run_id}, which this run belongs to, has a dollar limit",
                hint=f"choose another model{prices}",
            )
