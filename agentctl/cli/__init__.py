"""The command line: parses the arguments, calls the packages below, and prints the result.

`app` builds the Typer application and returns the exit code. Each command is a folder or a module of its
name: `run/`, `costs/`, `ledger/`, `runs/`, `providers/`, `doctor/`, `help/`, `completion/`, `agents`, `tools`,
`policy`, `config`, `trust`. Shared by all of them: `commands` (their classes, and the layout of their help),
`options` (flags and their values), `documents` (JSON), `exit_codes`, `error_output` (errors and notes on
stderr), `streams` (stdout and stderr), `signals` (what stops a command), `prompts` (questions to the user),
`ui/` (screens, tables, colours), and `ci/` (what a CI system gets of a run).

Enter: `app.main(argv)`, which `agentctl.__main__` and the console script call; `app.build_app` for the
    application alone.
Always: stdout holds the requested output and nothing else; every other line goes to stderr. An error is
    printed as one sentence and a hint, and sets the exit code. A command imports its own modules when it is
    called, so that `agentctl --help` loads no settings, no ledger and no provider.
May import: every other package.
Never: decides about money, permissions or the sandbox; keeps state of its own; is imported by another
    package.
"""
