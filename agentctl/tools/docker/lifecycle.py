"""Tools that start, stop, restart and remove a container; and the removal of docker_run's own."""

from __future__ import annotations

import json
import re
from datetime import datetime
from urllib.parse import quote

import anyio
from pydantic import Field

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.tools.docker.client import EngineNotFound, EngineRefused
from agentctl.tools.docker.containers import (
    CONTAINER,
    OnContainer,
    bindings_of,
    health_of,
    inspect_resolved,
    last_lines,
    name_of,
    path_of,
    resolve_container,
    state_of,
)
from agentctl.tools.docker.responses import Doc, document, documents, fields, many, number, text
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import define_tool
from agentctl.tools.toolbox import ToolContext

WATCHED_S = 1.0
_LOOK_AGAIN_S = 0.1
_LAST_LINES = 20
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{1,9})Z ")
_PATIENCE_S = 30.0  # beyond the grace time; the engine answers after the container has stopped
CALL = "agentctl.call"
_CLEANUP_S = 10.0
_APPEARS_S = 2.0


class StartContainer(OnContainer):
    """The arguments of docker_start."""


class StopContainer(OnContainer):
    """The arguments of docker_stop and docker_restart."""

    timeout: int = Field(10, ge=0, le=300, description="seconds until it is killed")


class RemoveContainer(OnContainer):
    """The arguments of docker_rm."""

    force: bool = Field(False, description="kill it if it runs")
    volumes: bool = Field(False, description="its anonymous volumes too")


@define_tool(StartContainer, effect="write", resolve=resolve_container, target=CONTAINER)
async def docker_start(context: ToolContext, arguments: StartContainer) -> str:
    """Start a stopped container."""
    before = await inspect_resolved(context, arguments)
    since = await _log_end(context, before)
    status, _ = await context.engine.change("POST", path_of(before, "start"), patience=_PATIENCE_S)
    if status == 304:
        return f"{name_of(before)} is already running: nothing was changed.\n{describe_state(before, context)}"
    return await _report_start(context, before, "started", since)


@define_tool(StopContainer, effect="write", resolve=resolve_container, target=CONTAINER)
async def docker_restart(context: ToolContext, arguments: StopContainer) -> str:
    """Restart a container (or start it) and show its state a second later."""
    before = await inspect_resolved(context, arguments)
    since = await _log_end(context, before)
    patience = arguments.timeout + _PATIENCE_S
    await context.engine.change("POST", path_of(before, "restart"), patience=patience, t=str(arguments.timeout))
    return await _report_start(context, before, "restarted", since)


@define_tool(StopContainer, effect="write", resolve=resolve_container, target=CONTAINER)
async def docker_stop(context: ToolContext, arguments: StopContainer) -> str:
    """Stop a container."""
    before = await inspect_resolved(context, arguments)
    name, patience = name_of(before), arguments.timeout + _PATIENCE_S
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


@define_tool(RemoveContainer, effect="destructive", resolve=resolve_container, target=CONTAINER)
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
        if error.code == 409 and not arguments.force and fields(before, "State").get("Running") is True:
            raise ToolError(
                f"{name} is running and was not removed", hint="stop it with docker_stop, or kill it with force=true"
            ) from error
        raise
    kept = sorted(cell(text(mount, "Name"), 80) for mount in many(before, "Mounts") if text(mount, "Type") == "volume")
    named = [volume for volume in kept if not _is_anonymous(volume)]
    stay = named if arguments.volumes else kept
    left = f" Volumes that stay: {', '.join(stay)}." if stay else ""
    return f"{name} was removed (it was {cell(text(before, 'State', 'Status'))}).{left}"


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


async def describe_exit(context: ToolContext, after: Doc, since: str | None = None) -> str:
    """Describe the exit of a container that was just started: its exit code, the reason, its last lines ``since``
    then.
    """
    state = fields(after, "State")
    said = [f"exit code: {number(state, 'ExitCode')}"]
    if state.get("OOMKilled") is True:
        said.append("it was killed for lack of memory")
    if state.get("Restarting") is True:
        said.append("its restart policy starts it again and again")
    if error := text(state, "Error"):
        said.append(cell(error, 300))
    asked = {"tail": str(_LAST_LINES)} | ({} if since is None else {"since": since})
    try:
        lines = await last_lines(context, after, asked)
    except EngineUnavailable as error:
        return "\n".join([*said, f"its log cannot be read: {error.message}"])
    if not lines.kept:
        return "\n".join([*said, "it wrote nothing"])
    return "\n".join([*said, f"the last {plural(len(lines.kept), 'line')} that it wrote:", *lines.kept])


async def _report_start(context: ToolContext, before: Doc, deed: str, since: str | None) -> str:
    name = name_of(before)
    after, alive = await watch_start(context, before)
    if after is None:
        return f"{name} was {deed}, ended at once and was removed, as it was made with --rm."
    if alive:
        return f"{name} was {deed}.\n{describe_state(after, context)}"
    return f"{name} was {deed}, but it ended within a second.\n{await describe_exit(context, after, since)}"


async def _log_end(context: ToolContext, container: Doc) -> str | None:
    """Return the moment just after a log's latest line, in seconds since 1970 with nine decimals; None without a line.

    The engine records stdout and stderr separately, so the last line need not be the latest.
    """
    try:
        lines = await last_lines(context, container, {"tail": str(_LAST_LINES), "timestamps": "1"})
    except EngineUnavailable:
        return None
    stamps = [
        int(datetime.fromisoformat(f"{match[1]}+00:00").timestamp()) * 10**9 + int(match[2].ljust(9, "0"))
        for match in map(_STAMP.match, lines.kept)
        if match
    ]
    return None if not stamps else f"{(max(stamps) + 1) // 10**9}.{(max(stamps) + 1) % 10**9:09}"


def _is_anonymous(volume: str) -> bool:
    return len(volume) == 64 and all(letter in "0123456789abcdef" for letter in volume)


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
