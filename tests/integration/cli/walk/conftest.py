"""A user at a shell, with folders of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command_line import Commands


@pytest.fixture(autouse=True)
def _no_sandbox() -> None:
    """Walk as a user does who has set nothing: with a sandbox."""


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    """Run a command as a process: ``shell("run", TASK, **environment)``."""
    return Commands(tmp_path)


@pytest.fixture
def state() -> Path:
    """The state folder of this test's commands."""
    return Path(os.environ["AGENTCTL_STATE_DIR"])
