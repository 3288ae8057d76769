"""`agentctl schema`: the JSON Schemas of what the command line prints, one file each.

`command` prints them. They are generated from the types in `cli.document_types`, `cli.runs.run_documents` and
`core.events`: `python -m tests.support.docs_pages` writes them.

Enter: `command.schema` (Typer).
Always: whatever a command of this version prints is valid by the schema of its name; fields are only ever added.
May import: `cli`.
Never: loads the settings or a library that validates.
"""
