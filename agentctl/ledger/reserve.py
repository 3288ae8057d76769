"""What the ledger answers to an ask, inside a transaction: a grant, a wait, or a limit that refuses.

What a run keeps for its last answer: a row of its own, resized with each hold, and the first thing to be dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from agentctl.budget.rules import Ask, LimitState, Wait, WorstCase, judge, worst_case
from agentctl.core.errors import Verdict
from agentctl.core.limits import WINDOWS
from agentctl.ledger import attempts as rows
from agentctl.ledger import reserve as kept
from agentctl.ledger.database import Transaction
from agentctl.ledger.provider_health import may_count
from agentctl.ledger.sums import free_at, path_of


def judge_with_reserve(
    tx: Transaction, ask: Ask, limits: tuple[LimitState, ...], own: ReserveRow | None, *, at_ceiling: bool
) -> tuple[WorstCase | Wait | Verdict, ReserveRow | None, tuple[ReserveRow, ...]]:
    """Judge with what may be kept beside the hold; return what is kept then, and what other runs lose for it."""
    answer: WorstCase | Wait | Verdict
    for aside in (None,) if at_ceiling else kept.sizes(ask, own):
        answer = judge(ask, kept.beside(limits, aside), at_ceiling=at_ceiling)
        if isinstance(answer, WorstCase):
            return answer, aside, ()
    refused = isinstance(answer, Verdict) and ask.purpose != "summary"  # for that nobody gives up a last answer
    others = kept.reserves_of_others(tx, ask.run_id) if refused else ()
    if others:  # only what is in the way of this one
        tight = (room for room in kept.beside(limits, aside) if not _allows(ask, room, at_ceiling=at_ceiling))
        others = kept.counting_in(others, tight)
    for count in range(1, len(others) + 1):
        freed = kept.freed(limits, others[:count])
        granted = judge(ask, kept.beside(freed, aside), at_ceiling=at_ceiling)
        if isinstance(granted, WorstCase):
            return granted, aside, others[:count]
        answer = granted  # what others keep would make way, so it neither refuses nor stands in the figures
    return answer, own, ()


def _allows(ask: Ask, room: LimitState, *, at_ceiling: bool) -> bool:
    return isinstance(judge(ask, (room,), at_ceiling=at_ceiling), WorstCase)


def judge_by_count(
    tx: Transaction, ask: Ask, limits: tuple[LimitState, ...], own: ReserveRow | None, *, at_ceiling: bool
) -> tuple[Ask, WorstCase | Wait | Verdict, ReserveRow | None, tuple[ReserveRow, ...]]:
    """Judge, and judge by the counted bound where the other one shortens the output, makes it wait, or refuses it.

    So it is where another run would lose what it keeps. Return the ask as it was judged, and the answer as
    ``judge_with_reserve`` does; ``Wait("bound")`` where a count is wanted.
    """
    answer, aside, gone = judge_with_reserve(tx, ask, limits, own, at_ceiling=at_ceiling)
    is_whole = isinstance(answer, WorstCase) and answer.output >= ask.most and not gone
    if is_whole or at_ceiling or not ask.can_count or not may_count(tx, ask.facts):
        return ask, answer, aside, gone
    if ask.counted_bound is None:
        return ask, Wait("bound", 0.0), own, ()
    if ask.counted_bound < ask.input_bound:
        ask = replace(ask, input_bound=ask.counted_bound, is_counted=True)
    return ask, *judge_with_reserve(tx, ask, limits, own, at_ceiling=at_ceiling)


def add_free_time(tx: Transaction, ask: Ask, verdict: Verdict) -> Verdict:
    """Return a refusal with the time when it would be none any more."""
    return replace(verdict, free_at=free_at(tx, ask, verdict))


class ReserveRow(NamedTuple):
    """A kept amount: nano-dollars (None: price unknown) and tokens; no id: not in the ledger yet.

    ``counts_in`` are the runs in whose limits another run's counts.
    """

    id: str
    nano: int | None
    tokens: int
    counts_in: frozenset[str] = frozenset()


def reserve_of(tx: Transaction, run_id: str) -> ReserveRow | None:
    """Return what a run keeps, if anything."""
    row = tx.db.execute(
        "SELECT id, nano, tokens FROM attempts WHERE run_id = ? AND phase = 'kept'", (run_id,)
    ).fetchone()
    return None if row is None else ReserveRow(*row)


def reserves_of_others(tx: Transaction, run_id: str) -> tuple[ReserveRow, ...]:
    """Return what other runs keep in a limit of this run: in dollars, or below the same run; the youngest first.

    Not what a run above keeps: like the run's own, that is not given up for a turn.
    """
    found = tx.db.execute(
        "SELECT id, nano, tokens, run_id FROM attempts WHERE leaves_hour_us IS NULL AND phase = 'kept' AND run_id <> ?"
        " ORDER BY held_us DESC, id",
        (run_id,),
    ).fetchall()
    above = {scope.id for scope in path_of(tx, run_id)}
    others = (
        ReserveRow(attempt_id, nano, tokens, frozenset(scope.id for scope in path_of(tx, other)))
        for attempt_id, nano, tokens, other in found
    )
    return tuple(
        kept
        for kept, row in zip(others, found, strict=True)
        if row[3] not in above and (kept.nano or kept.counts_in & above)
    )


def counting_in(others: Iterable[ReserveRow], rooms: Iterable[LimitState]) -> tuple[ReserveRow, ...]:
    """Return those that count in one of ``rooms``."""
    rooms = tuple(rooms)
    return tuple(one for one in others if any(_counts(one, room) for room in rooms))


def _counts(one: ReserveRow, room: LimitState) -> bool:
    return room.limit in WINDOWS or room.run_id in one.counts_in


def sizes(ask: Ask, own: ReserveRow | None) -> tuple[ReserveRow | None, ...]:
    """Return what may be kept beside the hold asked for, the best first.

    What a run keeps already it does not give up for a turn; what it never kept is no reason to refuse one.
    """
    if ask.keep is None or not ask.keep.output or ask.purpose == "answer":
        return (None,)
    worst = _worst(ask)
    wanted = ReserveRow("" if own is None else own.id, worst.nano, worst.tokens)
    if own is None:
        return wanted, None
    grows = wanted.tokens > own.tokens or (wanted.nano or 0) > (own.nano or 0)
    return (wanted, own) if grows else (wanted,)


def _worst(ask: Ask) -> WorstCase:
    if ask.keep is None:
        return WorstCase(0, 0, 0)
    return worst_case(replace(ask, input_bound=ask.keep.input_bound), ask.keep.output)


def without(limits: tuple[LimitState, ...], own: ReserveRow | None) -> tuple[LimitState, ...]:
    """Return the limits as they stand without what the run itself keeps."""
    return limits if own is None else tuple(_less(room, own.nano or 0, own.tokens) for room in limits)


def freed(limits: tuple[LimitState, ...], others: Iterable[ReserveRow]) -> tuple[LimitState, ...]:
    """Return the limits as they stand without what other runs keep: each counts in the windows and above its run."""
    for one in others:
        limits = tuple(_less(room, one.nano or 0, one.tokens) if _counts(one, room) else room for room in limits)
    return limits


def beside(limits: tuple[LimitState, ...], kept: ReserveRow | None) -> tuple[LimitState, ...]:
    """Return the limits as they stand with a kept amount in them."""
    return limits if kept is None else tuple(_less(room, -(kept.nano or 0), -kept.tokens) for room in limits)


def _less(room: LimitState, nano: int, tokens: int) -> LimitState:
    part = {"nano_usd": nano, "tokens": tokens, "calls": 0}[room.unit]
    return replace(room, amounts=room.amounts._replace(held=room.amounts.held - part))


def put(
    tx: Transaction,
    ask: Ask,
    own: ReserveRow | None,
    kept: ReserveRow | None,
    limits: tuple[LimitState, ...],
    *,
    owner_id: str,
) -> None:
    """Let ``kept`` be what the run keeps from here on; ``limits`` are those without it."""
    if own == kept or ask.keep is None:
        if own is not None and kept is None:
            rows.void(tx, own.id, "nothing is kept any more")
        return
    if kept is None:
        if own is not None:
            rows.void(tx, own.id, "exchanged for the last answer" if ask.purpose == "answer" else "no room for it")
        return
    worst = _worst(ask)
    if own is None:
        new_id = os.urandom(16).hex()  # one that was dropped does not come back
        asked = replace(ask, attempt_id=new_id, input_bound=ask.keep.input_bound, purpose="answer")
        rows.insert(tx, asked, worst, limits, owner_id=owner_id, deadline_us=tx.now_us, phase="kept")
        return
    rows.resize(tx, own.id, ask.keep, worst, limits)
