"""``agentctl runs watch``: follow a run that lives, from its journal, until it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import OUTPUT, refuse_id_with_last

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.journal.record_parts import Fields
    from agentctl.journal.tail import JournalTail
    from agentctl.settings import Loaded

WatchForm = Literal["text", "jsonl"]
PAUSE_S = 0.25  # between two looks at the journal
_TRIES = 4  # looks at a journal without a record: its run is about to lock it


def watch(
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Id of the run, or a prefix of it (default: the run that is running)."),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Watch the last run, also if it has ended.")] = False,
    output: Annotated[
        WatchForm | None, typer.Option("-o", "--output", help="Output format (default text).", rich_help_panel=OUTPUT)
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Print tool calls and holds, too.", rich_help_panel=OUTPUT)
    ] = False,
    with_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with the exit code of the run; 1 if its process died.")
    ] = False,
) -> None:
    """Follow a run until it ends: print what it has done so far, and what it does.

    The last line says how the run ended, or that its process died. Ctrl-C ends the
    watching alone (exit 130). With -o jsonl each record is a line of JSON.

    Examples:
        agentctl runs watch
        agentctl runs watch 01KB2 -o jsonl | jq -r .event
        agentctl runs watch 01KB2 --exit-status && echo done
    """
    import gc

    from agentctl.cli.error_output import print_warning, report_settings
    from agentctl.cli.exit_codes import exit_status
    from agentctl.cli.signals import interruption
    from agentctl.journal.tail import JournalTail

    refuse_id_with_last(run_id, last=last)
    loaded = report_settings()
    path = _journal(loaded.settings.runs_dir, run_id, last=last)
    gc.enable()  # it was turned off at start-up, for short commands
    try:
        with JournalTail(path, warn=print_warning) as tail:
            end = _watch_json(tail) if output == "jsonl" else _watch_text(tail, loaded, verbose=verbose)
            code = exit_code_of(end, is_live=tail.is_live)
    except KeyboardInterrupt:
        raise typer.Exit(exit_status(interruption()).value) from None
    if with_status:
        raise typer.Exit(code)


def exit_code_of(last: Fields, *, is_live: bool) -> int:
    """Return the exit code of the run whose last record was read; while it lives, that of a reader that went away."""
    from agentctl.cli.exit_codes import ExitStatus, status_named

    result = last.get("result")
    if last.get("event") == "run_finished" and isinstance(result, dict):
        return status_named(str(result.get("status"))).value
    return (ExitStatus.reader_gone if is_live else ExitStatus.failed).value


def _journal(folder: Path, run_id: str | None, *, last: bool) -> Path:
    """Return the journal of the run to watch.

    Raises:
        UsageError: there is no such run, or none or several are running.
    """
    from agentctl.core.errors import UsageError
    from agentctl.journal.reader import find_journal, list_runs

    if run_id is not None or last:
        return find_journal(folder, run_id)
    running = [run.run_id for run in list_runs(folder) if run.status == "running"]
    if not running:
        raise UsageError("no run is running", hint="agentctl runs watch --last   shows the last run")
    if len(running) > 1:
        several = ", ".join(running[:5]) + (", ..." if len(running) > 5 else "")
        raise UsageError(f"{len(running)} runs are running: {several}", hint=f"agentctl runs watch {running[0]}")
    return find_journal(folder, running[0])


def follow_journal(tail: JournalTail, *, wait: Callable[[], bool]) -> Iterator[Fields | None]:
    """Yield the records of a journal until its run has ended or died, None after each look that found some.

    ``wait`` passes the time to the next look, and returns False to give up.
    """
    tries, is_empty = 0, True
    while True:
        is_live, has_more = tail.is_live, False  # the lock first: what was written before it was free is read below
        for record in tail.read():
            has_more, is_empty = True, False
            yield record
        if has_more:
            yield None
        tries += 1
        if not is_live and not (is_empty and tries < _TRIES):
            return
        if not wait():
            return


def _wait() -> bool:
    from agentctl.cli.streams import wait_for_more

    return wait_for_more(sys.stdout, PAUSE_S)


def death_line(run_id: str) -> str:
    """Return what became of a run whose journal has no end and no owner."""
    return f"killed · run {run_id} · its process is gone, and its journal has no end"


def _watch_json(tail: JournalTail) -> Fields:
    """Print the records, and return the last one."""
    from agentctl.cli.documents import as_json
    from agentctl.cli.error_output import print_stderr

    last: Fields = {}
    for record in follow_journal(tail, wait=_wait):
        if record is None:
            sys.stdout.flush()
        else:
            last = record
            sys.stdout.write(as_json(record, line=True) + "\n")
    if last.get("event") != "run_finished" and not tail.is_live:
        print_stderr(death_line(tail.path.stem))
    return last


def _watch_text(tail: JournalTail, loaded: Loaded, *, verbose: bool) -> Fields:
    """Show the records, and return the last one."""
    from agentctl.cli.runs.watch_screen import WatchScreen
    from agentctl.cli.ui.format import painter
    from agentctl.cli.ui.terminal import can_style

    styles = can_style(sys.stdout, loaded.term)
    paint = painter(loaded.settings.color, terminal=styles)
    screen = WatchScreen(tail.path.stem, sys.stdout, paint=paint, styles=styles, verbose=verbose)
    last: Fields = {}
    for record in follow_journal(tail, wait=_wait):
        if record is None:
            sys.stdout.flush()
        else:
            last = record
            screen.show(record)
    if not screen.is_over and not tail.is_live:
        screen.show_death()
    return last
