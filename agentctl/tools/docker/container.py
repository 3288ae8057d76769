"""One container at a time: its logs, how it is set up and how it fares, what it uses."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import anyio
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable
from agentctl.core.framing import escape_frames
from agentctl.core.targets import Subject, Target, fits
from agentctl.tools.docker.containers import CONTAINER, OnContainer, inspect_resolved, resolve_container
from agentctl.tools.docker.engine import EngineNotFound
from agentctl.tools.docker.logs import KEPT_BYTES, MORE_KEPT_BYTES, LastLines, LogStream, parse_since
from agentctl.tools.docker.responses import Doc, document, documents, fields, many, names_of, number, text
from agentctl.tools.docker.summary import name_of, summary
from agentctl.tools.tables import cell, counted, size, table
from agentctl.tools.tool import ToolContext
from agentctl.tools.typed import Arguments, define_tool


class Logs(OnContainer):
    """Which lines of whose log."""

    tail: int = Field(100, ge=1, le=10_000, description="how many of the last lines")
    since: str | None = Field(None, description='only newer than this: "10m", "2h", or a time like 2026-01-31T08:00')


class One(OnContainer):
    """Which container."""


class OneOrAll(Arguments):
    """Which container."""

    name: str | None = Field(None, description="name or id; without it all that run")
    id: SkipJsonSchema[str | None] = None


async def resolve_one_or_all(context: ToolContext, arguments: OneOrAll) -> OneOrAll:
    """Return the arguments with the true name and id of the container, if one is named.

    Raises:
        EngineUnavailable, ToolError: as ``resolve_container``.
    """
    if arguments.name is None:
        return arguments
    found = await resolve_container(context, OnContainer(name=arguments.name, id=arguments.id))
    return arguments.model_copy(update={"name": found.name, "id": found.id})


@define_tool(Logs, resolve=resolve_container, target=CONTAINER)
async def docker_logs(context: ToolContext, arguments: Logs) -> str:
    """Show the last lines that a container wrote, stdout and stderr together."""
    since = parse_since(arguments.since, context.now())
    known = await inspect_resolved(context, arguments)
    asked = {"tail": str(arguments.tail)} | ({} if since is None else {"since": f"{since:.6f}"})
    lines = await last_lines(context, known, asked)
    if not lines.kept:
        newer = f" since {cell(arguments.since)}" if arguments.since else ""
        return f"{name_of(known)} has written nothing{newer}."
    head = f"… {counted(lines.lost, 'earlier line')} left out (the most is {log_capacity(context) // 1024:,} KB) …\n"
    return (head if lines.lost else "") + "\n".join(lines.kept)


@define_tool(One, resolve=resolve_container, target=CONTAINER)
async def docker_inspect(context: ToolContext, arguments: One) -> str:
    """Show how a container is set up and fares: state, exit code, health, command, ports, mounts, networks, limits."""
    return summary(await inspect_resolved(context, arguments), context.now())


@define_tool(OneOrAll, resolve=resolve_one_or_all, target=CONTAINER)
async def docker_stats(context: ToolContext, arguments: OneOrAll) -> str:
    """Show what running containers use now: CPU, memory, network, disk, processes."""
    left_out = 0
    if arguments.name is None:
        running = [
            (names_of(entry)[0], text(entry, "Id")) for entry in documents(await context.engine.get("containers/json"))
        ]
        if not running:
            return "No containers are running."
        allowed = [pair for pair in running if not _is_restricted(context, *pair)]
        left_out = len(running) - len(allowed)
        running = allowed
    else:
        known = await inspect_resolved(context, OnContainer(name=arguments.name, id=arguments.id))
        if not fields(known, "State").get("Running"):
            return f"{name_of(known)} is not running (state: {cell(text(known, 'State', 'Status'))})."
        running = [(name_of(known), text(known, "Id"))]
    found: dict[str, Doc] = {}
    failed: list[EngineUnavailable] = []
    turn = anyio.CapacityLimiter(25)  # the engine measures each for a second

    async def measure(identity: str) -> None:
        async with turn:
            try:
                found[identity] = document(
                    await context.engine.get(f"containers/{quote(identity)}/stats", stream="false")
                )
            except EngineNotFound:
                return  # it ended in between
            except EngineUnavailable as error:
                failed.append(error)

    async with anyio.create_task_group() as group:
        for _, identity in running[:100]:
            group.start_soon(measure, identity)
    if failed:
        raise failed[0]
    rows = [(name, *use(found[identity])) for name, identity in sorted(running[:100]) if identity in found]
    header = ("name", ">cpu", ">memory", ">limit", ">net in", ">net out", ">disk read", ">disk written", ">processes")
    cut = f"\n100 of {len(running)} shown." if len(running) > 100 else ""
    if left_out:
        cut += f"\n{counted(left_out, 'container')} left out by a rule of the user."
    return (table(header, rows) + cut).lstrip() if rows else cut.lstrip() or "No containers are running."


def _is_restricted(context: ToolContext, name: str, identity: str) -> bool:
    """Say whether a deny or ask rule is about this container's use: a call that names none must not show it."""
    subject = Subject({"name": name}, {"name": Target("container", (name,), identity)})
    return any(rule.arguments and fits(rule, "docker_stats", {}, subject) for rule in context.restricting)


def log_capacity(context: ToolContext) -> int:
    """Return how many bytes of a log are kept: more where a run cuts it for the model, and has the whole in a file."""
    return KEPT_BYTES if context.kept is None else MORE_KEPT_BYTES


async def last_lines(context: ToolContext, known: Doc, asked: Mapping[str, str]) -> LastLines:
    """Return the lines of a container's log that ``asked`` (``tail``, ``since``) chooses, as many as may be kept.

    Raises:
        EngineUnavailable: the log cannot be read.
    """
    lines, stream = LastLines(log_capacity(context)), LogStream(framed=fields(known, "Config").get("Tty") is not True)
    path = f"containers/{quote(text(known, 'Id'))}/logs"
    async with context.engine.reading(path, stdout="1", stderr="1", **asked) as chunks:
        async for chunk in chunks:
            for line in stream.feed(chunk):
                lines.add(escape_frames(line)[0])
    for line in stream.rest():
        lines.add(escape_frames(line)[0])
    return lines


def use(stats: Doc) -> tuple[str, ...]:
    """Return CPU, memory, limit, bytes in, out, read, written, and the number of processes of one measurement."""
    spent = number(stats, "cpu_stats", "cpu_usage", "total_usage") - number(
        stats, "precpu_stats", "cpu_usage", "total_usage"
    )
    passed = number(stats, "cpu_stats", "system_cpu_usage") - number(stats, "precpu_stats", "system_cpu_usage")
    cores = number(stats, "cpu_stats", "online_cpus") or len(many(stats, "cpu_stats", "cpu_usage", "percpu_usage")) or 1
    cache = number(stats, "memory_stats", "stats", "total_inactive_file") or number(
        stats, "memory_stats", "stats", "inactive_file"
    )
    nets = [net for net in fields(stats, "networks").values() if isinstance(net, dict)]
    moved = many(stats, "blkio_stats", "io_service_bytes_recursive")
    moves = [(text(entry, "op").lower(), number(entry, "value")) for entry in moved]
    return (
        f"{100 * spent / passed * cores:.1f} %" if passed > 0 and spent >= 0 else "-",
        size(max(0, number(stats, "memory_stats", "usage") - cache)),
        size(number(stats, "memory_stats", "limit") or None),
        size(sum(number(net, "rx_bytes") for net in nets)) if nets else "-",
        size(sum(number(net, "tx_bytes") for net in nets)) if nets else "-",
        size(sum(count for way, count in moves if way == "read")),
        size(sum(count for way, count in moves if way == "write")),
        str(number(stats, "pids_stats", "current")),
    )
