"""Settings files that are pipes without a writer, or in folders without permission."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from agentctl.core import bounded_read
from agentctl.core.errors import RunTimeout
from agentctl.settings import load_settings, own_files
from agentctl.settings.own_files import PipeWait
from agentctl.settings.show import paths
from tests.support.desk import Desk


@pytest.mark.parametrize("name", [".env", "config.toml"])
def test_pipe_without_a_writer_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(own_files, "PIPE_PATIENCE_S", 0.1)
    desk = Desk(tmp_path)
    os.mkfifo(desk.config / name, 0o600)
    assert desk.refusal().message.endswith(f"{name} is a pipe that did not end within 0.1 s")


def test_pipe_with_a_writer_is_read_to_its_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    os.mkfifo(desk.cwd / "pipe")
    writer = threading.Thread(target=(desk.cwd / "pipe").write_text, args=("max_turns = 7\n",))
    writer.start()
    assert desk.load(config="pipe").settings.max_turns == 7
    writer.join()


def test_pipe_that_a_run_waits_for_is_said_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_read, "NOTICE_S", 0.01)
    desk, said = Desk(tmp_path), list[str]()
    os.mkfifo(desk.cwd / "pipe")
    wait = PipeWait(since=time.monotonic(), notify=said.append)

    def write() -> None:
        while not said:
            time.sleep(0.01)
        (desk.cwd / "pipe").write_text("max_turns = 7\n")

    writer = threading.Thread(target=write)
    writer.start()
    loaded = [load_settings(flags={}, environ=desk.environ, cwd=desk.cwd, config="pipe", wait=wait) for _ in range(2)]
    writer.join()
    assert [one.settings.max_turns for one in loaded] == [7, 7]
    assert said == [f"still waiting for --config {desk.cwd / 'pipe'}, a pipe"]


@pytest.mark.parametrize("place", ["flag", "environment", "env file"])
def test_time_limit_of_a_run_counts_for_a_pipe_whatever_sets_it(tmp_path: Path, place: str) -> None:
    desk = Desk(tmp_path)
    os.mkfifo(desk.cwd / "pipe")
    desk.file("limit", "AGENTCTL_TIMEOUT=0.1s\n")
    wait = PipeWait(since=time.monotonic(), notify=print)
    with pytest.raises(RunTimeout, match=r"the run took longer than 0\.1 s, waiting for --config"):
        load_settings(
            flags={"timeout": "0.1s"} if place == "flag" else {},
            environ={**desk.environ, **({"AGENTCTL_TIMEOUT": "0.1s"} if place == "environment" else {})},
            cwd=desk.cwd,
            env_files=["limit"] if place == "env file" else [],
            config="pipe",
            wait=wait,
        )


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
