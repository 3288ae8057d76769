"""`agentctl completion`: what a shell offers at TAB, and the manual page.

`command` prints the script of a shell or the manual. `shells` holds the scripts, and how each shell asks and is
answered; Typer's parser calls it when a script does. `candidates` finds the words that fit a value. `manual` writes the
manual page from the same declarations as the help.

Enter: `command.completion` (Typer); `shells.register` makes the shells known to Typer.
Always: the answer is quick and silent, whatever is wrong with settings, ledger or journals: then it offers nothing.
May import: every other package.
Never: asks a network, writes a file, or offers file names where a value is no file.
"""
