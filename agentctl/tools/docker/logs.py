"""The tool that shows a container's log, and what to do where a log driver keeps none that can be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from pydantic import Field

from agentctl.core.text import escape_frames
from agentctl.tools.docker.client import EngineNotFound, EngineRefused
from agentctl.tools.docker.containers import CONTAINER, OnContainer, inspect_resolved, name_of, resolve_container
from agentctl.tools.docker.responses import (
    KEPT_BYTES,
    MORE_KEPT_BYTES,
    Doc,
    LastLines,
    LogStream,
    fields,
    parse_since,
    text,
)
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

#: Drivers that keep a file of the engine's own: their log is always readable, and without a line it is empty.
_IN_FILES = frozenset(("", "json-file", "local", "k8s-file"))

#: Options of log drivers that name a server to which the lines go.
_ADDRESSES = ("syslog-address", "gelf-address", "fluentd-address", "splunk-url")


class ContainerLogs(OnContainer):
    """The arguments of docker_logs."""

    offered = offer_as(tail="", since="like 2h or 2026-01-31T08:00")

    tail: int = Field(100, ge=1, le=10_000, description="how many of the last lines")
    since: str | None = Field(None, description='only newer than this: "10m", "2h", or a time like 2026-01-31T08:00')


@define_tool(ContainerLogs, resolve=resolve_container, target=CONTAINER)
async def docker_logs(context: ToolContext, arguments: ContainerLogs) -> str:
    """Show the last 100 (or tail) log lines of a container."""
    since = parse_since(arguments.since, context.now())
    container = await inspect_resolved(context, arguments)
    asked = {"tail": str(arguments.tail)} | ({} if since is None else {"since": f"{since:.6f}"})
    lines = await last_lines(context, container, asked)
    if not lines.kept:
        newer = f" since {cell(arguments.since)}" if arguments.since else ""
        if _driver(container) in _IN_FILES:
            return f"{name_of(container)} has written nothing{newer}."
        driver, where = cell(_driver(container), 40), _elsewhere(container, context.engine.product.program)
        return f"The engine has no line of {name_of(container)}{newer}; its log driver is {driver}: {where}"
    head = f"… {plural(lines.lost, 'earlier line')} left out (the most is {log_capacity(context) // 1024:,} KB) …\n"
    return (head if lines.lost else "") + "\n".join(lines.kept)


def log_capacity(context: ToolContext) -> int:
    """Return how many bytes of a log are kept: more if a run cuts it for the model and saves the whole in a file."""
    return KEPT_BYTES if context.run_files is None else MORE_KEPT_BYTES


async def last_lines(
    context: ToolContext, container: Doc, asked: Mapping[str, str], most: int | None = None
) -> LastLines:
    """Return the last lines of a container's log that ``asked`` (``tail``, ``since``) selects, as many as may be kept.

    That is ``most`` bytes; None: ``log_capacity``.

    Raises:
        EngineUnavailable: the log cannot be read; if that is due to its driver, the hint says where the lines are.
    """
    lines, stream = (
        LastLines(log_capacity(context) if most is None else most),
        LogStream(framed=fields(container, "Config").get("Tty") is not True),
    )
    path = f"containers/{quote(text(container, 'Id'))}/logs"
    try:
        async with context.engine.stream(path, stdout="1", stderr="1", **asked) as chunks:
            async for chunk in chunks:
                for line in stream.feed(chunk):
                    lines.add(escape_frames(line)[0])
    except EngineNotFound:
        raise
    except EngineRefused as error:
        if _driver(container) in _IN_FILES:
            raise
        raise EngineRefused(
            f"{name_of(container)} has no log that the engine can read (log driver {cell(_driver(container), 40)}): "
            f"{cell(error.reason.rpartition(': ')[2], 200)}.",
            code=error.code,
            reason=error.reason,
            hint=_elsewhere(container, context.engine.product.program),
        ) from error
    for line in stream.rest():
        lines.add(escape_frames(line)[0])
    return lines


def _driver(container: Doc) -> str:
    return text(container, "HostConfig", "LogConfig", "Type")


def _elsewhere(container: Doc, program: str) -> str:
    """Return the command that shows what a container writes, where its log driver sends it elsewhere or nowhere."""
    name, identity = name_of(container), text(container, "Id")[:12]
    attach = f"{program} attach --no-stdin --sig-proxy=false {name}"
    if _driver(container) == "journald":
        return f"sudo journalctl CONTAINER_NAME={name} -n 100"
    options = fields(container, "HostConfig", "LogConfig", "Config")
    address = next(filter(None, (text(options, option) for option in _ADDRESSES)), "")
    if address and not address.startswith("unix"):
        return f"its lines go to {cell(address)}   (or: {attach})"
    if _driver(container) == "syslog":
        tag = text(options, "tag") or "{{.ID}}"
        for word, value in (("{{.ID}}", identity), ("{{.FullID}}", text(container, "Id")), ("{{.Name}}", name)):
            tag = tag.replace(word, value)
        if re.fullmatch(r"\w[\w./-]*", tag, re.ASCII):  # no other template, nothing that a shell reads
            return f"sudo journalctl -t {tag} -n 100   (or: sudo grep {tag} /var/log/syslog)"
    return f"{attach}   (what it writes from now on)"
