"""What the commands of a run share: the guard beside them, the thread that starts them, and their control group."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from agentctl.core.errors import ToolError
from agentctl.sandbox.bwrap import Bwrap
from agentctl.sandbox.confinement import Launcher
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.process import new_marker
from agentctl.sandbox.process_guard import SiblingGuard
from agentctl.sandbox.process_tree import MARKER
from agentctl.sandbox.resource_limits import MOST_MEMORY_BYTES, NO_MEMORY_GROUP, ControlGroup
from agentctl.sandbox.self_test import find_bwrap, options_of
from agentctl.sandbox.standby import ExitReport
from tests.integration.sandbox.parts import wait_until
from tests.support.machine import need
from tests.support.processes import Trace


def guards() -> dict[str, int]:
    """Return the idle and busy guards of this process: their start times, which tell a new one, and their ids."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"agentctl-guard" in Path("/proc", child, "cmdline").read_bytes():
                found[Path("/proc", child, "stat").read_text().rsplit(")", 1)[1].split()[19]] = int(child)
    return found


@pytest.fixture
async def sandbox(tmp_path: Path) -> Bwrap:
    need("sandbox")
    program = find_bwrap(str(tmp_path))
    return Bwrap(program, await options_of(program), SandboxConfig(str(tmp_path), str(tmp_path)))


async def test_commands_of_a_run_share_one_guard_and_one_group_until_it_ends(sandbox: Bwrap) -> None:
    await sandbox.run("true", timeout=60)
    first = guards()
    (group,) = {folder.name for folder in groups()} or {""}
    await sandbox.run("true", timeout=60)
    assert (len(first), guards()) == (1, first)
    assert {folder.name for folder in groups()} <= {group}
    sandbox.close()
    assert (guards(), groups()) == ({}, [])
    assert (await sandbox.run("echo again", timeout=60)).stdout == "again\n"
    sandbox.close()


def groups() -> list[Path]:
    """Return the control groups of this process's commands."""
    return list(Path("/sys/fs/cgroup").glob(f"**/agentctl-{os.getpid()}-*"))


async def test_copy_of_a_fork_ends_nothing_that_its_parent_uses(sandbox: Bwrap) -> None:
    await sandbox.run("true", timeout=60)
    first = guards(), groups()
    if (child := os.fork()) == 0:
        try:
            sandbox.close()
        finally:
            os._exit(0)
    await anyio.to_thread.run_sync(os.waitpid, child, 0)
    assert (guards(), groups()) == first
    assert (await sandbox.run("echo on", timeout=60)).stdout == "on\n"
    assert (guards(), groups()) == first
    sandbox.close()


async def test_group_that_someone_removed_is_made_anew_before_the_next_command(sandbox: Bwrap) -> None:
    await sandbox.run("true", timeout=60)
    removed = groups()
    for folder in removed:
        folder.rmdir()
    inside = await sandbox.run("true", timeout=60)
    assert inside.exit_code == 0
    assert (len(groups()), set(groups()) & set(removed)) == (len(removed), set())
    sandbox.close()


@pytest.mark.needs("root", "unshare", "sandbox")
def test_idle_group_outlives_an_agentctl_in_another_process_namespace() -> None:
    """Its owner's id is none there, and without a command the group is empty."""
    group = ControlGroup(MOST_MEMORY_BYTES)
    other = "from agentctl.sandbox.resource_limits import ControlGroup as Group; Group(2**30).close()"
    subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", other], check=True)
    there = [folder.exists() for folder in group.folders]
    group.close()
    assert all(there)
    assert groups() == []


@pytest.mark.needs("root", "sandbox")
def test_group_of_a_killed_agentctl_is_removed_by_the_next_one_at_its_start() -> None:
    killed = "from agentctl.sandbox.resource_limits import *; ControlGroup(2**30); os.kill(os.getpid(), 9)"
    with subprocess.Popen([sys.executable, "-c", killed]) as process:
        process.wait()
    group = ControlGroup(MOST_MEMORY_BYTES)
    left = list(Path("/sys/fs/cgroup").glob(f"**/agentctl-{process.pid}-*"))
    group.close()
    assert left == []


def test_guard_that_was_stopped_is_ended_with_what_it_guards() -> None:
    guard = SiblingGuard("mark")
    state = Path("/proc", str(guard._process.pid), "stat")
    os.kill(guard._process.pid, signal.SIGSTOP)
    wait_until(lambda: ") T " in state.read_text())
    end = threading.Thread(target=guard.__exit__)
    end.start()
    end.join(30)
    has_ended = not end.is_alive()
    guard._process.kill()
    end.join()
    assert has_ended


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
async def test_guard_that_was_killed_is_replaced_before_the_next_command(sandbox: Bwrap, sign: int) -> None:
    await sandbox.run("true", timeout=60)
    ((since, guard),) = guards().items()
    os.kill(guard, sign)
    wait_until(lambda: Path("/proc", str(guard), "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
    assert (await sandbox.run("echo on", timeout=60)).stdout == "on\n"
    assert (len(guards()), since in guards()) == (1, False)
    sandbox.close()


@pytest.mark.parametrize("said", ["expected", "its group", "none", "none, then expected"])
def test_guard_ends_what_it_was_told_of_when_agentctl_is_gone(trace: Trace, said: str) -> None:
    """Its pipe ends as with agentctl; a process by the mark alone is ended as one by its group."""
    mark = f"mark{trace.token}"
    env = {"PATH": os.defpath, **trace.env} | ({} if said == "its group" else {MARKER: mark})
    guard = SiblingGuard(mark)
    with subprocess.Popen(["sleep", "60"], env=env, start_new_session=True) as process:
        if said == "its group":
            guard.watch(process.pid)
        elif said.startswith("none"):
            guard.watch(process.pid)
            guard.dismiss()
        if said.endswith("then expected"):
            guard.expect()
        wait_until(trace.alive)
        os.close(guard._writer)  # as the kernel does it, and without the end that is expected of agentctl
        code = guard._process.wait()
        alive = trace.alive()
        process.kill()
    assert (code, bool(alive)) == (0, said == "none")


RUNS_AND_WAITS = """
import sys
from pathlib import Path
import anyio
import anyio.to_thread
from agentctl.sandbox.select import open_sandbox

async def main():
    sandbox = await open_sandbox("bwrap", workspace=Path(sys.argv[1]), network=False, read_only=False)
    await sandbox.run("true", timeout=60)
    print("idle", flush=True)
    await anyio.sleep(60)

anyio.run(main)
"""


@pytest.mark.needs("sandbox")
def test_nothing_is_left_of_an_idle_run_that_is_killed(trace: Trace, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(RUNS_AND_WAITS)
    work = tmp_path / "work"
    work.mkdir()
    with subprocess.Popen(
        [sys.executable, str(program), str(work)], stdout=subprocess.PIPE, env={**os.environ, **trace.env}
    ) as agentctl:
        assert agentctl.stdout is not None
        assert agentctl.stdout.readline() == b"idle\n"
        (guard,) = (
            int(child)
            for task in Path(f"/proc/{agentctl.pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        )
        agentctl.kill()
    wait_until(lambda: not Path("/proc", str(guard), "cmdline").exists() or is_zombie(guard))
    assert trace.alive() == []


def is_zombie(process: int) -> bool:
    try:
        return Path("/proc", str(process), "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


async def test_every_process_of_a_command_is_in_its_control_group(sandbox: Bwrap, tmp_path: Path) -> None:
    """bubblewrap is in it before it starts anything."""
    await sandbox.run("true", timeout=60)
    (guard,) = guards().values()
    mark = Path("/proc", str(guard), "cmdline").read_bytes().split(b"\0")[-2]
    places = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(sandbox.run, "sleep 60 & touch ready; until test -e go; do sleep 0.02; done", timeout=60)
        )
        while not (tmp_path / "ready").exists():  # noqa: ASYNC110 - another process makes it
            await anyio.sleep(0.02)
        places = [process.read_text() for process in Path("/proc").glob("[0-9]*/cgroup") if has_mark(process, mark)]
        (tmp_path / "go").touch()
    assert len(places) > 2
    made = {folder.name for folder in groups()}
    assert bool(made) == (NO_MEMORY_GROUP not in sandbox.missing)
    assert all(name in place for name in made for place in places)
    sandbox.close()


async def test_bubblewrap_waits_until_it_is_in_the_control_group(tmp_path: Path) -> None:
    program, where = tmp_path / "bwrap", tmp_path / "where"
    words = 'while [ "$1" != --args ]; do shift; done; cat "/proc/self/fd/$2"'
    program.write_text(f"#!/bin/sh\n{words} && cat /proc/self/cgroup >{where}; exit 1\n")
    program.chmod(0o755)
    place = str(tmp_path)
    sandbox = Bwrap(str(program), frozenset(), SandboxConfig(place, place))
    with pytest.raises(ToolError, match="the sandbox could not be set up"):
        await sandbox.run("true", timeout=60)
    assert (f"agentctl-{os.getpid()}-" in where.read_text()) == (NO_MEMORY_GROUP not in sandbox.missing)


async def test_too_few_open_files_are_told_and_none_stays_open(sandbox: Bwrap) -> None:
    """However many a command gets before there are no more."""
    await sandbox.run("true", timeout=60)
    sandbox.close()
    before, (soft, hard) = len(list(Path("/proc/self/fd").iterdir())), resource.getrlimit(resource.RLIMIT_NOFILE)
    said, more = [], 0
    while "ok\n" not in said:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, hard))
        try:
            said.append((await sandbox.run("echo ok", timeout=60)).stdout)
        except ToolError as error:
            said.append(error.message)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            sandbox.close()
        if sys.version_info >= (3, 11, 4):  # before, subprocess itself leaves one open (python/cpython#87474)
            assert len(list(Path("/proc/self/fd").iterdir())) == before
        more += 1
    assert len(said) > 5
    assert all("too many open files" in words for words in said[:-1])


def has_mark(file: Path, mark: bytes) -> bool:
    try:
        return mark in (file.parent / "environ").read_bytes()
    except OSError:
        return False


async def test_what_outlives_a_bubblewrap_without_a_report_is_ended(trace: Trace, tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\nsetsid sleep {trace.token} >/dev/null 2>&1 &\nsleep 0.1; exit 1\n")
    program.chmod(0o755)
    place = str(tmp_path)
    with pytest.raises(ToolError, match="the sandbox could not be set up"):
        await Bwrap(str(program), frozenset(), SandboxConfig(place, place)).run("true", timeout=60)
    assert trace.alive() == []


@pytest.fixture
def report() -> Iterator[ExitReport]:
    with ExitReport() as report:
        yield report


@pytest.mark.parametrize(
    ("said", "has_ended"),
    [
        ([], False),
        ([b'{ "child-pid": 7 }\n'], False),
        ([b'{ "child-pid": 7 }\n', b'{ "exit-c', b'ode": 3 }\n'], True),
        ([b'"exit-code"\n', b"exit-code 3\n", b"3\n"], False),
    ],
)
def test_end_of_all_processes_is_only_what_bubblewrap_reports(
    report: ExitReport, said: list[bytes], has_ended: bool
) -> None:
    for part in said:
        os.write(report.writer, part)
        report.has_ended()
    assert report.has_ended() is has_ended


def test_a_guard_is_dismissed_from_a_launching_thread_too() -> None:
    """There Landlock forbids signals to it; the garbage collector closes a forgotten sandbox in any thread."""
    guard = SiblingGuard(new_marker())
    guard.dismiss()
    with Launcher("/bin/true") as launcher:
        launcher.start(guard.__exit__)
    assert not guard.is_alive
