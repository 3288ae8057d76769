"""No process of a command is left when it is over, whatever the command does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from agentctl.core.errors import ToolError
from agentctl.sandbox.process_guard import SiblingGuard
from agentctl.sandbox.process_tree import MARKER, ProcessTree
from agentctl.tools.shell import run_shell_async
from tests.integration.sandbox.parts import COMMANDS, LEFT_BEHIND, wait_until
from tests.support import fork_server

if TYPE_CHECKING:
    from tests.support.processes import Trace


def environment(trace: Trace, folder: Path) -> dict[str, str]:
    return {**trace.env, "N": f"{trace.token}.5", "READY": str(folder / "ready")}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_no_process_is_left_after_a_timeout(command: str, trace: Trace, tmp_path: Path) -> None:
    result = await run_shell_async(command, timeout=0.25, env=environment(trace, tmp_path))
    assert (result.timed_out, trace.alive()) == (True, [])


@pytest.mark.parametrize(
    ("anyio_backend", "name"), [*(("asyncio", name) for name in COMMANDS), ("trio", "plain"), ("trio", "hides")]
)
async def test_no_process_is_left_after_a_cancellation(name: str, trace: Trace, tmp_path: Path) -> None:
    command = COMMANDS[name]
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: run_shell_async(command, env=environment(trace, tmp_path)))
            while not (tmp_path / "ready").exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert trace.alive() == []


@pytest.mark.needs("Linux")
async def test_process_that_contains_all_others_is_ended_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search among very many processes takes long, and the kernel needs none."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)  # noqa: ASYNC220 - a millisecond
    search = ProcessTree._send

    def search_after_its_end(tree: ProcessTree, number: int) -> frozenset[int]:
        wait_until(lambda: ") Z " in Path("/proc", str(child.pid), "stat").read_text())
        return search(tree, number)

    monkeypatch.setattr(ProcessTree, "_send", search_after_its_end)
    try:
        await ProcessTree(child, "none", is_contained=True).end()
    finally:
        child.kill()
    assert child.wait() == -signal.SIGTERM


async def test_command_is_ended_when_no_thread_can_be_started(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with anyio.fail_after(30):
        result = await run_shell_async(COMMANDS["hides"], timeout=0.5, env=environment(trace, tmp_path))
    assert (result.timed_out, trace.alive()) == (True, [])


@pytest.mark.parametrize("command", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
async def test_background_processes_of_a_command_are_ended_and_reported(
    command: str, trace: Trace, tmp_path: Path
) -> None:
    result = await run_shell_async(f"{command}\necho started", env=environment(trace, tmp_path))
    assert (result.exit_code, result.stdout, result.timed_out) == (0, "started\n", False)
    assert any("outlived the command and" in note for note in result.notes)
    assert trace.alive() == []


async def test_held_pipe_does_not_delay_the_command_and_is_reported(trace: Trace, tmp_path: Path) -> None:
    with anyio.fail_after(20):
        result = await run_shell_async("sleep $N & echo x", env=environment(trace, tmp_path))
    assert any("still held the output" in note for note in result.notes)


WORKER = """
import sys, anyio
from agentctl.tools.shell import run_shell_async
env = dict(pair.split("=", 1) for pair in sys.argv[2:])
anyio.run(lambda: run_shell_async(sys.argv[1], env=env))
"""


@pytest.mark.parametrize(
    "name", sorted(COMMANDS.keys() - {"flood", "one endless line", "reads stdin", "reads the terminal"})
)
def test_no_process_is_left_when_agentctl_is_killed(name: str, trace: Trace, tmp_path: Path) -> None:
    worker = started_worker(COMMANDS[name], environment(trace, tmp_path))
    try:
        wait_until(lambda: (tmp_path / "ready").exists())
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    wait_until(lambda: not trace.alive())


AMONG_OTHERS = """
import os
from agentctl.sandbox import guard_program
child = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "exec sleep 90 >/dev/null 2>&1")
os.setuid(65534)
guard_program._KILL_S = 3600.0
print(child, guard_program._kill_all(None))
"""


@pytest.mark.needs("root", "Linux")
def test_guard_gives_up_early_if_only_processes_of_another_user_are_left() -> None:
    done = subprocess.run([sys.executable, "-c", AMONG_OTHERS], capture_output=True, text=True, timeout=60, check=True)
    child, has_ended_all = done.stdout.split()
    os.kill(int(child), signal.SIGKILL)
    assert has_ended_all == "False"


async def test_command_that_ends_its_guard_is_still_ended(trace: Trace, tmp_path: Path) -> None:
    env = environment(trace, tmp_path)
    result = await run_shell_async('sleep 0.3; setsid sleep $N & kill -9 "$PPID"; echo out; sleep 0.2; exit 3', env=env)
    assert (result.exit_code, result.stdout, trace.alive()) == (-9, "out\n", [])
    assert any("exit code is not known" in note for note in result.notes)


async def test_command_that_ends_its_guard_at_once_is_still_ended(trace: Trace, tmp_path: Path) -> None:
    env = environment(trace, tmp_path)
    for _ in range(10):  # before the guard could name it, or after
        with suppress(ToolError):
            result = await run_shell_async('kill -9 "$PPID"; exec sleep $N', timeout=0.3, env=env)
            assert result.exit_code == -9
        assert trace.alive() == []


def orphaned(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own as nobody's child, as after the end of its guard; return the parent."""
    parent = subprocess.Popen(["setsid", "sh", "-c", 'setsid "$@" & exit', "sh", *argv], env=env)
    parent.wait()
    return parent


async def start_and_end(by: str, mark: str, argv: list[str], env: dict[str, str]) -> None:
    """Start ``argv`` as nobody's child and have it ended by its mark alone."""
    if by == "agentctl":
        await ProcessTree(orphaned(argv, env), mark).end()
    else:
        with SiblingGuard(mark):  # it is not dismissed
            orphaned(argv, env)


@pytest.mark.parametrize("by", ["agentctl", "a guard"])
async def test_search_by_the_mark_alone_finds_a_process_that_keeps_calling_exec(
    trace: Trace, tmp_path: Path, by: str
) -> None:
    """A process in the middle of exec shows no environment, so that one look can miss it."""
    again = tmp_path / "again.sh"
    again.write_text('exec sh "$0" "$1"')
    for number in range(10):
        mark = f"{trace.token}{number}"
        env = {"PATH": os.defpath, **trace.env, MARKER: mark}
        await start_and_end(by, mark, ["sh", str(again), trace.token], env)
        assert trace.alive() == []


@pytest.mark.parametrize("by", ["agentctl", "a guard"])
async def test_search_by_the_mark_alone_waits_for_a_process_without_an_environment(trace: Trace, by: str) -> None:
    """On a loaded machine a process can stay in the middle of exec for several looks."""
    later = f'sleep 0.15; exec env {MARKER}={trace.token} sleep "$0"'
    argv = ["env", "-i", "/bin/sh", "-c", later, trace.token]
    for _ in range(3):  # on a machine that stands still it can come to that behind the last look
        await start_and_end(by, trace.token, argv, {"PATH": os.defpath})
        left = trace.alive()
        if not left:
            return
        for found in left:
            os.kill(int(found.split()[0]), signal.SIGKILL)
    pytest.fail("it survived three times")


async def test_a_command_can_stop_its_guard_for_a_moment_only(trace: Trace, tmp_path: Path) -> None:
    with anyio.fail_after(30):
        result = await run_shell_async(
            'sleep 0.1; kill -STOP "$PPID"; sleep $N & exit 3', env=environment(trace, tmp_path)
        )
    assert (result.exit_code, result.timed_out, trace.alive()) == (3, False, [])


HOP = 'env -i PATH=/usr/bin:/bin setsid sh "$0" "$1" &'


@pytest.mark.parametrize("ended_by", ["a timeout", "a kill"])
async def test_process_that_keeps_forking_into_new_sessions_is_ended(
    trace: Trace, tmp_path: Path, ended_by: str, is_full: bool
) -> None:
    """Each process of it lives for a millisecond, has nothing in its environment, and leaves an orphan."""
    (tmp_path / "hop.sh").write_text(HOP)
    env = environment(trace, tmp_path)
    chains = "1 2 3" if is_full else "1"
    command = f'cd {tmp_path}; for i in {chains}; do sh "$PWD/hop.sh" $N & done; touch "$READY"; sleep 60'
    if ended_by == "a timeout":
        result = await run_shell_async(command, timeout=0.3, env=env)
        assert (result.timed_out, [note for note in result.notes if "hangs in the kernel" in note]) == (True, [])
    else:
        worker = started_worker(command, env)
        try:
            wait_until(lambda: (tmp_path / "ready").exists())
        finally:
            worker.kill()
            worker.wait()
        await anyio.sleep(0.2)
    wait_until(lambda: not trace.alive())
    assert not any(trace.alive() for _ in range(10))


def started_worker(command: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that runs ``command`` as a library's user would."""
    pairs = [f"{key}={value}" for key, value in env.items()]
    return fork_server.Forked(
        ["-c", WORKER, command, *pairs], env={**os.environ, **fork_server.ENVIRON}, cwd=Path(__file__).parents[3]
    )


async def test_orphans_that_have_ended_are_reaped_while_the_command_runs() -> None:
    command = """for i in 1 2 3 4 5; do (sh -c 'sleep 0.05 &') ; done; sleep 0.2
    for n in $(seq 100); do
        left=$(grep -l "^[0-9]* (sleep) Z $PPID " /proc/[0-9]*/stat 2>/dev/null | wc -l)
        [ "$left" = 0 ] && break
        sleep 0.1
    done
    echo "$left" """
    assert (await run_shell_async(command, timeout=60)).stdout == "0\n"


def ended_at_once() -> subprocess.Popen[bytes]:
    """Start a command, and return it when it has ended and nobody has asked for its exit code."""
    child = subprocess.Popen(["true"], start_new_session=True)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child


async def test_command_without_leftovers_is_searched_for_once(trace: Trace) -> None:
    """Processes older than the command, and kernel threads, which show no environment, do not belong to it."""

    class Counted(ProcessTree):
        looks = 0

        def _send(self, number: int) -> frozenset[int]:
            self.looks += 1
            return super()._send(number)

    looks = []
    for _ in range(10):  # another process of the machine may start now, and show no environment for a moment
        tree = Counted(ended_at_once(), trace.token)
        assert await tree.end() == 0
        looks.append(tree.looks)
    assert min(looks) == 1
