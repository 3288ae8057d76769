"""`agentctl costs`: what was spent in a window of time, and what is left of each limit.

`command` declares the flags and gets the report from the ledger. `time_window` turns the flags into a start
and an end. `cost_output` prints the report once, or again after each change (`--watch`); `table` renders it
as a table, `document` as JSON (`agentctl.costs/1`) and CSV.

Enter: `command.costs` (Typer). `ledger/` uses `time_window.resolve_window`, `document.csv_text` and the helpers of
    `table` for `ledger reprice`.
Always: an unknown price is shown as unknown, never as 0, and fails `--fail-above`. Amounts are integer
    nano-dollars until they are printed.
May import: `cli`, `cli.ui`, `ledger`, `settings`, `core`.
Never: writes to the ledger, except to settle spooled charges.
"""
