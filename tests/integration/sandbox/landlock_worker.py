"""Opens the Landlock tier as some user and runs commands in it: ``python landlock_worker.py JSON``; answers with JSON.

Unlike ``worker`` it can take a version of Landlock below the kernel's, and what only a run gives.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio

from agentctl.core.errors import AgentctlError
from agentctl.core.tool_rules import parse_rule
from agentctl.sandbox.denied_paths import DeniedPaths
from agentctl.sandbox.landlock_tier import build_landlock, find_machine, test_landlock
from agentctl.sandbox.mount_plan import SandboxConfig


async def work(asked: dict[str, Any]) -> list[dict[str, Any]]:
    workspace = Path(asked["workspace"])
    owner = tuple(asked["owner"]) if asked.get("owner") else None
    hidden = tuple(asked.get("hidden", ()))
    config = SandboxConfig(
        os.path.realpath(workspace),
        str(workspace),
        homes=(str(Path.home()),),
        hidden=hidden,
        read_only=asked.get("read_only", False),
        network=asked.get("network", False),
        user=owner,
        readable=tuple(asked.get("readable", ())),
    )
    machine, abi = find_machine()
    abi = asked.get("abi") or abi
    if asked.get("probe"):
        return [{"missing": await test_landlock(config, machine, abi)}]
    denied = DeniedPaths(workspace, [parse_rule(rule) for rule in asked["deny"]]) if asked.get("deny") else None
    files = Path(asked["files"]) if asked.get("files") else None
    sandbox = build_landlock(config, machine, abi, files=files, denied=denied)
    results = []
    for command in asked["commands"]:
        result = await sandbox.run(command.replace("@AGENTCTL@", str(os.getpid())), timeout=asked.get("timeout", 30))
        results.append(result._asdict() | {"notices": [notice._asdict() for notice in result.notices]})
    sandbox.close()
    return results


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    anyio.run(anyio.sleep, 0)  # loads the event loop, as later this user may not be able to
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
