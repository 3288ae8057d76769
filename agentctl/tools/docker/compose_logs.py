"""The tool that shows the logs of a compose project's containers as one, ordered by the engine's timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import anyio
from pydantic import Field

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.targets import Subject, Target, fits
from agentctl.tools.docker.client import EngineNotFound, EngineRefused
from agentctl.tools.docker.compose import ComposeProject, find_project, projects_of
from agentctl.tools.docker.containers import is_restricted, path_of
from agentctl.tools.docker.listings import list_containers
from agentctl.tools.docker.logs import last_lines, log_capacity
from agentctl.tools.docker.responses import (
    Doc,
    LastLines,
    document,
    fields,
    moment,
    names_of,
    nearest,
    parse_since,
    service_of,
    text,
)
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import Arguments, TargetLookup, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_MOST_CONTAINERS = 25
_AT_ONCE = 5
_LONGEST_LABEL = 40
_NUMBERS = ("com.docker.compose.container-number", "io.podman.compose.container-number")
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class ComposeLogs(Arguments):
    """The arguments of compose_logs."""

    offered = offer_as(project="", service="only this one", tail="", since="like 2h or 2026-01-31T08:00")

    project: str | None = Field(None, description="which project; not needed if there is only one")
    service: str | None = Field(None, description="only this service of it")
    tail: int = Field(100, ge=1, le=10_000, description="how many of the last lines, of all containers together")
    since: str | None = Field(None, description='only newer than this: "10m", "2h", or a time like 2026-01-31T08:00')


class _Line(NamedTuple):
    """A line of a container's log; those of one container keep their order, ``at`` being that of the one before."""

    at: datetime
    label: str
    line: str


class _Log(NamedTuple):
    """The last lines of one container, how many before them were left out, and why it could not be read."""

    lines: Sequence[_Line] = ()
    lost: int = 0
    problem: str = ""


async def _resolve(context: ToolContext, arguments: ComposeLogs) -> ComposeLogs:
    """Return the arguments with the project's name, so that rules about it hold for the only one, too.

    Raises:
        ToolError: there is no such project or service, or there are several projects and none is named.
    """
    project = find_project(projects_of(await list_containers(context)), arguments.project)
    _entries(project, arguments.service)
    return arguments.model_copy(update={"project": project.name})


def _entries(project: ComposeProject, service: str | None) -> list[Doc]:
    """Return the listed containers of a service, None: of all.

    Raises:
        ToolError: the project has no container of that service.
    """
    if service is not None and service not in project.services:
        known = list(project.services)
        raise ToolError(
            f"the project {cell(project.name, 80)} has no container of a service {cell(service, 80)!r}",
            hint=nearest(service, known) or f"there are: {cell(', '.join(known[:20]), 600)}",
        )
    return [entry for name, entries in project.services.items() if service in (None, name) for entry in entries]


def _service_target(project: str, service: str) -> Target:
    return Target("text", (service, f"{project}/{service}"))


async def _names(_: ToolContext, arguments: ComposeLogs) -> Target:
    """Return the names by which rules may mean the service."""
    return _service_target(arguments.project or "", arguments.service or "")


def _is_restricted(context: ToolContext, project: str, entry: Doc) -> bool:
    """Return whether a deny or ask rule is about the log of a listed container, or about that of its service."""
    part = service_of(fields(entry, "Labels"))
    service = "" if part is None else part.service
    subject = Subject({"project": project, "service": service}, {"service": _service_target(project, service)})
    return is_restricted(context, entry, "docker_logs", whole=True) or any(
        rule.arguments and fits(rule, "compose_logs", {}, subject) for rule in context.restricting
    )


@define_tool(ComposeLogs, resolve=_resolve, target=TargetLookup("service", "text", _names))
async def compose_logs(context: ToolContext, arguments: ComposeLogs) -> str:
    """Show the last 100 (or tail) log lines of a compose project, or of one service: in the order of time."""
    since = parse_since(arguments.since, context.now(), tool="compose_logs")
    project = find_project(projects_of(await list_containers(context)), arguments.project)
    entries = _entries(project, arguments.service)
    allowed = [entry for entry in entries if not _is_restricted(context, project.name, entry)]
    chosen = allowed[:_MOST_CONTAINERS]
    asked = {"tail": str(arguments.tail), "timestamps": "1"} | ({} if since is None else {"since": f"{since:.6f}"})
    logs: dict[int, _Log] = {}
    turn = anyio.CapacityLimiter(_AT_ONCE)

    failed: list[EngineUnavailable] = []

    async def read(place: int) -> None:
        async with turn:
            try:
                logs[place] = await _read(context, chosen[place], asked, log_capacity(context) // len(chosen))
            except EngineUnavailable as error:
                failed.append(error)

    async with anyio.create_task_group() as group:
        for place in range(len(chosen)):
            group.start_soon(read, place)
    if failed:
        raise failed[0]
    lines = sorted(
        (line for log in map(logs.__getitem__, sorted(logs)) for line in log.lines), key=lambda line: line.at
    )
    shown = LastLines(log_capacity(context))
    width = max((len(line.label) for line in lines), default=0)
    for line in lines[-arguments.tail :]:
        shown.add(f"{line.label.ljust(width)} | {line.line}")
    notes = [log.problem for log in logs.values() if log.problem]
    if len(allowed) > len(chosen):
        notes.append(f"The logs of {len(allowed) - len(chosen)} more containers were not read: name a service.")
    if len(entries) > len(allowed):
        notes.append(f"{plural(len(entries) - len(allowed), 'container')} left out by a user rule.")
    lost = shown.lost + sum(log.lost for log in logs.values())
    head = f"… {plural(lost, 'earlier line')} left out (the most is {log_capacity(context) // 1024:,} KB) …"
    newer = f" since {cell(arguments.since)}" if arguments.since else ""
    nothing = [] if shown.kept or notes else [f"The containers have written nothing{newer}."]
    return "\n".join([*([head] if lost else []), *shown.kept, *nothing, *notes])


async def _read(context: ToolContext, entry: Doc, asked: dict[str, str], most: int) -> _Log:
    """Return the last lines of one container; one that is gone meanwhile, or has no log to read, has a problem."""
    label = _label(entry)
    try:
        container = document(await context.engine.get(path_of(entry, "json")))
        found = await last_lines(context, container, asked, most)
    except EngineNotFound:
        return _Log(problem=f"{cell(names_of(entry)[0])} was removed meanwhile.")
    except EngineRefused as error:
        return _Log(problem=f"{error.message} ({error.hint})" if error.hint else error.message)
    lines: list[_Line] = []
    at = _EARLIEST
    for whole in found.kept:
        stamp, _, line = whole.partition(" ")
        read = moment({"at": stamp}, "at") if stamp[:1].isdigit() else None
        at = max(at, read or at)
        lines.append(_Line(at, label, whole if read is None else line))
    return _Log(lines, found.lost)


def _label(entry: Doc) -> str:
    """Return ``web-1`` for the first container of a service, as compose's own logs have it."""
    labels = fields(entry, "Labels")
    service = text(labels, "com.docker.compose.service") or text(labels, "io.podman.compose.service")
    number = next(filter(None, (text(labels, name) for name in _NUMBERS)), "")
    return cell(f"{service}-{number}" if service and number else names_of(entry)[0], _LONGEST_LABEL)
