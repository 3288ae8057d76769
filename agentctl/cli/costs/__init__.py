"""`agentctl costs`: what was spent in a window of time, and what is left of each limit.

`command` declares the flags and asks the ledger for its report. `time_window` turns the flags into two
moments. `cost_output` prints the report once, or again with each change (`--watch`); `table` renders it for
people, `document` as JSON (`agentctl.costs/1`) and CSV.

Enter: `command.costs` (Typer). `ledger/` uses `time_window.resolve_window`, `document.csv_text` and the helpers of
    `table` for `ledger reprice`.
Always: an unknown price is shown as unknown, never as 0, and does not pass `--fail-above`. Amounts are whole
    nano-dollars until they are printed.
May import: `cli`, `cli.ui`, `ledger`, `settings`, `core`.
Never: writes to the ledger, except that it enters charges that wait in its spool.
"""
