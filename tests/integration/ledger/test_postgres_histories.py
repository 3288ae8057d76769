"""Random histories on PostgreSQL beside the SQLite ledger: each answer and each row is the same (--full: 2,000)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ledger.engines import fleet_template
from tests.support.ledger.twins import compared
from tests.support.postgres.server import Server

PARTS = 4  # for several workers


@pytest.mark.parametrize("part", range(PARTS))
def test_both_ledgers_give_the_same_answers_and_keep_the_same_book(
    postgres: Server, tmp_path: Path, is_full: bool, part: int
) -> None:
    with fleet_template(postgres) as template:
        for seed in range(part, 2_000 if is_full else PARTS, PARTS):
            assert compared(postgres, template, tmp_path, seed) == [], f"seed {seed}"


def test_processes_that_died_together_are_concluded_in_the_same_order(postgres: Server, tmp_path: Path) -> None:
    """A hold is void because its process ended, or because the run above it did: what is found first."""
    with fleet_template(postgres) as template:
        assert compared(postgres, template, tmp_path, 880) == []
