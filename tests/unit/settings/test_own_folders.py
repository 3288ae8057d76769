"""A folder of agentctl's own that others may write, or replace, is refused, with a line to paste."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings import load_settings

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


def test_folder_of_runs_is_checked_too(place: Path) -> None:
    (place / "state_dir" / "runs").mkdir()
    (place / "state_dir" / "runs").chmod(0o777)
    with pytest.raises(UsageError, match="other users can write to the folder of runs"):
        load(place)


def test_a_link_in_a_folder_that_others_may_write_is_refused_too(place: Path) -> None:
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "link").symlink_to(place / "state_dir")
    with pytest.raises(UsageError, match="other users can replace the state folder"):
        load(place, state_dir=str(shared / "link"))


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_a_folder_that_others_may_only_read_is_fine(place: Path, mode: int) -> None:
    for name in NAMES:
        (place / name).chmod(mode)
    load(place)


def test_group_with_only_the_owner_may_write(place: Path) -> None:
    (place / "state_dir").chmod(0o770)  # as systems with a group for each user make folders
    load(place)


@ROOT
def test_group_with_other_members_may_not_write(place: Path) -> None:
    os.chown(place / "state_dir", 0, 65534)
    (place / "state_dir").chmod(0o770)
    with pytest.raises(UsageError, match="other users can write to the state folder"):
        load(place)
