"""One process of the matrix, marked and boxed before it does anything: ``python -m ...matrix_process JSON``.

It opens a sandbox, ends commands in it in several ways, and prints a line of JSON for each; or it becomes the command
line, with a scripted model that runs one command.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

from agentctl.__main__ import main
from agentctl.sandbox import bwrap, landlock_tier, private_files, probe_cache, self_test  # noqa: F401 - before rights are given up
from agentctl.sandbox.select import open_sandbox
from tests.integration.sandbox.behaviours import end_by
from tests.support import machine_walk, scripted_cli
from tests.support.survivors import Mark, enter

GUARD = "agentctl-guard"


async def end_commands(asked: dict[str, Any]) -> None:
    """Print for each command what was left of it, the guard that waits for the next one aside."""
    mark, folder = Mark(asked["mark"]), Path.cwd()
    for way, names in asked["cells"]:
        sandbox = await open_sandbox(asked["tier"], workspace=folder, network=False, read_only=False)
        result = await end_by(way, sandbox, folder, tuple(names), asked["token"])
        left = mark.left({os.getpid()})
        sandbox.close()
        said = {
            "way": way,
            "names": names,
            "tier": sandbox.tier,
            "timed_out": result is not None and result.timed_out,
            "survivors": [line for line in left.values() if GUARD not in line],
            "guards": list(mark.left({os.getpid()}).values()),
            "peak_kb": peak_kb("self"),
        }
        print(json.dumps(said), flush=True)


def peak_kb(process: int | str) -> int:
    """Return the most memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) if found else 0


def become(uid: int) -> None:
    """Give up root's rights, and with them perhaps the right to read Python's own files."""
    codecs.lookup("ascii")
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    if not os.access(sys.executable, os.X_OK):  # in root's home
        sys.executable = "/usr/bin/python3"


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["box"]:
        enter(asked["box"])
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (asked["mark"], resource.getrlimit(resource.RLIMIT_MSGQUEUE)[1]))
    tempfile.tempdir = None  # the fork server may have asked for it
    machine_walk.share()
    anyio.run(anyio.sleep, 0)  # loads the event loop
    if asked["uid"] != os.geteuid():
        become(asked["uid"])
    if asked["command"]:
        scripted_cli.SCRIPTS["matrix"] = [
            scripted_cli.call("run_shell", command=asked["command"], timeout=60),
            scripted_cli.answer("never said"),
        ]
        sys.argv[1:] = ["run", "start it", "--agent", "system", "--tools", "run_shell", "--yes"]
        sys.argv += ["--sandbox", asked["tier"]]
        main(assemble=scripted_cli.scripted("matrix"))
    else:
        anyio.run(end_commands, asked)
