"""A new container in a tight frame: run to its end and removed, or left running on request."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import anyio
from pydantic import Field

from agentctl.core.errors import AgentctlError, EngineUnavailable, ToolError
from agentctl.tools.docker.argv import Written, shell_note, split_command
from agentctl.tools.docker.confined import environment, host_config, mountable, port_bindings
from agentctl.tools.docker.containers import path_of
from agentctl.tools.docker.engine import EngineRefused
from agentctl.tools.docker.images_ import IMAGE, OnImage, the_image, the_very_image
from agentctl.tools.docker.leftovers import CALL, OWNER, RUN, owner, remove, remove_unknown, sweep
from agentctl.tools.docker.lifecycle import death, fate, standing
from agentctl.tools.docker.responses import Doc, document, fields, number, text, texts
from agentctl.tools.docker.summary import name_of
from agentctl.tools.tables import cell, counted
from agentctl.tools.tool import Bench
from agentctl.tools.typed import typed

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")
_CREATE_S = 20.0
_START_S = 60.0
_MEGABYTE = 1024 * 1024
_SOCKETS = (Path("/run/docker.sock"), Path("/run/containerd/containerd.sock"), Path("/run/podman/podman.sock"))


class Run(OnImage):
    """What to run, for how long, with what."""

    command: str | None = Field(None, description="words, no shell: for one write sh -c '…'")
    name: str | None = None
    detach: bool = Field(False, description="leave it running")
    timeout: int = Field(60, ge=1, le=600, description="seconds, unless detached")
    network: bool = False
    ports: list[str] | None = Field(None, description="8080:80, on 127.0.0.1")
    env: dict[str, str] | None = None
    workspace: bool = Field(False, description="see the workspace at /workspace, read-only")
    writable: bool = Field(False, description="root is writable; else only /tmp")
    memory_mb: int = Field(512, ge=16, le=8192)


async def checked(bench: Bench, arguments: Run) -> Run:
    """Return the arguments with the image's familiar name and id; whatever else is wrong is said now, too.

    Raises:
        ToolError: a wrong argument; EngineUnavailable: no such image, or the engine cannot be asked.
    """
    request(bench, arguments, call="")
    return await the_image(bench, arguments)


@typed(Run, effect="write", resolve=checked, target=IMAGE)
async def docker_run(bench: Bench, arguments: Run) -> str:
    """Run a new container without network or privileges; wait for its end, tell exit code and output, remove it."""
    await sweep(bench)
    await the_very_image(bench, arguments)
    call = secrets.token_hex(8)
    try:
        with anyio.CancelScope(shield=True):  # broken off, a busy engine would make it when nobody looks any more
            identity, warnings = await _made(bench, arguments, call)
    except (EngineRefused, ToolError):
        raise
    except BaseException:  # the engine went silent: nobody knows whether it was made
        await remove_unknown(bench, call)
        raise
    stays = False
    try:
        known = document(await bench.engine.get(f"containers/{identity}/json"))
        if arguments.id is not None and not text(known, "Image").removeprefix("sha256:").startswith(arguments.id):
            raise ToolError(
                f"{cell(arguments.image, 80)} has become another image since this was asked", hint="ask again"
            )
        await _started(bench, known, arguments)
        if arguments.detach:
            said, stays = await _left_running(bench, known), True
        else:
            said = await _to_its_end(bench, known, arguments)
    except BaseException as error:
        why = await remove(bench, identity)
        if why and isinstance(error, AgentctlError):
            error.hint = f"{error.hint}; its container is still there: docker rm -f {identity[:12]}".removeprefix("; ")
        raise
    if not stays and (why := await remove(bench, identity)):
        said = f"{said}\nIts container could not be removed ({why}): docker rm -f {identity[:12]}"
    return "\n".join([said, *(f"note: the engine says: {cell(warning, 200)}" for warning in warnings)])


def request(bench: Bench, arguments: Run, *, call: str) -> dict[str, object]:
    """Return what the engine is asked to make.

    Raises:
        ToolError: an argument is wrong, or the workspace cannot be mounted.
    """
    if arguments.name is not None and not _NAME.fullmatch(arguments.name):
        raise ToolError(
            f"docker_run: {cell(arguments.name, 80)!r} is no container's name", hint="letters, digits, _ . - (2 to 63)"
        )
    ports = port_bindings(arguments.ports or (), network=arguments.network)
    workspace = _workspace(bench) if arguments.workspace else None
    command = None if arguments.command is None else split_command("docker_run", arguments.command)
    made: dict[str, object] = {
        "Image": arguments.image,
        "Env": environment(arguments.env or {}),
        "ExposedPorts": {port: {} for port in ports},
        "Labels": {RUN: "detach" if arguments.detach else "wait", OWNER: owner(), CALL: call},
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


def _workspace(bench: Bench) -> Path:
    address = bench.engine.address
    if address.path is None:
        raise ToolError(
            f"docker_run: the engine at {address} may be another machine, which does not have the workspace",
            hint="leave workspace out",
        )
    if bench.denied is not None and (found := bench.denied.find().places):
        # A container may go on for long, and could not be kept from what a rule hides: so it gets no workspace at all.
        raise ToolError(
            f"docker_run: the workspace holds {counted(len(found), 'file or folder', 'files or folders')} that a deny "
            "rule hides, and cannot be mounted",
            hint="leave workspace out",
        )
    return mountable(bench.workspace, (Path(address.path), *_SOCKETS), bench.private)


async def _made(bench: Bench, arguments: Run, call: str) -> tuple[str, list[str]]:
    body = request(bench, arguments, call=call)
    name = arguments.name or f"agentctl-{call[:8]}"
    try:
        _, answer = await bench.engine.change("POST", "containers/create", body=body, patience=_CREATE_S, name=name)
    except EngineRefused as error:
        if error.code == 409:
            raise ToolError(
                f"there is a container {cell(name)} already", hint="choose another name, or docker_rm it first"
            ) from error
        raise
    made = document(answer)
    if not (identity := text(made, "Id")):
        raise EngineUnavailable("The container engine made a container and did not say which.")
    return identity, texts(made, "Warnings")


async def _started(bench: Bench, known: Doc, arguments: Run) -> None:
    try:
        await bench.engine.change("POST", path_of(known, "start"), patience=_START_S)
    except EngineRefused as error:
        said = " ".join(error.said.split())
        if "docker-init" in said:
            raise ToolError(
                f"the engine lacks its init program: {cell(said, 200)}", hint="sudo apt-get install tini"
            ) from error
        if "executable file not found" in said or ("no such file or directory" in said and "exec" in said):
            program = cell(text(known, "Path"), 80)
            raise ToolError(f"{arguments.image} has no program {program}: {cell(said, 250)}") from error
        if "already allocated" in said or "address already in use" in said:
            raise ToolError(f"a port is taken: {cell(said, 250)}", hint="publish another port") from error
        raise ToolError(f"the container did not start: {cell(said, 280)}") from error


async def _left_running(bench: Bench, known: Doc) -> str:
    after, alive = await fate(bench, known)
    if after is None:
        raise ToolError(f"{name_of(known)} was started, and somebody removed it at once")
    if not alive:
        how = await death(bench, after)
        raise ToolError(f"{name_of(known)} ended within a second, and was removed again.\n{how}")
    return f"{name_of(after)} was started and keeps running (docker_stop, docker_rm end it).\n{standing(after, bench)}"


async def _to_its_end(bench: Bench, known: Doc, arguments: Run) -> str:
    began = anyio.current_time()
    with anyio.move_on_after(arguments.timeout) as limit:
        await bench.engine.change("POST", path_of(known, "wait"), patience=arguments.timeout + 30)
    took = anyio.current_time() - began
    if limit.cancelled_caught:
        await bench.engine.change("POST", path_of(known, "stop"), patience=30, t="2")
    after = document(await bench.engine.get(path_of(known, "json")))
    written = Written(more=bench.kept is not None)
    async with bench.engine.reading(path_of(known, "logs"), stdout="1", stderr="1") as pieces:
        await written.take(pieces)
    code = number(after, "State", "ExitCode")
    head = f"exit code {code} after {took:.1f} s; the container was removed"
    if limit.cancelled_caught:
        head = f"timed out: it was stopped after {arguments.timeout} s and removed (timeout, 600 at most)"
    if fields(after, "State").get("OOMKilled") is True:
        head += f"\nit was killed for lack of memory (memory_mb={arguments.memory_mb})"
    note = shell_note(split_command("docker_run", arguments.command)) if arguments.command else ""
    return "\n".join(filter(None, (head, note, str(written))))


__all__ = ["checked", "docker_run", "request"]
