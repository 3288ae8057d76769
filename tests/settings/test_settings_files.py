"""Files that are no files: pipes nobody writes to, folders nobody may look into."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from agentctl.settings import files
from agentctl.settings.show import paths
from tests.settings.desk import Desk


@pytest.mark.parametrize("name", [".env", "config.toml"])
def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.05)
    desk = Desk(tmp_path)
    os.mkfifo(desk.config / name, 0o600)
    assert desk.refusal().message.endswith(f"{name} is a pipe that nobody writes to")


def test_a_pipe_that_somebody_writes_to_is_read_to_its_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    os.mkfifo(desk.cwd / "pipe")
    writer = threading.Thread(target=(desk.cwd / "pipe").write_text, args=("max_turns = 7\n",))
    writer.start()
    assert desk.load(config="pipe").settings.max_turns == 7
    writer.join()


def test_a_config_folder_that_may_not_be_looked_into_is_no_bug_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    desk.user_env("MAX_COST_PER_TASK=0.1\n")
    _forbid(monkeypatch, desk.config)
    assert (
        desk.refusal().message.splitlines()[1]
        == f"  user .env {desk.config / '.env'} cannot be read: permission denied"
    )


def test_a_workdir_and_a_state_folder_that_may_not_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    hidden = tmp_path / "hidden"
    (hidden / "work").mkdir(parents=True)
    _forbid(monkeypatch, hidden)
    message = desk.refusal(flags={"workdir": str(hidden / "work")}).message
    assert message == f"workdir {hidden / 'work'} (flag --workdir): no such folder"
    places = paths(desk.load({"AGENTCTL_STATE_DIR": str(hidden)}, remember=False))
    assert [place.name for place in places if place.path.is_relative_to(hidden)] == ["state folder", "ledger", "runs"]


def _forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Refuse to look at what is in ``folder``, as the kernel does for all but root."""
    real_stat, real_open = os.stat, os.open

    def refuse(path: object) -> None:
        if isinstance(path, str | Path) and Path(path).parent == folder:
            raise PermissionError(13, "Permission denied", str(path))

    def stat(path: str | Path, **how: bool) -> os.stat_result:
        refuse(path)
        return real_stat(path, **how)

    def opened(path: str, flags: int, mode: int = 0o777) -> int:
        refuse(path)
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "open", opened)
