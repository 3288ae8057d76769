"""`agentctl help`: the pages of `docs/`.

`command` lists the topics and prints a topic's page: as it is or, on a terminal, rendered. `pages` finds the files:
`agentctl/docs` in an installed wheel, `docs` in a checkout.

Enter: `command.help` (Typer).
Always: a topic is a page of `docs/`, word for word; `tests.support.docs_pages` writes the parts that come from code.
May import: `cli`, `settings`, `core`.
Never: loads the settings or Rich where there is no terminal; fails because of a wrong setting.
"""
