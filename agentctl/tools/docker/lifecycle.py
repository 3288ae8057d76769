"""Tools that start, stop, restart, pause and remove a container; and the removal of docker_run's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

import anyio
from pydantic import Field

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.impact import Impact
from agentctl.tools.docker.client import EngineNotFound, EngineRefused
from agentctl.tools.docker.containers import (
    CONTAINER,
    OnContainer,
    bindings_of,
    health_of,
    inspect_resolved,
    name_of,
    path_of,
    resolve_container,
    state_of,
)
from agentctl.tools.docker.engine_impact import container_impact, is_anonymous, removed_volumes
from agentctl.tools.docker.logs import last_lines
from agentctl.tools.docker.responses import Doc, document, documents, fields, many, number, text
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

WATCHED_S = 1.0
_LOOK_AGAIN_S = 0.1
_LAST_LINES = 20
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")
_PATIENCE_S = 30.0  # beyond the grace time; the engine answers after the container has stopped
CALL = "agentctl.call"
_CLEANUP_S = 10.0
_APPEARS_S = 2.0


class LogEnd(NamedTuple):
    """The end of a log: ``since`` in seconds since 1970, and how many older lines the engine gives from there on."""

    since: str
    skipped: int = 0


class StartContainer(OnContainer):
    """The arguments of docker_start."""


class StopContainer(OnContainer):
    """The arguments of docker_stop and docker_restart."""

    offered = offer_as(timeout=None)

    timeout: int = Field(10, ge=0, le=300, description="seconds until it is killed")


class PauseContainer(OnContainer):
    """The arguments of docker_pause and docker_unpause."""


class RemoveContainer(OnContainer):
    """The arguments of docker_rm."""

    offered = offer_as(volumes=None)

    force: bool = Field(False, description="kill it if it runs")
    volumes: bool = Field(False, description="its anonymous volumes too")


async def _impact_of_start(context: ToolContext, arguments: StartContainer) -> Impact:
    return await container_impact(context, arguments, "starts")


async def _impact_of_restart(context: ToolContext, arguments: StopContainer) -> Impact:
    killed = (f"kills what has not stopped after {plural(arguments.timeout, 'second')}",)
    return await container_impact(context, arguments, "restarts", details=lambda container: killed)


async def _impact_of_stop(context: ToolContext, arguments: StopContainer) -> Impact:
    killed = (f"kills what has not stopped after {plural(arguments.timeout, 'second')}",)
    return await container_impact(context, arguments, "stops", details=lambda container: killed, risky=False)


async def _impact_of_pause(context: ToolContext, arguments: PauseContainer) -> Impact:
    return await container_impact(context, arguments, "pauses", risky=False)


async def _impact_of_unpause(context: ToolContext, arguments: PauseContainer) -> Impact:
    return await container_impact(context, arguments, "lets go on")


async def _impact_of_removal(context: ToolContext, arguments: RemoveContainer) -> Impact:
    def details(container: Doc) -> tuple[str, ...]:
        runs = arguments.force and fields(container, "State").get("Running") is True
        killed = ("kills it first: it is running",) if runs else ()
        return (*killed, *removed_volumes(container, volumes=arguments.volumes))

    return await container_impact(
        context, arguments, "removes for good, with all files that it wrote,", details=details, risky=False
    )


@define_tool(StartContainer, effect="write", resolve=resolve_container, target=CONTAINER, impact=_impact_of_start)
async def docker_start(context: ToolContext, arguments: StartContainer) -> str:
    """Start a stopped container."""
    before = await inspect_resolved(context, arguments)
    end = await _log_end(context, before)
    with _paused_hint(before):
        status, _ = await context.engine.change("POST", path_of(before, "start"), patience=_PATIENCE_S)
    if status == 304:
        return f"{name_of(before)} is already running: nothing was changed.\n{describe_state(before, context)}"
    return await _report_start(context, before, "started", end)


@define_tool(StopContainer, effect="write", resolve=resolve_container, target=CONTAINER, impact=_impact_of_restart)
async def docker_restart(context: ToolContext, arguments: StopContainer) -> str:
    """Restart or start a container; show its state a second later."""
    before = await inspect_resolved(context, arguments)
    end = await _log_end(context, before)
    patience = arguments.timeout + _PATIENCE_S
    with _paused_hint(before):
        await context.engine.change("POST", path_of(before, "restart"), patience=patience, t=str(arguments.timeout))
    return await _report_start(context, before, "restarted", end)


@define_tool(StopContainer, effect="write", resolve=resolve_container, target=CONTAINER, impact=_impact_of_stop)
async def docker_stop(context: ToolContext, arguments: StopContainer) -> str:
    """Stop a container."""
    before = await inspect_resolved(context, arguments)
    name, patience = name_of(before), arguments.timeout + _PATIENCE_S
    with _paused_hint(before):
        status, _ = await context.engine.change(
            "POST", path_of(before, "stop"), patience=patience, t=str(arguments.timeout)
        )
    if status == 304:
        return f"{name} is not running: nothing was changed.\n{describe_state(before, context)}"
    try:
        after = document(await context.engine.get(path_of(before, "json")))
    except EngineNotFound:
        return f"{name} was stopped, and removed as it was started with --rm."
    code = number(after, "State", "ExitCode")
    killed = f" (killed: it did not end by itself within {arguments.timeout} s)" if code == 137 else ""
    return f"{name} was stopped: exit code {code}{killed}."


@define_tool(PauseContainer, effect="write", resolve=resolve_container, target=CONTAINER, impact=_impact_of_pause)
async def docker_pause(context: ToolContext, arguments: PauseContainer) -> str:
    """Pause a running container: its processes stay in memory."""
    before = await inspect_resolved(context, arguments)
    return await _set_paused(context, before, paused=True)


@define_tool(PauseContainer, effect="write", resolve=resolve_container, target=CONTAINER, impact=_impact_of_unpause)
async def docker_unpause(context: ToolContext, arguments: PauseContainer) -> str:
    """Let a paused container go on."""
    before = await inspect_resolved(context, arguments)
    return await _set_paused(context, before, paused=False)


@define_tool(
    RemoveContainer, effect="destructive", resolve=resolve_container, target=CONTAINER, impact=_impact_of_removal
)
async def docker_rm(context: ToolContext, arguments: RemoveContainer) -> str:
    """Remove a container for good."""
    before = await inspect_resolved(context, arguments)
    name = name_of(before)
    force, volumes = str(int(arguments.force)), str(int(arguments.volumes))
    try:
        await context.engine.change("DELETE", path_of(before), patience=_PATIENCE_S, force=force, v=volumes)
    except EngineNotFound:
        return f"{name} is gone: it was already removed."
    except EngineRefused as error:
        if not arguments.force and fields(before, "State").get("Running") is True:  # Docker: 409, Podman: 500
            raise ToolError(
                f"{name} is running and was not removed", hint="stop it with docker_stop, or kill it with force=true"
            ) from error
        raise
    kept = sorted(cell(text(mount, "Name"), 80) for mount in many(before, "Mounts") if text(mount, "Type") == "volume")
    named = [volume for volume in kept if not is_anonymous(volume)]
    stay = named if arguments.volumes else kept
    left = f" Volumes that stay: {', '.join(stay)}." if stay else ""
    return f"{name} was removed (it was {cell(text(before, 'State', 'Status'))}).{left}"


async def _set_paused(context: ToolContext, before: Doc, *, paused: bool) -> str:
    name, state = name_of(before), fields(before, "State")
    if (state.get("Paused") is True) is paused:
        is_so = "already" if paused else "not"
        return f"{name} is {is_so} paused: nothing was changed.\n{describe_state(before, context)}"
    if state.get("Running") is not True:
        raise ToolError(f"{name} is not running and cannot be paused", hint="look at it with docker_ps(all=true)")
    await context.engine.change("POST", path_of(before, "pause" if paused else "unpause"), patience=_PATIENCE_S)
    after = document(await context.engine.get(path_of(before, "json")))
    return f"{name} {'was paused' if paused else 'goes on'}.\n{describe_state(after, context)}"


@contextmanager
def _paused_hint(before: Doc) -> Iterator[None]:
    """Give the engine's refusal to act on a paused container a hint.

    Raises:
        EngineRefused: the engine refused; if the container is paused, the hint says how it goes on.
    """
    try:
        yield
    except EngineRefused as error:
        if fields(before, "State").get("Paused") is not True:
            raise
        name = name_of(before)
        raise EngineRefused(
            f"{name} is paused, and the engine does not do this: {cell(error.reason, 200)}.",
            code=error.code,
            reason=error.reason,
            hint=f"first: docker_unpause(name={name})",
        ) from error


def describe_state(container: Doc, context: ToolContext) -> str:
    """Describe a container's state: since when, its exit code or health, its ports."""
    state = fields(container, "State")
    said = [f"state: {state_of(state, context.now())}"]
    if state.get("Running") is not True:
        said.append(f"exit code: {number(state, 'ExitCode')}")
    if health := health_of(state):
        said.append(f"health: {cell(health, 300)}")
    if ports := bindings_of(fields(container, "NetworkSettings", "Ports")):
        said.append(f"ports: {cell(ports, 300)}")
    return "\n".join(said)


async def watch_start(context: ToolContext, before: Doc) -> tuple[Doc | None, bool]:
    """Watch a container for its first second; return it and whether it still runs, or None if it removed itself."""
    began = anyio.current_time()
    while True:
        await anyio.sleep(_LOOK_AGAIN_S)
        try:
            after = document(await context.engine.get(path_of(before, "json")))
        except EngineNotFound:
            return None, False
        state = fields(after, "State")
        again = state.get("Restarting") is True or number(after, "RestartCount") > 0  # a manual start resets it to 0
        if again or state.get("Running") is not True:
            return after, False
        if anyio.current_time() - began >= WATCHED_S:
            return after, True


async def describe_exit(context: ToolContext, after: Doc, end: LogEnd | None = None) -> str:
    """Describe the exit of a container that was just started: its exit code, the reason, its lines after ``end``."""
    state = fields(after, "State")
    said = [f"exit code: {number(state, 'ExitCode')}"]
    if state.get("OOMKilled") is True:
        said.append("it was killed for lack of memory")
    if state.get("Restarting") is True:
        said.append("its restart policy starts it again and again")
    if error := text(state, "Error"):
        said.append(cell(error, 300))
    skipped = 0 if end is None else end.skipped
    asked = {"tail": str(_LAST_LINES + skipped)} | ({} if end is None else {"since": end.since})
    try:
        lines = await last_lines(context, after, asked)
    except EngineUnavailable as error:
        return "\n".join([*said, f"its log cannot be read: {error.message}"])
    new = list(lines.kept)[max(0, skipped - lines.lost) :]
    if not new:
        return "\n".join([*said, "it wrote nothing"])
    return "\n".join([*said, f"the last {plural(len(new), 'line')} that it wrote:", *new])


async def _report_start(context: ToolContext, before: Doc, deed: str, end: LogEnd | None) -> str:
    name = name_of(before)
    after, alive = await watch_start(context, before)
    if after is None:
        return f"{name} was {deed}, ended at once and was removed, as it was made with --rm."
    if alive:
        return f"{name} was {deed}.\n{describe_state(after, context)}"
    return f"{name} was {deed}, but it ended within a second.\n{await describe_exit(context, after, end)}"


async def _log_end(context: ToolContext, container: Doc) -> LogEnd | None:
    """Return the end of a container's log; None without a line.

    The engine records stdout and stderr separately, so the last line need not be the latest.
    """
    try:
        lines = await last_lines(context, container, {"tail": str(_LAST_LINES), "timestamps": "1"})
        found = [match for match in map(_STAMP.match, lines.kept) if match]
        if not found:
            return None
        stamps = [
            int(datetime.fromisoformat(f"{match[1]}{match[3].replace('Z', '+00:00')}").timestamp()) * 10**9
            + int((match[2] or "").ljust(9, "0"))
            for match in found
        ]
        if any(match[2] for match in found):
            return LogEnd(f"{(max(stamps) + 1) // 10**9}.{(max(stamps) + 1) % 10**9:09}")
        since = str(max(stamps) // 10**9)  # Podman gives whole seconds: later lines may be of the same one
        same = await last_lines(context, container, {"tail": "10000", "since": since})
    except EngineUnavailable:
        return None
    return LogEnd(since, len(same.kept) + same.lost)


async def remove_container(context: ToolContext, identity: str) -> str:
    """Kill and remove one container of ours, even while being cancelled; return why that failed, or ""."""
    with anyio.move_on_after(_CLEANUP_S, shield=True):
        try:
            await context.engine.change("DELETE", f"containers/{quote(identity)}", force="1", v="1")
        except EngineNotFound:
            return ""
        except EngineUnavailable as error:
            return error.message
        return ""
    return f"the engine did not answer within {_CLEANUP_S:g} s"


async def remove_unconfirmed(context: ToolContext, call: str) -> None:
    """Remove the container of an interrupted call, whether or not the engine had already created it."""
    chosen = json.dumps({"label": [f"{CALL}={call}"]})
    with anyio.move_on_after(_APPEARS_S, shield=True):
        while True:
            try:
                found = documents(await context.engine.get("containers/json", all="1", filters=chosen))
            except EngineUnavailable:
                return
            for entry in found:
                await remove_container(context, text(entry, "Id"))
            if found:
                return
            await anyio.sleep(0.1)
