"""Say what gives a container power over its machine: privileges, mounts, namespaces, devices, a socket. Pure.

Unknown is not harmless: a field that the engine should have given, and has not, is a danger of its own.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from agentctl.tools.docker.responses import Doc, many, text, texts
from agentctl.tools.tables import cell

_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock", "dockershim.sock")
_SOCKET_FOLDERS = ("/", "/run", "/var/run", "/var", "/run/docker", "/run/containerd", "/run/podman", "/run/user")
_NAMESPACES = (
    ("PidMode", "sees and can end the machine's processes (pid namespace host)"),
    ("NetworkMode", "uses the machine's network, loopback included (network host)"),
    ("IpcMode", "shares memory with the machine's processes (ipc namespace host)"),
    ("UTSMode", "can rename the machine (uts namespace host)"),
    ("UsernsMode", "its root is the machine's root (user namespace host)"),
)
_UNCONFINED = {
    "seccomp": "has no filter of system calls (seccomp unconfined)",
    "apparmor": "has no AppArmor profile (apparmor unconfined)",
    "systempaths": "sees the kernel's files unmasked (systempaths unconfined)",
    "label": "has no SELinux label (label disable)",
}
_MOST = 12
_LONGEST = 300

UNCHECKED = "not checked whether the container is privileged or mounts the machine"


def dangers_of(container: Doc, volumes: Mapping[str, Doc], socket: str | None = None) -> tuple[str, ...]:
    """Return what gives an inspected container power over its machine, the worst first.

    ``volumes`` are the engine's data on its named volumes; one that is missing could not be looked up. ``socket`` is
    the path of the engine's own socket.
    """
    host = container.get("HostConfig")
    if not isinstance(host, dict) or not isinstance(host.get("Privileged"), bool):
        return (f"{UNCHECKED}: the engine did not say",)
    found = ["privileged: its root has all rights on the machine"] if host["Privileged"] else []
    found += _mounts(container, host, volumes, socket)
    found += [said for name, said in _NAMESPACES if text(host, name) == "host"]
    found += [
        f"shares the {name.removesuffix('Mode').lower()} namespace of another container ({cell(text(host, name), 80)})"
        for name, _ in _NAMESPACES
        if text(host, name).startswith("container:")
    ]
    found += _rights(host)
    more = [f"{len(found) - _MOST} more of this kind"] if len(found) > _MOST else []
    return (*found[:_MOST], *more)


def _rights(host: Doc) -> Iterator[str]:
    if added := texts(host, "CapAdd"):
        yield f"has added capabilities: {cell(', '.join(added), _LONGEST)}"
    if devices := [text(device, "PathOnHost") or "?" for device in many(host, "Devices")]:
        yield f"has devices of the machine: {cell(', '.join(devices), _LONGEST)}"
    if rules := texts(host, "DeviceCgroupRules"):
        yield f"may open devices: {cell('; '.join(rules), _LONGEST)}"
    for option in texts(host, "SecurityOpt"):
        name, _, value = option.replace(":", "=", 1).partition("=")
        if value in ("unconfined", "disable") and name in _UNCONFINED:
            yield _UNCONFINED[name]


def _mounts(container: Doc, host: Doc, volumes: Mapping[str, Doc], socket: str | None) -> list[str]:
    """Return a line for each mount of the machine's files; those of the engine's socket come first."""
    found = [
        (_source(entry, volumes), text(entry, "Destination"), entry.get("RW") is not False)
        for entry in many(container, "Mounts")
    ]
    seen = {target for _, target, _ in found}
    found += [bind for bind in _binds(host) if bind[1] not in seen]
    lines: list[tuple[bool, str]] = []
    for source, target, writable in found:
        if source is None:
            continue
        how = "writable" if writable else "read-only"
        at = f"at {cell(target, 120)}, {how}"
        if holds_socket(source, socket):
            lines.append(
                (
                    False,
                    f"mounts {cell(source, 120)} of the machine {at}: with the engine's socket it controls the machine",
                )
            )
        elif source == "":
            lines.append((True, f"mounts a volume {at}; whether it is a folder of the machine could not be checked"))
        else:
            lines.append((True, f"mounts {cell(source, 120)} of the machine {at}"))
    return [line for _, line in sorted(lines, key=lambda line: line[0])]


def _source(entry: Doc, volumes: Mapping[str, Doc]) -> str | None:
    """Return the machine's path that a mount shows, "" if that is unknown, None if it shows none."""
    kind = text(entry, "Type")
    if kind in ("tmpfs", "image", "npipe", "cluster"):
        return None
    if kind != "volume":
        return text(entry, "Source")
    volume = volumes.get(text(entry, "Name"))
    if volume is None:
        return ""
    device = text(volume, "Options", "device")
    return device if device.startswith("/") and "nfs" not in text(volume, "Options", "type") else None


def _binds(host: Doc) -> Iterator[tuple[str, str, bool]]:
    """Yield the bind mounts of the configuration, which a stopped container may show only there."""
    for bind in texts(host, "Binds"):
        source, _, rest = bind.partition(":")
        target, _, options = rest.partition(":")
        if source.startswith("/"):
            yield source, target, "ro" not in options.split(",")
    for entry in many(host, "Mounts"):
        if text(entry, "Type") == "bind":
            yield text(entry, "Source"), text(entry, "Target"), entry.get("ReadOnly") is not True


def holds_socket(source: str, socket: str | None = None) -> bool:
    """Return whether a path of the machine is, or holds, the socket of a container engine."""
    path = posixpath.normpath(source) if source else ""
    if posixpath.basename(path) in _SOCKETS or (path in _SOCKET_FOLDERS and path != ""):
        return True
    return socket is not None and path != "" and (socket == path or socket.startswith(path.rstrip("/") + "/"))


def named_volumes(container: Doc, most: int = 20) -> Sequence[str]:
    """Return the names of the volumes that a container mounts."""
    mounts = many(container, "Mounts")
    names = [text(entry, "Name") for entry in mounts if text(entry, "Type") == "volume" and text(entry, "Name")]
    return tuple(dict.fromkeys(names))[:most]
