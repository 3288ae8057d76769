"""Fixtures: a real ledger, and a run whose results are cut to their shares."""

from tests.support.in_memory import tmp_path
from tests.support.large_results import house
from tests.support.sqlite import ledger

__all__ = ["house", "ledger", "tmp_path"]
