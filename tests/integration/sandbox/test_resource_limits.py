"""Resource limits of a command: memory, temporary folders, the disk of the workspace, its rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.protocols import CommandResult
from agentctl.sandbox.bwrap import MOST_ADDRESSES_KIB, MOST_FILE_BYTES, Bwrap
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.resource_limits import (
    LEAST_FREE_BYTES,
    MOST_MEMORY_BYTES,
    NO_MEMORY_GROUP,
    Space,
    data_bound,
    floor_of,
    memory_bound,
)
from agentctl.sandbox.self_test import find_bwrap, options_of
from agentctl.sandbox.workspace_guard import WorkspaceGuard
from tests.integration.sandbox.conftest import NOBODY, REPOSITORY, Inside
from tests.support.disks import small_disk

MIB = 1024**2
ROOT = pytest.mark.needs("root", "mounts")


async def sandbox(workspace: Path, user: tuple[int, int] | None = None, **given: Any) -> Bwrap:  # noqa: ANN401
    program = find_bwrap(str(workspace))
    config = SandboxConfig(str(workspace), str(workspace), user=user)
    return Bwrap(program, await options_of(program), config, **given)


def test_every_folder_in_memory_that_can_be_written_has_a_size(own: Inside) -> None:
    (mounts, full, device) = own(
        "grep -E ' - (tmpfs|devtmpfs|ramfs) ' /proc/self/mountinfo",
        "for folder in /var/tmp /home; do head -c 200M /dev/zero >$folder/x; done",
        "touch /dev/x /dev/pts/x; echo x >/dev/null && echo x >/dev/shm/x && echo fine",
    )
    sizes = {}
    for line in mounts["stdout"].splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[3] == "/" and "rw" in before.split()[5].split(","):  # else a device of the machine
            (size,) = [word[5:-1] for word in after.split()[2].split(",") if word.startswith("size=")]
            sizes[before.split()[4]] = int(size) // 1024
    wanted = {"/tmp": 512, "/run": 512, "/var/tmp": 128, "/dev/shm": 256}
    assert {place: size for place, size in sizes.items() if place in wanted} == wanted
    assert {size for place, size in sizes.items() if place not in wanted} <= {1}
    assert full["stderr"].count("No space left on device") == 2
    assert device["stdout"] == "fine\n"
    assert not any(path.name == "x" for path in Path("/dev").iterdir())


ALLOCATE = "python3 -c 'x = bytearray({})'"


@pytest.mark.needs("sandbox", "Linux")
async def test_files_in_memory_of_earlier_commands_take_none_from_a_later_one() -> None:
    """A workspace may be in a file system in memory: its files stay charged to the group that wrote them."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as workspace:
        bounded = await sandbox(Path(workspace), most_memory=64 * MIB)
        ran = [await bounded.run(f"head -c 30M /dev/zero >{number} && echo whole", timeout=60) for number in range(4)]
        bounded.close()
    assert [(result.stdout, result.notes) for result in ran] == [("whole\n", ())] * 4


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("command", [ALLOCATE.format(6 << 30), "head -c 300M /dev/zero >/tmp/x; tail -c 1 /tmp/x"])
@pytest.mark.parametrize("owner", [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()])
async def test_the_memory_of_a_command_is_bounded(config: Path, owner: int, command: str) -> None:
    """A control group bounds it; where none can be made, which is reported, the data of each process is bounded."""
    workspace = config / "work"
    workspace.mkdir()
    os.chown(workspace, owner, -1)
    user = (owner, owner) if owner != os.geteuid() else None
    bounded = await sandbox(workspace, user, most_memory=128 * MIB)
    result = await bounded.run(command, timeout=60)
    if NO_MEMORY_GROUP in bounded.missing:
        assert "bytearray" not in command or "MemoryError" in result.stderr
    else:
        (note,) = result.notes
        assert note.startswith("the kernel ended ")
        assert note.endswith(": the command used more memory than 128 MiB")
        assert (await bounded.run(ALLOCATE.format(1 << 20), timeout=60)).notes == ()


def can_make_a_group() -> bool:
    """Whether a folder can be made where one with the memory controller belongs; nothing of ours is asked."""
    if Path("/sys/fs/cgroup/memory").is_dir():
        return os.access("/sys/fs/cgroup/memory", os.W_OK)
    own = Path("/sys/fs/cgroup" + Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2])
    return any(
        os.access(place, os.W_OK) and "memory" in (place / "cgroup.subtree_control").read_text().split()
        for place in (own, own.parent)
        if (place / "cgroup.subtree_control").exists()
    )


@pytest.mark.needs("sandbox")
async def test_control_group_is_used_wherever_one_can_be_made(tmp_path: Path) -> None:
    inside = await sandbox(tmp_path)
    assert (await inside.run("true", timeout=60)).notes == ()
    assert (NO_MEMORY_GROUP in inside.missing) == (not can_make_a_group())
    assert memory_bound() <= MOST_MEMORY_BYTES


WITHOUT_GROUPS = """
import sys
import anyio
from pathlib import Path
from tests.integration.sandbox.test_resource_limits import sandbox

async def main():
    inside = await sandbox(Path(sys.argv[1]), (65534, 65534) if sys.argv[2] == "nobody" else None)
    print(await inside.run("true", timeout=60), *inside.missing, sep="\\n")

anyio.run(main)
"""


@pytest.mark.needs("root", "mounts", "sandbox")
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_missing_control_group_is_told_where_nothing_else_limits(config: Path, user: str) -> None:
    """The limit of processes that each process has does not hold for root."""
    hide = 'mount --make-rprivate / && mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", hide, "sh", sys.executable, "-c", WITHOUT_GROUPS, str(config), user]
    config.chmod(0o777)
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "exit_code=0" in done.stdout, done.stderr
    assert NO_MEMORY_GROUP in done.stdout
    assert ("no control group for processes" in done.stdout) == (user == "root")


async def test_limits_of_a_process_are_set_without_a_fork(tmp_path: Path) -> None:
    said = (await (await sandbox(tmp_path)).run("echo $$; ulimit -c; ulimit -f; ulimit -v", timeout=60)).stdout.split()
    assert said == ["2", "0", str(MOST_FILE_BYTES // 512), str(MOST_ADDRESSES_KIB)]  # the second process of its own


@pytest.mark.parametrize("shell", ["sh", *filter(shutil.which, ("dash", "bash", "busybox", "mksh", "zsh", "ksh"))])
def test_shell_goes_on_after_a_limit_that_it_does_not_know(shell: str) -> None:
    words = [shell, *(["sh"] if shell == "busybox" else [])]
    script = "command ulimit -Z 3 2>/dev/null || command ulimit -c 0 2>/dev/null; ulimit -c"
    done = subprocess.run([*words, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout.strip() == "0"


@ROOT
def test_data_of_each_process_is_bounded_without_a_control_group(config: Path) -> None:
    workspace = config / "work"
    workspace.mkdir()
    os.chown(workspace, NOBODY, NOBODY)
    limit, large, small = Inside(workspace, NOBODY)("ulimit -d", ALLOCATE.format(12 << 30), ALLOCATE.format(1 << 28))
    assert int(limit["stdout"]) == data_bound(memory_bound()) // 1024
    assert ("MemoryError" in large["stderr"], small["exit_code"]) == (True, 0)


def test_kernel_ends_a_command_before_other_processes(own: Inside) -> None:
    (answer,) = own("cat /proc/self/oom_score_adj; sh -c 'cat /proc/self/oom_score_adj'")
    assert answer["stdout"] == "500\n500\n"


@ROOT
async def test_command_for_another_user_has_the_rights_of_that_user_and_no_groups(config: Path) -> None:
    (config / "work").mkdir()
    os.chown(config / "work", NOBODY, NOBODY)
    inside = await sandbox(config / "work", (NOBODY, NOBODY))
    result = await inside.run("id -u; id -g; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status; touch x", timeout=20)
    assert result.stdout.split() == ["65534", "65534", "65534", "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    assert (config / "work/x").stat().st_uid == NOBODY


@pytest.mark.needs("sandbox")
async def test_a_command_that_fills_the_workspace_is_ended(tmp_path: Path) -> None:
    inside = await sandbox(tmp_path, most_growth=32 * MIB)
    with anyio.fail_after(30):
        result = await inside.run("mkdir deep; fallocate -l 48M deep/x; sleep 100", timeout=100)
    assert (result.timed_out, result.exit_code == 0) == (False, False)
    (note,) = result.notes
    assert note.startswith("the command was ended: it wrote 48 MiB to the workspace, the limit is 32 MiB")
    assert (tmp_path / "deep/x").stat().st_size == 48 * MIB


@pytest.mark.needs("sandbox")
async def test_writes_of_others_to_the_same_disk_do_not_count(config: Path) -> None:
    workspace = config / "work"
    workspace.mkdir()
    (workspace / "old").write_bytes(bytes(64 * MIB))
    inside = await sandbox(workspace, most_growth=32 * MIB)
    results: list[CommandResult] = []

    async def run() -> None:
        results.append(await inside.run("touch began; sleep 1; echo done", timeout=60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not (workspace / "began").exists():  # noqa: ASYNC110 - another process makes it
            await anyio.sleep(0.01)
        (config / "other").write_bytes(bytes(96 * MIB))
    assert results == [CommandResult(0, "done\n", "")]


@pytest.mark.needs("sandbox")
async def test_a_command_that_fills_its_copy_of_the_git_folder_is_ended(config: Path) -> None:
    workspace = config / "work"
    workspace.mkdir()
    await anyio.run_process(["git", "init", "-q", str(workspace)])
    files = config / "files"
    guard = WorkspaceGuard(SandboxConfig(str(workspace), str(workspace)), files)
    inside = await sandbox(workspace, guard=guard, most_growth=32 * MIB)
    with anyio.fail_after(60):
        result = await inside.run("head -c 48M /dev/zero >.git/x; sleep 100", timeout=100)
    assert not result.timed_out
    assert result.notes[0].startswith("the command was ended: it wrote")
    assert "to its copy of the git folder, the limit is 32 MiB" in result.notes[0]


@pytest.fixture
def disk(config: Path) -> Iterator[Path]:
    with small_disk(config / "work", "size=64M") as workspace:
        yield workspace


@ROOT
async def test_a_command_is_ended_before_the_disk_is_full(disk: Path) -> None:
    result = await (await sandbox(disk)).run("head -c 62M /dev/zero >x; sleep 100", timeout=100)
    assert not result.timed_out
    assert result.notes == ("the command was ended: the disk of the workspace had 2 MiB left",)
    after = await (await sandbox(disk)).run("sleep 0.5; rm x; echo freed", timeout=100)
    assert (after.stdout, after.notes) == ("freed\n", ())


@pytest.mark.parametrize(
    ("before", "floor"),
    [
        (Space(size=1 << 40, free=1 << 39, used=1 << 39), LEAST_FREE_BYTES),
        (Space(size=1 << 30, free=1 << 29, used=1 << 29), (1 << 30) // 20),
        (Space(size=1 << 40, free=10 * MIB, used=1 << 40), 5 * MIB),
        (Space(size=1 << 40, free=0, used=1 << 40), 0),
    ],
    ids=["large", "small", "nearly full", "full"],
)
def test_part_of_the_disk_stays_free(before: Space, floor: int) -> None:
    assert floor_of(before) == floor


def test_a_workspace_that_its_owner_may_not_enter_is_given_back(inside: Inside) -> None:
    inside.workspace.chmod(0o750)
    commands = ["chmod 000 .", "echo a >a; chmod 077 .", "chmod 500 .; exit 3", "chmod 705 .", "cat a"]
    answers = inside(*commands)
    back = "the command left the workspace with the mode {}; the mode 750 was restored"
    assert [(answer["exit_code"], answer["notes"]) for answer in answers] == [
        (0, [back.format("000")]),
        (0, [back.format("077")]),
        (3, [back.format("500")]),
        (0, []),
        (0, []),
    ]
    assert (answers[-1]["stdout"], inside.workspace.stat().st_mode & 0o777) == ("a\n", 0o705)


@pytest.mark.needs("sandbox")
async def test_the_mode_is_given_back_after_a_timeout_too(tmp_path: Path) -> None:
    inside = await sandbox(tmp_path)
    assert (await inside.run("chmod 000 .; sleep 100", timeout=1)).timed_out
    assert (await inside.run("echo again", timeout=20)).stdout == "again\n"
