"""The durable book of holds and charges, on SQLite, shared by all processes of a user."""

from agentctl.ledger.sqlite import SqliteLedger

__all__ = ["SqliteLedger"]
