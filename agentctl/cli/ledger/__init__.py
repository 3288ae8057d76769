"""`agentctl ledger`: verify the ledger, reconcile unsettled charges, reprice past calls.

`command` holds `check` and `reconcile`, `ledger_output` their tables and JSON documents. `reprice` computes
what the calls of a window would have cost at other prices, `reprice_output` prints it.

Enter: `command.COMMANDS`, which `cli.app` loads by name.
Always: `--dry-run` changes nothing. At a terminal, what frees reserved money asks first, unless `--yes`. A
    damaged ledger ends with exit 74 and a hint that keeps the file.
May import: `cli`, `cli.costs`, `cli.ui`, `ledger`, `providers` (the catalog of prices), `settings`, `core`.
Never: changes the ledger past the functions of `agentctl.ledger`; reconciles from inside a run.
"""
