"""Tests that start processes, beside ``tests/unit/cli/test_cli_agents_tools.py``."""

from __future__ import annotations

from agentctl.runner.toolset import NEED_SANDBOX
from agentctl.tools.toolbox import TOOLS
from tests.support.command_line import Commands, loaded_by_all

LOOKUP = next(name for name in TOOLS if name not in NEED_SANDBOX)


def test_shell_completion_offers_agents_and_tools(agentctl: Commands) -> None:
    for group, verbs in (("agents", {"list", "show"}), ("tools", {"list", "show"}), ("policy", {"check"})):
        ended = agentctl(_AGENTCTL_COMPLETE="complete_bash", COMP_WORDS=f"agentctl {group} ", COMP_CWORD="2")
        assert verbs <= set(ended.out.split())
    ended = agentctl(_AGENTCTL_COMPLETE="complete_bash", COMP_WORDS="agentctl doctor --off", COMP_CWORD="2")
    assert ended.out.split() == ["--offline"]


def test_a_reader_that_leaves_ends_a_list_silently(agentctl: Commands) -> None:
    with agentctl.start("tools", "list", "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_looking_at_tools_loads_no_engine_and_no_model() -> None:
    loaded = loaded_by_all(
        ("agents", "list"),
        ("agents", "show", "docker", "--task", "restart web"),
        ("tools", "list"),
        ("tools", "show", LOOKUP, "--json"),
        ("policy", "check", LOOKUP),
    )
    assert loaded & {"litellm", "openai", "httpx", "aiodocker", "aiohttp", "psutil", "rich"} == set()
