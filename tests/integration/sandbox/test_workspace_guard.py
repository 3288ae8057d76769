"""What other programs obey is not changed by a command, is moved away where it is new, and nothing of it is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentctl.protocols import CommandResult, Sandbox
from agentctl.sandbox.folder_index import FolderIndex
from agentctl.sandbox.select import open_sandbox
from tests.support.disks import small_disk


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "sub/.vscode").mkdir(parents=True)
    (folder / "sub/.vscode/tasks.json").write_text("mine")
    (folder / ".envrc").write_text("mine")
    (folder / "Makefile").write_text("mine")
    return folder


async def opened(workspace: Path, files: Path) -> Sandbox:
    return await open_sandbox("bwrap", workspace=workspace, network=False, read_only=False, files=files)


def places(result: CommandResult) -> dict[str, bool]:
    """Return the paths of all notices, and whether each was moved."""
    return {notice.path: notice.moved_to is not None for notice in result.notices}


@pytest.mark.needs("sandbox")
async def test_existing_files_are_read_only_and_new_ones_are_moved(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run(
        "echo x >.envrc; rm -f .envrc; mv .envrc e; echo x >sub/.vscode/tasks.json; rm -rf sub; mv sub/.vscode v;"
        " echo new >sub/.envrc; mkdir -p n/.vscode; echo new >n/.vscode/a; ln -s /etc/passwd n/.npmrc;"
        " mkfifo n/.bashrc; echo changed >Makefile; echo x >plain; mkdir .cache; echo x >.coverage",
        timeout=30,
    )
    assert places(result) == {
        "sub/.envrc": True,
        "n/.vscode": True,
        "n/.npmrc": True,
        "n/.bashrc": True,
        "Makefile": False,
    }
    assert (workspace / ".envrc").read_text() == (workspace / "sub/.vscode/tasks.json").read_text() == "mine"
    left = sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*") if not path.is_dir())
    assert left == [".coverage", ".envrc", "Makefile", "plain", "sub/.vscode/tasks.json"]
    moved = {notice.path: Path(str(notice.moved_to)) for notice in result.notices if notice.moved_to}
    assert (moved["n/.vscode"] / "a").read_text() == moved["sub/.envrc"].read_text() == "new\n"
    assert moved["n/.npmrc"].readlink() == Path("/etc/passwd")
    for notice in result.notices:
        if notice.restore_command:
            await anyio.run_process(["/bin/sh", "-c", notice.restore_command])
    assert (workspace / "n/.vscode/a").read_text() == "new\n"
    again = await sandbox.run("echo x >n/.vscode/a; echo x >sub/.envrc", timeout=30)
    assert (places(again), (workspace / "sub/.envrc").read_text()) == ({}, "new\n")


@pytest.mark.needs("sandbox")
async def test_a_renamed_folder_keeps_what_was_protected_in_it(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run("mv sub other; echo x >other/.vscode/tasks.json", timeout=30)
    assert (places(result), result.notes) == ({}, ())
    assert (workspace / "other/.vscode/tasks.json").read_text() == "mine"


@pytest.mark.needs("sandbox")
async def test_a_file_under_another_name_is_new(workspace: Path, tmp_path: Path) -> None:
    (workspace / "script").write_text("evil")
    (workspace / "plain").write_text("mine")
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run("mv script sub/.envrc; ln plain .bashrc; mkdir d; mv d .idea", timeout=30)
    assert places(result) == {"sub/.envrc": True, ".bashrc": True, ".idea": True}
    assert (workspace / "plain").read_text() == "mine"


@pytest.mark.needs("sandbox")
async def test_folder_recreated_under_the_name_of_a_protected_one_is_new(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "run")
    hide = "mkdir -p n/.idea; mv sub n/.idea/gone; mkdir -p sub/.vscode; echo evil >sub/.vscode/tasks.json"
    result = await sandbox.run(hide, timeout=30)
    assert places(result) == {"n/.idea": True, "sub/.vscode": True}
    assert not (workspace / "sub/.vscode").exists()
    kept = [path.read_text() for path in (tmp_path / "run").rglob("tasks.json*")]
    assert sorted(kept) == ["evil\n", "mine"]


@pytest.mark.needs("sandbox")
async def test_files_that_a_program_outside_writes_meanwhile_stay(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "run")

    async def save() -> None:
        await anyio.sleep(0.3)
        for path in (workspace / ".envrc", workspace / "sub/.vscode/tasks.json"):
            new = path.with_name("saved")  # as editors do it: by a new file
            new.write_text("saved")
            new.rename(path)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(save)
        result = await sandbox.run("sleep 1", timeout=30)
    assert (result.notes, result.notices) == ((), ())
    assert (workspace / ".envrc").read_text() == (workspace / "sub/.vscode/tasks.json").read_text() == "saved"


@pytest.mark.needs("sandbox")
async def test_an_inode_number_that_is_given_again_is_not_taken_for_the_old_file(
    workspace: Path, tmp_path: Path
) -> None:
    (workspace / ".zshrc").symlink_to("nowhere")
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run("rm .zshrc; for i in 1 2 3 4 5 6 7 8; do echo evil >sub/.env.$i; done", timeout=30)
    assert places(result) == {f"sub/.env.{number}": True for number in range(1, 9)}
    assert (workspace / ".zshrc").readlink() == Path("nowhere")


@pytest.mark.needs("sandbox")
async def test_a_link_that_is_obeyed_is_put_back(workspace: Path, tmp_path: Path) -> None:
    (workspace / ".envrc").rename(workspace / "real")
    (workspace / ".envrc").symlink_to("real")
    sandbox = await opened(workspace, tmp_path / "run")
    result = await sandbox.run("rm .envrc; echo evil >.envrc", timeout=30)
    assert places(result) == {".envrc": True}
    assert (workspace / ".envrc").readlink() == Path("real")


@pytest.mark.needs("sandbox")
async def test_target_of_an_obeyed_link_is_read_only(workspace: Path, tmp_path: Path) -> None:
    (workspace / ".envrc").rename(workspace / "real")
    (workspace / ".envrc").symlink_to("real")
    sandbox = await opened(workspace, tmp_path / "run")
    await sandbox.run("echo evil >real; echo evil >.envrc", timeout=30)
    assert (workspace / "real").read_text() == "mine"


@pytest.mark.needs("sandbox")
async def test_new_files_of_a_cancelled_or_timed_out_command_are_moved_too(workspace: Path, tmp_path: Path) -> None:
    sandbox = await opened(workspace, tmp_path / "run")
    late = await sandbox.run("echo x >sub/.envrc; sleep 60", timeout=0.5)
    assert (late.timed_out, places(late)) == (True, {"sub/.envrc": True})
    with anyio.move_on_after(0.5):
        await sandbox.run("echo y >sub/.envrc; sleep 60", timeout=60)
    assert not (workspace / "sub/.envrc").exists()
    assert len([path for path in (tmp_path / "run").rglob(".envrc*") if path.is_file()]) == 2


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "other", "size=1m,mode=700") as place:
        yield place


@pytest.mark.needs("root", "mounts")
async def test_files_are_moved_to_another_file_system_or_renamed_where_it_is_full(
    workspace: Path, other_file_system: Path
) -> None:
    sandbox = await opened(workspace, other_file_system / "run")
    make = "mkdir -p n/.vscode/deep; cd n/.vscode; echo 1 >deep/a; ln -s a l; mkfifo p; chmod 700 deep/a"
    result = await sandbox.run(make, timeout=30)
    (moved,) = (Path(str(notice.moved_to)) for notice in result.notices)
    assert moved.is_relative_to(other_file_system)
    assert ((moved / "deep/a").read_text(), (moved / "l").readlink()) == ("1\n", Path("a"))
    assert not (workspace / "n/.vscode").exists()
    full = await sandbox.run("mkdir -p n/.idea; head -c 3000000 /dev/zero >n/.idea/big", timeout=30)
    (kept,) = (Path(str(notice.moved_to)) for notice in full.notices)
    assert (kept.parent, (kept / "big").stat().st_size) == (workspace / "n", 3_000_000)
    assert kept.name.startswith(".idea.moved-by-agentctl-")
    later = await sandbox.run("true", timeout=30)
    assert later.notices == ()


CHANGES = {
    "made": "touch a/b/.envrc",
    "renamed": "mv plain .envrc",
    "in a new folder": "mkdir -p x/y; touch x/y/.npmrc",
    "with an old date": "touch a/.npmrc; touch -d 2001-01-01 a a/.npmrc",
    "a repository": "mkdir a/objects a/refs; touch a/HEAD",
    "a workflow": "mkdir -p .github/workflows; touch .github/workflows/x",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_index_finds_what_a_walk_finds(tmp_path: Path, change: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "plain").touch()
    index = FolderIndex(str(tmp_path))
    assert index.refresh() == {}
    subprocess.run(["/bin/sh", "-c", change], cwd=tmp_path, check=True)
    found = index.refresh()
    assert found == FolderIndex(str(tmp_path)).refresh()
    assert len(found) == 1


@pytest.mark.needs("sandbox")
@pytest.mark.needs("root")
def test_files_in_closed_folders_are_moved_for_an_ordinary_user(tmp_path: Path) -> None:
    """Root can read everything, so the run is of user nobody, in its own process."""
    run = (
        "import os, tempfile, anyio; from pathlib import Path; from agentctl.sandbox import bwrap, import_path,"
        " private_files, probe_cache, resource_limits, self_test; from agentctl.sandbox.select import open_sandbox\n"
        "async def main():\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534); os.environ['HOME'] = tempfile.mkdtemp()\n"
        "    work = Path(tempfile.mkdtemp())\n"
        "    sandbox = await open_sandbox('bwrap', workspace=work, network=False, read_only=False,"
        " files=Path(os.environ['HOME'], 'run'))\n"
        "    result = await sandbox.run('mkdir -p a/b c d; git init -q a/b; git init -q c; touch d/.envrc;"
        " chmod 500 c c/.git d; chmod 0 a/b a', timeout=30)\n"
        "    print(*(notice.path for notice in result.notices), all(notice.moved_to for notice in result.notices))\n"
        "    print(*(oct((work / name).stat().st_mode) for name in 'acd'))\n"
        "    for notice in result.notices: assert notice.moved_to.startswith(os.environ['HOME']), notice\n"
        "anyio.run(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("a/b/.git c/.git d/.envrc True\n0o40000 0o40500 0o40500\n", "")


@pytest.mark.parametrize("user", [0, 65534] if os.geteuid() == 0 else [os.geteuid()])
def test_closed_folders_are_searched_and_stay_closed(user: int) -> None:
    look = (
        "import os, sys, tempfile; from agentctl.sandbox.folder_index import FolderIndex; os.setuid(int(sys.argv[1]));"
        " root = tempfile.mkdtemp(); os.chdir(root); os.makedirs('a/b/c'); open('a/b/c/.envrc', 'w');"
        " os.chmod('a/b/c', 0); os.chmod('a/b', 0o100); os.chmod('a', 0); index = FolderIndex(root);"
        " print(*index.refresh(), *index.refresh(), oct(os.stat('a').st_mode), index.unread);"
        " os.chmod('a', 0o700); print(oct(os.stat('a/b').st_mode)); os.chmod('a/b', 0o700); os.chmod('a/b/c', 0o700);"
        " import shutil; shutil.rmtree(root)"
    )
    done = subprocess.run([sys.executable, "-c", look, str(user)], capture_output=True, text=True, check=True)
    assert done.stdout == "a/b/c/.envrc a/b/c/.envrc 0o40000 []\n0o40100\n"


def test_path_too_long_to_search_is_reported(tmp_path: Path) -> None:
    deep = "import os\nfor _ in range(60): os.mkdir('d' * 100); os.chdir('d' * 100)"
    subprocess.run([sys.executable, "-c", deep], cwd=tmp_path, check=True)
    index = FolderIndex(str(tmp_path))
    index.refresh()
    assert index.unread
    subprocess.run(["rm", "-rf", str(tmp_path / ("d" * 100))], check=True)
