"""Tests that start processes, beside ``tests/unit/settings/test_own_folders.py``."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings import load_settings
from agentctl.settings.own_folders import folder_problems

ROOT = pytest.mark.needs("root")


NAMES = {"state_dir": "state folder", "cache_dir": "cache folder", "config_dir": "config folder"}


def load(place: Path, **more: str) -> None:
    """Load settings whose folders all lie in ``place``."""
    folders = {name: str(place / name) for name in NAMES} | more
    environ = {f"AGENTCTL_{name.upper()}": folder for name, folder in folders.items()}
    load_settings(flags={}, environ={"HOME": str(place), **environ}, cwd=place)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).mkdir(mode=0o700)
    load(tmp_path)  # right as it is
    return tmp_path


@pytest.mark.parametrize("mode", [0o702, 0o722, 0o777, 0o757, 0o1777])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_others_may_write_is_refused_until_the_hint_is_pasted(place: Path, name: str, mode: int) -> None:
    (place / name).chmod(mode)
    with pytest.raises(UsageError, match=f"other users can write to the {NAMES[name]} ") as caught:
        load(place)
    assert caught.value.status == "usage"
    assert caught.value.hint == f"chmod go-w {shlex.quote(str(place / name))}"
    subprocess.run(["/bin/sh", "-c", caught.value.hint], check=True)
    load(place)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_others_may_replace_is_refused_until_the_hint_is_pasted(place: Path, exists: bool) -> None:
    shared = place / "shared by all"
    shared.mkdir()
    shared.chmod(0o777)
    if exists:
        (shared / "deep" / "state").mkdir(parents=True, mode=0o700)
    with pytest.raises(UsageError, match="other users can replace the state folder") as caught:
        load(place, state_dir=str(shared / "deep" / "state"))
    assert caught.value.hint == f"chmod +t '{shared}'"
    subprocess.run(["/bin/sh", "-c", caught.value.hint], check=True)
    load(place, state_dir=str(shared / "deep" / "state"))


AS_NOBODY = """
import grp, os, pwd, sys
from pathlib import Path
from agentctl.settings.own_folders import folder_problems
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for problem in folder_problems((("state folder", Path(sys.argv[1]), ()),)):
    print(problem.text); print(problem.hint)
"""


@ROOT
def test_a_folder_of_another_user_is_refused_and_one_in_it_too() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        Path(top).chmod(0o755)
        theirs = Path(top, "theirs")
        (theirs / "state").mkdir(parents=True)
        os.chown(theirs, 1234, 1234)

        def said(folder: Path) -> list[str]:
            argv = [sys.executable, "-c", AS_NOBODY, str(folder)]
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

        assert said(theirs) == [
            f"state folder {theirs} belongs to another user (uid 1234)",
            f'sudo chown "$(id -u)" {theirs}',
        ]
        assert said(theirs / "state") == [
            f"state folder {theirs}/state lies in {theirs}, which belongs to another user (uid 1234)",
            'export AGENTCTL_STATE_DIR="$HOME/.agentctl"',
        ]
        os.chown(theirs, 65534, 65534)
        assert said(theirs) == []
        assert folder_problems((("state folder", theirs, ()),)) == (), "root may use a user's folder, as under sudo"
