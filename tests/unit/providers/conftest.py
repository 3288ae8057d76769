"""A real ledger."""

from tests.support.sqlite import ledger

__all__ = ["ledger"]
