"""`agentctl runs`: list, inspect, watch, compare, export and remove past runs, from their journals.

`command` holds `list` and `show`; `run_filter` are the flags by which `list` selects. `transcript` renders a
journal as text, `run_parts` the parts of a run that was resumed. `context_usage` computes from a journal how
full the context was at each turn; `context_chart` draws that, or prints it as JSON (`agentctl.context/1`).
`export` and `comparison` are packages: a run as one file to hand on, and what two runs differ in. `cleanup`
holds `rm` and `prune`.

Enter: `command.COMMANDS`, which `cli.app` loads by name.
Always: a journal of an earlier or later version can be read: unknown records are skipped, and a field of
    another type counts as absent. Untrusted text is made safe before it is printed.
May import: `cli`, `cli.ui`, `journal`, `ledger` (the tree of nested runs), `context`, `settings`,
    `budget`, `core`.
Never: writes to a journal or the ledger; `rm` and `prune` remove whole journals.
"""
