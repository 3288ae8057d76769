"""Opens a sandbox as some user and runs commands in it: ``python worker.py JSON``; answers with JSON."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import anyio

import agentctl.sandbox
from agentctl.core.errors import AgentctlError
from agentctl.sandbox import select
from tests.support import machine_walk


async def work(asked: dict[str, Any]) -> list[dict[str, Any]]:
    sandbox = await select.open_sandbox(
        asked["wanted"],
        workspace=Path(asked["workspace"]),
        network=asked["network"],
        read_only=asked["read_only"],
        hidden=[Path(place) for place in asked["hidden"]],
        readable=asked.get("readable", ()),
        writable=asked.get("writable", ()),
        passed_on=asked.get("passed_on", {}),
    )
    results = [await sandbox.run(command, timeout=asked["timeout"]) for command in asked["commands"]]
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
    return [{**result._asdict(), "peak_kb": peak, "tier": sandbox.tier} for result in results]


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    anyio.run(anyio.sleep, 0)  # loads the event loop
    for module in pkgutil.iter_modules(agentctl.sandbox.__path__):  # this user may not be able to later
        importlib.import_module(f"agentctl.sandbox.{module.name}")
    if not asked["own_walk"]:
        machine_walk.share()
    if asked["uid"] != os.geteuid():
        os.setgroups([])
        os.setgid(asked["uid"])
        os.setuid(asked["uid"])
        if not os.access(sys.executable, os.X_OK):  # in root's home
            sys.executable = "/usr/bin/python3"
    try:
        print(json.dumps(anyio.run(work, asked)))
    except AgentctlError as error:
        print(json.dumps([{"error": error.message, "hint": error.hint}]))
