"""Whatever happens to the book, in whatever order: the rules, drawn by Hypothesis, beside an oracle."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger.machine import Bookkeeping

QUICK = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_every_answer_is_the_only_right_one_and_nothing_is_lost() -> None:
    run_state_machine_as_test(Bookkeeping, settings=QUICK)
