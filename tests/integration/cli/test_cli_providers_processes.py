"""Tests that start processes, beside ``tests/unit/cli/test_cli_providers.py``."""

from __future__ import annotations

from tests.support.command_line import Commands


def test_shell_completion_offers_the_words_of_providers(agentctl: Commands) -> None:
    ended = agentctl(_AGENTCTL_COMPLETE="complete_bash", COMP_WORDS="agentctl providers ", COMP_CWORD="2")
    assert {"list", "set-key"} <= set(ended.out.split())
