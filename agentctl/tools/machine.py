"""What this machine is, who we are on it, and where it is found."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import socket
from typing import Literal

import anyio

from agentctl.tools.system import uptime
from agentctl.tools.tables import cell, counted, facts, size, table
from agentctl.tools.tool import ToolContext
from agentctl.tools.typed import Arguments, define_tool


class Info(Arguments):
    """What to tell."""

    about: Literal["all", "system", "user", "addresses", "uptime"] = "all"


@define_tool(Info)
async def system_info(_: ToolContext, arguments: Info) -> str:
    """Tell about the machine: system and hardware, the user, network addresses, uptime."""
    parts = {"system": _system, "user": _user, "addresses": _addresses, "uptime": _up}
    wanted = list(parts.values()) if arguments.about == "all" else [parts[arguments.about]]
    return "\n\n".join([await anyio.to_thread.run_sync(part) for part in wanted])


def _system() -> str:
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
            ("cpu", f"{counted(cores or 1, 'core')}" + (f" ({real} real)" if real and real != cores else "")),
            ("memory", size(psutil.virtual_memory().total)),
        ]
    )


def _user() -> str:
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


def _up() -> str:
    return facts([("up", uptime())])
