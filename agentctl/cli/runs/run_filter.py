"""The flags of ``runs list`` that select runs, and the test of a run by them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from agentctl.cli.exit_codes import ExitStatus
from agentctl.cli.options import WHAT, parse_labels
from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean, safe_text

if TYPE_CHECKING:
    from agentctl.journal.reader import RunSummary

#: Statuses of a run that has no exit code.
WITHOUT_END = ("running", "unfinished", "unreadable")
STATUSES = (*(status.name for status in ExitStatus), *WITHOUT_END)

Status = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="NAMES",
        help="Only runs with one of these statuses: done, budget, running, unfinished, ... (comma-separated).",
        rich_help_panel=WHAT,
    ),
]
Agent = Annotated[
    str | None, typer.Option("--agent", metavar="NAME", help="Only runs of this agent.", rich_help_panel=WHAT)
]


class RunFilter(NamedTuple):
    """Which runs are wanted; an empty field selects all. ``labels`` must all match."""

    statuses: Collection[str] = ()
    since: datetime | None = None
    agent: str | None = None
    labels: Sequence[tuple[str, str]] = ()

    def matches(self, run: RunSummary) -> bool:
        """Return whether a run is wanted; one whose start is unknown is not, if ``since`` is given."""
        if self.statuses and not {run.status, _shown(run.status)} & set(self.statuses):
            return False
        if self.since is not None and (run.started_at is None or run.started_at < self.since):
            return False
        if self.agent is not None and run.agent != self.agent:
            return False
        return all(run.labels.get(name) == value for name, value in self.labels)


def select(
    *, status: Sequence[str] | None, since: str | None, agent: str | None, label: Sequence[str] | None
) -> RunFilter:
    """Return the filter that the flags describe.

    Raises:
        UsageError: an unknown status, an invalid or future time, or an invalid label.
    """
    pairs = tuple(pair for word in label or () for pair in parse_labels([word]).items())
    return RunFilter(tuple(_statuses(status or ())), None if since is None else _time(since), agent, pairs)


def labels_of(runs: Sequence[RunSummary]) -> Mapping[str, str]:
    """Return each label of the runs as ``name=value``, with the task of the newest run that has it."""
    found: dict[str, str] = {}
    for run in runs:
        for name, value in run.labels.items():
            found.setdefault(f"{name}={value}", run.task)
    return found


def _statuses(given: Sequence[str]) -> Iterator[str]:
    for word in (word.strip().lower() for words in given for word in words.split(",")):
        if word not in STATUSES:
            hint = did_you_mean(word, STATUSES) or f"allowed: {', '.join(STATUSES)}"
            raise UsageError(f"--status {safe_text(word)!r} is not a status of a run", hint=hint)
        yield word


def _time(since: str) -> datetime | None:
    from agentctl.cli.costs.time_window import WindowRequest, resolve_window
    from agentctl.ledger.grouping import find_time_zone

    request = WindowRequest(since=since, whole=True, command="agentctl runs list")
    return resolve_window(request, now=datetime.now(UTC), zone=find_time_zone(None)).since


def _shown(status: str) -> str:
    return ExitStatus[status].shown if status in ExitStatus.__members__ else status
