"""`agentctl help` and `agentctl completion`: longer texts, and the completion script of a shell.

`command` lists the topics and finds a topic's text. `topics` holds the written texts, with the limits and
defaults filled in from the settings. `reference` holds those made from tables in the code: the environment
variables, and the JSON schemas by name.

Enter: `command.help`, `command.completion` (Typer).
Always: names, defaults and schemas come from the code, so that no text can drift.
May import: `cli`, `settings`, `core`; the modules of all commands for their schemas' names.
Never: reads the user's files to print a topic.
"""
