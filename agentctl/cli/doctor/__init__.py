"""`agentctl doctor`: check whether a run would work here, and what to do if not.

`command` declares the flags and prints the report. `examination` chooses the checks and runs them in
parallel. `checks` holds one function per subject: settings, project files, key, provider, prices, limits,
ledger, state folder, container engine, sandbox. `findings` holds their result type and runs them in threads.

Enter: `command.doctor` (Typer), `examination.examine`.
Always: a check ends within seconds or is reported as hung. Nothing is spent and nothing is changed. A
    finding that is not `ok` has a hint with a command to paste, if there is one.
May import: `cli`, `cli.ui`, and the packages below `cli`; slow ones inside the checks.
Never: makes a paid call, shows a key, or fails because a check fails.
"""
