"""One container at a time: its logs, how it is set up and how it fares, what it uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

import anyio
from pydantic import Field

from agentctl.errors import EngineUnavailable
from agentctl.tools.answers import (
    Doc,
    document,
    documents,
    fields,
    many,
    names_of,
    nearest,
    number,
    text,
)
from agentctl.tools.bench import Bench
from agentctl.tools.engine import NotThere
from agentctl.tools.logs import KEPT_BYTES, MORE_KEPT_BYTES, LastLines, LogStream, parse_since
from agentctl.tools.summary import name_of, summary
from agentctl.tools.table import cell, counted, size, table
from agentctl.tools.typed import Arguments, typed

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Logs(Arguments):
    """Which lines of whose log."""

    name: str = Field(description="name or id")
    tail: int = Field(100, ge=1, le=10_000, description="how many of the last lines")
    since: str | None = Field(None, description='only newer than this: "10m", "2h", or a time like 2026-01-31T08:00')


class One(Arguments):
    """Which container."""

    name: str = Field(description="name or id")


class OneOrAll(Arguments):
    """Which container."""

    name: str | None = Field(None, description="name or id; without it all that run")


@typed(Logs)
async def docker_logs(bench: Bench, arguments: Logs) -> str:
    """Show the last lines that a container wrote, stdout and stderr together."""
    since = parse_since(arguments.since, bench.now())
    known = await inspect(bench, arguments.name)
    asked = {"tail": str(arguments.tail)} | ({} if since is None else {"since": f"{since:.6f}"})
    lines = await last_lines(bench, known, asked)
    if not lines.kept:
        newer = f" since {cell(arguments.since)}" if arguments.since else ""
        return f"{name_of(known)} has written nothing{newer}."
    head = f"… {counted(lines.lost, 'earlier line')} left out (the most is {most_kept(bench) // 1024:,} KB) …\n"
    return (head if lines.lost else "") + "\n".join(lines.kept)


@typed(One)
async def docker_inspect(bench: Bench, arguments: One) -> str:
    """Show how a container is set up and fares: state, exit code, health, command, ports, mounts, networks, limits."""
    return summary(await inspect(bench, arguments.name), bench.now())


@typed(OneOrAll)
async def docker_stats(bench: Bench, arguments: OneOrAll) -> str:
    """Show what running containers use now: CPU, memory, network, disk, processes."""
    if arguments.name is None:
        running = [
            (names_of(entry)[0], text(entry, "Id")) for entry in documents(await bench.engine.get("containers/json"))
        ]
        if not running:
            return "No containers are running."
    else:
        known = await inspect(bench, arguments.name)
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
                    await bench.engine.get(f"containers/{quote(identity)}/stats", stream="false")
                )
            except NotThere:
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
    return table(header, rows) + cut


def most_kept(bench: Bench) -> int:
    """Return how many bytes of a log are kept: more where a run cuts it for the model, and has the whole in a file."""
    return KEPT_BYTES if bench.kept is None else MORE_KEPT_BYTES


async def last_lines(bench: Bench, known: Doc, asked: Mapping[str, str]) -> LastLines:
    """Return the lines of a container's log that ``asked`` (``tail``, ``since``) chooses, as many as may be kept.

    Raises:
        EngineUnavailable: the log cannot be read.
    """
    lines, stream = LastLines(most_kept(bench)), LogStream(framed=fields(known, "Config").get("Tty") is not True)
    path = f"containers/{quote(text(known, 'Id'))}/logs"
    async with bench.engine.reading(path, stdout="1", stderr="1", **asked) as chunks:
        async for chunk in chunks:
            for line in stream.feed(chunk):
                lines.add(line)
    for line in stream.rest():
        lines.add(line)
    return lines


async def inspect(bench: Bench, container: str) -> Doc:
    """Return what the engine knows about one container.

    Raises:
        EngineUnavailable: there is none of this name, with the nearest one; or the engine cannot be asked.
    """
    if _NAME.fullmatch(container):
        try:
            return document(await bench.engine.get(f"containers/{quote(container.removeprefix('/'))}/json"))
        except NotThere:
            pass
    names = [
        name for entry in documents(await bench.engine.get("containers/json", all="1")) for name in names_of(entry)
    ]
    sentence = f"No such container: {cell(container, 80)}."
    if near := nearest(container, names):
        sentence += f" D{near[1:]}"
    there = f"there are: {', '.join(sorted(names)[:20])}" if names else "there are no containers at all"
    raise EngineUnavailable(sentence, hint=f"{there}{', …' if len(names) > 20 else ''}   (docker ps -a)")


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
