"""Screens: what the user sees of a run while it runs and at its end, and how values are formatted.

A screen is a fold: `meter` turns events into a `Meter`, `lines` an event into permanent lines, `layout` a meter
into the rows of the live region. `live` draws them on a terminal, `lines.PlainScreen` writes lines elsewhere.
At the end: `summary` (one line), `run_table` (every call and limit), `markdown` (the answer on a terminal).
`approval_prompt` asks whether a tool call may run. `columns` lays out every list, `format`, `cells` and `terminal` are
shared by all commands.

Enter: `live.LiveScreen`, `lines.PlainScreen`, `approval_prompt.TerminalApprover`, `summary.summary_line`,
    `columns.stdout_page`, the functions of `format`.
Always: untrusted text is made safe before it reaches a terminal. A failing or slow screen does not delay a
    run. rich is imported inside functions, when there is something to draw.
May import: `core`, `protocols`, `settings.host` (the width of the terminal).
Never: reads settings, the ledger or a journal; writes to stdout.
"""
