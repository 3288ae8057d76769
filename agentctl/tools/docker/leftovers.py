"""Containers of docker_run that nobody needs any longer: removed by who made them, or by who comes next."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

import anyio

from agentctl.core.errors import EngineUnavailable
from agentctl.tools.docker.engine import EngineNotFound
from agentctl.tools.docker.responses import documents, text
from agentctl.tools.tool import ToolContext

RUN = "agentctl.run"
CALL = "agentctl.call"
OWNER = "agentctl.owner"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_CLEANUP_S = 10.0
_APPEARS_S = 2.0


def process_identity() -> str:
    """Return what identifies this process among all of this machine: boot, PID namespace, pid, start; or nothing."""
    place, (_, started) = _place(), _stat(os.getpid())
    return f"{place} pid={os.getpid()}@{started}" if place and started else ""


def is_gone(label: str) -> bool:
    """Whether the process that ``label`` identifies surely lives no longer; in doubt it lives.

    Of another machine, another boot or another PID namespace nothing is known.
    """
    place, _, process = label.rpartition(" pid=")
    pid, _, started = process.partition("@")
    if not place or place != _place() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    state, began = _stat(int(pid))
    return began != "" and (began != started or state in ("Z", "X"))


async def remove_orphans(context: ToolContext) -> None:
    """Remove the containers that an agentctl left which was killed in the middle of a docker_run.

    Those of a living agentctl, and those that were asked to stay (detach=true), are never touched.

    Raises:
        EngineUnavailable: the engine cannot be asked.
    """
    chosen = json.dumps({"label": [f"{RUN}=wait"]})
    for entry in documents(await context.engine.get("containers/json", all="1", filters=chosen)):
        if is_gone(text(entry, "Labels", OWNER)):
            await remove_container(context, text(entry, "Id"))


async def remove_container(context: ToolContext, identity: str) -> str:
    """Kill and remove one container of ours, also while being cancelled; return why it could not be, or nothing."""
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
    """Remove the container of one call whose making was broken off, whether or not the engine had made it yet."""
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


def _place() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {_NAMESPACE.readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str]:
    """Return a process's state and when it started, both empty where that cannot be seen."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return words[0], words[19]
    except (OSError, IndexError):
        return "", ""


__all__ = [
    "CALL",
    "OWNER",
    "RUN",
    "is_gone",
    "process_identity",
    "remove_container",
    "remove_orphans",
    "remove_unconfirmed",
]
