"""`agentctl runs diff`: what two runs differ in, as text or as JSON (`agentctl.runs-diff/1`).

`run_facts` reads a journal into what can be compared; `differences` compares two of them, and makes the document;
`diff_page` writes it as text, with the differences alone.

Enter: `command.diff` (Typer).
Always: texts are compared as they are in the journals, and made safe when they are printed. Times never differ.
May import: `cli`, `cli.ui`, `journal`, `settings`, `core`.
Never: writes to a journal or the ledger.
"""
