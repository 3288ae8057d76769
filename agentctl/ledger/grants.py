"""Judge a request against its limits, with the reserves that runs keep for their last answers.

A reserve is a row of its own, resized with each hold. It is the first amount to be dropped when another run needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from agentctl.budget.rules import AnswerReserve, Ask, LimitState, Wait, WorstCase, judge, worst_case
from agentctl.core.errors import Verdict
from agentctl.core.limits import WINDOWS
from agentctl.ledger import attempts
from agentctl.ledger.provider_health import may_count
from agentctl.ledger.sums import free_at, path_of
from agentctl.ledger.transaction import Transaction


def _judge_with_reserve(
    tx: Transaction, ask: Ask, limits: tuple[LimitState, ...], own: ReserveRow | None, *, at_ceiling: bool
) -> tuple[WorstCase | Wait | Verdict, ReserveRow | None, tuple[ReserveRow, ...]]:
    """Judge with a reserve beside the hold.

    Return the answer, the reserve that the run keeps then, and the reserves of other runs that are dropped for it.
    """
    answer: WorstCase | Wait | Verdict
    for reserve in (None,) if at_ceiling else list_sizes(ask, own):
        answer = judge(ask, add_reserve(limits, reserve), at_ceiling=at_ceiling)
        if isinstance(answer, WorstCase):
            return answer, reserve, ()
    refused = isinstance(answer, Verdict) and ask.purpose != "summary"  # a summary drops no reserve
    others = reserves_of_others(tx, ask.run_id) if refused else ()
    if others:  # only those that count in a limit that refuses
        tight = (room for room in add_reserve(limits, reserve) if not _allows(ask, room, at_ceiling=at_ceiling))
        others = select_counting(others, tight)
    for count in range(1, len(others) + 1):
        freed = subtract_reserves(limits, others[:count])
        granted = judge(ask, add_reserve(freed, reserve), at_ceiling=at_ceiling)
        if isinstance(granted, WorstCase):
            return granted, reserve, others[:count]
        answer = granted  # without the reserves of others, so that they are not in its figures
    return answer, own, ()


def _allows(ask: Ask, room: LimitState, *, at_ceiling: bool) -> bool:
    return isinstance(judge(ask, (room,), at_ceiling=at_ceiling), WorstCase)


def judge_request(
    tx: Transaction, ask: Ask, limits: tuple[LimitState, ...], own: ReserveRow | None, *, at_ceiling: bool
) -> tuple[Ask, WorstCase | Wait | Verdict, ReserveRow | None, tuple[ReserveRow, ...]]:
    """Judge by the input bound, and again by the counted bound if the input bound has a drawback.

    It does if it shortens the output, waits, refuses, or drops the reserve of another run. Return the request as it was
    judged, the answer (``Wait("bound")``: count first), the reserve that the run keeps then, and the dropped ones.
    """
    answer, reserve, dropped = _judge_with_reserve(tx, ask, limits, own, at_ceiling=at_ceiling)
    is_whole = isinstance(answer, WorstCase) and answer.output >= ask.most and not dropped
    if is_whole or at_ceiling or not ask.can_count or not may_count(tx, ask.facts):
        return ask, answer, reserve, dropped
    if ask.counted_bound is None:
        return ask, Wait("bound", 0.0), own, ()
    if ask.counted_bound < ask.input_bound:
        ask = ask._replace(input_bound=ask.counted_bound, is_counted=True)
    return ask, *_judge_with_reserve(tx, ask, limits, own, at_ceiling=at_ceiling)


def add_free_time(tx: Transaction, ask: Ask, verdict: Verdict) -> Verdict:
    """Return a refusal with the time from which the request would be granted."""
    return verdict._replace(free_at=free_at(tx, ask, verdict))


class ReserveRow(NamedTuple):
    """A reserve: nano-dollars (None: price unknown) and tokens. An empty ``id``: not in the ledger yet.

    ``counts_in`` are the runs in whose limits it counts; filled only for the reserve of another run.
    """

    id: str
    nano: int | None
    tokens: int
    counts_in: frozenset[str] = frozenset()


def reserve_of(tx: Transaction, run_id: str) -> ReserveRow | None:
    """Return the reserve of a run, None if it keeps none."""
    row = tx.db.execute(
        "SELECT id, nano, tokens FROM attempts WHERE run_id = ? AND phase = 'kept'", (run_id,)
    ).fetchone()
    return None if row is None else ReserveRow(*row)


def reserves_of_others(tx: Transaction, run_id: str) -> tuple[ReserveRow, ...]:
    """Return the reserves of other runs that count in a limit of this run, the youngest first.

    They count there in dollars, or below the same run. The reserve of a run above is left out: like the run's own, it
    is not dropped for a turn.
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
        reserve
        for reserve, row in zip(others, found, strict=True)
        if row[3] not in above and (reserve.nano or reserve.counts_in & above)
    )


def select_counting(others: Iterable[ReserveRow], rooms: Iterable[LimitState]) -> tuple[ReserveRow, ...]:
    """Return the reserves that count in one of ``rooms``."""
    rooms = tuple(rooms)
    return tuple(one for one in others if any(_counts(one, room) for room in rooms))


def _counts(one: ReserveRow, room: LimitState) -> bool:
    return room.limit in WINDOWS or room.run_id in one.counts_in


def list_sizes(ask: Ask, own: ReserveRow | None) -> tuple[ReserveRow | None, ...]:
    """Return the reserves that the run may keep beside the hold, the best first.

    A run does not give up an existing reserve for a turn. A turn is not refused to make room for a new reserve.
    """
    if ask.keep is None or not ask.keep.output or ask.purpose == "answer":
        return (None,)
    worst = _worst_case(ask)
    wanted = ReserveRow("" if own is None else own.id, worst.nano, worst.tokens)
    if own is None:
        return wanted, None
    grows = wanted.tokens > own.tokens or (wanted.nano or 0) > (own.nano or 0)
    return (wanted, own) if grows else (wanted,)


def _worst_case(ask: Ask) -> WorstCase:
    if ask.keep is None:
        return WorstCase(0, 0, 0)
    return worst_case(ask._replace(input_bound=ask.keep.input_bound), ask.keep.output)


def ask_for_reserve(ask: Ask, keep: AnswerReserve, new_id: str) -> tuple[Ask, WorstCase]:
    """Return the request that a reserve is held for, and its worst case."""
    asked = ask._replace(attempt_id=new_id, input_bound=keep.input_bound, purpose="answer")
    return asked, worst_case(asked, keep.output)


def subtract_own(limits: tuple[LimitState, ...], own: ReserveRow | None) -> tuple[LimitState, ...]:
    """Return the limits without the run's own reserve."""
    return limits if own is None else tuple(_subtract(room, own.nano or 0, own.tokens) for room in limits)


def subtract_reserves(limits: tuple[LimitState, ...], others: Iterable[ReserveRow]) -> tuple[LimitState, ...]:
    """Return the limits without other runs' reserves, which count in the windows and in the runs above their own."""
    for one in others:
        limits = tuple(_subtract(room, one.nano or 0, one.tokens) if _counts(one, room) else room for room in limits)
    return limits


def add_reserve(limits: tuple[LimitState, ...], reserve: ReserveRow | None) -> tuple[LimitState, ...]:
    """Return the limits with a reserve in them."""
    return (
        limits if reserve is None else tuple(_subtract(room, -(reserve.nano or 0), -reserve.tokens) for room in limits)
    )


def _subtract(room: LimitState, nano: int, tokens: int) -> LimitState:
    part = {"nano_usd": nano, "tokens": tokens, "calls": 0}[room.unit]
    return room._replace(amounts=room.amounts._replace(held=room.amounts.held - part))


def write(
    tx: Transaction,
    ask: Ask,
    own: ReserveRow | None,
    reserve: ReserveRow | None,
    limits: tuple[LimitState, ...],
    *,
    owner_id: str,
) -> None:
    """Write the reserve that the run keeps from now on, None for no reserve; ``limits`` are those without it."""
    if own == reserve or ask.keep is None:
        if own is not None and reserve is None:
            attempts.void(tx, own.id, "nothing is kept any more")
        return
    if reserve is None:
        if own is not None:
            attempts.void(tx, own.id, "exchanged for the last answer" if ask.purpose == "answer" else "no room for it")
        return
    asked, worst = ask_for_reserve(ask, ask.keep, os.urandom(16).hex())  # a dropped reserve does not come back
    if own is None:
        attempts.insert(tx, asked, worst, limits, owner_id=owner_id, deadline_us=tx.now_us, phase="kept")
        return
    attempts.resize(tx, own.id, ask.keep, worst, limits)
