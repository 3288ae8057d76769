"""Tools that list the engine's containers, images, networks, volumes and disk use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, get_args

from pydantic import Field

from agentctl.tools.docker.responses import (
    Doc,
    document,
    documents,
    fields,
    has_ended,
    many,
    moment,
    names_of,
    number,
    service_names,
    text,
    texts,
)
from agentctl.tools.tables import plural, size, span, table
from agentctl.tools.tool import Arguments, NoArguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

MOST_ROWS = 500
MOST_NAMES = 10
#: Podman's words for a state of Docker's, with that itself.
_STATES = {"exited": ("exited", "stopped"), "created": ("created", "configured", "initialized")}
_DOCKERS_OWN = ("restarting", "dead")
Health = Literal["unhealthy", "healthy", "starting"]
ContainerState = Literal["running", "exited", "paused", "restarting", "created", "dead", Health]


class ListContainers(Arguments):
    """The arguments of docker_ps."""

    offered = offer_as(all="true: all, also stopped", name=None, state="")

    all: bool = Field(False, description="stopped ones too")
    name: str | None = Field(None, description="part of the name or id")
    state: ContainerState | None = Field(None, description="only containers in this state")


class NameFilter(Arguments):
    """A filter by name."""

    offered = offer_as(name="")

    name: str | None = Field(None, description="part of the name")


async def list_containers(context: ToolContext) -> list[Doc]:
    """Return all containers as the engine lists them; where the status lacks the health (Podman), with it."""
    listed = documents(await context.engine.get("containers/json", all="1"))
    if context.engine.product.program == "docker" or all(has_ended(text(entry, "State")) for entry in listed):
        return listed
    health: dict[str, str] = {}
    for word in get_args(Health):
        health.update(dict.fromkeys(await _ids_by_health(context, word), word))
    return [_with_health(entry, health.get(text(entry, "Id"), "")) for entry in listed]


async def in_state(context: ToolContext, entries: Sequence[Doc], state: ContainerState) -> list[Doc]:
    """Return those of the listed containers that are in a state, by their fields and by the engine's own filter."""
    if state not in get_args(Health):
        words = _STATES.get(state, (state,))
        return [entry for entry in entries if text(entry, "State") in words]
    found = await _ids_by_health(context, state)
    alive = [entry for entry in entries if not has_ended(text(entry, "State"))]  # Docker keeps the last health
    return [_with_health(entry, state) for entry in alive if text(entry, "Id") in found]


async def _ids_by_health(context: ToolContext, health: str) -> set[str]:
    filters = json.dumps({"health": [health]})
    found = documents(await context.engine.get("containers/json", all="1", filters=filters))
    return {text(entry, "Id") for entry in found}


def _with_health(entry: Doc, health: str) -> Doc:
    status = text(entry, "Status")
    return {**entry, "Status": f"{status} ({health})"} if health and f"{health})" not in status else entry


@define_tool(ListContainers)
async def docker_ps(context: ToolContext, arguments: ListContainers) -> str:
    """List containers: name, image, status, ports, age. Running ones, unless all or state is given."""
    everything = await list_containers(context)
    named = [entry for entry in everything if _matches(entry, arguments.name)]
    if arguments.state:
        shown = await in_state(context, named, arguments.state)
    else:
        shown = [entry for entry in named if arguments.all or not has_ended(text(entry, "State"))]
    what = " ".join(filter(None, ("matching" * bool(arguments.name), arguments.name and f'"{arguments.name}"')))
    product = context.engine.product
    is_shown = {id(entry) for entry in shown}
    more = _tell_stopped([entry for entry in named if id(entry) not in is_shown], product.program)
    if not shown:
        kind = arguments.state or ("" if arguments.all else "running")
        nothing = f"No {kind} containers".replace("  ", " ") + (f" {what}" if what else "") + "."
        if arguments.state in _DOCKERS_OWN and product.program != "docker":
            more = f"{product.name} has no such state."
        return nothing if arguments.state and not more.startswith(product.name) else f"{nothing} {more}".strip()
    listed = table(
        ("name", "id", "image", "status", "ports", "created"),
        [
            (
                ", ".join(names_of(entry)),
                text(entry, "Id")[:12],
                _image(text(entry, "Image")),
                text(entry, "Status") or text(entry, "State"),
                ports(many(entry, "Ports")),
                ago(moment(entry, "Created"), context.now()),
            )
            for entry in shown[:MOST_ROWS]
        ],
        most=80,
    )
    return with_count(listed, len(shown), "" if arguments.state else more)


def _tell_stopped(stopped: Sequence[Doc], program: str) -> str:
    """Return the sentence that counts and names the containers that a list leaves out, "" without any."""
    if not stopped:
        return ""
    names = ", ".join(names_of(entry)[0] for entry in stopped[:MOST_NAMES])
    names += ", …" if len(stopped) > MOST_NAMES else ""
    count = plural(len(stopped), "container is", "containers are")
    return f"{count} not running: {names} ({program} ps -a shows them)."


@define_tool(NameFilter)
async def docker_images(context: ToolContext, arguments: NameFilter) -> str:
    """List images: tag, id, size, age."""
    wanted = (arguments.name or "").lower()
    rows = [
        (tag, identity, size(number(entry, "Size")), moment(entry, "Created"))
        for entry in documents(await context.engine.get("images/json"))
        for identity in (text(entry, "Id").removeprefix("sha256:")[:12],)
        for tag in map(short_image, texts(entry, "RepoTags") or [f"{_repository(entry)}:<none>"])
        if wanted in tag.lower() or (wanted and identity.startswith(wanted))
    ]
    rows.sort(key=lambda row: row[0])
    if not rows:
        return f'No images match "{arguments.name}".' if wanted else "There are no images."
    shown = [(*row[:3], ago(row[3], context.now())) for row in rows[:MOST_ROWS]]
    return with_count(table(("image", "id", ">size", "created"), shown), len(rows))


@define_tool(NoArguments)
async def docker_networks(context: ToolContext, _: NoArguments) -> str:
    """List networks: driver, subnets, containers on each."""
    members: dict[str, list[str]] = {}
    for container in documents(await context.engine.get("containers/json", all="1")):
        for network in fields(container, "NetworkSettings", "Networks"):
            members.setdefault(network, []).append(names_of(container)[0])
    found = sorted(documents(await context.engine.get("networks")), key=lambda entry: text(entry, "Name"))
    rows = [
        (
            text(entry, "Name"),
            text(entry, "Id")[:12],
            text(entry, "Driver"),
            text(entry, "Scope"),
            ", ".join(text(part, "Subnet") for part in many(entry, "IPAM", "Config")),
            "yes" if entry.get("Internal") is True else "no",
            ", ".join(sorted(members.get(text(entry, "Name"), ()))),
        )
        for entry in found[:MOST_ROWS]
    ]
    header = ("network", "id", "driver", "scope", "subnet", "internal", "containers")
    return with_count(table(header, rows), len(found)) if rows else "There are no networks."


@define_tool(NoArguments)
async def docker_volumes(context: ToolContext, _: NoArguments) -> str:
    """List volumes: driver, age, whether in use."""
    answer = document(await context.engine.get("volumes"))
    unused, used = [
        {text(entry, "Name") for entry in many(document(await context.engine.get("volumes", filters=kind)), "Volumes")}
        for kind in ('{"dangling":["true"]}', '{"dangling":["false"]}')
    ]
    in_use = dict.fromkeys(unused - used, "no") | dict.fromkeys(used - unused, "yes")  # else not known
    found = sorted(many(answer, "Volumes"), key=lambda entry: text(entry, "Name"))
    rows = [
        (
            text(entry, "Name"),
            text(entry, "Driver"),
            in_use.get(text(entry, "Name")),
            ago(moment(entry, "CreatedAt"), context.now()),
            text(entry, "Mountpoint"),
        )
        for entry in found[:MOST_ROWS]
    ]
    return (
        with_count(table(("volume", "driver", "in use", "created", "path"), rows), len(found))
        if rows
        else "There are no volumes."
    )


@define_tool(NoArguments)
async def docker_system_df(context: ToolContext, _: NoArguments) -> str:
    """Show the disk use of images, containers, volumes and build cache, and what can be freed."""
    answer = document(await context.engine.get("system/df"))
    images, containers = many(answer, "Images"), many(answer, "Containers")
    volumes, cache = many(answer, "Volumes"), many(answer, "BuildCache")
    used = [entry for entry in images if number(entry, "Containers") > 0]
    kept = sum(map(_own_size, used))
    layers = number(answer, "LayersSize") or _layers_size(images)
    alive = [entry for entry in containers if not has_ended(text(entry, "State"))]
    bound = [entry for entry in volumes if number(entry, "UsageData", "RefCount") > 0]
    busy = [entry for entry in cache if entry.get("InUse") is True]
    rows = [
        ("images", len(images), len(used), layers, max(0, layers - kept)),
        (
            "containers",
            len(containers),
            len(alive),
            _total(containers, "SizeRw"),
            _reclaimable(containers, alive, "SizeRw"),
        ),
        (
            "volumes",
            len(volumes),
            len(bound),
            _total(volumes, "UsageData", "Size"),
            _reclaimable(volumes, bound, "UsageData", "Size"),
        ),
        ("build cache", len(cache), len(busy), _total(cache, "Size"), _reclaimable(cache, busy, "Size")),
    ]
    shown = [(kind, count, active, size(total), size(free)) for kind, count, active, total, free in rows]
    return table(("kind", ">count", ">active", ">size", ">could be freed"), shown)


def ports(listed: list[Doc]) -> str:
    """Return ports like ``8080->80/tcp, 443/tcp``; the address is shown unless it is all addresses."""
    said = []
    for port in listed:
        inner = f"{number(port, 'PrivatePort')}/{text(port, 'Type') or 'tcp'}"
        outer, address = number(port, "PublicPort"), text(port, "IP")
        where = "" if address in ("", "0.0.0.0", "::") else f"[{address}]:" if ":" in address else f"{address}:"  # noqa: S104
        said.append(f"{where}{outer}->{inner}" if outer else inner)
    return ", ".join(dict.fromkeys(said))


def ago(then: datetime | None, now: datetime) -> str:
    """Return an age like ``3 d 4 h ago``, or ""."""
    return f"{span((now - then).total_seconds())} ago" if then else ""


def _matches(entry: Doc, part: str | None) -> bool:
    wanted = (part or "").lower().removeprefix("/")
    names = (*names_of(entry), *service_names(fields(entry, "Labels")))
    return any(wanted in name.lower() for name in names) or text(entry, "Id").startswith(wanted)


def _image(name: str) -> str:
    return name.removeprefix("sha256:")[:12] if name.startswith("sha256:") else short_image(name)


def short_image(name: str) -> str:
    """Return an image's name without what Podman writes before one of Docker's registry."""
    short = name.removeprefix("docker.io/")
    return short.removeprefix("library/") if short != name and short.count("/") == 1 else short


def _repository(entry: Doc) -> str:
    digests = texts(entry, "RepoDigests")
    return digests[0].partition("@")[0] if digests else "<none>"


def _own_size(image: Doc) -> int:
    return max(0, number(image, "Size") - max(0, number(image, "SharedSize")))


def _layers_size(images: list[Doc]) -> int:
    """Return the size of all layers where the engine does not say it (Podman): what images share is counted once."""
    return sum(map(_own_size, images)) + max((number(image, "SharedSize") for image in images), default=0)


def _total(entries: list[Doc], *path: str) -> int:
    return sum(max(0, number(entry, *path)) for entry in entries)


def _reclaimable(entries: list[Doc], kept: list[Doc], *path: str) -> int:
    return _total(entries, *path) - _total(kept, *path)


def with_count(listed: str, found: int, more: str = "") -> str:
    """Return a table with a line below it: how many of the ``found`` rows it shows, and ``more``."""
    if found > MOST_ROWS:
        more = f"{MOST_ROWS} of {found} shown. {more}".strip()
    return f"{listed}\n{more}" if more else listed
