"""A vocabulary bounds a request where its bytes are in the way; a run with room never loads it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.input_bound import bound, plain_bound, vocabulary_weights
from agentctl.core.errors import BudgetExceeded
from agentctl.core.events import CallHeld, CallWaited
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, Request, ToolSpec, Usage
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import Step
from agentctl.providers.tokenizers import load_vocabulary
from tests.support.model_calls import FACTS, Desk

LONG = (Message("system", "word " * 1_200), Message("user", "Why?"))
REAL = 1_210
TOOLS = (ToolSpec("look", "Looks.", {"type": "object"}),)
REQUEST = Request("m", LONG, TOOLS)
ANSWER = Completion("Because.", usage=Usage(REAL, 20), model="m")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


class Loading:
    """Loads a vocabulary, and remembers by which threads it was asked to."""

    def __init__(self, *, missing: bool = False) -> None:
        self.missing = missing
        self.threads: list[threading.Thread] = []

    def __call__(self) -> Callable[[str], int] | None:
        self.threads.append(threading.current_thread())
        found = None if self.missing else load_vocabulary("o200k_base")
        return None if found is None else found.at_most


async def ask(desk: Desk, loading: Loading, dollars: str, *script: Step) -> Completion:
    limits = CostLimit(max_cost_per_task=Decimal(dollars))
    calls = await desk.calls(*(script or (ANSWER,)), limits=limits, load_count=loading)
    return await calls.ask(LONG, TOOLS)


def counted() -> int:
    found = load_vocabulary("o200k_base")
    assert found is not None
    return bound(REQUEST, weights=vocabulary_weights(found.at_most))


def attempts(desk: Desk) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(desk.ledger.path)) as db:
        return db.execute("SELECT phase, input_bound, counted FROM attempts ORDER BY rowid").fetchall()


def held(desk: Desk) -> list[tuple[int, int]]:
    return [(event.input_bound, event.granted_output) for event in desk.events if isinstance(event, CallHeld)]


async def test_a_run_with_room_never_loads_the_vocabulary(desk: Desk) -> None:
    loading = Loading()
    assert await ask(desk, loading, "0.50") == ANSWER
    assert (loading.threads, held(desk)) == ([], [(plain_bound(REQUEST), 4_096)])


async def test_a_bound_that_would_shorten_the_output_is_counted_in_a_worker_thread(desk: Desk) -> None:
    loading = Loading()
    assert await ask(desk, loading, "0.045") == ANSWER  # 4,096 tokens out are $0.041, the bytes $0.007
    assert held(desk) == [(counted(), 4_096)]
    assert counted() < plain_bound(REQUEST) / 2
    assert attempts(desk) == [("settled", counted(), 1)]
    assert loading.threads != []
    assert threading.current_thread() not in loading.threads
    assert not any(isinstance(event, CallWaited) for event in desk.events)


async def test_a_bound_that_would_trip_the_breaker_is_counted(desk: Desk) -> None:
    assert await ask(desk, Loading(), "0.008") == ANSWER
    ((bounded, granted),) = held(desk)
    assert (bounded, granted) == (counted(), 8_000 - counted()) if granted > 4_096 else bounded == counted()


async def test_request_that_does_not_fit_by_its_count_either_is_refused(desk: Desk) -> None:
    with pytest.raises(BudgetExceeded, match="the next call could make it"):
        await ask(desk, Loading(), "0.004")
    assert (desk.provider.heard, attempts(desk)) == ([], [])


@pytest.mark.parametrize("missing", [True, False])
async def test_bound_without_a_vocabulary_stays_that_of_its_bytes(desk: Desk, missing: bool) -> None:
    class Broken(Loading):
        def __call__(self) -> Callable[[str], int] | None:
            super().__call__()
            if not self.missing:
                raise MemoryError
            return None

    loading, limits = Broken(missing=missing), CostLimit(max_cost_per_task=Decimal("0.042"))
    calls = await desk.calls(ANSWER, ANSWER, limits=limits, load_count=loading)
    assert [await calls.ask(LONG), await calls.ask(LONG)] == [ANSWER, ANSWER]
    plain = plain_bound(Request("m", LONG))
    assert attempts(desk)[0] == ("settled", plain, 0)
    assert held(desk)[0][0] == plain
    assert all(granted < 4_096 for _, granted in held(desk))
    assert len(loading.threads) == 1


async def test_a_later_request_counts_what_is_new_behind_the_report(desk: Desk) -> None:
    limits = CostLimit(max_cost_per_task=Decimal("0.0202"))
    answer = Completion("ok", usage=Usage(REAL, 300), model="m")
    calls = await desk.calls(answer, ANSWER, limits=limits, load_count=Loading())
    await calls.ask(LONG, TOOLS)
    await calls.ask((*LONG, answer.as_message(), Message("user", "word " * 600)), TOOLS)
    _, (bounded, _) = held(desk)
    assert REAL + 300 + 600 < bounded < REAL + 300 + 800


async def test_a_report_above_a_counted_bound_turns_counting_off_for_that_model(desk: Desk) -> None:
    """The charge is recorded in full, and the next run goes by bytes although its own bound is in the way."""
    above = Completion("Because.", usage=Usage(counted() + 1, 20), model="m")
    loading = Loading()
    await ask(desk, loading, "0.045", above)
    with closing(sqlite3.connect(desk.ledger.path)) as db, db:
        db.execute("UPDATE overruns SET cleared_us = 1")
    seen = len(loading.threads)
    assert await ask(desk, loading, "0.045") == ANSWER
    assert held(desk)[-1][0] == plain_bound(REQUEST)
    assert len(loading.threads) == seen
    other = replace(FACTS, model="other")
    calls = await desk.calls(
        ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.045")), load_count=loading, facts=other
    )
    await calls.ask(LONG, TOOLS)
    assert held(desk)[-1][0] == counted()
