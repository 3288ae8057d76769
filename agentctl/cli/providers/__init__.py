"""`agentctl providers` and `models`: list and test providers, list models, manage API keys.

`command` holds `list` and `set-key`, `listing` the rows of `list`, `models` the list of models. `live_test`
is `providers test`: free requests first, then three small paid calls within a limit of their own.

Enter: `command.COMMANDS` and `models.models`, which `cli.app` loads.
Always: a key is read from a terminal without echo or from stdin, saved in a file that only the user can
    read, and printed masked. `list` sends nothing over a network.
May import: `cli`, `cli.ui`, `providers`, `runner` (`providers test`), `settings`, `core`.
Never: takes a key from the command line; prints an argument that looks like one.
"""
