"""`agentctl budget`: one budget for the jobs of a CI matrix, by signed leases, without a server.

`command` holds the commands: `keygen` makes the keys, `split` signs one lease for each job, `close` writes the account
of a job, `merge` adds the accounts up. `issue` makes a split, `budget_output` prints.

Enter: `command.COMMANDS`, which `cli.app` loads.
Always: a signing key is never printed, and never overwritten; a split adds up to its total to the nano-dollar.
May import: every package below `cli`.
Never: sends a request, or opens a run.
"""
