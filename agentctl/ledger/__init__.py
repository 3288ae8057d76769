"""The durable ledger of holds and charges: one SQLite file, shared by all processes of a user.

``sqlite`` is the ``Ledger`` that a run uses; ``ledger_session`` does its work in a thread, one transaction per method.
A transaction (``database``) reads ledger time (``clock``), adds up what counts against each limit (``sums``), judges
the request (``grants``, ``provider_health``) and writes rows (``attempts``, ``runs``). ``locks`` detects which
processes are alive, ``spool`` keeps what could not be written, ``schema`` holds the migrations.

When a process is killed, its lock is released. The next request on the ledger detects that, and concludes the holds of
the process: in doubt if sent, else void (``runs.conclude_dead_owners``).

The other modules read, or correct by hand: ``report``, ``grouping`` and ``repricing`` for costs, ``forecast`` for an
estimate, ``check`` and ``audit`` to verify, ``reconcile``, ``usage_export`` and ``export_matching`` to settle amounts
in doubt.

Enter: `sqlite.SqliteLedger`; to read `report.costs_report`, `check.check`, `forecast.forecast_first_call`; to correct
`reconcile.reconcile`, `export_matching.reconcile_export`. Always: a method has committed to disk when it returns. Every
change of an attempt adds an entry, and entries never change. Amounts are whole nano-dollars and tokens; an amount of
unknown outcome counts in full. May import: core, context, settings, budget, protocols. Never: calls a model, reads
settings or prints. No other package holds SQL, and no migration that was released is edited.
"""

from agentctl.ledger.sqlite import SqliteLedger

__all__ = ["SqliteLedger"]
