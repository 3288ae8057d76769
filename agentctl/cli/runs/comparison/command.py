"""``agentctl runs diff``: show what two runs differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import OUTPUT, Json, output_form

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.cli.runs.comparison.run_facts import RunFacts

DiffForm = Literal["text", "json"]


def diff(
    run_a: Annotated[str, typer.Argument(metavar="A", help="Id of a run, or a prefix of it.")],
    run_b: Annotated[str, typer.Argument(metavar="B", help="Id of the run to compare it with.")],
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 1 if the runs differ in more than their times.")
    ] = False,
    output: Annotated[
        DiffForm | None, typer.Option("-o", "--output", help="Output format (default text).", rich_help_panel=OUTPUT)
    ] = None,
    json: Json = False,
) -> None:
    """Show what two runs differ in: choices, limits, prompts, tool calls, answers, amounts.

    Lines with - are of A, lines with + are of B. Like git diff, it exits with 0
    whether the runs differ or not, unless --exit-code is given.

    Examples:
        agentctl runs diff 01KB2 01KC7
        agentctl runs diff 01KB2 01KC7 --json | jq .differences
    """
    import sys

    from agentctl.cli.error_output import report_settings
    from agentctl.cli.runs.comparison.differences import runs_diff

    form = output_form(output, json=json) or "text"
    loaded = report_settings()
    document = runs_diff(*(_facts(loaded.settings.runs_dir, prefix) for prefix in (run_a, run_b)))
    if form == "json":
        from agentctl.cli.documents import as_json

        print(as_json(document))
    else:
        from agentctl.cli.runs.comparison.diff_page import diff_lines
        from agentctl.cli.ui.columns import stdout_page
        from agentctl.cli.ui.format import painter
        from agentctl.cli.ui.terminal import can_style

        paint = painter(loaded.settings.color, terminal=can_style(sys.stdout, loaded.term))
        for paragraph in diff_lines(document, stdout_page(), paint):
            print(paragraph)
    if exit_code and document["differs"]:
        raise typer.Exit(1)


def _facts(folder: Path, prefix: str) -> RunFacts:
    from agentctl.cli.error_output import print_warning
    from agentctl.cli.runs.comparison.run_facts import read_facts
    from agentctl.journal.reader import find_journal, read_with_origin

    path = find_journal(folder, prefix)
    return read_facts(read_with_origin(path, warn=print_warning), path.stem)
