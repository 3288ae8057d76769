"""``agentctl runs``: list and inspect past runs, from their journals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import OUTPUT, Json, Labels, Output, StartedSince, output_form, wants_json
from agentctl.cli.runs.cleanup import prune, rm
from agentctl.cli.runs.comparison.command import diff
from agentctl.cli.runs.export.command import export
from agentctl.cli.runs.resume import resume
from agentctl.cli.runs.run_filter import Agent, Status, select
from agentctl.cli.runs.watch import watch

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.cli.ui.columns import Page
    from agentctl.journal.reader import RunSummary

SCHEMA = "agentctl.runs/1"
TASK_LINES = 2  # of a task on a terminal

ShowForm = Literal["text", "json", "jsonl"]


def list_(
    status: Status = None,
    since: StartedSince = None,
    agent: Agent = None,
    label: Labels = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=0,
            help="List the newest N runs, 0 for all (default 20 in a table, all in JSON).",
        ),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """List the runs, newest first.

    Examples:
        agentctl runs list
        agentctl runs list --status budget,unfinished --since 7d
        agentctl runs list --label team=web --limit 0 --json
    """
    from agentctl.cli.error_output import report_settings
    from agentctl.journal.reader import list_runs

    as_json = wants_json(output, json=json)
    wanted = select(status=status, since=since, agent=agent, label=label)
    found = list_runs(report_settings().settings.runs_dir)
    runs = [run for run in found if wanted.matches(run)]
    most = (0 if as_json else 20) if limit is None else limit
    shown = runs[:most] if most else runs
    if as_json:
        from agentctl.cli.documents import as_json as dumped
        from agentctl.core.version import __version__

        print(
            dumped({"schema": SCHEMA, "version": __version__, "runs": [_document(run) for run in shown], "error": None})
        )
        return
    from agentctl.cli.ui.columns import stdout_page

    nothing = "no run matches" if found else "no runs yet"
    print(_table(shown, stdout_page()) if shown else nothing)
    if len(shown) < len(runs):
        import sys

        from agentctl.cli.error_output import print_stderr
        from agentctl.cli.ui.columns import page_of

        print_stderr(page_of(sys.stderr).prose(f"showing {len(shown)} of {len(runs)} runs; --limit 0 shows all"))


def show(
    run_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the run, or a prefix of it (default: the last run).")
    ] = None,
    output: Annotated[
        ShowForm | None, typer.Option("-o", "--output", help="Output format (default text).", rich_help_panel=OUTPUT)
    ] = None,
    json: Json = False,
    context: Annotated[
        bool, typer.Option("--context", help="Draw how full the context was at each turn, and what was cut.")
    ] = False,
) -> None:
    """Show one run: task, calls and costs, tool calls and results, answer.

    For a resumed run, also show its parts: when, by what words, with what limits.
    For nested runs, also show the tree of runs with the cost of each.

    Examples:
        agentctl runs show  # the last run
        agentctl runs show 01KB2 --context
        agentctl runs show -o jsonl
    """
    from agentctl.cli.error_output import print_warning, report_settings
    from agentctl.cli.runs.run_tree import find_tree
    from agentctl.journal.reader import find_journal, read_run

    wanted = output_form(output, json=json) or "text"
    settings = report_settings().settings
    path = find_journal(settings.runs_dir, run_id)
    records = read_run(path, warn=print_warning)
    if context:
        _show_context(records, path.stem, wanted)
        return
    if wanted == "text":
        from agentctl.cli.runs.transcript import transcript

        for paragraph in transcript(records, run_id=path.stem, kept=path.with_suffix("")):
            print(paragraph)
        if tree := find_tree(settings.ledger_address, path.stem):
            from agentctl.cli.runs.run_tree import draw_tree
            from agentctl.cli.ui.columns import stdout_page

            print("\n" + draw_tree(tree, path.stem, stdout_page()))
        return
    from agentctl.cli.documents import as_json as dumped
    from agentctl.cli.runs.run_parts import records_document

    if wanted == "jsonl":
        for record in records:
            print(dumped(record, line=True))
        return
    print(dumped(records_document(records, path.stem, settings.ledger_address)))


def _show_context(records: Iterable[dict[str, object]], run_id: str, wanted: str) -> None:
    """Print how full the context was, as a chart or as JSON.

    Raises:
        UsageError: JSONL is requested, which has only the records.
    """
    from agentctl.cli.runs.context_chart import context_document, render_chart
    from agentctl.cli.runs.context_usage import read_context_usage

    if wanted == "jsonl":
        from agentctl.core.errors import UsageError

        raise UsageError("--context does not support -o jsonl", hint=f"agentctl runs show {run_id} --context -o json")
    if wanted == "json":
        from agentctl.cli.documents import as_json as dumped

        print(dumped(context_document(read_context_usage(records), run_id=run_id)))
        return
    import sys

    from agentctl.cli.ui.cells import has_blocks
    from agentctl.cli.ui.terminal import terminal_width

    width, blocks = terminal_width(sys.stdout), has_blocks(sys.stdout.encoding)
    for line in render_chart(read_context_usage(records), run_id=run_id, width=width, blocks=blocks):
        print(line)


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "watch": watch,
    "resume": resume,
    "export": export,
    "diff": diff,
    "rm": rm,
    "prune": prune,
}


def _document(run: RunSummary) -> Document:
    from agentctl.cli.documents import moment, usd

    return {
        "run_id": run.run_id,
        "status": run.status,
        "started_at": moment(run.started_at),
        "task": run.task,
        "agent": run.agent or None,
        "provider": run.provider or None,
        "model": run.model,
        "turns": run.turns,
        "cost": {"usd": usd(run.cost_nano), "nano_usd": run.cost_nano},
        "duration_s": run.duration_s,
        "labels": dict(run.labels),
    }


def _table(runs: Sequence[RunSummary], page: Page) -> str:
    from agentctl.cli.ui.columns import Column
    from agentctl.cli.ui.format import money, seconds

    rows = [
        (
            run.run_id,
            "" if run.started_at is None else f"{run.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
            run.status,
            f"{run.provider}/{run.model}" if run.model else run.provider,
            "" if run.turns is None else str(run.turns),
            "" if run.cost_nano is None else money(run.cost_nano),
            "" if run.duration_s is None else seconds(run.duration_s),
            run.task.strip(),
        )
        for run in runs
    ]
    head = (
        *(Column("run"), Column("started", drop=2), Column("status", drop=1), Column("model", "name", drop=3)),
        *(Column("turns", drop=5, right=True), Column("cost", right=True), Column("time", drop=4, right=True)),
        Column("task", "text", lines=TASK_LINES),
    )
    return page.table(head, rows)
