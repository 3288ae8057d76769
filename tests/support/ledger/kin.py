"""Families of runs in the tests: each run has a process of its own, and a capability that is known from its name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.errors import Verdict
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.ledger.transactions import LedgerSession
from tests.support.ledger.hands import NO_LIMITS
from tests.support.ledger.parts import ask

CAPABILITY = "5ec7e7" * 10
Open = Callable[[str], LedgerSession]


def dollars(amount: str, **more: object) -> CostLimit:
    return CostLimit(**{**NO_LIMITS.model_dump(), "max_cost_per_task": Decimal(amount), **more})


def begin(book: LedgerSession, run: str, limits: CostLimit = NO_LIMITS, *, below: str = "") -> None:
    parent = Parent(below, CAPABILITY + below) if below else None
    book.open_run(run, limits, task="t", agent="a", labels={}, parent=parent, capability=CAPABILITY + run)


def family(owner: Open, limits: CostLimit) -> tuple[LedgerSession, LedgerSession, LedgerSession]:
    """Open a run with ``limits``, one below it and one below that, each of a process of its own."""
    books = owner("a"), owner("b"), owner("c")
    for book, run, below, own in zip(books, "abc", ("", "a", "b"), (limits, NO_LIMITS, NO_LIMITS), strict=True):
        begin(book, run, own, below=below)
    return books


def held(book: LedgerSession, name: str, run: str, tokens: int, **changes: object) -> Hold:
    answer = book.reserve(ask(name, run, tokens=tokens, **changes))  # type: ignore[arg-type]
    assert isinstance(answer, Hold), answer
    return answer


def spent(book: LedgerSession, name: str, run: str, tokens: int, **changes: object) -> None:
    held(book, name, run, tokens, **changes)
    assert book.mark_sent(name)
    book.settle(name, Charge(Usage(10, tokens), tokens * 1_000_000, "m"))


def refused(book: LedgerSession, name: str, run: str, tokens: int, **changes: object) -> Verdict:
    answer = book.reserve(ask(name, run, tokens=tokens, **changes))  # type: ignore[arg-type]
    assert isinstance(answer, Verdict), answer
    return answer
