"""Families of runs: each run has its own process, and a capability derived from its name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.corrections import NO_LIMITS
from tests.support.ledger.parts import ask

CAPABILITY = "5ec7e7" * 10
Open = Callable[[str], LedgerSession]


def dollars(amount: str, **more: object) -> CostLimit:
    return CostLimit(**{**NO_LIMITS.model_dump(), "max_cost_per_task": Decimal(amount), **more})


def begin(session: LedgerSession, run: str, limits: CostLimit = NO_LIMITS, *, below: str = "") -> None:
    parent = Parent(below, CAPABILITY + below) if below else None
    session.open_run(run, limits, task="t", agent="a", labels={}, parent=parent, capability=CAPABILITY + run)


def family(owner: Open, limits: CostLimit) -> tuple[LedgerSession, LedgerSession, LedgerSession]:
    """Open a run with ``limits``, one below it and one below that, each of a process of its own."""
    books = owner("a"), owner("b"), owner("c")
    for session, run, below, own in zip(books, "abc", ("", "a", "b"), (limits, NO_LIMITS, NO_LIMITS), strict=True):
        begin(session, run, own, below=below)
    return books


def held(session: LedgerSession, name: str, run: str, tokens: int, **changes: object) -> Hold:
    answer = session.reserve(ask(name, run, tokens=tokens, **changes))  # type: ignore[arg-type]
    assert isinstance(answer, Hold), answer
    return answer


def spent(session: LedgerSession, name: str, run: str, tokens: int, **changes: object) -> None:
    held(session, name, run, tokens, **changes)
    assert session.mark_sent(name)
    session.settle(name, Charge(Usage(10, tokens), tokens * 1_000_000, "m"))


def refused(session: LedgerSession, name: str, run: str, tokens: int, **changes: object) -> Verdict:
    answer = session.reserve(ask(name, run, tokens=tokens, **changes))  # type: ignore[arg-type]
    assert isinstance(answer, Verdict), answer
    return answer
