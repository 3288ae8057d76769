"""The ledger against an oracle, with steps in any order drawn by Hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.ledger.machine import Bookkeeping
from tests.support.ledger.machine_base import Wish

QUICK = settings(
    max_examples=settings().max_examples,  # few, where few are asked for
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_ledger_agrees_with_the_model_after_any_steps_and_loses_nothing() -> None:
    run_state_machine_as_test(Bookkeeping, settings=QUICK)


def test_void_after_its_process_was_declared_dead_frees_the_amount_in_doubt() -> None:
    history, wish = Bookkeeping(), Wish(bound=0, least=10, more=0, provider="p", deadline_s=600.0)
    history.two_runs()
    history.ask(slot=0, pick=0, wish=wish)
    (name,) = history.mine("held")
    process = history.owner_of(name)
    assert process is not None
    history.mark(name, process)
    history.taken_for_dead(slot=0)
    history.ask(slot=1, pick=0, wish=wish)  # finds no lock, and leaves the call in doubt
    history.nothing_is_lost_and_the_sums_are_equal()
    assert history.expected.items[name].phase == "doubt"
    history.void(pick=history.mine("held", "sent", "settled", "doubt", "void").index(name))
    history.nothing_is_lost_and_the_sums_are_equal()
    assert history.expected.items[name].phase == "void"
    history.teardown()
