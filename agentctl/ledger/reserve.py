"""What the ledger answers to an ask, inside a transaction: a grant, a wait, or a limit that refuses."""

from __future__ import annotations

from dataclasses import replace

from agentctl.budget.rules import Ask, LimitState, Wait, WorstCase, judge
from agentctl.core.errors import Verdict
from agentctl.ledger import kept
from agentctl.ledger.database import Transaction
from agentctl.ledger.kept import ReserveRow
from agentctl.ledger.miscount import may_count
from agentctl.ledger.sums_ import free_at


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
