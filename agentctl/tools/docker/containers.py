"""Tools for one container: resolve its name, show its configuration, state, logs and resource use.

A name or an id is resolved to the true name and the id before the call is judged (``resolve_container``); the call then
acts on that container only (``inspect_resolved``). ``summary`` shortens the result of ``inspect`` and leaves secrets
out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

import anyio
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.targets import Subject, Target, fits
from agentctl.core.text import escape_frames
from agentctl.tools.docker.client import EngineNotFound
from agentctl.tools.docker.listings import ago, ports
from agentctl.tools.docker.responses import (
    KEPT_BYTES,
    MORE_KEPT_BYTES,
    Doc,
    LastLines,
    LogStream,
    document,
    documents,
    fields,
    has_process,
    many,
    moment,
    names_of,
    nearest,
    number,
    parse_since,
    text,
    texts,
)
from agentctl.tools.tables import cell, facts, plural, size, span, table
from agentctl.tools.tool import Arguments, TargetLookup, define_tool
from agentctl.tools.toolbox import ToolContext

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class OnContainer(Arguments):
    """The arguments of a tool for one container; agentctl sets ``id`` when it resolves ``name``, the model does not."""

    name: str = Field(description="name or id")
    id: SkipJsonSchema[str | None] = None


C = TypeVar("C", bound=OnContainer)


async def resolve_container(context: ToolContext, arguments: C) -> C:
    """Return the arguments with the container's true name (no slash) and the first 12 characters of its id.

    Raises:
        EngineUnavailable: no container has this name; the hint has the nearest name.
        ToolError: the given ``id`` is another container's.
    """
    container = await inspect(context, arguments.name)
    name, identity = text(container, "Name").removeprefix("/"), text(container, "Id")[:12]
    if arguments.id is not None and arguments.id[:12] != identity:
        raise ToolError(f"{cell(name)} has the id {identity}, not {cell(arguments.id, 20)}", hint="leave the id out")
    return arguments.model_copy(update={"name": name or identity, "id": identity})


async def inspect_resolved(context: ToolContext, arguments: OnContainer) -> Doc:
    """Return the engine's data on the resolved container, never on another one of the same name.

    Raises:
        EngineUnavailable: the container does not exist, or the engine cannot be reached.
        ToolError: the container is gone, or its name has changed.
    """
    if arguments.id is None:
        return await inspect(context, arguments.name)
    name = cell(arguments.name)
    look = "nothing was done; see what is there now with docker_ps(all=true), and ask again"
    if re.fullmatch(r"[0-9a-f]{12,64}", arguments.id) is None:
        raise ToolError(f"{cell(arguments.id, 20)!r} is not a container's id", hint="leave the id out")
    try:
        container = await _by_id(context, arguments.id)
    except EngineNotFound as error:
        raise ToolError(
            f"{name} ({arguments.id}) is gone: it was removed after this was requested", hint=look
        ) from error
    if text(container, "Name").removeprefix("/") != arguments.name and not text(container, "Id").startswith(
        arguments.name
    ):
        raise ToolError(f"{name} ({arguments.id}) has a new name: {cell(text(container, 'Name')[1:])}", hint=look)
    return container


async def inspect(context: ToolContext, container: str) -> Doc:
    """Return the engine's data on one container.

    Raises:
        EngineUnavailable: no container has this name (the hint has the nearest name), or the engine cannot be reached.
    """
    if _NAME.fullmatch(container):
        try:
            return document(await context.engine.get(f"containers/{quote(container.removeprefix('/'))}/json"))
        except EngineNotFound:
            pass
    names = [
        name for entry in documents(await context.engine.get("containers/json", all="1")) for name in names_of(entry)
    ]
    sentence = f"No such container: {cell(container, 80)}."
    if near := nearest(container, names):
        sentence += f" D{near[1:]}"
    there = f"there are: {', '.join(sorted(names)[:20])}" if names else "there are no containers at all"
    raise EngineUnavailable(sentence, hint=f"{there}{', …' if len(names) > 20 else ''}   (docker ps -a)")


async def _by_id(context: ToolContext, identity: str) -> Doc:
    """Return the container whose id begins with ``identity``, even if another one has that as its name.

    Raises:
        EngineNotFound: there is no such container.
    """
    container = document(await context.engine.get(f"containers/{quote(identity)}/json"))
    if text(container, "Id").startswith(identity):
        return container
    # The engine matches names before prefixes of ids, and a name can be chosen to look like an id.
    for entry in documents(await context.engine.get("containers/json", all="1")):
        if text(entry, "Id").startswith(identity):
            return document(await context.engine.get(f"containers/{quote(text(entry, 'Id'))}/json"))
    raise EngineNotFound(f"No container has the id {identity}.", code=404, reason="no such id")


async def _names(context: ToolContext, arguments: OnContainer) -> Target:
    """Return the names of a resolved container."""
    return Target("container", (arguments.name,), arguments.id or "")


CONTAINER = TargetLookup("name", "container", _names)


def path_of(container: Doc, *more: str) -> str:
    """Return the engine's path of a container, by its whole id."""
    return "/".join(["containers", quote(text(container, "Id"), safe=""), *more])


def summary(container: Doc, now: datetime) -> str:
    """Return a summary of a container; of its environment only the names."""
    state, config, host = fields(container, "State"), fields(container, "Config"), fields(container, "HostConfig")
    command = [text(container, "Path"), *texts(container, "Args")]
    restarts = text(host, "RestartPolicy", "Name") or "no"
    return facts(
        [
            ("name", name_of(container)),
            ("id", text(container, "Id")[:12]),
            ("image", text(config, "Image")),
            ("state", state_of(state, now)),
            ("exit code", None if has_process(state) else number(state, "ExitCode")),
            ("out of memory", "yes: killed by the kernel" if state.get("OOMKilled") is True else "no"),
            ("error", text(state, "Error")),
            ("health", health_of(state)),
            ("restarts", f"{number(container, 'RestartCount')} (policy: {restarts})"),
            ("created", ago(moment(container, "Created"), now)),
            ("command", " ".join(part for part in command if part)),
            ("user", text(config, "User")),
            ("workdir", text(config, "WorkingDir")),
            ("ports", bindings_of(fields(container, "NetworkSettings", "Ports"))),
            ("mounts", "; ".join(_mount(entry) for entry in many(container, "Mounts"))),
            (
                "networks",
                ", ".join(_network(*pair) for pair in fields(container, "NetworkSettings", "Networks").items()),
            ),
            ("environment", ", ".join(sorted(name.partition("=")[0] for name in texts(config, "Env")))),
            ("limits", _limits(host)),
            ("privileged", "yes" if host.get("Privileged") is True else None),
            ("log driver", text(host, "LogConfig", "Type")),
        ]
    )


def name_of(container: Doc) -> str:
    """Return an inspected container's name without the slash."""
    return cell(text(container, "Name").removeprefix("/") or text(container, "Id")[:12])


def state_of(state: Doc, now: datetime) -> str:
    """Return a container's state in words, and since when it is in it."""
    word = text(state, "Status") or "unknown"
    if has_process(state):
        began = moment(state, "StartedAt")
        return f"{word} for {span((now - began).total_seconds())}, pid {number(state, 'Pid')}" if began else word
    ended = moment(state, "FinishedAt")
    return f"{word}, ended {ago(ended, now)}" if ended else word


def health_of(state: Doc) -> str:
    """Return the result of the health check, or "" if there is none."""
    word = text(state, "Health", "Status")
    if not word or word == "none":
        return ""
    checks = many(state, "Health", "Log")
    last = text(checks[-1], "Output").strip()[:120] if checks else ""
    said = f", last check said: {last}" if last else ""
    return f"{word}, {plural(number(state, 'Health', 'FailingStreak'), 'failure')} in a row{said}"


def bindings_of(published: Doc) -> str:
    """Return the published ports as ``docker ps`` shows them."""
    listed: list[Doc] = []
    for inner, outer in published.items():
        port, _, kind = inner.partition("/")
        base = {"PrivatePort": int(port) if port.isdecimal() else 0, "Type": kind}
        bound = [entry for entry in outer if isinstance(entry, dict)] if isinstance(outer, list) else []
        for entry in bound or [{}]:
            outside = text(entry, "HostPort")
            listed.append(
                {**base, "PublicPort": int(outside or 0) if outside.isdecimal() else 0, "IP": text(entry, "HostIp")}
            )
    return ports(listed)


def _mount(entry: Doc) -> str:
    source = text(entry, "Name") if text(entry, "Type") == "volume" else text(entry, "Source")
    return f"{source or text(entry, 'Type')} -> {text(entry, 'Destination')}" + (
        "" if entry.get("RW") is True else " (read-only)"
    )


def _network(name: str, settings: object) -> str:
    addresses = [found for field in ("IPAddress", "GlobalIPv6Address") if (found := text(settings, field))]
    return " ".join([name, *addresses])


def _limits(host: Doc) -> str:
    memory, cpus, pids = number(host, "Memory"), number(host, "NanoCpus"), number(host, "PidsLimit")
    quota, period = number(host, "CpuQuota"), number(host, "CpuPeriod") or 100_000
    said = [
        f"memory {size(memory)}" if memory else "",
        f"cpus {cpus / 1e9:g}" if cpus else f"cpus {quota / period:g}" if quota > 0 else "",
        f"processes {pids}" if pids > 0 else "",
    ]
    return ", ".join(filter(None, said)) or "none"


class ContainerLogs(OnContainer):
    """The arguments of docker_logs."""

    tail: int = Field(100, ge=1, le=10_000, description="how many of the last lines")
    since: str | None = Field(None, description='only newer than this: "10m", "2h", or a time like 2026-01-31T08:00')


class InspectContainer(OnContainer):
    """The arguments of docker_inspect."""


class ContainerStats(Arguments):
    """The arguments of docker_stats."""

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


@define_tool(ContainerLogs, resolve=resolve_container, target=CONTAINER)
async def docker_logs(context: ToolContext, arguments: ContainerLogs) -> str:
    """Show the last lines that a container wrote, stdout and stderr together."""
    since = parse_since(arguments.since, context.now())
    container = await inspect_resolved(context, arguments)
    asked = {"tail": str(arguments.tail)} | ({} if since is None else {"since": f"{since:.6f}"})
    lines = await last_lines(context, container, asked)
    if not lines.kept:
        newer = f" since {cell(arguments.since)}" if arguments.since else ""
        return f"{name_of(container)} has written nothing{newer}."
    head = f"… {plural(lines.lost, 'earlier line')} left out (the most is {log_capacity(context) // 1024:,} KB) …\n"
    return (head if lines.lost else "") + "\n".join(lines.kept)


@define_tool(InspectContainer, resolve=resolve_container, target=CONTAINER)
async def docker_inspect(context: ToolContext, arguments: InspectContainer) -> str:
    """Show a container's configuration and state: exit code, health, command, ports, mounts, networks, limits."""
    return summary(await inspect_resolved(context, arguments), context.now())


@define_tool(ContainerStats, resolve=resolve_stats, target=CONTAINER)
async def docker_stats(context: ToolContext, arguments: ContainerStats) -> str:
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
                found[identity] = document(
                    await context.engine.get(f"containers/{quote(identity)}/stats", stream="false")
                )
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
    return (table(header, rows) + cut).lstrip() if rows else cut.lstrip() or "No containers are running."


def _is_restricted(context: ToolContext, name: str, identity: str) -> bool:
    """Return whether a deny or ask rule is about this container's use: then a call that names no container must not
    show it.
    """
    subject = Subject({"name": name}, {"name": Target("container", (name,), identity)})
    return any(rule.arguments and fits(rule, "docker_stats", {}, subject) for rule in context.restricting)


def log_capacity(context: ToolContext) -> int:
    """Return how many bytes of a log are kept: more if a run cuts it for the model and saves the whole in a file."""
    return KEPT_BYTES if context.run_files is None else MORE_KEPT_BYTES


async def last_lines(context: ToolContext, container: Doc, asked: Mapping[str, str]) -> LastLines:
    """Return the last lines of a container's log that ``asked`` (``tail``, ``since``) selects, as many as may be kept.

    Raises:
        EngineUnavailable: the log cannot be read.
    """
    lines, stream = (
        LastLines(log_capacity(context)),
        LogStream(framed=fields(container, "Config").get("Tty") is not True),
    )
    path = f"containers/{quote(text(container, 'Id'))}/logs"
    async with context.engine.stream(path, stdout="1", stderr="1", **asked) as chunks:
        async for chunk in chunks:
            for line in stream.feed(chunk):
                lines.add(escape_frames(line)[0])
    for line in stream.rest():
        lines.add(escape_frames(line)[0])
    return lines


def resource_use(stats: Doc) -> tuple[str, ...]:
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
