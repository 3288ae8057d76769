"""A ledger with a clock that tests turn by hand."""

from tests.support.in_memory import tmp_path
from tests.support.ledger.fixtures import clock, ledger, owner, path

__all__ = ["clock", "ledger", "owner", "path", "tmp_path"]
