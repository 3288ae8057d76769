"""Clocks that jump, stop and start anew: the hour never frees early, and nothing counts for ever."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.budget import Charge, Hold
from agentctl.errors import Verdict
from agentctl.ledger.book import Book
from agentctl.ledger.store import Store
from agentctl.limits import CostLimit
from agentctl.messages import Usage
from tests.ledger.parts import HandClock, ask

HOUR_S, DAY_S = 3600.0, 86_400.0
SPENT = 900_000_000


@contextmanager
def opened(path: Path, clock: HandClock) -> Iterator[Book]:
    """Open a book with a run that only the hour binds."""
    book = Book(Store(path, clock=clock), owner_id=os.urandom(8).hex(), pid=os.getpid())
    no_limit = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
    book.open_run("run", no_limit, task="", agent="", labels={})
    yield book
    book.close()


@pytest.fixture
def book(path: Path, clock: HandClock) -> Iterator[Book]:
    with opened(path, clock) as book:
        yield book


def send(book: Book, name: str, tokens: int = 900) -> None:
    assert isinstance(book.reserve(ask(name, tokens=tokens)), Hold)
    assert book.mark_sent(name)


def spend(book: Book, name: str = "a") -> None:
    send(book, name)
    book.settle(name, Charge(Usage(10, 900), SPENT, "m"))


def write(book: Book) -> None:
    """Let the ledger look at the clocks, as any deed does."""
    book.leave_queue("nobody")


def in_the_hour(book: Book) -> int:
    return book.spend("run").hour_nano.total


# --- suspend --------------------------------------------------------------------------------------------------------


def test_after_a_suspend_between_hold_and_sending_nothing_is_sent(book: Book, clock: HandClock) -> None:
    book.reserve(ask("a", tokens=900))
    clock.pass_by(3 * HOUR_S)
    assert not book.mark_sent("a")
    assert isinstance(book.reserve(ask("b", tokens=900, hour=Decimal(1))), Hold), "its room is free again"


def test_a_call_that_was_asleep_counts_all_the_time_and_an_hour_from_when_it_is_settled(
    book: Book, clock: HandClock
) -> None:
    send(book, "a")
    clock.pass_by(3 * HOUR_S)
    assert in_the_hour(book) == SPENT
    book.settle("a", Charge(Usage(10, 900), SPENT, "m"))
    clock.pass_by(HOUR_S - 1)
    assert in_the_hour(book) == SPENT
    clock.pass_by(1)
    assert in_the_hour(book) == 0


def test_a_call_that_was_asleep_and_whose_answer_is_lost_is_in_doubt_for_an_hour_from_then(
    book: Book, clock: HandClock
) -> None:
    send(book, "a")
    clock.pass_by(3 * HOUR_S)
    book.doubt("a", "the connection is gone", ceiling=False, provider_fault=False)
    clock.pass_by(HOUR_S - 1)
    assert in_the_hour(book) == SPENT
    clock.pass_by(1)
    assert in_the_hour(book) == 0


def test_where_no_clock_counts_a_suspend_it_frees_nothing(book: Book, clock: HandClock) -> None:
    spend(book)
    book.reserve(ask("held", tokens=1))
    clock.wall_s += 3 * HOUR_S
    write(book)
    assert in_the_hour(book) == SPENT + 1_000_000
    assert book.mark_sent("held"), "the ledger's time stood still, and so did its deadline"


def test_a_boot_clock_that_leaps_frees_nothing_early(book: Book, clock: HandClock) -> None:
    """A machine that is thawed elsewhere, or a namespace with a clock of its own: the lesser of both clocks counts."""
    spend(book)
    clock.boot_s += 3 * HOUR_S
    write(book)
    assert in_the_hour(book) == SPENT


# --- jumps ----------------------------------------------------------------------------------------------------------

JUMPS = [2 * HOUR_S, -2 * HOUR_S, DAY_S, -DAY_S]


@pytest.mark.parametrize("back", [True, False], ids=["and back", "for good"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_is_set_frees_nothing_early_and_keeps_nothing_for_ever(
    book: Book, clock: HandClock, jump: float, back: bool
) -> None:
    spend(book)
    clock.wall_s += jump
    write(book)
    clock.pass_by(1800)
    if back:
        clock.wall_s -= jump
        write(book)
    clock.pass_by(1799)
    assert in_the_hour(book) == SPENT
    write(book)
    clock.pass_by(HOUR_S)
    assert in_the_hour(book) == 0


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_is_set_lets_no_deadline_pass_early(book: Book, clock: HandClock, jump: float) -> None:
    book.reserve(ask("a", tokens=1))
    clock.wall_s += jump
    clock.pass_by(599)
    assert book.mark_sent("a")


@pytest.mark.parametrize("jump", JUMPS)
def test_a_refusal_says_by_the_clock_of_the_day_when_the_hour_is_free(
    book: Book, clock: HandClock, jump: float
) -> None:
    spend(book)
    clock.wall_s += jump
    write(book)
    refused = book.reserve(ask("b", tokens=900, hour=Decimal(1)))
    assert isinstance(refused, Verdict)
    assert refused.free_at is not None
    clock.pass_by(refused.free_at.timestamp() - clock.wall_s)
    assert isinstance(book.reserve(ask("b", tokens=900, hour=Decimal(1))), Hold)


def test_a_start_with_yesterdays_clock_that_is_then_put_right_costs_no_more_than_the_time_it_was_off(
    book: Book, clock: HandClock
) -> None:
    spend(book)
    clock.wall_s, clock.boot_s, clock.boot_id = clock.wall_s + 600 - DAY_S, 5.0, "boot-2"
    write(book)
    clock.wall_s += DAY_S
    write(book)
    assert in_the_hour(book) == SPENT
    clock.pass_by(HOUR_S)
    assert in_the_hour(book) == 0


Step = tuple[str, float]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 4000)),
        st.tuples(st.just("set"), st.floats(-2 * DAY_S, 2 * DAY_S)),
        st.tuples(st.just("restart"), st.floats(0, 4000)),
        st.tuples(st.just("write"), st.just(0.0)),
    ),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_the_clocks_do_an_amount_counts_for_its_hour_and_not_for_ever(steps: list[Step]) -> None:
    """A restart takes so many seconds, over which the wall clock goes on from where it was."""
    clock = HandClock()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder, "ledger.db"), clock) as book:
        spend(book)
        elapsed = 0.0
        for number, (kind, value) in enumerate(steps):
            if kind == "set":
                write(book)  # else a restart could hide that it was set
                clock.wall_s += value
                write(book)
            elif kind == "write":
                write(book)
            else:
                elapsed += value
                clock.pass_by(value)
                if kind == "restart":
                    clock.boot_s, clock.boot_id = 1.0, f"after-{number}"
            assert in_the_hour(book) == SPENT or elapsed >= HOUR_S - 0.001
        write(book)
        clock.pass_by(HOUR_S)
        assert in_the_hour(book) == 0
