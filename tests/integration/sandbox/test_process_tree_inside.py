"""Whatever a command in the sandbox does: nothing of it is left when it is over, and it fills no memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentctl.sandbox.select import open_sandbox
from tests.integration.sandbox.conftest import NOBODY, Inside
from tests.integration.sandbox.parts import COMMANDS, LEFT_BEHIND, wait_until

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Trace


def named(command: str, trace: Trace) -> str:
    return f"N={trace.token}.5; READY=ready; TRACE={trace.token}; export N READY TRACE\n{command}"


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_nothing_is_left_after_a_timeout(command: str, trace: Trace, tmp_path: Path) -> None:
    sandbox = await open_sandbox("auto", workspace=tmp_path, network=False, read_only=False)
    result = await sandbox.run(named(command, trace), timeout=0.4)
    assert (result.timed_out, trace.alive()) == (True, [])


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_nothing_is_left_after_a_cancellation(command: str, trace: Trace, tmp_path: Path) -> None:
    sandbox = await open_sandbox("auto", workspace=tmp_path, network=False, read_only=False)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: sandbox.run(named(command, trace), timeout=60))
            while not (tmp_path / "ready").exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert trace.alive() == []


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("command", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_what_a_command_leaves_in_the_background_ends_with_it(command: str, trace: Trace, tmp_path: Path) -> None:
    sandbox = await open_sandbox("auto", workspace=tmp_path, network=False, read_only=False)
    result = await sandbox.run(named(f"{command}\necho started", trace), timeout=60)
    assert (result.exit_code, result.stdout, result.timed_out) == (0, "started\n", False)
    assert trace.alive() == []


@pytest.mark.parametrize("name", ["plain", "setsid", "double fork", "ignores SIGTERM", "stopped", "storm"])
def test_nothing_is_left_when_agentctl_itself_is_killed(name: str, trace: Trace, inside: Inside) -> None:
    worker = inside.started(named(COMMANDS[name], trace), timeout=60)
    try:
        wait_until(lambda: (inside.workspace / "ready").exists())
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not trace.alive())


@pytest.mark.needs("root")
def test_nothing_is_left_of_another_users_command_when_agentctl_is_killed(trace: Trace, own: Inside) -> None:
    os.chown(own.workspace, NOBODY, NOBODY)
    worker = own.started(named(COMMANDS["double fork"], trace), timeout=60)
    try:
        wait_until(lambda: (own.workspace / "ready").exists())
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not trace.alive())


def test_a_crowd_of_processes_is_bounded(inside: Inside, trace: Trace) -> None:
    crowd = f"i=0; while [ $i -lt 1500 ]; do sleep {trace.token} & i=$((i+1)); echo $i; done"
    (answer,) = inside(crowd)
    assert answer["exit_code"] != 0
    assert 500 < int(answer["stdout"].splitlines()[-1]) <= 1024
    assert "fork" in answer["stderr"]
    assert trace.alive() == []


def test_a_flood_of_output_does_not_fill_the_memory(own: Inside) -> None:
    (answer,) = own("yes | head -c 300M")
    assert answer["exit_code"] == 0
    assert answer["truncated_bytes"] + len(answer["stdout"]) >= 300 << 20
    assert answer["peak_kb"] < 150_000


@pytest.mark.needs("sandbox")
async def test_how_a_command_ended_comes_back_as_it_was(tmp_path: Path) -> None:
    sandbox = await open_sandbox("auto", workspace=tmp_path, network=False, read_only=False)
    for command, code in (("exit 1", 1), ("exit 127", 127), ("nosuch-command", 127), ("kill -9 $$", 137)):
        assert (await sandbox.run(command, timeout=20)).exit_code == code
    result = await sandbox.run("echo out; echo err >&2; cat", timeout=20)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "out\n", "err\n")


@pytest.mark.needs("sandbox")
async def test_commands_run_side_by_side_and_leave_no_group_behind(tmp_path: Path) -> None:
    sandbox = await open_sandbox("auto", workspace=tmp_path, network=False, read_only=False)
    said = {}

    async def one(number: int) -> None:
        said[number] = (await sandbox.run(f"echo {number}", timeout=30)).stdout

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(one, number)
    assert said == {number: f"{number}\n" for number in range(6)}
    assert list(Path("/sys/fs/cgroup").glob(f"**/agentctl-{os.getpid()}-*")) == []
