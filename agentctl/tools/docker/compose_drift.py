"""The tool that shows how a compose project's containers differ from one another, their images and a compose file.

Labels tell what each container was made from: compose's hash of its service's configuration, its number, the files.
The hash can be compared, not recomputed, as only compose knows how it reads a file; so of a file only the names,
images and numbers of containers are compared, and the answer says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import anyio
import anyio.to_thread
from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.tools.docker.client import EngineNotFound
from agentctl.tools.docker.compose import ComposeProject, find_project, is_up, projects_of
from agentctl.tools.docker.compose_file import ComposeFile, default_file, read_compose_files
from agentctl.tools.docker.containers import path_of
from agentctl.tools.docker.listings import MOST_ROWS, list_containers, short_image, with_count
from agentctl.tools.docker.responses import Doc, document, documents, fields, names_of, number, text, texts
from agentctl.tools.files.paths import PATH, resolve_path
from agentctl.tools.tables import cell, plural, table
from agentctl.tools.tool import Arguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_PREFIXES = ("com.docker.compose.", "io.podman.compose.")
_MOST_INSPECTED = 100
_MOST_HASHES = 20
_SHORT = 12
_HASHES = "docker compose config --hash='*'"
_NO_FILE = "Without a compose file, a service that has no container and one that the file no longer has are not seen."


class ComposeDrift(Arguments):
    """The arguments of compose_drift."""

    offered = offer_as(project="", path="a compose file, if not the project's own")

    project: str | None = Field(None, description="which project; not needed if there is only one")
    path: str | None = Field(
        None, description="a compose file of the workspace; without it the one that the labels name, if it is there"
    )


class Member(NamedTuple):
    """A container of a project. ``image`` is the name that it was made from, "" if it was made from an id."""

    name: str
    service: str
    number: str = ""
    state: str = "running"
    is_up: bool = True
    image: str = ""
    image_id: str = ""
    config_hash: str = ""
    files: str = ""
    created: int = 0


class Difference(NamedTuple):
    """One difference: of a service, or of one of its containers ("": of the service)."""

    service: str
    container: str
    what: str


async def _resolve(context: ToolContext, arguments: ComposeDrift) -> ComposeDrift:
    """Return the arguments with the project's name, so that rules about it hold for the only one, too, and a real path.

    Raises:
        ToolError: there is no such project, or there are several and none is named; the path is outside the workspace.
    """
    project = find_project(projects_of(await list_containers(context)), arguments.project)
    return (await resolve_path(context, arguments)).model_copy(update={"project": project.name})


@define_tool(ComposeDrift, resolve=_resolve, target=PATH)
async def compose_drift(context: ToolContext, arguments: ComposeDrift) -> str:
    """Show how a compose project's containers differ from one another, from their images' tags, and from its file."""
    project = find_project(projects_of(await list_containers(context)), arguments.project)
    members = await _members(context, project)
    images = {
        plain_tag(tag): text(entry, "Id")
        for entry in documents(await context.engine.get("images/json"))
        for tag in texts(entry, "RepoTags")
    }
    file, problem = await anyio.to_thread.run_sync(_file_of, context, project, arguments.path)
    found = [*compare(members, images), *([] if file is None else compare_with_file(members, file))]
    found.sort(key=lambda finding: (finding.service, finding.container))
    services = {member.service for member in members}
    name = cell(project.name, 80)
    with_what = f"and with {cell(', '.join(file.paths), 200)}" if file else "but with no compose file"
    counts = f"{plural(len(members), 'container')} of {plural(len(services), 'service')}"
    head = f"{name}: {counts}, compared with one another, with the tags of this engine's images, {with_what}."
    rows = [(finding.service, finding.container, finding.what) for finding in found]
    shown = with_count(table(("service", "container", "difference"), rows[:MOST_ROWS], most=200), len(rows))
    return "\n".join([head, shown if rows else "No difference was found.", *_limits(members, file, problem)])


async def _members(context: ToolContext, project: ComposeProject) -> list[Member]:
    """Return a project's containers; an image that the list has by its id only is looked up by its container."""
    members: list[Member] = []
    for service, entries in project.services.items():
        for entry in entries:
            image = text(entry, "Image")
            if _is_id(image, text(entry, "ImageID")) and len(members) < _MOST_INSPECTED:
                try:
                    known = document(await context.engine.get(path_of(entry, "json")))
                except EngineNotFound:
                    continue  # it was removed meanwhile
                image = text(known, "Config", "Image")
            members.append(member_of(entry, service, image))
    return members


def member_of(entry: Doc, service: str, image: str) -> Member:
    """Return a listed container of a service, made from ``image``, as what is compared of it."""
    labels = fields(entry, "Labels")

    def label(name: str) -> str:
        return next(filter(None, (text(labels, prefix + name) for prefix in _PREFIXES)), "")

    return Member(
        names_of(entry)[0],
        service,
        label("container-number"),
        text(entry, "Status") or text(entry, "State"),
        is_up(entry),
        "" if _is_id(image, text(entry, "ImageID")) else image,
        text(entry, "ImageID"),
        label("config-hash"),
        " ".join(filter(None, (label("project.working_dir"), label("project.config_files")))),
        number(entry, "Created"),
    )


def _is_id(image: str, identity: str) -> bool:
    plain = image.removeprefix("sha256:")
    return not plain or plain != image or (len(plain) >= _SHORT and identity.removeprefix("sha256:").startswith(plain))


def plain_tag(image: str) -> str:
    """Return the name of an image with its tag, without what Podman writes before it."""
    name = short_image(image.removeprefix("localhost/"))
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"


def compare(members: Sequence[Member], images: Mapping[str, str]) -> Iterator[Difference]:
    """Yield how containers differ from the newest one of their service, and from ``images``: ids by their tags."""
    newest_of_all = max(members, key=lambda member: member.created, default=None)
    by_service: dict[str, list[Member]] = {}
    for member in members:
        by_service.setdefault(member.service, []).append(member)
        if newest_of_all is not None and member.files != newest_of_all.files:
            yield Difference(member.service, member.name, f"made from other files: {member.files or 'not known'}")
        if not member.is_up:
            yield Difference(member.service, member.name, f"not running: {member.state}")
        yield from _image_moved(member, images)
    for service, group in by_service.items():
        newest = max(group, key=lambda member: (member.created, member.config_hash != ""))
        for member in group:
            if member.config_hash != newest.config_hash:
                yield Difference(service, member.name, f"another configuration than {newest.name}, which is newer")
            if member.image and newest.image and plain_tag(member.image) != plain_tag(newest.image):
                yield Difference(service, member.name, f"image {member.image}; {newest.name} has {newest.image}")
        yield from _numbers(service, group)


def _image_moved(member: Member, images: Mapping[str, str]) -> Iterator[Difference]:
    if not member.image or "@" in member.image or not member.image_id:
        return
    now = images.get(plain_tag(member.image))
    runs = _short_id(member.image_id)
    if now is None:
        yield Difference(member.service, member.name, f"runs {runs}; no image here is called {member.image} any more")
    elif now != member.image_id:
        yield Difference(member.service, member.name, f"runs {runs}; {member.image} is {_short_id(now)} now")


def _short_id(identity: str) -> str:
    return identity.removeprefix("sha256:")[:_SHORT]


def _numbers(service: str, group: Sequence[Member]) -> Iterator[Difference]:
    """Yield the numbers that a service's containers leave out, or have twice."""
    taken: dict[int, list[str]] = {}
    for member in group:
        if member.number.isascii() and member.number.isdecimal() and len(member.number) < 7:
            taken.setdefault(int(member.number), []).append(member.name)
    missing = [count for count in range(1, min(max(taken, default=0), 10_000)) if count not in taken]
    if missing:
        more = ", …" if len(missing) > 10 else ""
        said = f"{', '.join(map(str, missing[:10]))}{more}"
        yield Difference(service, "", f"no container has the number {said} (they go up to {max(taken)})")
    for count, names in taken.items():
        if len(names) > 1:
            yield Difference(service, "", f"the number {count} is that of {', '.join(names)}")


def compare_with_file(members: Sequence[Member], file: ComposeFile) -> Iterator[Difference]:
    """Yield the services that only the file has, or only the engine, and images and numbers that differ."""
    by_service: dict[str, list[Member]] = {}
    for member in members:
        by_service.setdefault(member.service, []).append(member)
    for name, service in file.services.items():
        group = by_service.get(name, [])
        if not group and service.replicas != 0 and not service.is_optional:
            yield Difference(name, "", "in the file, but without a container")
        elif service.replicas is not None and group and service.replicas != len(group):
            yield Difference(name, "", f"{plural(len(group), 'container')}, and {service.replicas} in the file")
        for member in group:
            if service.image and member.image and plain_tag(service.image) != plain_tag(member.image):
                yield Difference(name, member.name, f"image {member.image}, and {service.image} in the file")
    for name, group in by_service.items():
        if name not in file.services and file.is_whole:
            yield from (Difference(name, member.name, "orphan: the file has no such service") for member in group)


def _file_of(context: ToolContext, project: ComposeProject, given: str | None) -> tuple[ComposeFile | None, str]:
    """Return the project's compose file, None if it cannot be compared, and why not.

    Raises:
        ToolError: the ``given`` file cannot be read.
    """
    if given is not None:
        return read_compose_files(context, [given]), ""
    entries = [entry for group in project.services.values() for entry in group]
    newest = max(entries, key=lambda entry: number(entry, "Created"), default={})
    labels = fields(newest, "Labels")
    named = next(filter(None, (text(labels, f"{prefix}project.config_files") for prefix in _PREFIXES)), "")
    paths = [os.path.join(project.folder, name) for name in named.split(",") if name] if project.folder else []  # noqa: PTH118
    if not paths:
        found = default_file(context, project.folder) if project.folder else None
        paths = [] if found is None else [found]
    if not paths:
        return None, "its labels name none that is in the workspace"
    try:
        return read_compose_files(context, paths), ""
    except ToolError as error:
        return None, cell(error.message, 300)


def _limits(members: Sequence[Member], file: ComposeFile | None, problem: str) -> Iterator[str]:
    """Yield what the comparison cannot tell, and the hashes to compare by hand."""
    if file is None:
        yield f"No compose file was compared: {problem}. {_NO_FILE}"
    else:
        included = "" if file.is_whole else " It includes other files, so orphans are not told."
        yield f"Of the file, only services, images without variables and numbers of containers were compared.{included}"
    hashes = dict.fromkeys(f"{member.service} {member.config_hash}" for member in members if member.config_hash)
    if hashes:
        more = f", … ({len(hashes)} in all)" if len(hashes) > _MOST_HASHES else ""
        said = ", ".join(cell(one, 110) for one in [*hashes][:_MOST_HASHES])
        yield f"Whether other settings have changed, compose tells by its hashes: {_HASHES}; here: {said}{more}"
    else:
        yield "No container has compose's hash of its configuration, so other settings are not compared."
