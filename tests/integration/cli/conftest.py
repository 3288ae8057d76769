"""A collector as it was: a run in this process arranges it for a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command_line import Commands, agentctl, here

__all__ = ["agentctl", "here"]


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    """Run a command as a process: ``shell("run", TASK, **reaching(server, "openai"))``."""
    return Commands(tmp_path)


@pytest.fixture
def state() -> Path:
    """The state folder of this test's commands."""
    return Path(os.environ["AGENTCTL_STATE_DIR"])
