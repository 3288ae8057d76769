"""The tree of runs that one belongs to, with what each of them cost by itself and with all that it started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from agentctl.budget.rules import Amounts
from agentctl.ledger.attempts import UNFINISHED
from agentctl.ledger.clock import ReadClock, system_clock
from agentctl.ledger.database import Transaction
from agentctl.ledger.inspection import reading
from agentctl.ledger.locks import liveness
from agentctl.ledger.sums import exact_sum, fold_phases, run_amounts

RUNNING = "running"
_OUTERMOST = "SELECT above_id FROM scope_paths WHERE scope_id = ? ORDER BY depth DESC LIMIT 1"
_BELOW = """
SELECT s.id, s.parent_id, s.task, s.agent, s.status, s.closed_us IS NULL, s.opened_by, s.limit_nano
FROM scope_paths AS p JOIN scopes AS s ON s.id = p.scope_id WHERE p.above_id = ? ORDER BY s.opened_us, s.rowid
"""
_OWN = f"""
SELECT phase, {exact_sum("nano")}, count(*) FILTER (WHERE phase IN ('settled', 'doubt') AND nano IS NULL)
FROM attempts WHERE run_id = ? AND phase <> 'void' GROUP BY phase
"""  # noqa: S608 - our own names


class RunNode(NamedTuple):
    """One run of a tree, at its ``depth`` below the outermost. Amounts in nano-dollars.

    ``own`` is what it cost by itself, ``whole`` with every run below it; ``unknown`` says that a price was unknown in
    the one or the other. ``status`` is the exit code's name, "running", or "unfinished" where its process has died.
    """

    run_id: str
    parent_id: str | None
    depth: int
    task: str
    agent: str
    status: str
    limit_nano: int | None
    own: Amounts
    whole: Amounts
    own_unknown: bool
    whole_unknown: bool


class _Found(NamedTuple):
    """A run as its row has it."""

    id: str
    parent_id: str | None
    task: str
    agent: str
    status: str | None
    is_open: int
    owner_id: str | None
    limit_nano: int | None


def tree_of(path: Path, run_id: str, *, clock: ReadClock | None = None) -> tuple[RunNode, ...]:
    """Return all runs of the tree that ``run_id`` is part of, each behind its parent; empty where nobody knows it.

    Raises:
        StateError: the ledger cannot be read.
    """
    with reading(path, clock or system_clock()) as tx:
        outermost = None if tx is None else tx.db.execute(_OUTERMOST, (run_id,)).fetchone()
        if tx is None or outermost is None:
            return ()
        found = [_Found(*row) for row in tx.db.execute(_BELOW, outermost).fetchall()]
        owners = path.with_suffix(".owners")
        return tuple(_branches(tx, found, lambda owner_id: liveness(owners, owner_id) is not False))


def _branches(tx: Transaction, found: Iterable[_Found], is_alive: Callable[[str], bool]) -> Iterator[RunNode]:
    """Yield the runs depth first, the children of each in the order in which they were opened."""
    children: dict[str | None, list[_Found]] = defaultdict(list)
    known = {one.id: one for one in found}
    for one in known.values():
        children[one.parent_id if one.parent_id in known else None].append(one)
    own = {name: tx.db.execute(_OWN, (name,)).fetchall() for name in known}
    unknown: dict[str, bool] = {}

    def has_unknown(name: str) -> bool:
        if name not in unknown:
            below = [has_unknown(one.id) for one in children[name]]
            unknown[name] = any(count for *_, count in own[name]) or any(below)
        return unknown[name]

    waiting = [(one, 0) for one in reversed(children[None])]
    while waiting:
        one, depth = waiting.pop()
        waiting += [(child, depth + 1) for child in reversed(children[one.id])]
        yield RunNode(
            one.id,
            one.parent_id,
            depth,
            one.task,
            one.agent,
            _status(one, is_alive),
            one.limit_nano,
            fold_phases(row[:3] for row in own[one.id])[0],
            run_amounts(tx, one.id, "nano")[0],
            any(count for *_, count in own[one.id]),
            has_unknown(one.id),
        )


def _status(one: _Found, is_alive: Callable[[str], bool]) -> str:
    if not one.is_open:
        return one.status or UNFINISHED
    return RUNNING if one.owner_id is not None and is_alive(one.owner_id) else UNFINISHED
