"""Settings files that are pipes without a writer, or in folders without permission."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from agentctl.settings import own_files
from agentctl.settings.show import paths
from tests.support.desk import Desk


@pytest.mark.parametrize("name", [".env", "config.toml"])
def test_pipe_without_a_writer_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(own_files, "PIPE_PATIENCE_S", 0.1)
    desk = Desk(tmp_path)
    os.mkfifo(desk.config / name, 0o600)
    assert desk.refusal().message.endswith(f"{name} is a pipe without a writer")


def test_pipe_with_a_writer_is_read_to_its_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    os.mkfifo(desk.cwd / "pipe")
    writer = threading.Thread(target=(desk.cwd / "pipe").write_text, args=("max_turns = 7\n",))
    writer.start()
    assert desk.load(config="pipe").settings.max_turns == 7
    writer.join()


def test_config_folder_without_permission_is_a_usage_error(as_nobody: Path) -> None:
    desk = Desk(as_nobody)
    desk.user_env("MAX_COST_PER_TASK=0.1\n")
    desk.config.chmod(0)
    message = desk.refusal().message
    desk.config.chmod(0o700)
    assert message.splitlines()[1] == f"  user .env {desk.config / '.env'} cannot be read: permission denied"


def test_workdir_and_state_folder_without_permission_count_as_missing(as_nobody: Path) -> None:
    desk = Desk(as_nobody)
    hidden = as_nobody / "hidden"
    (hidden / "work").mkdir(parents=True)
    hidden.chmod(0)
    message = desk.refusal(flags={"workdir": str(hidden / "work")}).message
    assert message == f"workdir {hidden / 'work'} (flag --workdir): no such folder"
    places = paths(desk.load({"AGENTCTL_STATE_DIR": str(hidden)}, remember=False))
    hidden.chmod(0o700)
    assert [place.name for place in places if place.path.is_relative_to(hidden)] == ["state folder", "ledger", "runs"]
