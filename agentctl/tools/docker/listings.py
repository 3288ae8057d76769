"""Tools that list the engine's containers, images, networks, volumes and disk use."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from agentctl.tools.docker.responses import (
    Doc,
    document,
    documents,
    fields,
    many,
    moment,
    names_of,
    number,
    text,
    texts,
)
from agentctl.tools.tables import plural, size, span, table
from agentctl.tools.tool import Arguments, NoArguments, define_tool
from agentctl.tools.toolbox import ToolContext

MOST_ROWS = 500
ContainerState = Literal["running", "exited", "paused", "restarting", "created", "dead", "unhealthy"]


class ListContainers(Arguments):
    """The arguments of docker_ps."""

    all: bool = Field(False, description="stopped ones too")
    name: str | None = Field(None, description="part of the name or id")
    state: ContainerState | None = Field(None, description="only containers in this state")


class NameFilter(Arguments):
    """A filter by name."""

    name: str | None = Field(None, description="part of the name")


@define_tool(ListContainers)
async def docker_ps(context: ToolContext, arguments: ListContainers) -> str:
    """List containers: name, image, status, ports, age. Running ones, unless all or a state is asked for."""
    everything = documents(await context.engine.get("containers/json", all="1"))
    named = [entry for entry in everything if _matches(entry, arguments.name)]
    if arguments.state:
        shown = [entry for entry in named if _in_state(entry, arguments.state)]
    else:
        shown = [
            entry for entry in named if arguments.all or text(entry, "State") in ("running", "paused", "restarting")
        ]
    what = " ".join(filter(None, ("matching" * bool(arguments.name), arguments.name and f'"{arguments.name}"')))
    hidden = len(named) - len(shown)
    more = (
        f"{plural(hidden, 'container is', 'containers are')} not running (docker ps -a shows them)." if hidden else ""
    )
    if not shown:
        kind = arguments.state or ("" if arguments.all else "running")
        nothing = f"No {kind} containers".replace("  ", " ") + (f" {what}" if what else "") + "."
        return f"{nothing} {more}".strip() if not arguments.state else nothing
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
    return _with_count(listed, len(shown), "" if arguments.state else more)


@define_tool(NameFilter)
async def docker_images(context: ToolContext, arguments: NameFilter) -> str:
    """List images: tag, id, size, age."""
    wanted = (arguments.name or "").lower()
    rows = [
        (tag, identity, size(number(entry, "Size")), moment(entry, "Created"))
        for entry in documents(await context.engine.get("images/json"))
        for identity in (text(entry, "Id").removeprefix("sha256:")[:12],)
        for tag in texts(entry, "RepoTags") or [f"{_repository(entry)}:<none>"]
        if wanted in tag.lower() or (wanted and identity.startswith(wanted))
    ]
    rows.sort(key=lambda row: row[0])
    if not rows:
        return f'No images match "{arguments.name}".' if wanted else "There are no images."
    shown = [(*row[:3], ago(row[3], context.now())) for row in rows[:MOST_ROWS]]
    return _with_count(table(("image", "id", ">size", "created"), shown), len(rows))


@define_tool(NoArguments)
async def docker_networks(context: ToolContext, _: NoArguments) -> str:
    """List the engine's networks: name, driver, scope, subnets, the containers on each."""
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
    return _with_count(table(header, rows), len(found)) if rows else "There are no networks."


@define_tool(NoArguments)
async def docker_volumes(context: ToolContext, _: NoArguments) -> str:
    """List the engine's volumes: name, driver, whether a container has it, age, location."""
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
        _with_count(table(("volume", "driver", "in use", "created", "path"), rows), len(found))
        if rows
        else "There are no volumes."
    )


@define_tool(NoArguments)
async def docker_system_df(context: ToolContext, _: NoArguments) -> str:
    """Show the disk space that images, containers, volumes and the build cache use, and what could be freed."""
    answer = document(await context.engine.get("system/df"))
    images, containers = many(answer, "Images"), many(answer, "Containers")
    volumes, cache = many(answer, "Volumes"), many(answer, "BuildCache")
    layers = number(answer, "LayersSize")
    used = [entry for entry in images if number(entry, "Containers") > 0]
    kept = sum(number(entry, "Size") - max(0, number(entry, "SharedSize")) for entry in used)
    alive = [entry for entry in containers if text(entry, "State") in ("running", "paused", "restarting")]
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
    return any(wanted in name.lower() for name in names_of(entry)) or text(entry, "Id").startswith(wanted)


def _in_state(entry: Doc, state: ContainerState) -> bool:
    if state == "unhealthy":
        return "(unhealthy)" in text(entry, "Status") or text(entry, "Health", "Status") == "unhealthy"
    return text(entry, "State") == state


def _image(name: str) -> str:
    return name.removeprefix("sha256:")[:12] if name.startswith("sha256:") else name


def _repository(entry: Doc) -> str:
    digests = texts(entry, "RepoDigests")
    return digests[0].partition("@")[0] if digests else "<none>"


def _total(entries: list[Doc], *path: str) -> int:
    return sum(max(0, number(entry, *path)) for entry in entries)


def _reclaimable(entries: list[Doc], kept: list[Doc], *path: str) -> int:
    return _total(entries, *path) - _total(kept, *path)


def _with_count(listed: str, found: int, more: str = "") -> str:
    if found > MOST_ROWS:
        more = f"{MOST_ROWS} of {found} shown. {more}".strip()
    return f"{listed}\n{more}" if more else listed
