"""The tool that shows what containers use now: CPU, memory, network, disk, processes."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import anyio
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable
from agentctl.tools.docker.client import EngineNotFound
from agentctl.tools.docker.containers import (
    CONTAINER,
    OnContainer,
    inspect_resolved,
    is_restricted,
    name_of,
    resolve_container,
)
from agentctl.tools.docker.responses import (
    Doc,
    document,
    documents,
    fields,
    has_ended,
    many,
    names_of,
    number,
    text,
)
from agentctl.tools.tables import cell, plural, size, table
from agentctl.tools.tool import Arguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_APART_S = 1.0  # two measurements whose difference is the CPU's use


class ContainerStats(Arguments):
    """The arguments of docker_stats."""

    offered = offer_as(name="")

    name: str | None = Field(None, description="name or id; without it all that run")
    id: SkipJsonSchema[str | None] = None


async def resolve_stats(context: ToolContext, arguments: ContainerStats) -> ContainerStats:
    """Return the arguments with the container's true name and id, if one is named.

    Raises:
        EngineUnavailable, ToolError: as ``resolve_container``.
    """
    if arguments.name is None:
        return arguments
    found = await resolve_container(context, OnContainer(name=arguments.name, id=arguments.id))
    return arguments.model_copy(update={"name": found.name, "id": found.id})


@define_tool(ContainerStats, resolve=resolve_stats, target=CONTAINER)
async def docker_stats(context: ToolContext, arguments: ContainerStats) -> str:
    """Show the CPU, memory, network and disk use of running and paused containers, or of one."""
    left_out = 0
    if arguments.name is None:
        listed = [
            entry
            for entry in documents(await context.engine.get("containers/json", all="1"))  # Podman: else no paused ones
            if not has_ended(text(entry, "State"))
        ]
        if not listed:
            return "No containers are running."
        allowed = [entry for entry in listed if not is_restricted(context, entry, "docker_stats")]
        left_out = len(listed) - len(allowed)
        running = [(names_of(entry)[0], text(entry, "Id")) for entry in allowed]
    else:
        container = await inspect_resolved(context, OnContainer(name=arguments.name, id=arguments.id))
        if not fields(container, "State").get("Running"):
            return f"{name_of(container)} is not running (state: {cell(text(container, 'State', 'Status'))})."
        running = [(name_of(container), text(container, "Id"))]
    found: dict[str, Doc] = {}
    failed: list[EngineUnavailable] = []
    turn = anyio.CapacityLimiter(25)  # the engine measures each for a second

    async def measure(identity: str) -> None:
        async with turn:
            try:
                found[identity] = await _measure(context, identity)
            except EngineNotFound:
                return  # it ended meanwhile
            except EngineUnavailable as error:
                failed.append(error)

    async with anyio.create_task_group() as group:
        for _, identity in running[:100]:
            group.start_soon(measure, identity)
    if failed:
        raise failed[0]
    rows = [(name, *resource_use(found[identity])) for name, identity in sorted(running[:100]) if identity in found]
    header = ("name", ">cpu", ">memory", ">limit", ">net in", ">net out", ">disk read", ">disk written", ">processes")
    cut = f"\n100 of {len(running)} shown." if len(running) > 100 else ""
    if left_out:
        cut += f"\n{plural(left_out, 'container')} left out by a user rule."
    if not cut:
        cut = tell_most([(name, found[identity]) for name, identity in sorted(running) if identity in found])
    return (table(header, rows) + cut).lstrip() if rows else cut.lstrip() or "No containers are running."


def tell_most(measured: Sequence[tuple[str, Doc]]) -> str:
    """Return a line that names the container with the most memory, and with the most CPU, "" for fewer than two.

    The column mixes units, so that the largest number in it need not be the most.
    """
    if len(measured) < 2:
        return ""
    line = ""
    for what, use, show in (("memory", memory_use, size), ("CPU", cpu_use, _percent)):
        name, most = max(((name, use(stats) or 0) for name, stats in measured), key=lambda pair: pair[1])
        if most >= 0.05:  # shown as more than zero
            line += f"{'; ' * bool(line)}most {what}: {name} ({show(most)})"
    return f"\n{line}" if line else ""


async def _measure(context: ToolContext, identity: str) -> Doc:
    """Return a container's measurement with an earlier one in ``precpu_stats``, where the engine gives none, too."""
    path = f"containers/{quote(identity)}/stats"
    first = document(await context.engine.get(path, stream="false"))
    if number(first, "precpu_stats", "system_cpu_usage") > 0 or context.engine.product.program == "docker":
        return first
    await anyio.sleep(_APART_S)
    second = document(await context.engine.get(path, stream="false"))
    return {**second, "precpu_stats": fields(first, "cpu_stats")}


def cpu_use(stats: Doc) -> float | None:
    """Return the CPU of one measurement in percent of a core, None if it has no earlier one."""
    spent = number(stats, "cpu_stats", "cpu_usage", "total_usage") - number(
        stats, "precpu_stats", "cpu_usage", "total_usage"
    )
    passed = number(stats, "cpu_stats", "system_cpu_usage") - number(stats, "precpu_stats", "system_cpu_usage")
    cores = number(stats, "cpu_stats", "online_cpus") or len(many(stats, "cpu_stats", "cpu_usage", "percpu_usage")) or 1
    return 100 * spent / passed * cores if passed > 0 and spent >= 0 else None


def memory_use(stats: Doc) -> int:
    """Return the bytes of memory of one measurement, without the file cache."""
    cache = number(stats, "memory_stats", "stats", "total_inactive_file") or number(
        stats, "memory_stats", "stats", "inactive_file"
    )
    return max(0, number(stats, "memory_stats", "usage") - cache)


def _percent(share: float) -> str:
    return f"{share:.1f} %"


def resource_use(stats: Doc) -> tuple[str, ...]:
    """Return CPU, memory, limit, bytes in, out, read, written, and the number of processes of one measurement."""
    cpu = cpu_use(stats)
    nets = [net for net in fields(stats, "networks").values() if isinstance(net, dict)]
    moved = many(stats, "blkio_stats", "io_service_bytes_recursive")
    moves = [(text(entry, "op").lower(), number(entry, "value")) for entry in moved]
    return (
        "-" if cpu is None else _percent(cpu),
        size(memory_use(stats)),
        size(number(stats, "memory_stats", "limit") or None),
        size(sum(number(net, "rx_bytes") for net in nets)) if nets else "-",
        size(sum(number(net, "tx_bytes") for net in nets)) if nets else "-",
        size(sum(count for way, count in moves if way == "read")),
        size(sum(count for way, count in moves if way == "write")),
        str(number(stats, "pids_stats", "current")),
    )
