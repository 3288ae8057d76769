"""What a container of a model may be: the whole of what the engine is told, and nothing else. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentctl.core.errors import ToolError
from agentctl.tools.tables import cell

MOST_PROCESSES = 256
CPUS = 1
_TMP = "rw,nosuid,nodev,noexec,size=67108864"
_LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}}
_PORT = re.compile(r"(?:(?:127\.0\.0\.1:)?(\d{1,5}):)?(\d{1,5})(?:/(tcp|udp))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


def host_config(
    *,
    memory: int,
    network: bool,
    writable: bool,
    workspace: Path | None,
    ports: Mapping[str, Sequence[Mapping[str, str]]],
) -> dict[str, object]:
    """Return the engine's ``HostConfig``; ``memory`` in bytes, ``workspace`` is mounted read-only or not at all.

    Without capabilities, new privileges, devices, the host's namespaces, restarts; with limits and a bounded log.
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
    """Return where ``8080:80`` (or ``80``: any free port) is published: on 127.0.0.1 only.

    Raises:
        ToolError: one of them is no port, or there is no network to publish it on.
    """
    if ports and not network:
        raise ToolError("docker_run: ports can be published with network=true only", hint="give network=true")
    bound: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        match = _PORT.fullmatch(port)
        if match is None or not 0 < int(match[2]) < 65536 or not int(match[1] or 0) < 65536:
            raise ToolError(
                f"docker_run: {cell(port, 40)!r} is no port",
                hint="write 8080:80 (the machine's, the container's) or 80; it is reached on 127.0.0.1 only",
            )
        outside = {"HostIp": "127.0.0.1", "HostPort": match[1] or ""}
        bound.setdefault(f"{match[2]}/{match[3] or 'tcp'}", []).append(outside)
    return bound


def environment(env: Mapping[str, str]) -> list[str]:
    """Return the environment as the engine wants it: what was given, nothing of ours.

    Raises:
        ToolError: a name or a value that cannot be.
    """
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ToolError(f"docker_run: {cell(name, 60)!r} is no variable's name, or its value holds NUL")
    return [f"{name}={value}" for name, value in env.items()]


def mountable_workspace(workspace: Path, sockets: Sequence[Path], private: Sequence[Path] = ()) -> Path:
    """Return the real path of the workspace, if mounting it hands out no engine's socket and nothing ``private``.

    A read-only mount does not stop a connection to a socket that lies in it.

    Raises:
        ToolError: it is the root folder, or an engine's socket or a folder of agentctl's own lies in it.
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


__all__ = ["CPUS", "MOST_PROCESSES", "environment", "host_config", "mountable_workspace", "port_bindings"]
