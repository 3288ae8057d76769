"""What the settings add to the reach of sandboxed commands: paths to read, paths to change, variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import anyio
import pytest

from agentctl.protocols import Sandbox
from agentctl.sandbox.bwrap import Bwrap
from agentctl.sandbox.landlock_sandbox import Landlock
from agentctl.sandbox.landlock_tier import find_machine
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.select import open_sandbox
from agentctl.sandbox.self_test import find_bwrap, options_of
from tests.integration.sandbox.conftest import Inside
from tests.support.machine import need

MIB = 1024**2


@pytest.fixture(autouse=True)
def _own_program(request: pytest.FixtureRequest) -> None:
    """Skip the landlock tier for a user who cannot start agentctl's own program."""
    if {"inside", "wanted"} <= set(request.fixturenames) and request.getfixturevalue("wanted") == "landlock":
        need("landlock" if request.getfixturevalue("inside").uid == os.geteuid() else "landlock for others")


@pytest.fixture
def data(inside: Inside) -> Path:
    """A folder beside the workspace, with a file that all may read."""
    folder = inside.workspace.parent / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").write_text("known\n")
    if inside.uid != 0:
        for place in (folder, folder / "deep", folder / "deep/file"):
            place.chmod(0o777)
    return folder


def test_a_readable_folder_is_seen_and_cannot_be_changed(inside: Inside, data: Path, wanted: str) -> None:
    before, after = (
        inside(f"cat {data}/deep/file", wanted=wanted),
        inside(f"cat {data}/deep/file; echo x >{data}/new", wanted=wanted, readable=[str(data)]),
    )
    assert before[0]["stdout"] == ""
    assert after[0]["stdout"] == "known\n"
    assert after[0]["exit_code"] != 0
    assert not (data / "new").exists()


def test_a_writable_folder_is_changed_outside_too(inside: Inside, data: Path, wanted: str) -> None:
    inside(f"echo x >{data}/new; echo y >{data}/../other", wanted=wanted, writable=[str(data)])
    assert (data / "new").read_text() == "x\n"
    assert not (data.parent / "other").exists()


def test_a_writable_folder_is_only_read_if_all_is_read_only(inside: Inside, data: Path, wanted: str) -> None:
    (answer,) = inside(f"cat {data}/deep/file; echo x >{data}/new", wanted=wanted, writable=[str(data)], read_only=True)
    assert answer["stdout"] == "known\n"
    assert not (data / "new").exists()


def test_a_hidden_folder_stays_hidden_in_a_readable_one(inside: Inside, data: Path, wanted: str) -> None:
    (data / "seen").write_text("seen\n")
    (data / "seen").chmod(0o644)
    command = f"cat {data}/seen {data}/deep/file; ls {data}/deep"
    (answer,) = inside(command, wanted=wanted, readable=[str(data)], hidden=[data / "deep"])
    assert answer["stdout"] == "seen\n"


def test_a_link_in_a_writable_place_leads_to_nothing_new(inside: Inside, data: Path, wanted: str) -> None:
    secret = data.parent / "secret"
    secret.mkdir()
    (secret / "key").write_text("hidden\n")
    (inside.workspace / "way").symlink_to(secret)
    (data / "way").symlink_to(secret)
    outer = data.parent / "outer"
    outer.symlink_to(data / "way")
    paths = [str(place) for place in (inside.workspace / "way", data / "way", outer, data / "deep")]
    answers = inside(f"cat {secret}/key {outer}/key", wanted=wanted, readable=paths, writable=[str(data)])
    assert "hidden" not in answers[0]["stdout"]
    answers = inside(f"cat {secret}/key {outer}/key", wanted=wanted, writable=[str(data), *paths])
    assert "hidden" not in answers[0]["stdout"]


def test_a_variable_is_passed_on_and_no_other(inside: Inside, wanted: str) -> None:
    command = "env | grep -v ^AGENTCTL_CHILD | sed 's|/agentctl-command-.*||'"
    before, after = (
        inside(command, wanted=wanted, **more)[0]["stdout"] for more in ({}, {"passed_on": {"EDITOR": "vi -n"}})
    )
    assert set(after.splitlines()) == {*before.splitlines(), "EDITOR=vi -n"}


@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
async def test_a_command_that_fills_a_writable_folder_is_ended(config: Path, tier: str) -> None:
    need("sandbox" if tier == "bwrap" else "landlock")
    (config / "work").mkdir()
    (config / "data").mkdir()
    place = str(config / "data")
    given = SandboxConfig(str(config / "work"), str(config / "work"), writable=(place,))
    sandbox: Sandbox
    if tier == "bwrap":
        program = find_bwrap(given.workspace)
        sandbox = Bwrap(program, await options_of(program), given, most_growth=32 * MIB)
    else:
        sandbox = Landlock(given, *find_machine(), most_growth=32 * MIB)
    with anyio.fail_after(60):
        result = await sandbox.run(f"fallocate -l 48M {place}/x; sleep 100", timeout=100)
    sandbox.close()
    assert not result.timed_out
    assert result.notes[0].startswith(f"the command was ended: it wrote 48 MiB to {place}, the limit is 32 MiB")


@pytest.mark.parametrize("tier", ["none", "external"])
async def test_commands_without_a_sandbox_get_the_variables_too(
    tmp_path: Path, tier: Literal["none", "external"]
) -> None:
    said: list[str] = []
    sandbox = await open_sandbox(
        tier, workspace=tmp_path, network=False, read_only=False, passed_on={"EDITOR": "vi"}, warn=said.append
    )
    assert (await sandbox.run("echo $EDITOR", timeout=20)).stdout == "vi\n"
    assert sandbox.tier == tier
    assert [line.partition(":")[0] for line in said] == (["sandbox external"] if tier == "external" else [])
