"""Commands see neither files that only root may read, at any depth, nor kernel file systems, wherever mounted."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.sandbox.private_files import PrivateFiles
from tests.integration.sandbox.conftest import REPOSITORY, Inside

pytestmark = pytest.mark.own_walk
ROOT = pytest.mark.needs("root")
WORD = "only-root-may-read-this"


def fill(top: Path) -> tuple[list[Path], list[Path]]:
    """Make a tree of files; return those that only root may read, and those that all may."""
    deep = top / "a/b/c/d/e/f/g/h/i/j"
    deep.mkdir(parents=True)
    closed, listed, grouped = top / "a/closed", top / "a/b/listed", top / "a/b/c/grouped"
    for folder, mode in ((closed, 0o700), (listed, 0o744), (grouped, 0o750)):
        folder.mkdir()
        folder.chmod(mode)
    passable = top / "a/passable"
    passable.mkdir(mode=0o711)
    passable.chmod(0o711)
    private, public = [], []
    for path, mode in {
        deep / "key": 0o600,
        deep / "group": 0o640,
        top / "a/b/c/d/e/f/key": 0o400,
        closed / "open": 0o644,
        listed / "open": 0o644,
        grouped / "open": 0o644,
        passable / "key": 0o600,
    }.items():
        path.write_text(WORD)
        path.chmod(mode)
        private.append(path)
    for path in (deep / "readme", passable / "open", top / "a/readme", top / "a/b/c/d/readme"):
        path.write_text("for all")
        path.chmod(0o644)
        public.append(path)
    many = top / "a/many"
    many.mkdir()
    for number in range(20):
        (many / f"key-{number}").touch(mode=0o600)
        private.append(many / f"key-{number}")
    return private, public


def is_covered(path: Path, places: tuple[str, ...]) -> bool:
    name = str(path)
    return any(name == place or name.startswith(f"{place}/") for place in places)


@ROOT
def test_private_files_are_covered_at_every_moment_of_the_walk(tmp_path: Path) -> None:
    trees = [fill(tmp_path / name) for name in ("etc", "opt", "srv", "var", "data", "usr/local/share")]
    workspace = tmp_path / "srv/a/b/work"
    workspace.mkdir()
    (workspace / "own").touch(mode=0o600)
    files = PrivateFiles(str(workspace), top=str(tmp_path))
    steps = 0
    while True:
        places = files.known_places()
        for number, (private, _) in enumerate(trees[:5]):
            assert [path for path in private if not is_covered(path, places)] == [], (steps, number)
        if not files.step():
            break
        steps += 1
    assert steps > 60
    places = files.known_places()
    for private, public in trees:
        assert [path for path in private if not is_covered(path, places)] == []
        assert [path for path in public if is_covered(path, places)] == []
    assert not is_covered(workspace / "own", places)


@ROOT
@pytest.mark.parametrize("free", [0, 1])
def test_folder_that_cannot_be_read_for_want_of_open_files_is_covered(tmp_path: Path, free: int) -> None:
    """One file is the folder itself, another one the list of what is in it."""
    private, _ = fill(tmp_path / "opt")
    files = PrivateFiles(str(tmp_path / "srv"), top=str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = os.dup(0)
    os.close(unused)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused + free, hard))
    try:
        files.step()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    while files.step():
        pass
    assert [path for path in private if not is_covered(path, files.known_places())] == []


@ROOT
def test_a_command_of_root_reads_no_file_that_only_root_may_at_any_depth(own: Inside) -> None:
    top = Path("/opt", f"only-root-{os.getpid()}")
    local = Path("/usr/local/share", f"only-root-{os.getpid()}")
    try:
        private, public = fill(top)
        crowd = top / "a/b/crowd"
        crowd.mkdir()
        for number in range(3_000):
            (crowd / str(number)).touch()
        late = top / "z/late/key"
        late.parent.mkdir(parents=True)
        late.write_text(WORD)
        late.chmod(0o600)
        local.mkdir()
        (local / "key").write_text(WORD)
        (local / "key").chmod(0o600)
        found, read = own(
            f"grep -rs {WORD} {top} {local}; cat {' '.join(map(str, private))} {late}",
            f"cat {' '.join(map(str, public))}",
        )
    finally:
        shutil.rmtree(top, ignore_errors=True)
        shutil.rmtree(local, ignore_errors=True)
    assert found["stdout"] == ""
    assert read["stdout"] == "for all" * len(public)


FILE_TOOLS = """
import anyio, sys
from pathlib import Path
from agentctl.core.errors import AgentctlError
from agentctl.tools.toolbox import toolbox

async def use(tool, **arguments):
    async with toolbox(workspace=Path(sys.argv[1])) as box:
        one = box.get(tool)
        try:
            return await one(await one.prepare(arguments))
        except AgentctlError as error:
            return f"refused: {error.message}"

async def main():
    for path in ("x/self/environ", "x/1/environ", "x/self/status", "s/kernel/notes", "c/cgroup.procs"):
        print(await use("read_file", path=path))
    print(await use("list_files", path="x", kind="any"))
    print(await use("list_files", kind="any"))
    print(await use("search_files", text="PATH="))
    print(await use("write_file", path="c/made/by/us", text="x"))

anyio.run(main)
"""


@pytest.fixture
def mounted(own: Inside) -> list[str]:
    """Give words that start a program where file systems of the kernel are mounted in the workspace."""
    (own.workspace / "plain").write_text("PATH=of a file\n")
    kinds = {"x": "proc", "s": "sysfs", "c": "cgroup2", "d": "debugfs"}
    for name in kinds:
        (own.workspace / name).mkdir()
    mounts = "; ".join(f"mount -t {kind} none {own.workspace / name} || true" for name, kind in kinds.items())
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounts}; exec "$@"', "sh"]


@ROOT
def test_no_file_tool_reads_a_second_procfs_in_the_workspace(own: Inside, mounted: list[str]) -> None:
    argv = [*mounted, sys.executable, "-c", FILE_TOOLS, str(own.workspace)]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line for line in lines[:3] if not line.endswith("is a file of the kernel, not a regular file")] == []
    assert [line for line in lines[:5] if not line.startswith("refused: ")] == []
    assert [line for line in lines[5:] if "x/" in line and "  " in line and not line.endswith(" x/")] == []
    assert "1 match in 1 file" in done.stdout
    assert lines[-1].startswith("refused: the file system of c")
    assert not (own.workspace / "c" / "made").exists()


@ROOT
def test_no_command_sees_a_second_procfs_in_the_workspace(own: Inside, mounted: list[str]) -> None:
    command = "cat x/1/environ x/self/status x/version; ls -A x s c d; echo 1 > s/kernel/x; mkdir c/made; ls plain"
    done = subprocess.run([*mounted, *own.argv(command)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    assert answer["stdout"].endswith("plain\n")
    assert "Name:" not in answer["stdout"]
    assert "kernel" not in answer["stdout"]
    assert "cgroup" not in answer["stdout"]
