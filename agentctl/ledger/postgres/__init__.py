"""A fleet's ledger on PostgreSQL: the same book as the SQLite file, shared by many machines (extra ``postgres``).

``postgres_ledger`` is the ``Ledger`` that a run uses. It does what ``ledger_session`` does for a file, by the same
statements: ``dialect`` translates them, ``fleet_database`` opens their transactions, ``server`` connects and translates
errors, ``ddl`` holds the migrations. What is usual, ``fast_path`` does in one round trip. A lock file cannot tell which
machine's process lives, so each owner has a lease (``owner_lease``), and what it holds an epoch (``fleet_session``).

Enter: ``PostgresLedger``, ``migrate``. Always: one transaction per operation, at READ COMMITTED, which locks the hour
first, so that all of them are serial; time is the server's; no transaction is open while a model answers; no state of
a session is used, so PgBouncer may stand between. Never: loads psycopg without such an address.
"""

from agentctl.ledger.postgres.postgres_ledger import PostgresLedger, migrate

__all__ = ["PostgresLedger", "migrate"]
