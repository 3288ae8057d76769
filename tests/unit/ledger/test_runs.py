"""Nested runs: a child's holds count in every run above it, and nothing is sent once one of those has ended."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Amounts, AnswerReserve, Ask, Hold, Wait
from agentctl.core.errors import ActionDenied, LimitName, UnknownPrice
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.ledger.check import check
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.runs import MOST_DEPTH
from tests.support.ledger.corrections import NO_LIMITS, change, dies, rows
from tests.support.ledger.nested_processes import CAPABILITY, Open, begin, dollars, family, held, refused, spent
from tests.support.ledger.parts import DOLLAR, FACTS, HandClock, ask

# --- what counts where ----------------------------------------------------------------------------------------------


def test_a_childs_hold_counts_in_every_run_above_it_and_in_none_beside_it(owner: Open) -> None:
    a, b, c = family(owner, NO_LIMITS)
    begin(b, "sibling", below="a")
    spent(a, "1", "a", 100)
    spent(b, "2", "b", 200)
    held(c, "3", "c", 400)
    nano = {run: b.spend(run).run_nano for run in ("a", "b", "c", "sibling")}
    assert nano == {
        "a": Amounts(spent=300_000_000, held=400_000_000),
        "b": Amounts(spent=200_000_000, held=400_000_000),
        "c": Amounts(held=400_000_000),
        "sibling": Amounts(),
    }
    assert a.spend("a").run_tokens == Amounts(spent=320, held=410)
    assert a.spend("a").hour_nano == Amounts(spent=300_000_000, held=400_000_000), "once, not once for each run"


def test_a_hold_above_the_rest_of_a_run_further_up_is_refused_and_that_run_is_named(owner: Open, path: Path) -> None:
    a, _, c = family(owner, dollars("1"))
    spent(a, "1", "a", 600)
    no = refused(c, "2", "c", 401)
    assert (no.limit, no.run_id, no.ceiling, no.spent, no.would_be) == (
        "max_cost_per_task", "a", DOLLAR, 600_000_000, 1_001_000_000,
    )  # fmt: skip
    spent(c, "3", "c", 400)
    assert refused(a, "4", "a", 1).run_id == "a"
    assert not check(path).wrong


def test_the_most_that_fits_every_run_on_the_path_is_granted(owner: Open) -> None:
    a, _, c = family(owner, dollars("1"))
    spent(a, "1", "a", 300)
    assert held(c, "2", "c", 100, most=9_999).granted_output == 700


@pytest.mark.parametrize(
    ("limit", "ceiling", "calls"),
    [
        ("max_cost_per_task", Decimal(1), 3),
        ("max_tokens_per_task", 1_000, 3),
        ("max_cost_per_minute", Decimal(1), 3),
        ("max_cost_per_hour", Decimal(1), 3),
        ("max_cost_per_day", Decimal(1), 3),
        ("max_cost_per_month", Decimal(1), 3),
        ("max_calls_per_minute", 2, 2),
    ],
)
def test_a_child_that_lifts_every_limit_is_still_bound_by_those_above(
    owner: Open, path: Path, limit: LimitName, ceiling: object, calls: int
) -> None:
    _, _, c = family(owner, CostLimit(**{**NO_LIMITS.model_dump(), limit: ceiling}))
    for number in range(calls):
        spent(c, str(number), "c", 256)
    no = refused(c, "one more", "c", 256)
    assert (no.limit, no.run_id) == (limit, "a")
    found = check(path)
    assert (found.proved, found.wrong) == (calls, ())


def test_lower_of_two_ceilings_of_one_window_binds_whichever_run_has_it(owner: Open) -> None:
    _, b, c = family(owner, CostLimit(**{**NO_LIMITS.model_dump(), "max_cost_per_hour": Decimal(1)}))
    lower = refused(c, "1", "c", 600, hour=Decimal("0.5"))
    assert (lower.ceiling, lower.run_id) == (DOLLAR // 2, "")
    higher = refused(b, "2", "b", 1_200, hour=Decimal(2))
    assert (higher.ceiling, higher.run_id) == (DOLLAR, "a")


def test_eight_children_at_once_do_not_pass_the_limit_of_their_parent(owner: Open, path: Path) -> None:
    begin(owner("a"), "a", dollars("1"))
    gate, granted = threading.Barrier(8), list[Hold]()

    def child(number: int) -> None:
        session = owner(f"child {number}")
        begin(session, f"child {number}", below="a")
        gate.wait()
        for call in range(4):
            answer = session.reserve(ask(f"{number}.{call}", f"child {number}", tokens=130))
            if isinstance(answer, Hold) and session.mark_sent(answer.id):
                granted.append(answer)

    threads = [threading.Thread(target=child, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 7, "seven calls of $0.13 are $0.91, and no eighth fits"
    assert not check(path).wrong


def test_model_without_price_or_bound_is_refused_under_a_dollar_limit_further_up(owner: Open) -> None:
    """The child has no dollar limit: nothing before the ledger would refuse it."""
    _, _, c = family(owner, dollars("1"))
    for facts in (replace(FACTS, price=None), replace(FACTS, unbounded="it searches the web")):
        with pytest.raises(UnknownPrice, match="run a above this one has a dollar limit"):
            c.reserve(ask("1", "c", facts=facts))
    free, limited = owner("free"), owner("limited")
    begin(free, "free")
    begin(limited, "limited", below="free")
    held(limited, "2", "limited", 10, facts=replace(FACTS, price=None))


def test_a_dollar_limit_is_no_total_of_calls_at_an_unknown_price(owner: Open, path: Path) -> None:
    begin(owner("a"), "a")
    held(owner("a"), "1", "a", 100, facts=replace(FACTS, price=None))
    assert owner("a").mark_sent("1")
    dies(owner("a"), path, "a")
    with pytest.raises(UnknownPrice, match="whose price is unknown"):
        owner("b").reopen_run("a", dollars("1"))
    assert owner("b").reopen_run("a", NO_LIMITS).in_doubt_nano is None


# --- who may be opened below whom -----------------------------------------------------------------------------------


def entered(path: Path) -> list[str]:
    return [run for (run,) in rows(path, "SELECT id FROM scopes ORDER BY rowid")]


def test_wrong_capability_opens_no_run(owner: Open, path: Path) -> None:
    begin(owner("a"), "a")
    for wrong in ("", "5ec7e8" * 10, CAPABILITY, f"{CAPABILITY}b", f"{CAPABILITY}a ", "\ud800"):
        with pytest.raises(ActionDenied, match="the capability for run a, which this run belongs to, is wrong"):
            owner("b").open_run("b", NO_LIMITS, task="t", agent="a", labels={}, parent=Parent("a", wrong))
    assert entered(path) == ["a"]


def test_a_child_cannot_open_below_its_grandparent_with_the_capability_that_it_has(owner: Open) -> None:
    family(owner, NO_LIMITS)
    with pytest.raises(ActionDenied, match="capability for run a"):
        owner("x").open_run(
            "x", NO_LIMITS, task="t", agent="a", labels={}, parent=Parent("a", f"{CAPABILITY}b"), capability="x"
        )


def test_child_cannot_open_below_an_unknown_run_or_one_without_a_capability(owner: Open, path: Path) -> None:
    owner("a").open_run("a", NO_LIMITS, task="t", agent="a", labels={})
    with pytest.raises(ActionDenied, match="wrong"):
        begin(owner("b"), "b", below="a")
    for unknown in ("nobody", "", "\ud800"):
        with pytest.raises(ActionDenied, match="is not in the ledger"):
            owner("b").open_run("b", NO_LIMITS, task="t", agent="a", labels={}, parent=Parent(unknown, "x"))
    assert entered(path) == ["a"]


def test_the_ledger_keeps_a_hash_of_a_capability_and_nothing_else_of_it(owner: Open, path: Path) -> None:
    begin(owner("a"), "a")
    ((stored,),) = rows(path, "SELECT capability_hash FROM scopes")
    assert len(stored) == 64
    for file in path.parent.rglob("*"):
        assert file.is_dir() or CAPABILITY.encode() not in file.read_bytes(), file
    assert CAPABILITY not in repr(Parent("a", CAPABILITY))


def test_child_cannot_open_below_an_ended_run_or_ended_ancestor(owner: Open, path: Path) -> None:
    a, b, _ = family(owner, NO_LIMITS)
    b.close_run("b", "done")
    with pytest.raises(ActionDenied, match="run b, which this run belongs to, has ended"):
        begin(owner("x"), "x", below="c")
    with pytest.raises(ActionDenied, match="run b"):
        begin(owner("x"), "x", below="b")
    begin(owner("y"), "y", below="a")
    a.close_run("a", "done")
    with pytest.raises(ActionDenied, match="run a"):
        begin(owner("x"), "x", below="y")
    assert entered(path) == ["a", "b", "c", "y"]


def test_child_cannot_open_below_a_dead_run_or_dead_ancestor(owner: Open, path: Path) -> None:
    family(owner, NO_LIMITS)
    begin(owner("y"), "y", below="a")
    begin(owner("z"), "z", below="y")
    dies(owner("b"), path, "b")
    for below in ("b", "c"):
        with pytest.raises(ActionDenied, match="run b, which this run belongs to, has ended"):
            begin(owner("x"), "x", below=below)
    assert rows(path, "SELECT id, status FROM scopes WHERE closed_us IS NOT NULL") == [("b", "unfinished")]
    begin(owner("x"), "x", below="z")


def test_runs_are_nested_sixteen_deep_and_no_deeper(owner: Open) -> None:
    session = owner("a")
    begin(session, "1")
    for depth in range(2, MOST_DEPTH + 1):
        begin(session, str(depth), below=str(depth - 1))
    with pytest.raises(ActionDenied, match="16 runs deep"):
        begin(session, "17", below="16")


# --- once a run above has ended -------------------------------------------------------------------------------------


def ends(a: LedgerSession, path: Path, how: str) -> None:
    if how == "closes":
        a.close_run("a", "done")
    else:
        dies(a, path, "a")


@pytest.mark.parametrize("how", ["closes", "dies"])
def test_hold_of_a_grandchild_is_not_sent_once_its_grandparent_has_ended(owner: Open, path: Path, how: str) -> None:
    a, _, c = family(owner, dollars("1"))
    held(c, "1", "c", 100)
    ends(a, path, how)
    assert not c.mark_sent("1")
    with pytest.raises(ActionDenied, match="run a, which this run belongs to, has ended: nothing more is sent") as no:
        c.reserve(ask("2", "c", tokens=1))
    assert no.value.hint
    assert rows(path, "SELECT id, phase FROM attempts") == [("1", "void")]
    assert ("a", "done" if how == "closes" else "unfinished") in rows(path, "SELECT id, status FROM scopes")
    assert not check(path).wrong


@pytest.mark.parametrize("how", ["closes", "dies"])
@pytest.mark.parametrize("end", ["settled", "doubt", "void"])
def test_call_of_a_child_under_way_is_concluded_under_an_ended_parent(
    owner: Open, path: Path, how: str, end: str
) -> None:
    a, b, _ = family(owner, dollars("1"))
    held(b, "1", "b", 100)
    assert b.mark_sent("1")
    ends(a, path, how)
    match end:
        case "settled":
            b.settle("1", Charge(Usage(10, 40), 40_000_000, "m"))
        case "doubt":
            b.doubt("1", "cut", ceiling=False, provider_fault=True)
        case _:
            b.void("1", "refused")
    counts = {"settled": Amounts(spent=40_000_000), "doubt": Amounts(in_doubt=100_000_000), "void": Amounts()}
    assert b.spend("a").run_nano == b.spend("b").run_nano == counts[end]
    with pytest.raises(ActionDenied):
        b.reserve(ask("2", "b", tokens=1))


def test_a_free_call_of_a_child_is_not_made_under_a_parent_that_has_ended(owner: Open) -> None:
    free = ModelFacts("builtin", None, FREE, metered=False)
    a, b, _ = family(owner, NO_LIMITS)
    held(b, "1", "b", 0, facts=free)
    a.close_run("a", "done")
    assert not b.mark_sent("1")
    with pytest.raises(ActionDenied):
        b.reserve(ask("2", "b", tokens=0, facts=free))


def test_a_child_that_waits_leaves_the_queue_when_a_run_above_ends(owner: Open, path: Path) -> None:
    a, b, c = family(owner, dollars("1"))
    held(b, "1", "b", 900)
    assert isinstance(c.reserve(ask("2", "c", tokens=200)), Wait)
    a.close_run("a", "done")
    assert rows(path, "SELECT * FROM waiters WHERE seen_us >= 0") == []
    with pytest.raises(ActionDenied):
        c.reserve(ask("2", "c", tokens=200))
    assert rows(path, "SELECT * FROM waiters WHERE seen_us >= 0") == []


def test_child_sends_nothing_below_a_run_closed_in_any_way(owner: Open, path: Path) -> None:
    """Not even if the holds below it were not voided."""
    _, _, c = family(owner, NO_LIMITS)
    held(c, "1", "c", 100)
    change(path, "UPDATE scopes SET closed_us = 1 WHERE id = 'a'")
    assert not c.mark_sent("1")


def test_holds_below_a_dead_run_without_open_calls_are_freed_by_the_next_hold(owner: Open, path: Path) -> None:
    a, b, c = family(owner, dollars("1"))
    held(c, "1", "c", 900)
    dies(b, path, "b")
    held(a, "2", "a", 1_000)


def test_a_run_that_ends_takes_only_what_is_below_it_along(owner: Open) -> None:
    a, b, c = family(owner, NO_LIMITS)
    begin(b, "sibling", below="a")
    held(a, "1", "a", 10)
    held(b, "2", "sibling", 10)
    held(c, "3", "c", 10)
    b.close_run("b", "done")
    assert a.mark_sent("1")
    assert b.mark_sent("2")
    assert not c.mark_sent("3")


def test_living_process_declared_dead_goes_on_and_its_children_do_not(owner: Open, path: Path) -> None:
    """The wrong verdict is harmless: its holds are void and it holds again; its children stop."""
    a, b, _ = family(owner, dollars("1"))
    dies(a, path, "a")
    with pytest.raises(ActionDenied):
        b.reserve(ask("1", "b", tokens=1))
    spent(a, "2", "a", 600)
    a.close_run("a", "done")
    assert ("a", "done") in rows(path, "SELECT id, status FROM scopes")


def test_ancestor_of_unknown_state_blocks_sending_and_is_not_declared_dead(owner: Open, path: Path) -> None:
    _, b, _ = family(owner, dollars("1"))
    held(b, "1", "b", 100)
    lock = path.with_suffix(".owners") / "a"
    lock.rename(path.with_name("moved"))
    lock.symlink_to(path.with_name("moved"))
    assert not b.mark_sent("1")
    for refuse in (lambda: b.reserve(ask("2", "b", tokens=1)), lambda: begin(owner("x"), "x", below="a")):
        with pytest.raises(ActionDenied, match="run a, which this run belongs to, has ended"):
            refuse()
    assert rows(path, "SELECT id FROM scopes WHERE closed_us IS NOT NULL") == []


# --- what others keep, and who waits --------------------------------------------------------------------------------


def keeping(name: str, run: str, tokens: int, keep: int) -> Ask:
    return ask(name, run, tokens=tokens)._replace(keep=AnswerReserve(10, keep))


def keeps(session: LedgerSession, run: str, keep: int) -> None:
    """Let a run have spent a token, and keep something for its last answer."""
    answer = session.reserve(keeping(f"of {run}", run, 1, keep))
    assert isinstance(answer, Hold), answer
    assert session.mark_sent(answer.id)
    session.settle(answer.id, Charge(Usage(10, 1), 1_000_000, "m"))


def kept(path: Path) -> set[str]:
    return {run for (run,) in rows(path, "SELECT run_id FROM attempts WHERE phase = 'kept'")}


def test_reserve_of_a_sibling_makes_way_in_the_limit_of_the_parent(owner: Open, path: Path) -> None:
    a, b, c = family(owner, dollars("1"))
    begin(b, "sibling", below="a")
    keeps(b, "sibling", 100)
    keeps(c, "c", 100)
    held(c, "1", "c", 850, keep=AnswerReserve(10, 100))
    assert kept(path) == {"c"}
    assert a.spend("a").run_nano.total == 952_000_000
    assert not check(path).wrong


def test_reserve_of_an_ancestor_is_not_evicted_for_a_turn_of_its_child(owner: Open, path: Path) -> None:
    a, _, c = family(owner, dollars("1"))
    keeps(a, "a", 100)
    no = refused(c, "1", "c", 900)
    assert (no.run_id, no.held) == ("a", 100_000_000)
    held(c, "2", "c", 899)
    assert kept(path) == {"a"}
    assert not check(path).wrong


def test_reserve_of_a_run_elsewhere_stays_where_it_blocks_no_hold(owner: Open, path: Path, clock: HandClock) -> None:
    """It counts in the hour, which has room; the parent's limit has not, and there it does not count."""
    _, b, c = family(owner, dollars("1", max_cost_per_hour=Decimal(9)))
    other = owner("other")
    begin(b, "sibling", below="a")
    keeps(b, "sibling", 100)
    clock.pass_by(1)
    begin(other, "elsewhere")
    keeps(other, "elsewhere", 100)  # the youngest
    held(c, "1", "c", 950)
    assert kept(path) == {"elsewhere"}


def test_child_reserves_only_where_every_run_above_has_room_for_both(owner: Open, path: Path) -> None:
    _, _, c = family(owner, dollars("1"))
    held(c, "1", "c", 950, keep=AnswerReserve(10, 100))
    assert kept(path) == set()
    assert not check(path).wrong


def test_waiter_below_another_child_is_in_the_queue_of_the_common_parent(owner: Open, clock: HandClock) -> None:
    _, b, c = family(owner, dollars("1"))
    other = owner("other")
    begin(other, "elsewhere", dollars("1"))
    held(b, "1", "b", 900)
    assert isinstance(c.reserve(ask("old", "c", tokens=150)), Wait)
    clock.pass_by(1)
    young = b.reserve(ask("young", "b", tokens=60))
    assert isinstance(young, Wait), "the older one needs what is left of the run above both"
    assert young.verdict is not None
    assert young.verdict.run_id == "a"
    held(other, "2", "elsewhere", 900)
    c.leave_queue("old")
    held(b, "young", "b", 60)


def test_childs_doubt_of_half_a_limit_further_up_ends_the_other_runs(owner: Open) -> None:
    _, b, c = family(owner, dollars("1"))
    held(b, "1", "b", 500)
    assert b.mark_sent("1")
    b.doubt("1", "cut", ceiling=False, provider_fault=False)
    no = refused(c, "2", "c", 1)
    assert (no.doubtful, no.run_id) == (True, "a")


# --- ledger check ---------------------------------------------------------------------------------------------------


def test_the_check_replays_a_tree_and_finds_a_limit_further_up_that_was_left_out(owner: Open, path: Path) -> None:
    _, b, c = family(owner, dollars("1", max_calls_per_minute=9, max_cost_per_day=Decimal(5)))
    for number in range(3):
        spent(b, f"b{number}", "b", 100)
        spent(c, f"c{number}", "c", 100)
    assert (check(path).proved, check(path).wrong) == (6, ())
    change(path, "UPDATE attempts SET admitted = json_remove(admitted, '$.\"max_cost_per_task@a\"') WHERE id = 'c1'")
    change(path, "UPDATE attempts SET admitted = json_remove(admitted, '$.max_cost_per_day') WHERE id = 'c2'")
    change(path, "UPDATE attempts SET admitted = json_remove(admitted, '$.\"max_calls_per_minute@a\"') WHERE id = 'b2'")
    wrong = check(path).wrong
    assert len(wrong) == 3
    assert "attempt c1: admitted without max_cost_per_task of run a above it" in wrong
    assert "attempt c2: admitted without max_cost_per_day of run a above it" in wrong
    assert "attempt b2: admitted without max_calls_per_minute of run a above it" in wrong


def test_the_check_finds_an_admission_that_passed_a_limit_further_up(owner: Open, path: Path) -> None:
    _, b, c = family(owner, dollars("1"))
    spent(b, "1", "b", 600)
    spent(c, "2", "c", 300)
    change(
        path,
        "UPDATE attempts SET admitted = replace(admitted, '[1000000000, 600000000]', '[800000000, 600000000]')"
        " WHERE id = '2'",
    )
    change(path, "UPDATE scopes SET limit_nano = 800000000 WHERE id = 'a'")
    assert any("max_cost_per_task@a was 800,000,000, but 900,000,000 was admitted" in one for one in check(path).wrong)


def test_the_check_finds_a_path_that_is_not_the_chain_of_its_parents(owner: Open, path: Path) -> None:
    family(owner, NO_LIMITS)
    change(path, "DELETE FROM scope_paths WHERE scope_id = 'c' AND above_id = 'a'")
    assert "the path of run c does not match the chain of its parents" in check(path).wrong
