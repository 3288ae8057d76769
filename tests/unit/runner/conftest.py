"""A real ledger, and a run whose results are cut to their shares."""

from tests.support.large_results import house
from tests.support.sqlite import ledger

__all__ = ["house", "ledger"]
