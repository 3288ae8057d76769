"""Tools for the machine's processes and for who listens on its network."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import anyio
from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.tools.tables import plural, size, table
from agentctl.tools.tool import Arguments, define_tool
from agentctl.tools.toolbox import ToolContext

if TYPE_CHECKING:
    import psutil

_MEASURE_S = 0.2


class ListProcesses(Arguments):
    """Which processes, in which order."""

    sort: Literal["cpu", "memory", "name"] = "cpu"
    limit: int = Field(10, ge=1, le=200)
    name: str | None = Field(None, description="part of the name or command")


class ListPorts(Arguments):
    """Which port."""

    port: int | None = Field(None, ge=1, le=65535, description="only this one")


@define_tool(ListProcesses)
async def system_processes(_: ToolContext, arguments: ListProcesses) -> str:
    """List processes by CPU, memory or name: pid, user, CPU % of one core, memory, command."""
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
    """List who listens on the network: protocol, address, port, process."""
    rows = await anyio.to_thread.run_sync(_listeners, arguments.port)
    if not rows:
        return f"Nothing listens on port {arguments.port}." if arguments.port else "Nothing listens."
    unknown = any(row[3] is None for row in rows)
    note = "\nWho owns the others is visible to root only." if unknown and os.geteuid() != 0 else ""
    return table(("proto", "address", ">port", ">pid", "process"), rows) + note


_Row = tuple[int, str, float, int, str, str]


def _every_process() -> list[psutil.Process]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            process.cpu_percent(None)  # the start of the measurement
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
