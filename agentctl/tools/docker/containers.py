"""Resolve the name of a container, and show its configuration and state.

A name, an id or a compose service is resolved to the true name and the id before the call is judged
(``resolve_container``); the call then acts on that container only (``inspect_resolved``). ``summary`` shortens the
result of ``inspect`` and leaves secrets out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.targets import Subject, Target, fits
from agentctl.tools.docker.client import EngineNotFound
from agentctl.tools.docker.listings import ago, ports, short_image
from agentctl.tools.docker.responses import (
    Doc,
    document,
    documents,
    fields,
    has_process,
    many,
    moment,
    names_of,
    nearest,
    number,
    service_names,
    service_of,
    text,
    texts,
)
from agentctl.tools.tables import cell, facts, plural, size, span
from agentctl.tools.tool import Arguments, TargetLookup, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SHORT_ID = 12  # as engines show it


class OnContainer(Arguments):
    """The arguments of a tool for one container; agentctl sets ``id`` when it resolves ``name``, the model does not."""

    offered = offer_as(name="")

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
    """Return the engine's data on one container, called by its name, its id, or its compose service.

    Raises:
        EngineUnavailable: no container has this name (the hint has the nearest name), or the engine cannot be reached.
        ToolError: it is a service of several containers, or a project; the hint has their names.
    """
    named = container.removeprefix("/")
    found: Doc | None = None
    if _NAME.fullmatch(container):
        with suppress(EngineNotFound):
            found = document(await context.engine.get(f"containers/{quote(named)}/json"))
        if found is not None and not _may_be_service(found, named):
            return found
    listed = documents(await context.engine.get("containers/json", all="1"))
    parts = [(entry, part) for entry in listed if (part := service_of(fields(entry, "Labels"))) is not None]
    of_service = [(entry, part) for entry, part in parts if named in part.names and part.service != "-"]
    of_service = [pair for pair in of_service if not pair[1].is_one_off] or of_service
    if found is not None and (not of_service or [text(of_service[0][0], "Id")] == [text(found, "Id")]):
        return found
    if len(of_service) == 1 and found is None:
        return document(await context.engine.get(path_of(of_service[0][0], "json")))
    if of_service:
        which = [f"{names_of(entry)[0]} ({part.project}, {text(entry, 'State')})" for entry, part in of_service]
        which += [f"{name_of(found)} (its id begins so)"] if found is not None else []
        raise ToolError(
            f"{cell(container, 80)} may be one of {len(which)} containers: {cell(', '.join(sorted(which)), 600)}",
            hint="give the name of one of them",
        )
    if in_project := sorted(names_of(entry)[0] for entry, part in parts if part.project == named):
        raise ToolError(
            f"{cell(container, 80)} is a compose project, not a container",
            hint=f"give the name of one of its containers: {cell(', '.join(in_project), 600)}",
        )
    raise _no_such_container(container, listed, context.engine.product.program)


def _may_be_service(found: Doc, named: str) -> bool:
    """Return whether the engine found a container by the start of its id only, which may be a service's name, too."""
    name, identity = text(found, "Name").removeprefix("/"), text(found, "Id")
    return name != named and identity.startswith(named) and len(named) < _SHORT_ID


def _no_such_container(container: str, listed: Sequence[Doc], program: str) -> EngineUnavailable:
    names = [name for entry in listed for name in names_of(entry)]
    services = {name for entry in listed for name in service_names(fields(entry, "Labels"))}
    sentence = f"No such container: {cell(container, 80)}."
    if near := nearest(container, [*names, *sorted(services)]):
        sentence += f" D{near[1:]}"
    there = f"there are: {', '.join(sorted(names)[:20])}" if names else "there are no containers at all"
    return EngineUnavailable(sentence, hint=f"{there}{', …' if len(names) > 20 else ''}   ({program} ps -a)")


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
    """Return the names of a resolved container: its own, and those of its compose service.

    Raises:
        EngineUnavailable: the container is gone, or the engine cannot be reached.
    """
    if arguments.id is None:
        return Target("container", (arguments.name,))
    container = await _by_id(context, arguments.id)
    services = service_names(fields(container, "Config", "Labels"))
    return Target("container", (arguments.name, *services), arguments.id)


CONTAINER = TargetLookup("name", "container", _names)


def is_restricted(context: ToolContext, entry: Doc, tool: str, *, whole: bool = False) -> bool:
    """Return whether a deny or ask rule is about calls of ``tool`` for this listed container.

    Then a call that names no container must not show it. ``whole``: a rule about every call of that tool counts, too.
    """
    name = names_of(entry)[0]
    target = Target("container", (name, *service_names(fields(entry, "Labels"))), text(entry, "Id"))
    subject = Subject({"name": name}, {"name": target})
    return any((whole or rule.arguments) and fits(rule, tool, {}, subject) for rule in context.restricting)


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
            ("image", short_image(text(config, "Image"))),
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
    """Return the result of the health check, of an ended container the last one, or "" if there is none."""
    word = text(state, "Health", "Status")
    if not word or word == "none":
        return ""
    checks = many(state, "Health", "Log")
    last = text(checks[-1], "Output").strip()[:120] if checks else ""
    said = f", last check said: {last}" if last else ""
    when = "" if state.get("Running") is True else "when it ended: "
    return f"{when}{word}, {plural(number(state, 'Health', 'FailingStreak'), 'failure')} in a row{said}"


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


@define_tool(OnContainer, resolve=resolve_container, target=CONTAINER)
async def docker_inspect(context: ToolContext, arguments: OnContainer) -> str:
    """Show a container's state and configuration: exit code, restarts, health, ports, mounts."""
    return summary(await inspect_resolved(context, arguments), context.now())
