"""Selection of the sandbox: which one is used, or the reason for none with the line that installs it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

import pytest

from agentctl.core.errors import SandboxUnavailable
from agentctl.sandbox.select import examine, open_sandbox
from tests.integration.sandbox.conftest import Inside, names
from tests.support.disks import small_disk
from tests.support.machine import need

REAL = shutil.which("bwrap") or "/usr/bin/bwrap"


async def refused(workspace: Path, *hidden: Path, read_only: bool = False) -> SandboxUnavailable:
    with pytest.raises(SandboxUnavailable) as caught:
        await open_sandbox("bwrap", workspace=workspace, network=False, read_only=read_only, hidden=hidden)
    assert caught.value.hint.endswith("   or: --sandbox none runs commands without a sandbox")
    return caught.value


def put_first(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "bwrap").write_text(f'#!/bin/sh\n[ "$1" = --help ] && exec {REAL} --help\n{script}\n')
    (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.needs("sandbox")
async def test_a_sandbox_is_found_and_nothing_is_left_of_its_probe(tmp_path: Path) -> None:
    found = await examine(tmp_path)
    assert (found.tier, found.hint, found.failures) == ("bwrap", "", ())
    assert names(tmp_path) == []
    assert [name for name in names(Path("/tmp")) if name.startswith(f"agentctl-probe-{os.getpid()}-")] == []


async def test_files_of_a_killed_probe_are_removed_by_the_next(tmp_path: Path) -> None:
    left = Path(f"/tmp/agentctl-probe-{2**22 + os.getpid()}-x")
    left.mkdir()
    (left / "secret").touch()
    await examine(tmp_path)
    assert not left.exists()


async def test_missing_bubblewrap_gets_the_line_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    error = await refused(tmp_path)
    assert error.message == "bubblewrap (bwrap) is not installed"
    failures = (await examine(tmp_path)).failures
    assert failures[0] == ("bwrap", error.message, error.hint.partition("   or:")[0])


async def test_a_program_that_a_model_could_have_written_is_not_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(REAL, tmp_path / "bwrap")
    monkeypatch.setenv("PATH", f"{tmp_path}:relative")
    assert (await refused(tmp_path)).message == "bubblewrap (bwrap) is not installed"


FAILING = {
    "no namespaces": "echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
    "silent": "exit 1",
    "killed": "kill -9 $$",
}


@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING)
async def test_bubblewrap_that_fails_is_reported_with_a_hint(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_first(tmp_path / "bin", script, monkeypatch)
    (tmp_path / "work").mkdir()
    error = await refused(tmp_path / "work")
    assert error.message.startswith(("the sandbox could not be set up: ", "the sandbox failed its check: "))


async def test_bubblewrap_that_is_too_old_or_broken_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    put_first(tmp_path / "bin", "", monkeypatch)
    program = tmp_path / "bin/bwrap"
    program.write_text("#!/bin/sh\necho '--tmpfs --symlink'\n")
    assert "is too old: it does not support --as-pid-1, " in (await refused(tmp_path / "work")).message
    program.write_text("#!/bin/sh\necho 'no such library' >&2; exit 1\n")
    assert (await refused(tmp_path / "work")).message == f"{program} does not run: no such library"


LEAKY = {
    "none at all": (
        (
            'while [ "$1" != --json-status-fd ]; do shift; done; echo \'{"exit-code": 0}\' >/proc/self/fd/$2\n'
            'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
        ),
        "namespace is the one outside",
    ),
    "a network": (
        (
            'for word; do shift; set -- "$@" "$word"; [ "$word" = --unshare-all ] && set -- "$@" --share-net; done;'
            f' exec {REAL} "$@"'
        ),
        "the net namespace is the one outside",
    ),
    "a writable machine": (
        (
            'n=0; for word; do shift; [ "$word" = --ro-bind ] && [ $n = 0 ] && word=--bind && n=1\n'
            f'set -- "$@" "$word"; done; exec {REAL} "$@"'
        ),
        "is writable from it",
    ),
    "privileges": (
        f'for word; do shift; [ "$word" = ALL ] && word=CAP_KILL; set -- "$@" "$word"; done; exec {REAL} "$@"',
        "a command has privileges in it",
    ),
    "the folders of others": (
        f'for word; do shift; [ "$word" = /tmp ] && word=/run; set -- "$@" "$word"; done; exec {REAL} "$@"',
        "is visible from it",
    ),
}


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize(("script", "reason"), LEAKY.values(), ids=LEAKY)
async def test_sandbox_that_leaks_is_refused(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "CAP_KILL" in script:
        need("root")
    put_first(tmp_path / "bin", script, monkeypatch)
    (tmp_path / "work").mkdir()
    error = await refused(tmp_path / "work", tmp_path / "work/none")
    assert error.message.startswith("the sandbox failed its check: ")
    assert reason in error.message
    assert names(tmp_path / "work") == []


@pytest.mark.needs("sandbox")
async def test_kept_test_does_not_cover_a_program_that_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_first(tmp_path / "bin", f'echo >>{tmp_path}/calls; exec {REAL} "$@"', monkeypatch)
    (tmp_path / "work").mkdir()
    calls = []
    for _ in range(2):
        sandbox = await open_sandbox(
            "bwrap", workspace=tmp_path / "work", network=False, read_only=False, state=tmp_path / "state"
        )
        assert (await sandbox.run("echo works", timeout=20)).stdout == "works\n"
        sandbox.close()
        calls.append((tmp_path / "calls").read_text().count("\n"))
    assert calls == [2, 3]  # the first start tests, and each runs its command
    script, reason = LEAKY["a writable machine"]
    (tmp_path / "bin/bwrap").write_text(f'#!/bin/sh\n[ "$1" = --help ] && exec {REAL} --help\n{script}\n')
    with pytest.raises(SandboxUnavailable, match=reason):
        await open_sandbox(
            "bwrap", workspace=tmp_path / "work", network=False, read_only=False, state=tmp_path / "state"
        )


@pytest.mark.parametrize("place", ["/", "/home", "/etc", "/usr", "/tmp", "/var", "/proc/sys", "/dev/shm"])
async def test_a_workspace_that_leaves_nothing_to_hide_is_refused(place: str) -> None:
    error = await refused(Path(place))
    assert error.message.startswith(f"the workspace {place} ")
    assert "--workdir DIR" in error.hint


async def test_home_and_agentctls_own_folders_are_refused_as_workspace(tmp_path: Path) -> None:
    home = Path(os.environ["HOME"])
    assert "is your home folder" in (await refused(home)).message
    assert "home" in (await refused(home.parent)).message
    (tmp_path / "state/runs").mkdir(parents=True)
    assert "which belongs to agentctl" in (await refused(tmp_path / "state/runs", tmp_path / "state")).message
    assert "is not a folder" in (await refused(tmp_path / "nowhere")).message


NAMES = ["plain", "with a space", "new\nline", "grün-日本", "back\\slash", "quo'te\"s", "-dash", "$HOME", "a/b/c"]
PLACES = [*(("tmp", name) for name in NAMES), ("home", NAMES[-1]), ("root", NAMES[-1])]


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize(("below", "name"), PLACES)
async def test_a_workspace_may_have_any_name_and_lie_in_a_hidden_place(below: str, name: str, tmp_path: Path) -> None:
    if below == "root":
        need("root")
    above = {"home": Path(os.environ["HOME"]), "tmp": tmp_path, "root": Path("/root") / f".test-{os.getpid()}"}[below]
    workspace = above / name
    workspace.mkdir(parents=True)
    try:
        sandbox = await open_sandbox("auto", workspace=workspace, network=False, read_only=False)
        result = await sandbox.run("pwd; echo x > made", timeout=20)
        assert (result.stdout, result.stderr) == (f"{workspace}\n", "")
        assert names(workspace) == ["made"]
    finally:
        if below == "root":
            shutil.rmtree(above)


@pytest.mark.needs("sandbox")
async def test_links_lead_to_the_workspace_inside_as_well(tmp_path: Path) -> None:
    home = Path(os.environ["HOME"])
    (tmp_path / "real/deep").mkdir(parents=True)
    (home / "one").symlink_to(tmp_path / "real")
    (tmp_path / "two").symlink_to(home / "one")
    workspace = tmp_path / "two/deep"
    sandbox = await open_sandbox("auto", workspace=workspace, network=False, read_only=False)
    result = await sandbox.run(f"pwd -P; echo x > {workspace}/made; ls {home}", timeout=20)
    assert (result.stdout, result.stderr) == (f"{tmp_path.resolve()}/real/deep\none\n", "")
    assert names(tmp_path / "real/deep") == ["made"]


@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
async def test_a_workspace_may_be_on_a_disk_without_programs(
    tmp_path: Path, tier: Literal["bwrap", "landlock"]
) -> None:
    need("sandbox" if tier == "bwrap" else "landlock")
    with small_disk(tmp_path / "work", "size=4m,noexec,nosuid,nodev") as workspace:
        sandbox = await open_sandbox(tier, workspace=workspace, network=False, read_only=False)
        assert (await sandbox.run("echo x > made; cat made", timeout=20)).stdout == "x\n"
        sandbox.close()


def test_commands_of_root_run_as_the_owner_of_the_workspace(inside: Inside) -> None:
    (answer,) = Inside(inside.workspace, os.geteuid())("echo x > made; id -u; cat /etc/shadow /proc/1/root/etc/shadow")
    assert answer["stdout"] == f"{inside.uid}\n"
    assert (inside.workspace / "made").stat().st_uid == inside.uid


async def test_commands_with_sandbox_none_run_unsandboxed_in_the_workspace(tmp_path: Path) -> None:
    sandbox = await open_sandbox("none", workspace=tmp_path, network=False, read_only=True)
    assert (sandbox.tier, sandbox.read_only) == ("none", False)
    result = await sandbox.run("pwd -P; echo x > made", timeout=20)
    assert result.stdout == f"{tmp_path.resolve()}\n"


def test_a_workspace_that_its_user_cannot_write_can_still_be_read(own: Inside) -> None:
    own.workspace.chmod(0o555)
    (own.workspace.parent / "other").mkdir()
    answers = own("pwd")
    assert answers[0].get("stdout") == f"{own.workspace}\n"
