"""Leases in the ledger: a part of a budget that all runs of a job share, until it expires or is closed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts
from agentctl.core.errors import ActionDenied, AgentctlError, UnknownPrice, UsageError
from agentctl.core.leases import Lease, LeaseError
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.forecast import forecast_first_call
from agentctl.ledger.lease_books import close_lease
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.reconcile import reconcile
from agentctl.ledger.report import first_outermost, tree_of
from agentctl.ledger.runs import MOST_DEPTH
from tests.support.ledger.corrections import NO_LIMITS, change, dies, rows
from tests.support.ledger.nested_processes import CAPABILITY, Open, held, refused, spent
from tests.support.ledger.parts import DOLLAR, FACTS, HandClock, ask

START_US = 1_800_000_000 * 1_000_000
HOUR = 3600.0
LEASE = Lease("a1b2-3", DOLLAR, START_US, START_US + 2 * 3_600_000_000, "digest", "GITHUB_RUN_ID=1")


def begin(
    session: LedgerSession, run: str, below: Lease | Parent | None = LEASE, limits: CostLimit = NO_LIMITS
) -> None:
    session.open_run(run, limits, task="t", agent="a", labels={}, parent=below, capability=CAPABILITY + run)


def below(run: str, lease_id: str | None = None) -> Parent:
    return Parent(run, CAPABILITY + run, lease_id=lease_id)


def denied(call: Callable[[], object], kind: type[AgentctlError] = LeaseError) -> str:
    with pytest.raises(kind) as caught:
        call()
    return caught.value.message


# --- one amount for all runs of a job -------------------------------------------------------------------------------


def test_all_runs_of_a_lease_draw_on_its_amount_one_after_the_other(owner: Open, path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        session = owner(name)
        begin(session, name)
        spent(session, f"call-{number}", name, 400)
        session.close_run(name, "done")
    begin(owner("c"), "c")
    no = refused(owner("c"), "call-3", "c", 201)
    assert (no.limit, no.run_id, no.ceiling, no.spent, no.would_be) == (
        "max_cost_per_lease", LEASE.scope_id, DOLLAR, 800_000_000, 1_001_000_000,
    )  # fmt: skip
    spent(owner("c"), "call-4", "c", 200)
    used = owner("c").spend("c", ["max_cost_per_lease"]).of("max_cost_per_lease")
    assert used == Amounts(spent=DOLLAR)
    assert not check(path).wrong


def test_two_processes_at_once_hold_no_more_than_the_lease_together(owner: Open, path: Path) -> None:
    for name in ("a", "b"):
        begin(owner(name), name)
    held(owner("a"), "1", "a", 700)
    assert held(owner("b"), "2", "b", 100, most=9_999).granted_output == 300
    assert not check(path).wrong


def test_the_first_runs_of_a_lease_that_start_at_once_share_its_one_row(owner: Open, path: Path) -> None:
    sessions = [owner(f"o{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: begin(sessions[place], f"r{place}"), range(4)))
    for number, session in enumerate(sessions):
        spent(session, f"{number}", f"r{number}", 250)
    assert refused(sessions[0], "more", "r0", 1).limit == "max_cost_per_lease"
    assert len(set(rows(path, "SELECT above_id FROM scope_paths WHERE depth = 1"))) == 1


def test_a_nested_run_counts_in_the_lease_of_its_outermost_run(owner: Open, path: Path) -> None:
    begin(owner("a"), "a")
    begin(owner("b"), "b", below("a", LEASE.id))
    begin(owner("c"), "c", below("b", ""))
    spent(owner("c"), "1", "c", 999)
    assert refused(owner("b"), "2", "b", 2).limit == "max_cost_per_lease"
    assert owner("a").spend("a").run_nano == Amounts(spent=999_000_000)
    assert not check(path).wrong


def test_what_a_killed_run_had_sent_stays_spent_for_the_next_run_of_the_lease(owner: Open, path: Path) -> None:
    begin(owner("a"), "a")
    held(owner("a"), "1", "a", 600)
    assert owner("a").mark_sent("1")
    dies(owner("a"), path, "a")
    begin(owner("b"), "b")
    no = refused(owner("b"), "2", "b", 500)
    assert (no.in_doubt, no.limit, no.doubtful) == (600_000_000, "max_cost_per_lease", True)


def test_a_run_keeps_to_its_own_lower_limit_below_a_lease(owner: Open) -> None:
    begin(owner("a"), "a", limits=CostLimit(max_cost_per_task=Decimal("0.5"), max_tokens_per_task=None))
    assert refused(owner("a"), "1", "a", 501).limit == "max_cost_per_task"


def test_a_lease_is_no_run_in_reports_and_does_not_count_in_their_depth(owner: Open, path: Path) -> None:
    begin(owner("a"), "r1")
    begin(owner("a"), "r2", below("r1"))
    assert [node.run_id for node in tree_of(path, "r2")] == ["r1", "r2"]
    assert first_outermost(path, ["r2", "r1"]) == "r1"
    for depth in range(3, MOST_DEPTH + 1):
        begin(owner("a"), f"r{depth}", below(f"r{depth - 1}"))
    denied(lambda: begin(owner("a"), "too-deep", below(f"r{MOST_DEPTH}")), ActionDenied)


def test_a_model_without_price_is_refused_below_a_lease(owner: Open) -> None:
    begin(owner("a"), "a")
    unpriced = ask("1", "a", facts=replace(FACTS, price=None))
    said = denied(lambda: owner("a").reserve(unpriced), UnknownPrice)
    assert said == "the price of p/m is unknown, and its lease has a dollar limit"


# --- which runs belong to it ----------------------------------------------------------------------------------------


def test_another_lease_of_the_same_id_is_refused(owner: Open) -> None:
    begin(owner("a"), "a")
    said = denied(lambda: begin(owner("a"), "b", replace(LEASE, nano=9 * DOLLAR, digest="other")))
    assert said == "this ledger knows another lease of the id a1b2-3"
    assert owner("a").spend("b").run_nano == Amounts()


def test_a_nested_run_needs_the_lease_above_it_that_it_names(owner: Open) -> None:
    begin(owner("a"), "free", None)
    begin(owner("a"), "leased")
    for parent in (below("free", ""), below("free", LEASE.id), below("leased", "other-1")):
        assert "was not started with" in denied(partial(begin, owner("a"), "child", parent))


def test_a_run_is_resumed_only_below_its_own_lease(owner: Open) -> None:
    other = replace(LEASE, id="ffff-1", digest="other")
    for run, lease in (("with", LEASE), ("without", None)):
        begin(owner("a"), run, lease)
        owner("a").close_run(run, "failed")
    assert "belongs to lease a1b2-3" in denied(lambda: owner("a").reopen_run("with", NO_LIMITS))
    assert "was not started with" in denied(lambda: owner("a").reopen_run("with", NO_LIMITS, parent=other))
    assert "was not started with" in denied(lambda: owner("a").reopen_run("without", NO_LIMITS, parent=LEASE))
    owner("a").reopen_run("with", NO_LIMITS, parent=LEASE)
    spent(owner("a"), "1", "with", 1_000)
    assert refused(owner("a"), "2", "with", 1).limit == "max_cost_per_lease"


def test_a_resumed_run_of_an_expired_lease_stays_closed(owner: Open, clock: HandClock) -> None:
    begin(owner("a"), "a")
    owner("a").close_run("a", "failed")
    clock.pass_by(3 * HOUR)
    assert "expired" in denied(lambda: owner("a").reopen_run("a", NO_LIMITS, parent=LEASE))


# --- time -----------------------------------------------------------------------------------------------------------


def test_nothing_is_held_or_sent_once_the_lease_has_expired(owner: Open, clock: HandClock) -> None:
    begin(owner("a"), "a")
    held(owner("a"), "1", "a", 100)
    clock.pass_by(2 * HOUR)
    assert not owner("a").mark_sent("1")
    assert denied(lambda: owner("a").reserve(ask("2", "a"))) == "lease a1b2-3 expired at 2027-01-15 10:00:00 UTC"
    assert "expired" in denied(lambda: begin(owner("a"), "b"))
    assert "expired" in denied(lambda: begin(owner("a"), "c", below("a")))


def test_what_was_sent_in_time_is_settled_after_the_lease_has_expired(owner: Open, clock: HandClock) -> None:
    begin(owner("a"), "a")
    held(owner("a"), "1", "a", 100)
    assert owner("a").mark_sent("1")
    clock.pass_by(3 * HOUR)
    owner("a").settle("1", Charge(Usage(10, 50), 50_000_000, "m"))
    assert owner("a").spend("a").run_nano == Amounts(spent=50_000_000)


@pytest.mark.parametrize(
    ("days", "said"), [(-1, "but lease a1b2-3 was issued at 2027-01-15 08:00:00 UTC"), (1, "expired at")]
)
def test_a_clock_a_day_off_makes_a_new_lease_invalid(owner: Open, clock: HandClock, days: int, said: str) -> None:
    clock.pass_by(days * 24 * HOUR)
    assert said in denied(lambda: begin(owner("a"), "a"))


def test_a_clock_behind_the_highest_that_the_ledger_has_seen_is_refused(owner: Open, clock: HandClock) -> None:
    begin(owner("a"), "a", None)
    clock.pass_by(3 * HOUR)
    begin(owner("a"), "b", None)
    clock.wall_s -= 2.5 * HOUR
    said = denied(lambda: begin(owner("a"), "c"))
    times = "the clock reads 2027-01-15 08:30:00 UTC, but this ledger has seen 2027-01-15 11:00:00 UTC"
    assert said == f"{times}: lease a1b2-3 may be over"


def test_setting_the_clock_back_in_the_middle_of_a_run_extends_no_lease(owner: Open, clock: HandClock) -> None:
    begin(owner("a"), "a")
    clock.pass_by(1.9 * HOUR)
    held(owner("a"), "1", "a", 1)
    clock.wall_s -= 1.5 * HOUR
    assert not owner("a").mark_sent("1")
    assert "may be over" in denied(lambda: owner("a").reserve(ask("2", "a")))
    clock.wall_s += 1.5 * HOUR
    held(owner("a"), "3", "a", 1)


def test_a_clock_that_is_a_few_seconds_slow_is_no_obstacle_and_gives_no_time(owner: Open, clock: HandClock) -> None:
    clock.pass_by(-30)
    begin(owner("a"), "a")
    clock.pass_by(2 * HOUR + 30)
    begin(owner("a"), "other", None)
    clock.wall_s -= 20
    assert "expired" in denied(lambda: begin(owner("a"), "b"))


# --- its book -------------------------------------------------------------------------------------------------------


def test_a_closed_lease_says_what_its_runs_spent_and_admits_nothing_more(
    owner: Open, path: Path, clock: HandClock
) -> None:
    begin(owner("a"), "a")
    begin(owner("b"), "b", below("a"))
    spent(owner("b"), "1", "b", 300)
    held(owner("a"), "2", "a", 100)
    assert owner("a").mark_sent("2")
    held(owner("a"), "3", "a", 50)
    book = close_lease(path, LEASE, clock=clock)
    assert (book.spent_nano, book.in_doubt_nano, book.calls, book.unpriced, book.earlier) == (
        300_000_000, 100_000_000, 2, 0, (),
    )  # fmt: skip
    assert not owner("a").mark_sent("3")
    assert "was closed" in denied(lambda: owner("a").reserve(ask("4", "a")))
    assert "was closed" in denied(lambda: begin(owner("a"), "c"))
    assert close_lease(path, LEASE, clock=clock) == book, "the same book, however often"
    owner("a").settle("2", Charge(Usage(10, 40), 40_000_000, "m"))
    later = close_lease(path, LEASE, clock=clock)
    assert (later.spent_nano, later.in_doubt_nano, later.book) == (340_000_000, 0, book.book)
    assert later.earlier == (book.revision,)
    assert not check(path).wrong


def test_an_unknown_lease_has_no_book_unless_it_is_said_to_be_unused(owner: Open, path: Path, clock: HandClock) -> None:
    assert "was not used in the ledger" in denied(lambda: close_lease(path, LEASE, clock=clock))
    assert not path.exists()
    begin(owner("a"), "of-no-lease", None)
    assert "was not used in the ledger" in denied(lambda: close_lease(path, LEASE, clock=clock))
    book = close_lease(path, LEASE, unused=True, clock=clock)
    assert (book.spent_nano, book.in_doubt_nano, book.calls) == (0, 0, 0)
    assert "was closed" in denied(lambda: begin(owner("a"), "a"))
    assert "knows another lease" in denied(lambda: close_lease(path, replace(LEASE, digest="x"), clock=clock))


def test_the_unused_flag_hides_no_spending(owner: Open, path: Path, clock: HandClock) -> None:
    begin(owner("a"), "a")
    spent(owner("a"), "1", "a", 300)
    assert close_lease(path, LEASE, unused=True, clock=clock).spent_nano == 300_000_000


def test_the_estimate_counts_a_lease_before_and_after_its_first_use(owner: Open, path: Path, clock: HandClock) -> None:
    first = ask("1", "new", tokens=400, most=5_000)

    def room() -> int:
        found = forecast_first_call(path, first, NO_LIMITS, agent="a", parent=LEASE, clock=clock)
        return next(state.ceiling or 0 for state in found.rooms if state.limit == "max_cost_per_lease") - next(
            state.amounts.total for state in found.rooms if state.limit == "max_cost_per_lease"
        )

    assert room() == DOLLAR
    begin(owner("a"), "a")
    spent(owner("a"), "1", "a", 300)
    assert room() == 700_000_000
    clock.pass_by(3 * HOUR)
    assert "expired" in denied(room)


def test_the_check_finds_an_admission_above_a_lease(owner: Open, path: Path) -> None:
    begin(owner("a"), "a")
    held(owner("a"), "1", "a", 900)
    change(path, "UPDATE scopes SET limit_nano = 500000000 WHERE kind = 'lease'")
    assert any("without max_cost_per_lease of run lease-a1b2-3" in one for one in check(path).wrong)


def test_reconcile_by_run_does_not_take_a_lease_for_a_run(path: Path, owner: Open) -> None:
    begin(owner("a"), "a")
    denied(lambda: reconcile(path, "run", "lease-", actual_nano=0, who="me"), UsageError)
