"""`agentctl providers`: list and test providers, and manage their API keys.

`command` holds `list` and `set-key`, `listing` the rows of `list`, as a table and as JSON. `live_test`
is `providers test`: free requests first, then three small paid calls within a limit of their own.

Enter: `command.COMMANDS`, which `cli.app` loads by name.
Always: a key is read from a terminal without echo or from stdin, saved in a file that only the user can
    read, and printed masked. `list` sends nothing over a network.
May import: `cli`, `cli.ui`, `providers`, `runner` (`providers test`), `settings`, `core`.
Never: takes a key from the command line; prints an argument that looks like one.
"""
