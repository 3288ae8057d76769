"""A real systemd with units of its own, in namespaces of its own (``systemd.sh``), and calls of tools beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.core.errors import ToolError
from agentctl.core.tool_rules import parse_rule
from agentctl.tools.toolbox import toolbox
from tests.support import machine

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("systemd.sh")
PROGRAMS = ("systemctl", "journalctl", "nsenter", "unshare")

UNITS = {
    "ready.target": """
[Unit]
Description=Ready
Requires=systemd-journald.service
Wants=hello.service broken.service noisy.service
After=systemd-journald.service hello.service noisy.service
""",
    "hello.service": """
[Unit]
Description=Says hello
DefaultDependencies=no
Requires=systemd-journald.service
After=systemd-journald.service
[Service]
ExecStart=/bin/sh -c 'echo hello from the service; exec sleep 1000'
""",
    "broken.service": """
[Unit]
Description=Fails
DefaultDependencies=no
After=systemd-journald.service
[Service]
ExecStart=/bin/sh -c 'echo token ghp_0123456789abcdefghijABCDEFGHIJ012345 >&2; exit 3'
""",
    "noisy.service": r"""
[Unit]
Description=Writes \x1b[31m and other bytes
DefaultDependencies=no
Requires=systemd-journald.service
After=systemd-journald.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/printf 'red \\033[31m bell \\a byte \\377\\n%%050000d\\n' 7
""",
}
_SYSTEM_UNITS = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")


@dataclass(frozen=True, slots=True)
class Systemd:
    """A systemd that runs as ``pid``."""

    pid: str

    def run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as if on its machine."""
        line = ["nsenter", "-t", self.pid, "-a", *words]
        return subprocess.run(line, input=given, capture_output=True, text=True, timeout=120, check=False)

    def call(self, *calls: tuple[str, dict[str, Any]], deny: tuple[str, ...] = ()) -> list[str]:
        """Return what tools answer there, an error as its message and hint; ``deny`` are rules of the user's."""
        given = json.dumps({"calls": calls, "deny": deny})
        done = self.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", __name__, given=given)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found


@contextmanager
def started(folder: Path) -> Iterator[Systemd]:
    """Run a systemd with ``UNITS``, whose files lie in ``folder``; where none can be run the test is skipped."""
    machine.need("root")
    for program in PROGRAMS:
        machine.need(program)
    units = folder / "units"
    units.mkdir()
    for name in _SYSTEM_UNITS:
        (units / name).write_text((Path("/lib/systemd/system") / name).read_text())
    for name, text in UNITS.items():
        (units / name).write_text(text)
    (units / "greeter.service").symlink_to("hello.service")
    with subprocess.Popen(
        ["bash", str(SCRIPT), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as script:
        assert script.stdout is not None
        pid = script.stdout.readline().decode().strip()
        if not pid:
            _, said = script.communicate()
            pytest.skip(f"systemd cannot be run in namespaces here: {said.decode()[-200:]}")
        found = Systemd(pid)
        found.run("ln", "-s", str(units / "hello.service"), "/run/systemd/system/greeter.service")
        try:
            yield found
        finally:
            script.communicate(timeout=60)
            assert script.returncode == 0


async def _answer(asked: dict[str, Any]) -> list[str]:
    rules = [parse_rule(rule) for rule in asked["deny"]]
    said: list[str] = []
    async with toolbox(workspace=Path("/"), docker_host="unix:///nowhere", restricting=rules) as box:
        for name, arguments in asked["calls"]:
            tool = box.get(name)
            try:
                said.append(await tool(await tool.prepare(arguments)))
            except ToolError as error:
                said.append(f"error: {error.message} / {error.hint}")
    return said


if __name__ == "__main__":
    sys.stdout.write(json.dumps(anyio.run(_answer, json.load(sys.stdin))))
