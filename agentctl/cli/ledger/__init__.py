"""`agentctl ledger`: verify the ledger, reconcile amounts in doubt, reprice past calls.

`command` holds `check` and `reconcile`, `ledger_output` their tables and JSON documents. `reprice` computes
what the calls of a window would have cost at other prices, `reprice_output` prints that.

Enter: `command.COMMANDS`, which `cli.app` loads by name.
Always: `--dry-run` changes nothing. At a terminal, a command that frees held money asks first, unless `--yes`.
    A damaged ledger ends with exit 74 and a hint that keeps the file.
May import: `cli`, `cli.costs`, `cli.ui`, `ledger`, `providers` (the catalog of prices), `settings`, `core`.
Never: changes the ledger other than through `agentctl.ledger`; reconciles from inside a run.
"""
