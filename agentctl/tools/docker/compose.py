"""Compose's projects and services, read from the labels of their containers; and the tools that list them.

No program of compose is needed. The compose file is not read here: a service without any container has no label, and
the answers say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.tools.docker.listings import (
    MOST_NAMES,
    MOST_ROWS,
    ContainerState,
    in_state,
    list_containers,
    ports,
    with_count,
)
from agentctl.tools.docker.responses import (
    Doc,
    fields,
    has_ended,
    many,
    names_of,
    nearest,
    service_of,
    text,
)
from agentctl.tools.tables import cell, plural, table
from agentctl.tools.tool import Arguments, NoArguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

ServiceState = Literal["down", ContainerState]
_FOLDERS = ("com.docker.compose.project.working_dir", "io.podman.compose.project.working_dir")


class ListServices(Arguments):
    """The arguments of compose_ps."""

    offered = offer_as(project="", state="")

    project: str | None = Field(None, description="only this project")
    state: ServiceState | None = Field(None, description="only services in this state; down: nothing of it runs")


class ComposeProject(NamedTuple):
    """A project's containers by service, those of ``compose run`` left out; ``folder`` is that of its file."""

    name: str
    services: Mapping[str, Sequence[Doc]]
    folder: str

    @property
    def down(self) -> list[str]:
        """The services of which no container is up."""
        return [name for name, entries in self.services.items() if not any(map(is_up, entries))]


def is_up(entry: Doc) -> bool:
    """Return whether a listed container runs: one that waits for its next start does not, a paused one does."""
    return not has_ended(text(entry, "State")) and text(entry, "State") != "restarting"


def projects_of(listed: Iterable[Doc]) -> list[ComposeProject]:
    """Return the projects that the labels of the listed containers name, by name."""
    found: dict[str, dict[str, list[Doc]]] = {}
    folders: dict[str, str] = {}
    for entry in sorted(listed, key=lambda entry: names_of(entry)[0]):
        labels = fields(entry, "Labels")
        if (part := service_of(labels)) is None:
            continue
        services = found.setdefault(part.project, {})
        folder = next(filter(None, (text(labels, at) for at in _FOLDERS)), "")
        folders[part.project] = folders.get(part.project) or folder
        if not part.is_one_off:
            services.setdefault(part.service, []).append(entry)
    return [ComposeProject(name, dict(sorted(found[name].items())), folders[name]) for name in sorted(found)]


def find_project(projects: Sequence[ComposeProject], name: str | None) -> ComposeProject:
    """Return the project called ``name``, or the only one that there is.

    Raises:
        ToolError: there is none, or there are several and none is named; the hint has their names.
    """
    found = [project for project in projects if name in (None, project.name)]
    if len(found) == 1:
        return found[0]
    known = [project.name for project in projects]
    more = ", …" if len(known) > MOST_NAMES else ""
    there = f"there are: {cell(', '.join(known[:MOST_NAMES]), 600)}{more}" if known else "there are no compose projects"
    if name is None:
        raise ToolError(f"the project is missing: there are {len(known)}", hint=there if known else "")
    raise ToolError(f"no container belongs to a compose project {cell(name, 80)!r}", hint=nearest(name, known) or there)


@define_tool(NoArguments)
async def compose_projects(context: ToolContext, _: NoArguments) -> str:
    """List compose projects: services, which of them are down, folder."""
    projects = projects_of(await list_containers(context))
    if not projects:
        return "There are no compose projects: no container has the labels of one."
    rows = [
        (
            project.name,
            len(project.services),
            len(project.services) - len(project.down),
            ", ".join(project.down),
            project.folder,
        )
        for project in projects[:MOST_ROWS]
    ]
    return with_count(table(("project", ">services", ">up", "down", "folder"), rows), len(projects))


@define_tool(ListServices)
async def compose_ps(context: ToolContext, arguments: ListServices) -> str:
    """List compose services and their containers: status, ports."""
    projects = projects_of(await list_containers(context))
    if arguments.project is not None:
        projects = [find_project(projects, arguments.project)]
    if not projects:
        return "There are no compose services: no container has the labels of one."
    every = [entry for project in projects for entries in project.services.values() for entry in entries]
    state = "down" if arguments.state == "exited" else arguments.state
    if state is None or state == "down":
        chosen = every
    else:
        chosen = await in_state(context, every, state)
    status = {text(entry, "Id"): text(entry, "Status") or text(entry, "State") for entry in chosen}
    rows = [
        (project.name, service, names_of(entry)[0], status[text(entry, "Id")], ports(many(entry, "Ports")))
        for project in projects
        for service, entries in project.services.items()
        if state != "down" or service in project.down
        for entry in entries
        if text(entry, "Id") in status
    ]
    notes = _notes(projects) if state == "down" else []
    if not rows and not notes:
        return f"No service is {state}: it has no container in this state."
    if not rows:
        return " ".join(notes)
    shown = table(("project", "service", "container", "status", "ports"), rows[:MOST_ROWS], most=80)
    return "\n".join([with_count(shown, len(rows)), *notes])


def _notes(projects: Sequence[ComposeProject]) -> list[str]:
    """Return what to know about the services that are down, beside their list."""
    services = sum(len(project.services) for project in projects)
    partly = [
        f"{cell(f'{project.name}/{service}', 80)} ({sum(map(is_up, entries))} of {len(entries)} containers up)"
        for project in projects
        for service, entries in project.services.items()
        if service not in project.down and not all(map(is_up, entries))
    ]
    is_none = not any(project.down for project in projects)
    said = [f"No service is down: {plural(services, 'service has', 'services have')} a container that is up."]
    partly_up = [f"Partly up: {', '.join(partly)}."] if partly else []
    return [*(said if is_none else []), *partly_up, "A service that has no container at all is not seen here."]
