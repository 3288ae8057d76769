"""Tools for the machine: disks, memory, load, processes, listening ports, and system information."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import anyio
from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.core.targets import Target
from agentctl.sandbox.mount_table import Mount, mount_lines
from agentctl.tools.tables import cell, facts, plural, size, span, table
from agentctl.tools.tool import Arguments, NoArguments, TargetLookup, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

if TYPE_CHECKING:
    import psutil


_PSEUDO = frozenset(
    {"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devfs", "devpts", "devtmpfs"}
    | {"efivarfs", "fuse.gvfsd-fuse", "fuse.lxcfs", "fuse.portal", "fuse.snapfuse", "fusectl", "hugetlbfs", "mqueue"}
    | {"none", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs"}
    | {"tmpfs", "tracefs"}
)
_MEASURE_S = 0.2
_Row = tuple[int, str, float, int, str, str]


class DiskUsage(Arguments):
    """The arguments of system_disks."""

    offered = offer_as(path=None)

    path: str | None = Field(None, description="only the disk that holds this path")


async def _disk_target(context: ToolContext, arguments: DiskUsage) -> Target:
    """Return the names of the path that selects the disk; it may be outside the workspace."""
    return await anyio.to_thread.run_sync(_machine_path, context.workspace, arguments.path or ".")


def _machine_path(workspace: Path, path: str) -> Target:
    whole = os.path.join(workspace, os.path.expanduser(path))  # noqa: PTH111, PTH118
    names = (os.path.normpath(whole), os.path.realpath(whole))
    return Target("path", names, roots=(os.fspath(workspace),))


@define_tool(DiskUsage, target=TargetLookup("path", "path", _disk_target))
async def system_disks(context: ToolContext, arguments: DiskUsage) -> str:
    """Show free, used and total space of each mounted disk."""
    if arguments.path is None:
        rows = await anyio.to_thread.run_sync(_disks, abandon_on_cancel=True)
    else:
        rows = await anyio.to_thread.run_sync(_disk_of, context.workspace, arguments.path, abandon_on_cancel=True)
    if not rows:
        raise ToolError("no mounted disk can be seen from here", hint="name a path, such as /")
    return table(("mounted on", ">size", ">used", ">free", ">used %", "type", "device"), rows, most=60)


@define_tool(NoArguments)
async def system_memory(_: ToolContext, __: NoArguments) -> str:
    """Show RAM and swap: total, used, available."""
    import psutil

    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    rows = [("RAM", size(ram.total), size(ram.total - ram.available), size(ram.available), f"{ram.percent:.0f} %")]
    if swap.total:
        rows.append(("swap", size(swap.total), size(swap.used), size(swap.free), f"{swap.percent:.0f} %"))
    listed = table(("memory", ">total", ">used", ">available", ">used %"), rows)
    return listed if swap.total else f"{listed}\nThere is no swap."


@define_tool(NoArguments)
async def system_load(_: ToolContext, __: NoArguments) -> str:
    """Show load averages, CPU use and uptime."""
    import psutil

    before = psutil.cpu_times()
    await anyio.sleep(_MEASURE_S)
    one, five, fifteen = psutil.getloadavg()
    spent = [now - then for now, then in zip(psutil.cpu_times()[:8], before[:8], strict=True)]
    idle = spent[3] + (spent[4] if hasattr(before, "iowait") else 0.0)
    busy = 100 * (1 - idle / sum(spent)) if sum(spent) > 0 else 0.0
    cores = psutil.cpu_count() or 1
    return facts(
        [
            ("load average", f"{one:.2f} (1 min), {five:.2f} (5 min), {fifteen:.2f} (15 min)"),
            ("cpu", f"{max(0.0, busy):.0f} % busy, {plural(cores, 'core')}"),
            ("up", uptime()),
        ]
    )


def _disks() -> list[tuple[object, ...]]:
    return disk_rows(with_device_names([*mount_lines()]))


def with_device_names(found: Sequence[Mount]) -> Sequence[MountedDisk]:
    """Return the mounts of the table where it names each device, else those of psutil, which takes 5 ms to load."""
    if found and not any(mount.device in ("/dev/root", "rootfs") for mount in found):
        return found
    import psutil

    partitions: Sequence[MountedDisk] = psutil.disk_partitions(all=True)
    return partitions


class MountedDisk(Protocol):
    """The data of a mounted file system."""

    @property
    def mountpoint(self) -> str: ...
    @property
    def fstype(self) -> str: ...
    @property
    def device(self) -> str: ...


def disk_rows(found: Iterable[MountedDisk]) -> list[tuple[object, ...]]:
    """Return a row for each disk in ``found``, and one for the root in any case."""
    rows, seen = [], set[object]()
    mounts = [mount for mount in found if mount.fstype not in _PSEUDO and mount.fstype]
    for mount in sorted(mounts, key=lambda mount: (len(mount.mountpoint), mount.mountpoint)):
        layer = mount.fstype == "overlay" and mount.mountpoint != "/"  # a container's root on a disk already listed
        if layer:
            continue
        try:
            if not Path(mount.mountpoint).is_dir():
                continue
            identity = Path(mount.mountpoint).stat().st_dev  # the same device again is a bind mount
            row = _disk_row(mount.mountpoint, mount.fstype, mount.device)
        except OSError:
            continue
        if row is not None and identity not in seen:
            seen.add(identity)
            rows.append(row)
    if Path("/").stat().st_dev not in seen:  # after chroot or on a live system no mounted disk has that name
        row = _disk_row("/", "", "")
        rows += [row] if row is not None else []
    return sorted(rows, key=lambda row: str(row[0]))


def _disk_of(workspace: Path, path: str) -> list[tuple[object, ...]]:
    place = workspace / Path(path).expanduser()
    try:
        real = place.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as exc:
        raise ToolError(f"{place} does not exist", hint="name an existing path, or none for all disks") from exc
    mounts = {mount.mountpoint: mount for mount in with_device_names([*mount_lines()])}
    holder = next((mounts[str(folder)] for folder in (real, *real.parents) if str(folder) in mounts), None)
    row = _disk_row(str(real), holder.fstype if holder else "", holder.device if holder else "")
    if row is None:
        raise ToolError(f"{place} is on a pseudo file system, which has no size")
    return [((holder.mountpoint if holder else str(real)), *row[1:])]


def _disk_row(mountpoint: str, kind: str, device: str) -> tuple[object, ...] | None:
    total, used, free = shutil.disk_usage(mountpoint)
    if not total:
        return None
    percent = 100 * used / (used + free) if used + free else 0.0  # like df: space for root only does not count
    return (mountpoint, size(total), size(used), size(free), f"{percent:.0f} %", kind, device)


def uptime() -> str:
    """Return for how long the machine has been up, and since when."""
    import psutil

    since = psutil.boot_time()
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    return f"{span(time.time() - since)} (since {began})"


class SystemInfo(Arguments):
    """The arguments of system_info."""

    offered = offer_as(about=None)

    about: Literal["all", "system", "user", "addresses", "uptime"] = "all"


@define_tool(SystemInfo)
async def system_info(_: ToolContext, arguments: SystemInfo) -> str:
    """Describe the machine: OS, kernel, hardware, user, IP addresses, uptime."""
    parts = {"system": _system_facts, "user": _user_facts, "addresses": _addresses, "uptime": _uptime_facts}
    wanted = list(parts.values()) if arguments.about == "all" else [parts[arguments.about]]
    return "\n\n".join([await anyio.to_thread.run_sync(part) for part in wanted])


def _system_facts() -> str:
    import platform  # noqa: PLC0415 - a millisecond, for this alone

    import psutil

    try:
        name: str | None = platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        name = None
    cores, real = psutil.cpu_count(), psutil.cpu_count(logical=False)
    return facts(
        [
            ("host", socket.gethostname()),
            ("system", name or f"{platform.system()} {platform.release()}"),
            ("kernel", f"{platform.system()} {platform.release()}"),
            ("architecture", platform.machine()),
            ("cpu", f"{plural(cores or 1, 'core')}" + (f" ({real} real)" if real and real != cores else "")),
            ("memory", size(psutil.virtual_memory().total)),
        ]
    )


def _user_facts() -> str:
    uid = os.geteuid()
    try:
        entry: pwd.struct_passwd | None = pwd.getpwuid(uid)
    except KeyError:
        entry = None
    groups = []
    for gid in sorted({os.getegid(), *os.getgroups()}):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            groups.append(str(gid))
    return facts(
        [
            ("user", entry.pw_name if entry else f"(no name) {uid}"),
            ("uid", uid),
            ("groups", ", ".join(groups)),
            ("home", entry.pw_dir if entry else None),
            ("shell", entry.pw_shell if entry else None),
        ]
    )


def _addresses() -> str:
    import psutil

    rows = []
    up = psutil.net_if_stats()
    for name, addresses in sorted(psutil.net_if_addrs().items()):
        state = "up" if name in up and up[name].isup else "down"
        known = [cell(one.address) for one in addresses if one.family in (socket.AF_INET, socket.AF_INET6)]
        rows.append((name, state, ", ".join(known)))
    return table(("interface", "state", "addresses"), rows) if rows else "There are no network interfaces."


def _uptime_facts() -> str:
    return facts([("up", uptime())])


class ListProcesses(Arguments):
    """The arguments of system_processes."""

    offered = offer_as(name="part of name or command")

    sort: Literal["cpu", "memory", "name"] = "cpu"
    limit: int = Field(10, ge=1, le=200)
    name: str | None = Field(None, description="part of the name or command")


class ListPorts(Arguments):
    """The arguments of system_ports."""

    offered = offer_as(port="")

    port: int | None = Field(None, ge=1, le=65535, description="only this one")


@define_tool(ListProcesses)
async def system_processes(_: ToolContext, arguments: ListProcesses) -> str:
    """List the top processes: pid, user, CPU %, memory, command."""
    measured = await anyio.to_thread.run_sync(_every_process)
    await anyio.sleep(_MEASURE_S)
    found = await anyio.to_thread.run_sync(_processes, measured, (arguments.name or "").lower())
    if not found:
        return f'No process matches "{arguments.name}".'
    order: dict[str, Callable[[_Row], tuple[object, ...]]] = {
        "cpu": lambda row: (-row[2], -row[3], row[0]),
        "memory": lambda row: (-row[3], row[0]),
        "name": lambda row: (row[4].lower(), row[0]),
    }
    found.sort(key=order[arguments.sort])
    rows = [
        (pid, user, f"{cpu:.1f}", size(memory), name, command)
        for pid, user, cpu, memory, name, command in found[: arguments.limit]
    ]
    header = (">pid", "user", ">cpu %", ">memory", "name", "command")
    more = f"\n{len(rows)} of {plural(len(found), 'process', 'processes')} shown." if len(found) > len(rows) else ""
    return table(header, rows, most=80) + more


@define_tool(ListPorts)
async def system_ports(_: ToolContext, arguments: ListPorts) -> str:
    """List who listens on the network, or on one port: address, port, process."""
    rows = await anyio.to_thread.run_sync(_listeners, arguments.port)
    if not rows:
        return f"Nothing listens on port {arguments.port}." if arguments.port else "Nothing listens."
    unknown = any(row[3] is None for row in rows)
    note = "\nWho owns the others is visible to root only." if unknown and os.geteuid() != 0 else ""
    return table(("proto", "address", ">port", ">pid", "process"), rows) + note


def _every_process() -> list[psutil.Process]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            process.cpu_percent(None)  # starts the measurement
            found.append(process)
        except psutil.Error:
            continue
    return found


def _processes(measured: list[psutil.Process], part: str) -> list[_Row]:
    import psutil

    rows: list[_Row] = []
    for process in measured:
        try:
            known = process.as_dict(["name", "cmdline", "username", "memory_info"], ad_value=None)
            cpu = process.cpu_percent(None)
        except psutil.Error:
            continue
        command = " ".join(known["cmdline"] or [])[:400]
        name = known["name"] or "?"
        if part in name.lower() or part in command.lower():
            memory = known["memory_info"].rss if known["memory_info"] else 0
            rows.append((process.pid, known["username"] or "-", cpu, memory, name, command))
    return rows


def _listeners(port: int | None) -> list[tuple[object, ...]]:
    import psutil

    try:
        open_ones = psutil.net_connections(kind="inet")
    except psutil.AccessDenied as exc:
        raise ToolError("this system shows open ports to root only", hint="run it with sudo") from exc
    names: dict[int, str | None] = {}
    rows = set()
    for one in open_ones:
        tcp = one.type == socket.SOCK_STREAM
        if not one.laddr or (tcp and one.status != psutil.CONN_LISTEN) or (not tcp and one.raddr):
            continue
        if port is not None and one.laddr.port != port:
            continue
        if one.pid is not None and one.pid not in names:
            try:
                names[one.pid] = psutil.Process(one.pid).name()
            except psutil.Error:
                names[one.pid] = None
        proto = ("tcp" if tcp else "udp") + ("6" if one.family == socket.AF_INET6 else "")
        rows.add((proto, one.laddr.ip, one.laddr.port, one.pid, names.get(one.pid or 0)))
    return sorted(rows, key=lambda row: (row[2], row[0], row[1], row[3] or 0))
