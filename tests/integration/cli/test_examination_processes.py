"""Tests that start processes, beside ``tests/unit/cli/test_examination.py``."""

from __future__ import annotations

from pathlib import Path

from agentctl.cli.doctor import checks
from tests.support.desk import Desk
from tests.support.ledger.fuse_mount import served


def test_a_state_folder_on_a_network_stops_a_run(tmp_path: Path) -> None:
    with served(tmp_path / "remote") as point:
        (found,) = checks.check_state_folder(point)
    assert (found.state, found.stops, found.hint) == ("lack", True, "export AGENTCTL_STATE_DIR=/a/local/folder")
    assert "network file system (fuse.sshfs)" in found.message


def test_sandbox_of_this_host_is_tested(tmp_path: Path) -> None:
    """On any machine: a missing sandbox stops a run only where one was asked for by name."""
    desk = Desk(tmp_path)
    for wanted, stops in (("auto", False), ("bwrap", True)):
        loaded = desk.load({"AGENTCTL_SANDBOX": wanted})
        (found,) = checks.check_sandbox(loaded.settings, "", tmp_path)
        assert found.state in ("ok", "lack", "warning")
        assert found.stops == (stops and found.state == "lack")
