"""`agentctl doctor`: would a run work here, and what to do where it would not.

`command` declares the flags and prints the report. `examination` chooses the checks and runs them side by
side. `checks` holds one function a subject: settings, project files, key, provider, prices, limits, ledger,
state folder, container engine, sandbox. `findings` holds their result type, and runs checks in threads.

Enter: `command.doctor` (Typer), `examination.examine`.
Always: a check answers within seconds, or is reported as hung. Nothing is spent and nothing is changed. A
    finding that is not `ok` brings a line to paste where there is one.
May import: `cli`, `cli.ui`, and the packages below `cli`; what is slow to load inside the checks.
Never: makes a paid call, shows a key, or fails because one check does.
"""
