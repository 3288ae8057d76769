"""Telling cells of the matrix: all behaviours at once, ended in each way, in each tier; nothing is left of any.

The whole, each behaviour alone, is ``python -m tests.integration.sandbox.matrix``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import anyio
import pytest

from agentctl.protocols import CommandResult
from agentctl.sandbox.landlock import SCOPES_SINCE
from agentctl.sandbox.landlock_tier import find_machine
from agentctl.sandbox.select import open_sandbox
from tests.integration.sandbox.behaviours import IN_PROCESS, STORM, UNBOXED, InProcess, end_by
from tests.integration.sandbox.conftest import REPOSITORY, Inside
from tests.integration.sandbox.matrix import EXEMPTIONS, NEEDS, TIERS, end_by_signal, ground, is_exempt
from tests.integration.sandbox.matrix_process import GUARD
from tests.integration.sandbox.parts import wait_until
from tests.support.machine import NOBODY
from tests.support.processes import Trace
from tests.support.survivors import Box, Mark

EACH_TIER = pytest.mark.parametrize(
    "tier", [pytest.param(tier, marks=pytest.mark.needs(*NEEDS[tier][0])) for tier in TIERS]
)
FOR_OTHERS = pytest.mark.parametrize(
    "tier", [pytest.param(tier, marks=pytest.mark.needs("root", *NEEDS[tier][1])) for tier in TIERS]
)


@EACH_TIER
async def test_no_process_is_left_of_commands_that_ended_or_were_ended(tier: str, trace: Trace, tmp_path: Path) -> None:
    """The three ways side by side: most of them is waiting for those that ignore SIGTERM."""
    results: dict[str, CommandResult | None] = {}
    sandboxes = {}
    for way in IN_PROCESS:
        (tmp_path / way).mkdir()
        sandboxes[way] = await open_sandbox(tier, workspace=tmp_path / way, network=False, read_only=False)  # type: ignore[arg-type]

    async def end(way: InProcess, token: str) -> None:
        results[way] = await end_by(way, sandboxes[way], tmp_path / way, UNBOXED, token)

    mark = Mark()
    with mark.on_this_process():
        async with anyio.create_task_group() as tasks:
            for number, way in enumerate(IN_PROCESS):
                tasks.start_soon(end, way, f"{trace.token}{number}")
        left = mark.left({os.getpid()})
        for sandbox in sandboxes.values():
            sandbox.close()
        guards = mark.left({os.getpid()})
        mark.kill({os.getpid()})
    assert {sandbox.tier for sandbox in sandboxes.values()} == {tier}
    assert {way: result and result.timed_out for way, result in results.items()} == {
        "end": False,
        "timeout": True,
        "cancel": None,
    }
    assert ([line for line in left.values() if GUARD not in line], guards) == ([], {})
    assert [path for path in tmp_path.glob("*/*") if not path.name.startswith("ready-")] == []


TELLING = {"bwrap": "Ctrl-C", "landlock": "SIGTERM", "none": "SIGHUP"}


@EACH_TIER
def test_nothing_is_left_of_a_run_that_a_signal_ends(tier: str) -> None:
    with ground() as on:
        assert end_by_signal(tier, TELLING[tier], UNBOXED, on).faults == []


@EACH_TIER
@pytest.mark.skipif(os.geteuid() == 0, reason="the next two tests do it for root and for an ordinary user")
def test_nothing_is_left_of_a_killed_run(tier: str) -> None:
    with ground() as on:
        assert end_by_signal(tier, "SIGKILL", UNBOXED, on).faults == []


@EACH_TIER
@pytest.mark.needs("root", "control groups for processes")
def test_nothing_is_left_of_a_killed_run_with_a_fork_storm(tier: str) -> None:
    with ground() as on:
        assert end_by_signal(tier, "SIGKILL", [STORM], on).faults == []


@FOR_OTHERS
def test_nothing_is_left_of_an_ordinary_users_killed_run(tier: str) -> None:
    names = [name for name in UNBOXED if not is_exempt(tier, NOBODY, [name])]
    with ground(NOBODY) as on:
        assert end_by_signal(tier, "SIGKILL", names, on).faults == []


# What may be left.


def test_docs_name_each_process_that_may_be_left_with_the_reason() -> None:
    page = (REPOSITORY / "docs" / "permissions-and-sandbox.md").read_text()
    rows = [line for line in page.split("## Processes")[1].splitlines() if line.startswith("| ")][1:]
    named = [tuple(cell.strip() for cell in row.strip("|").split(" | ")) for row in rows if not row.startswith("| -")]
    assert {f"`{one.tier}`" for one in EXEMPTIONS} == {"`none`"}  # the page says it once, for all
    assert named[: len(EXEMPTIONS)] == [(one.process, one.reason) for one in EXEMPTIONS]


@FOR_OTHERS
def test_process_of_another_user_is_left_without_a_sandbox_only(tier: str, config: Path, trace: Trace) -> None:
    workspace = config / "work"
    workspace.mkdir()
    os.chown(workspace, NOBODY, NOBODY)
    other = workspace / "become-another-user"
    other.write_bytes(Path("/usr/bin/setpriv").read_bytes())
    other.chmod(0o4755)
    sleeps = f"setsid ./{other.name} --reuid 0 --clear-groups sh -c 'touch ready; sleep {trace.token}' &"
    wait = "until [ -e ready ] || ! kill -0 $! 2>/dev/null; do sleep 0.02; done"
    (answer,) = Inside(workspace, NOBODY)(f"{sleeps} {wait}", wanted=tier)
    left = trace.alive()
    for line in left:
        os.kill(int(line.split()[0]), signal.SIGKILL)
    assert (answer.get("exit_code"), bool(left)) == (0, tier == "none"), answer


@EACH_TIER
def test_process_is_left_if_a_command_can_kill_its_guard_and_agentctl(tier: str, config: Path, trace: Trace) -> None:
    (config / "work").mkdir()
    command = f"touch ready; env -i setsid sleep {trace.token} & kill -9 $PPID $(cut -d ' ' -f 4 /proc/$PPID/stat)"
    with Inside(config / "work", os.geteuid()).started(command, wanted=tier) as worker:
        code = worker.wait()
    can_kill = tier == "none" or (tier == "landlock" and find_machine()[1] < SCOPES_SINCE)
    if can_kill:
        wait_until(trace.alive)
    else:
        wait_until(lambda: not trace.alive())
    for line in trace.alive():
        os.kill(int(line.split()[0]), signal.SIGKILL)
    assert (code == -signal.SIGKILL, (config / "work" / "ready").exists()) == (can_kill, True)


# What the harness itself promises.

HIDDEN = "env -i setsid sh -c 'exec 0<&- 1>&- 2>&-; trap \"\" TERM; setsid sleep 60 & setsid sleep 60'"


@pytest.mark.needs("Linux")
def test_mark_finds_a_process_that_hides_in_every_way() -> None:
    mark = Mark()
    with mark.on_this_process():
        process = subprocess.Popen(["sh", "-c", HIDDEN], start_new_session=True)
    try:
        found: dict[int, str] = {}
        while sum("sleep 60" in line for line in found.values()) < 3:  # sh -c, and both sleeps
            assert process.poll() is None
            found = mark.alive()
        assert os.getpid() not in found
    finally:
        mark.kill()
        process.wait()
    assert mark.left(patience_s=15) == {}


@pytest.mark.needs("root", "control groups for processes")
def test_box_bounds_what_is_in_it_and_empties_itself() -> None:
    storm = 'echo $$ >"$1/cgroup.procs"; while :; do sleep 60 & done'
    most = 0
    with Box(10) as box:
        with subprocess.Popen(["sh", "-c", storm, "sh", str(box.folder)], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:  # until it cannot fork
                most = max(most, box.count())
        assert (box.count(), box.count_left(patience_s=0)) == (9, 9)
    assert (most <= 10, box.folder.exists()) == (True, False)
