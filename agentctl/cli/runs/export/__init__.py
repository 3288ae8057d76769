"""`agentctl runs export`: a run as one file to hand on, as Markdown, HTML or JSON (`agentctl.transcript/1`).

`document` reads a journal into the document, which all forms are made from: the turns that were asked for, without what
was redacted. `markdown_page` and `html_page` write it; `page.html` and `page.css` are the template of the HTML.

Enter: `command.export` (Typer).
Always: every text of the run is data. In HTML it is escaped, and the page has no script, no address and a policy that
    allows none; in Markdown it stands in a fence, or in a code span, that it cannot close.
May import: `cli`, `cli.ui`, `journal`, `settings`, `core`; jinja2 when a page of HTML is written.
Never: writes to a journal or the ledger; loads jinja2 for another form.
"""
