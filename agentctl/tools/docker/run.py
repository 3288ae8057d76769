"""The tool that runs a new, tightly confined container: removed when it ends, or left running on request."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import anyio
from pydantic import BeforeValidator, Field

from agentctl.core.errors import AgentctlError, EngineUnavailable, ToolError
from agentctl.core.impact import Impact
from agentctl.tools.docker.client import EngineRefused
from agentctl.tools.docker.containers import name_of, path_of
from agentctl.tools.docker.engine_impact import find_briefly, image_facts
from agentctl.tools.docker.exec import CommandOutput, shell_note, split_command, split_hint
from agentctl.tools.docker.images import IMAGE, OnImage, inspect_resolved_image, resolve_image
from agentctl.tools.docker.lifecycle import (
    CALL,
    describe_exit,
    describe_state,
    remove_container,
    remove_unconfirmed,
    watch_start,
)
from agentctl.tools.docker.orphans import OWNER, RUN, process_identity
from agentctl.tools.docker.responses import Doc, document, fields, number, text, texts
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import WORDS, Command, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")
_CREATE_S = 20.0
_START_S = 60.0
_MEGABYTE = 1024 * 1024
_SOCKETS = (Path("/run/docker.sock"), Path("/run/containerd/containerd.sock"), Path("/run/podman/podman.sock"))
MOST_PROCESSES = 256
CPUS = 1
_TMP = "rw,nosuid,nodev,noexec,size=67108864"
_LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}}
_PORT = re.compile(r"(?:(?:127\.0\.0\.1:)?(\d{1,5}):)?(\d{1,5})(?:/(tcp|udp))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


def _decoded(value: object) -> object:
    """Return the value of a text that is a JSON list or object, any other value unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def as_list(value: object) -> object:
    """Return ports as a list of texts: one port, or a number, is a list, too."""
    found = _decoded(value)
    items = [found] if isinstance(found, str) or type(found) is int else found
    if not isinstance(items, list):
        return items
    return [str(item) if type(item) is int else item for item in items]


def as_variables(value: object) -> object:
    """Return variables as a mapping of texts; ``NAME=VALUE`` and Docker's own list of those are one, too."""
    found = _decoded(value)
    items = [found] if isinstance(found, str) else found
    if isinstance(items, list) and all(isinstance(item, str) and "=" in item for item in items):
        return dict(item.split("=", 1) for item in items)
    if isinstance(found, dict):
        return {name: str(item) if type(item) in (int, float) else item for name, item in found.items()}
    return value


class RunContainer(OnImage):
    """The arguments of docker_run."""

    offered = offer_as(
        command=WORDS,
        ports="like 8080:80",
        workspace="mount it at /workspace, read-only",
        timeout=None,
        writable=None,
        memory_mb=None,
    )

    command: Command | None = Field(None, description="words or a list; for a shell write sh -c 'COMMAND'")
    name: str | None = None
    detach: bool = Field(False, description="leave it running")
    timeout: int = Field(60, ge=1, le=600, description="seconds, unless detached")
    network: bool = False
    ports: Annotated[list[str] | None, BeforeValidator(as_list)] = Field(None, description="8080:80, on 127.0.0.1")
    env: Annotated[dict[str, str] | None, BeforeValidator(as_variables)] = None
    workspace: bool = Field(False, description="see the workspace at /workspace, read-only")
    writable: bool = Field(False, description="root is writable; else only /tmp")
    memory_mb: int = Field(512, ge=16, le=8192)


async def resolve_run(context: ToolContext, arguments: RunContainer) -> RunContainer:
    """Return the arguments with the image's familiar name and id, after checking all the others, too.

    Raises:
        ToolError: an argument is wrong. EngineUnavailable: no such image, or the engine cannot be reached.
    """
    create_request(context, arguments, call="")
    return await resolve_image(context, arguments)


async def _impact(context: ToolContext, arguments: RunContainer) -> Impact:
    image, why = await find_briefly(context, f"images/{quote(arguments.id or arguments.image)}/json")
    facts = image_facts(image, context) if image is not None else f"id {arguments.id or 'unknown'}"
    words = split_command("docker_run", arguments.command) if arguments.command else []
    program = cell(words[0], 120) if words else "the image's own command"
    ports = port_bindings(arguments.ports or (), network=arguments.network)
    bound = [
        f"127.0.0.1:{entry['HostPort'] or 'any'} to {port}" for port, entries in ports.items() for entry in entries
    ]
    end = "leaves it running" if arguments.detach else f"removes it at its end, after {arguments.timeout} s at most"
    root = "a writable" if arguments.writable else "a read-only"
    network = "with" if arguments.network else "without"
    details = [
        f"confined: no capabilities, {root} root, {network} network; {end}",
        *([f"publishes ports of this machine: {', '.join(bound)}"] if bound else []),
        *([f"shows it the folder {context.workspace}, read-only"] if arguments.workspace else []),
    ]
    dangers = (f"the image could not be looked at: {why}",) if why else ()
    return Impact(
        f"runs {program} in a new container of the image {arguments.image} ({facts})", tuple(details), dangers
    )


@define_tool(RunContainer, effect="write", resolve=resolve_run, target=IMAGE, impact=_impact)
async def docker_run(context: ToolContext, arguments: RunContainer) -> str:
    """Run a new container, by default without network; wait for its end, show exit code and output, remove it."""
    await inspect_resolved_image(context, arguments)
    call = secrets.token_hex(8)
    try:
        with anyio.CancelScope(shield=True):  # interrupted, a busy engine could create it after the cleanup
            identity, warnings = await _create(context, arguments, call)
    except (EngineRefused, ToolError):
        raise
    except BaseException:  # the engine did not answer: it is unknown whether it was created
        await remove_unconfirmed(context, call)
        raise
    stays, remove = False, f"{context.engine.product.program} rm -f {identity[:12]}"
    try:
        container = document(await context.engine.get(f"containers/{identity}/json"))
        if arguments.id is not None and not text(container, "Image").removeprefix("sha256:").startswith(arguments.id):
            raise ToolError(
                f"{cell(arguments.image, 80)} refers to another image since this was requested", hint="ask again"
            )
        await _start(context, container, arguments)
        if arguments.detach:
            said, stays = await _leave_running(context, container), True
        else:
            said = await _wait_for_exit(context, container, arguments)
    except BaseException as error:
        why = await remove_container(context, identity)
        if why and isinstance(error, AgentctlError):
            error.hint = f"{error.hint}; its container is still there: {remove}".removeprefix("; ")
        raise
    if not stays and (why := await remove_container(context, identity)):
        said = f"{said}\nIts container could not be removed ({why}): {remove}"
    return "\n".join([said, *(f"note: the engine says: {cell(warning, 200)}" for warning in warnings)])


def create_request(context: ToolContext, arguments: RunContainer, *, call: str) -> dict[str, object]:
    """Return the body of the request that creates the container.

    Raises:
        ToolError: an argument is wrong, or the workspace cannot be mounted.
    """
    if arguments.name is not None and not _NAME.fullmatch(arguments.name):
        raise ToolError(
            f"docker_run: {cell(arguments.name, 80)!r} is not a valid container name",
            hint="use 2 to 63 letters, digits, _ . -",
        )
    ports = port_bindings(arguments.ports or (), network=arguments.network)
    workspace = _workspace(context) if arguments.workspace else None
    command = None if arguments.command is None else split_command("docker_run", arguments.command)
    made: dict[str, object] = {
        "Image": arguments.image,
        "Env": environment(arguments.env or {}),
        "ExposedPorts": {port: {} for port in ports},
        "Labels": {RUN: "detach" if arguments.detach else "wait", OWNER: process_identity(), CALL: call},
        "HostConfig": host_config(
            memory=arguments.memory_mb * _MEGABYTE,
            network=arguments.network,
            writable=arguments.writable,
            workspace=workspace,
            ports=ports,
        ),
    }
    if command is not None:
        made["Cmd"] = command
    if workspace is not None:
        made["WorkingDir"] = "/workspace"
        if os.geteuid() != 0:
            made["User"] = f"{os.geteuid()}:{os.getegid()}"  # without capabilities root could not read the user's files
    return made


def _workspace(context: ToolContext) -> Path:
    address = context.engine.address
    if address.path is None:
        raise ToolError(
            f"docker_run: the engine at {address} may be another machine, which does not have the workspace",
            hint="leave workspace out",
        )
    if context.denied is not None and (found := context.denied.find().places):
        # A container may run for long and cannot be kept from files that a rule hides, so it gets no workspace at all.
        raise ToolError(
            f"docker_run: the workspace holds {plural(len(found), 'file or folder', 'files or folders')} that a deny "
            "rule hides, and cannot be mounted",
            hint="leave workspace out",
        )
    return mountable_workspace(context.workspace, (Path(address.path), *_SOCKETS), context.private)


async def _create(context: ToolContext, arguments: RunContainer, call: str) -> tuple[str, list[str]]:
    body = create_request(context, arguments, call=call)
    name = arguments.name or f"agentctl-{call[:8]}"
    try:
        _, answer = await context.engine.change("POST", "containers/create", body=body, patience=_CREATE_S, name=name)
    except EngineRefused as error:
        if error.code == 409 or "name is already in use" in error.reason:  # Podman: 500
            raise ToolError(
                f"a container named {cell(name)} already exists",
                hint="choose another name, or remove that container with docker_rm",
            ) from error
        if "container-init" in error.reason:
            raise _no_init(context, error.reason) from error
        raise
    made = document(answer)
    if not (identity := text(made, "Id")):
        raise EngineUnavailable("The engine returned no container id.")
    return identity, texts(made, "Warnings")


async def _start(context: ToolContext, container: Doc, arguments: RunContainer) -> None:
    try:
        await context.engine.change("POST", path_of(container, "start"), patience=_START_S)
    except EngineRefused as error:
        said = " ".join(error.reason.split())
        if "docker-init" in said:
            raise _no_init(context, said) from error
        if "executable file not found" in said or ("no such file or directory" in said and "exec" in said):
            program = cell(text(container, "Path"), 80)
            hint = split_hint(text(container, "Path"))
            raise ToolError(f"{arguments.image} has no program {program}: {cell(said, 250)}", hint=hint) from error
        if "already allocated" in said or "address already in use" in said:
            raise ToolError(f"a port is already in use: {cell(said, 250)}", hint="publish another port") from error
        raise ToolError(f"the container did not start: {cell(said, 280)}") from error


def _no_init(context: ToolContext, said: str) -> ToolError:
    return ToolError(f"the engine's init program is missing: {cell(said, 200)}", hint=context.engine.product.init)


async def _leave_running(context: ToolContext, container: Doc) -> str:
    after, alive = await watch_start(context, container)
    if after is None:
        raise ToolError(f"{name_of(container)} was started, but was removed at once by someone else")
    if not alive:
        how = await describe_exit(context, after)
        raise ToolError(f"{name_of(container)} ended within a second, and was removed again.\n{how}")
    state = describe_state(after, context)
    return f"{name_of(after)} was started and keeps running (docker_stop, docker_rm end it).\n{state}"


async def _wait_for_exit(context: ToolContext, container: Doc, arguments: RunContainer) -> str:
    began = anyio.current_time()
    with anyio.move_on_after(arguments.timeout) as limit:
        await context.engine.change("POST", path_of(container, "wait"), patience=arguments.timeout + 30)
    took = anyio.current_time() - began
    if limit.cancelled_caught:
        await context.engine.change("POST", path_of(container, "stop"), patience=30, t="2")
    after = document(await context.engine.get(path_of(container, "json")))
    written = CommandOutput(more=context.run_files is not None)
    async with context.engine.stream(path_of(container, "logs"), stdout="1", stderr="1") as pieces:
        await written.read_from(pieces)
    code = number(after, "State", "ExitCode")
    head = f"exit code {code} after {took:.1f} s; the container was removed"
    if limit.cancelled_caught:
        head = f"timed out: it was stopped after {arguments.timeout} s and removed (timeout, 600 at most)"
    if fields(after, "State").get("OOMKilled") is True:
        head += f"\nit was killed for lack of memory (memory_mb={arguments.memory_mb})"
    if not arguments.writable and "Read-only file system" in written.text:
        head += "\nnote: it could write to /tmp only (writable=true lets it write everywhere)"
    note = shell_note(split_command("docker_run", arguments.command)) if arguments.command else ""
    return "\n".join(filter(None, (head, note, str(written))))


def host_config(
    *,
    memory: int,
    network: bool,
    writable: bool,
    workspace: Path | None,
    ports: Mapping[str, Sequence[Mapping[str, str]]],
) -> dict[str, object]:
    """Return the engine's ``HostConfig``; ``memory`` in bytes, ``workspace`` is mounted read-only or not at all.

    It grants no capabilities, new privileges, devices, host namespaces or restarts; it sets limits and bounds the log.
    """
    mount = {
        "Type": "bind",
        "Source": str(workspace),
        "Target": "/workspace",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }
    return {
        "NetworkMode": "bridge" if network else "none",
        "PortBindings": ports,
        "Mounts": [] if workspace is None else [mount],
        "Tmpfs": {} if writable else {"/tmp": _TMP},  # noqa: S108 - a container's own
        "ReadonlyRootfs": not writable,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "IpcMode": "private",
        "PidsLimit": MOST_PROCESSES,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": CPUS * 1_000_000_000,
        "Init": True,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": _LOG,
    }


def port_bindings(ports: Sequence[str], *, network: bool) -> dict[str, list[dict[str, str]]]:
    """Return the bindings of ports like ``8080:80`` (or ``80``: any free port), on 127.0.0.1 only.

    Raises:
        ToolError: one of them is not a port, or the container has no network.
    """
    if ports and not network:
        raise ToolError("docker_run: ports can be published with network=true only", hint="give network=true")
    bound: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        match = _PORT.fullmatch(port)
        if match is None or not 0 < int(match[2]) < 65536 or not int(match[1] or 0) < 65536:
            raise ToolError(
                f"docker_run: {cell(port, 40)!r} is not a valid port",
                hint="write HOST:CONTAINER, such as 8080:80, or 80; only 127.0.0.1 can reach it",
            )
        outside = {"HostIp": "127.0.0.1", "HostPort": match[1] or ""}
        bound.setdefault(f"{match[2]}/{match[3] or 'tcp'}", []).append(outside)
    return bound


def environment(env: Mapping[str, str]) -> list[str]:
    """Return the given environment in the engine's form, without any of our variables.

    Raises:
        ToolError: a name is invalid, or a value contains NUL.
    """
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ToolError(f"docker_run: invalid environment variable name {cell(name, 60)!r}, or NUL in its value")
    return [f"{name}={value}" for name, value in env.items()]


def mountable_workspace(workspace: Path, sockets: Sequence[Path], private: Sequence[Path] = ()) -> Path:
    """Return the real path of the workspace, if mounting it exposes no engine's socket and nothing ``private``.

    A read-only mount does not prevent connections to a socket in it.

    Raises:
        ToolError: it is the root folder, or contains an engine's socket or a folder of agentctl's own.
    """
    folder = workspace.resolve()
    if folder == Path("/"):
        raise ToolError(
            "the workspace is / and cannot be mounted", hint="run agentctl in a folder of its own: --workdir"
        )
    for socket in sockets:
        if socket.resolve().is_relative_to(folder):
            raise ToolError(
                f"the workspace {folder} holds the container engine's socket and cannot be mounted",
                hint="run agentctl in a folder of its own: --workdir",
            )
    for own in private:
        if own.resolve().is_relative_to(folder):
            raise ToolError(
                f"the workspace {folder} holds agentctl's own {own} and cannot be mounted",
                hint="run agentctl in a project's folder: --workdir",
            )
    return folder
