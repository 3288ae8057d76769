"""``agentctl runs rm`` and ``agentctl runs prune``: remove the journals of runs that nothing needs any more."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import RunsRemovedDocument
    from agentctl.journal.removal import RunFiles
    from agentctl.settings import Settings

SCHEMA: Literal["agentctl.runs-removed/1"] = "agentctl.runs-removed/1"
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, remove nothing.")]


def rm(
    run_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the runs, or prefixes of them.")],
    dry_run: DryRun = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Remove runs: their journals and full results. The ledger keeps what they cost.

    A run is kept if it is running, if its calls still count in a limit's window,
    or if another run was forked from it; then nothing is removed, exit 2.

    Examples:
        agentctl runs rm 01KB2 --dry-run
    """
    from agentctl.cli.error_output import report_settings
    from agentctl.core.errors import UsageError
    from agentctl.journal.reader import find_journal
    from agentctl.journal.removal import run_files

    as_json = wants_json(output, json=json)
    settings = report_settings().settings
    paths = dict.fromkeys(find_journal(settings.runs_dir, word) for word in run_ids)
    runs = [run_files(path) for path in paths]
    needed = _needed(settings, {run.run_id for run in runs})
    for run in runs:
        if run.run_id in needed:
            raise UsageError(
                f"run {run.run_id} is still needed: {needed[run.run_id]}",
                hint="nothing was removed; leave this run out",
            )
    _remove(runs, {}, dry_run=dry_run, as_json=as_json)


def prune(
    older: Annotated[
        str | None, typer.Option("--older", metavar="AGE", help="Remove runs that ended longer ago: 12h, 30d.")
    ] = None,
    keep_bytes: Annotated[
        str | None,
        typer.Option("--keep-bytes", metavar="SIZE", help="Remove the oldest runs until the rest fits: 500M, 1G."),
    ] = None,
    dry_run: DryRun = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Remove old runs: their journals and full results. The ledger keeps what they cost.

    Kept are runs that are running, whose calls still count in a limit's window,
    or that a run which stays was forked from.

    Examples:
        agentctl runs prune --older 30d --dry-run
        agentctl runs prune --older 30d --keep-bytes 1G
    """
    from agentctl.cli.error_output import report_settings
    from agentctl.core.errors import UsageError
    from agentctl.journal.removal import run_files
    from agentctl.journal.writer import ENDING

    as_json = wants_json(output, json=json)
    if older is None and keep_bytes is None:
        raise UsageError("prune needs --older or --keep-bytes", hint="agentctl runs prune --older 30d --dry-run")
    age_s = None if older is None else _seconds(older)
    most = None if keep_bytes is None else _bytes(keep_bytes)
    settings = report_settings().settings
    runs = sorted(map(run_files, settings.runs_dir.glob(f"*{ENDING}")), key=lambda run: run.written_at)
    now, total = datetime.now(UTC).timestamp(), sum(run.size for run in runs)
    wanted: list[RunFiles] = []
    for run in runs:
        if (age_s is not None and now - run.written_at > age_s) or (most is not None and total > most):
            wanted.append(run)
            total -= run.size
    needed = _needed(settings, {run.run_id for run in wanted})
    _remove([run for run in wanted if run.run_id not in needed], needed, dry_run=dry_run, as_json=as_json)


def _needed(settings: Settings, wanted: set[str]) -> Mapping[str, str]:
    """Return those of the ``wanted`` runs that must stay, each with the reason."""
    from agentctl.core.limits import WINDOWS
    from agentctl.journal.reader import list_runs
    from agentctl.journal.removal import forks_of
    from agentctl.ledger.report import runs_in_use

    limited = [WINDOWS[name] for name in WINDOWS if getattr(settings, name) is not None]
    found = dict(runs_in_use(settings.ledger_address, window_s=max(limited, default=3600)))
    found |= {run.run_id: "it is running" for run in list_runs(settings.runs_dir) if run.status == "running"}
    needed = {run_id: found[run_id] for run_id in wanted if run_id in found}
    forks, size = forks_of(settings.runs_dir), -1
    while size != len(needed):  # a fork that stays keeps its source, and that one its own
        size = len(needed)
        for source, fork in forks.items():
            if source in wanted and (fork not in wanted or fork in needed):
                needed.setdefault(source, f"run {fork} was forked from it")
    return needed


def _remove(runs: Sequence[RunFiles], kept: Mapping[str, str], *, dry_run: bool, as_json: bool) -> None:
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.journal.removal import remove_files
    from agentctl.tools.tables import size as size_text

    if not dry_run:
        for run in runs:
            remove_files(run.journal)
    size = sum(run.size for run in runs)
    if as_json:
        from agentctl.cli.documents import as_json as dumped
        from agentctl.core.version import __version__

        document: RunsRemovedDocument = {
            "schema": SCHEMA,
            "version": __version__,
            "dry_run": dry_run,
            "removed": [{"run_id": run.run_id, "bytes": run.size} for run in runs],
            "kept": [{"run_id": run_id, "reason": reason} for run_id, reason in sorted(kept.items())],
            "bytes": size,
            "error": None,
        }
        print(dumped(document))
        return
    for run in runs:
        print(f"{safe_text(run.run_id)}  {size_text(run.size)}")
    for run_id, reason in sorted(kept.items()):
        print_stderr(f"kept {safe_text(run_id)}: {safe_text(reason)}")
    sys.stdout.flush()
    said = "would be removed" if dry_run else "removed"
    print_stderr(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} {said}, {size_text(size)}")


def _seconds(text: str) -> float:
    from agentctl.core.errors import UsageError
    from agentctl.settings.parsers import duration

    try:
        return duration(zero=True)(text)
    except ValueError as error:
        raise UsageError(f'--older "{text}" is not a duration', hint="agentctl runs prune --older 30d") from error


def _bytes(text: str) -> int:
    from agentctl.core.errors import UsageError
    from agentctl.tools.tables import parse_size

    found = parse_size(text)
    if found is None:
        raise UsageError(f'--keep-bytes "{text}" is not a size', hint="agentctl runs prune --keep-bytes 1G")
    return found
