"""The second names of tools, in rules and in ``--tools``."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.core.tool_rules import OTHER_NAMES, parse_rule
from agentctl.permissions.decision import parse_known_rules, permissions_of, refuse_unknown_tools
from agentctl.settings import load_settings
from agentctl.tools.toolbox import TOOLS, real_name


def test_second_name_is_no_tools_own_and_models_may_use_it_too() -> None:
    assert set(OTHER_NAMES) <= set(TOOLS)
    assert not set(OTHER_NAMES.values()) & set(TOOLS)
    assert {other: real_name(other) for other in OTHER_NAMES.values()} == {o: n for n, o in OTHER_NAMES.items()}


@pytest.mark.parametrize("rule", ["docker_compose_ps", "docker_*", "compose_ps", "*_ps", "docker_compose_p?"])
def test_rule_covers_a_tool_by_either_of_its_names(rule: str) -> None:
    assert parse_rule(rule).covers("compose_ps")
    assert parse_known_rules([rule], "deny")


def test_rule_about_another_tool_does_not_cover_it() -> None:
    assert not parse_rule("docker_compose_ls").covers("compose_ps")
    assert not parse_rule("docker_ps").covers("compose_ps")


def test_tools_may_be_listed_by_their_second_names(tmp_path: Path) -> None:
    flags: dict[str, object] = {"tools": ["docker_compose_ls", "docker_ps"], "workdir": str(tmp_path)}
    found = permissions_of(load_settings(flags=flags, remember=False, needs=("policy",)))
    assert found.only == ("compose_projects", "docker_ps")
    refuse_unknown_tools(["docker_compose_drift"], "tools")
    with pytest.raises(UsageError):
        refuse_unknown_tools(["docker_compose_zork"], "tools")
