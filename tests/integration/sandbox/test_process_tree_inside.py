"""No process of a sandboxed command is left when it is over, and its output fills no memory.

What ends a command from outside, and what it does against that, is in ``test_matrix``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentctl.sandbox.select import SandboxMode, open_sandbox
from tests.integration.sandbox.conftest import NOBODY, REPOSITORY, Inside
from tests.integration.sandbox.parts import COMMANDS, LEFT_BEHIND, wait_until
from tests.support import machine

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Trace


def named(command: str, trace: Trace) -> str:
    return f"N={trace.token}.5; READY=ready; TRACE={trace.token}; export N READY TRACE\n{command}"


ALL_PROCESSES = """
touch "$READY"
storm() { while :; do setsid sleep $N & sleep 0.001; done; }
(while :; do (storm) 2>/dev/null; sleep 0.1; done) & exec sleep $N # a shell that cannot fork ends
"""


@pytest.mark.needs("root", "sandbox for others", "prlimit")
@pytest.mark.parametrize("which", ["bwrap", "landlock", "none"])
def test_command_that_uses_up_all_processes_is_ended(trace: Trace, config: Path, which: str) -> None:
    """Then agentctl can start neither a thread nor a process; here they are all that its user may have."""
    workspace = config / "work"
    workspace.mkdir()
    os.chown(workspace, NOBODY, NOBODY)
    argv = Inside(workspace, NOBODY).argv(named(ALL_PROCESSES, trace), "echo on", timeout=1.5, wanted=which)
    done = subprocess.run(
        ["prlimit", "--nproc=150", *argv], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    left = trace.alive()
    for line in left:
        os.kill(int(line.split()[0]), signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    storm, after = json.loads(done.stdout)
    assert (storm["timed_out"], after["stdout"], left) == (True, "on\n", [])


async def test_background_processes_of_a_command_end_with_it(trace: Trace, tmp_path: Path, wanted: SandboxMode) -> None:
    sandbox = await open_sandbox(wanted, workspace=tmp_path, network=False, read_only=False)
    for command in LEFT_BEHIND.values():
        result = await sandbox.run(named(f"{command}\necho started", trace), timeout=60)
        assert (result.exit_code, result.stdout, result.timed_out) == (0, "started\n", False)
        assert trace.alive() == []
    sandbox.close()


@pytest.mark.needs("root")
def test_no_process_of_another_users_command_is_left_when_agentctl_is_killed(
    trace: Trace, own: Inside, wanted: SandboxMode
) -> None:
    os.chown(own.workspace, NOBODY, NOBODY)
    worker = own.started(named(COMMANDS["double fork"], trace), timeout=60, wanted=wanted)
    try:
        wait_until(lambda: (own.workspace / "ready").exists())
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not trace.alive())


def test_a_crowd_of_processes_is_bounded(inside: Inside, wanted: SandboxMode, trace: Trace) -> None:
    if wanted == "landlock" and inside.uid != os.geteuid():
        machine.need("landlock for others")
    crowd = f"i=0; while [ $i -lt 1500 ]; do sleep {trace.token} & i=$((i+1)); echo $i; done"
    (answer,) = inside(crowd, wanted=wanted)
    assert answer["exit_code"] != 0
    assert 500 < int(answer["stdout"].splitlines()[-1]) < 1100  # one that cannot exec ends, and makes room for another
    assert "fork" in answer["stderr"]
    assert trace.alive() == []


def test_a_flood_of_output_does_not_fill_the_memory(own: Inside, wanted: SandboxMode) -> None:
    (answer,) = own("yes | head -c 300M", wanted=wanted)
    assert answer["exit_code"] == 0
    assert answer["truncated_bytes"] + len(answer["stdout"]) >= 300 << 20
    assert answer["peak_kb"] < 150_000


async def test_exit_status_of_a_command_comes_back_unchanged(tmp_path: Path, wanted: SandboxMode) -> None:
    sandbox = await open_sandbox(wanted, workspace=tmp_path, network=False, read_only=False)
    killed = 137 if wanted == "bwrap" else -9  # a shell is above the command there
    for command, code in (("exit 1", 1), ("exit 127", 127), ("nosuch-command", 127), ("kill -9 $$", killed)):
        assert (await sandbox.run(command, timeout=20)).exit_code == code
    result = await sandbox.run("echo out; echo err >&2; cat", timeout=20)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "out\n", "err\n")
    sandbox.close()


async def test_commands_run_side_by_side_and_leave_no_group_behind(tmp_path: Path, wanted: SandboxMode) -> None:
    sandbox = await open_sandbox(wanted, workspace=tmp_path, network=False, read_only=False)
    said = {}

    async def one(number: int) -> None:
        said[number] = (await sandbox.run(f"echo {number}", timeout=30)).stdout

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(one, number)
    assert said == {number: f"{number}\n" for number in range(6)}
    sandbox.close()
    assert list(Path("/sys/fs/cgroup").glob(f"**/agentctl-{os.getpid()}-*")) == []
