"""Tests that start processes, beside ``tests/unit/cli/test_cli_commands.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.command_line import Commands, Ended

Here = Callable[..., Ended]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(here: Here, shell: str) -> None:
    ended = here("completion", shell)
    assert ended.code == 0
    assert f"_AGENTCTL_COMPLETE=complete_{shell}" in ended.out


def test_shell_completion_offers_the_commands(agentctl: Commands) -> None:
    ended = agentctl(_AGENTCTL_COMPLETE="complete_bash", COMP_WORDS="agentctl ru", COMP_CWORD="1")
    assert (ended.code, ended.out.split()) == (0, ["run", "runs"])
    ended = agentctl(_AGENTCTL_COMPLETE="complete_bash", COMP_WORDS="agentctl run --max-t", COMP_CWORD="2")
    assert ended.out.split() == ["--max-tokens-per-task", "--max-turns"]
