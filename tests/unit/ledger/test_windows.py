"""Every 3600 s of simulated hours, by the provider's own books: quick form of ``tests.integration.ledger.full``."""

from __future__ import annotations

import pytest

from tests.support.ledger.windows import hours


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "faults"), [(1, 0.0), (2, 0.05)])
def test_provider_bills_no_more_than_the_limit_in_any_hour_and_the_limit_is_used(seed: int, faults: float) -> None:
    made = hours(seed=seed, calls=150, hour_nano=1_500_000_000, faults=faults)
    assert made["hours"] > 3
    assert made["refused"] > 0
    assert made["dearest"] <= made["limit"]
    assert made["used"] >= 0.8
