"""Tests that start processes, beside ``tests/unit/cli/test_cli_config.py``."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import Commands


def test_wrong_config_file_can_be_fixed_by_the_command(agentctl: Commands, config: Path) -> None:
    config.mkdir()
    (config / "config.toml").write_text('max_turns = "many"\n')
    shown = agentctl("config", "show")
    assert (shown.code, shown.err.count('warning: max_turns cannot be "many"')) == (0, 1)
    assert agentctl("config", "get", "max_turns").code == agentctl("config", "check").code == 2
    assert agentctl("config", "set", "max_turns", "5").code == 0
    assert agentctl("config", "get", "max_turns").out == "5\n"
