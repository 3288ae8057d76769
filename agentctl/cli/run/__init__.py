"""`agentctl run`: run one task, from the command line to the exit code.

`command` declares the flags. `session` reads the task (`task_input`) and the settings, asks the user open
questions (`startup_prompts`), assembles the run, and drives it until it ends or a signal stops it.
`run_output` chooses the screen, and prints the answer, the errors and the summary. `estimate_output`
prints `run --estimate` instead.

Enter: `command.run` (Typer), `session.perform(invocation, request)`.
Always: the exit code follows from the status of the result. The first Ctrl-C stops the run and keeps its
    records, the second ends the process at once. A task that is the name of a command is refused, not sent.
May import: `cli`, `cli.ui`, and the packages below `cli`; the heavy ones inside functions.
Never: calls a provider or a tool itself (`runner` does); prints a secret of the settings.
"""
