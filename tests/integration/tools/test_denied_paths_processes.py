"""Tests that start processes, beside ``tests/unit/tools/test_denied_paths.py``."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from agentctl.core.errors import ActionDenied
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.decision import permissions_of
from agentctl.runner.toolset import toolset_for
from agentctl.sandbox.denied_paths import DeniedPaths
from agentctl.sandbox.select import open_sandbox
from agentctl.settings import load_settings
from tests.support.denied_paths import DENY, WORD, use

pytestmark = pytest.mark.anyio


async def test_git_status_leaves_out_what_is_denied(workspace: Path) -> None:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    for words in (("init", "-q", "."), ("add", "-A")):
        await anyio.run_process(["git", *words], cwd=workspace, env=environ)
    answer = await use(workspace, "git_status", {})
    assert isinstance(answer, str)
    assert "src/app.py" in answer
    assert not any(name in answer for name in ("secrets/key", "server.pem", "sume", "deep")), answer
    assert isinstance(await use(workspace, "git_status", {"path": "conf/secrets/deep"}), ActionDenied)


@pytest.mark.needs("sandbox")
async def test_sandbox_hides_denied_files_and_nothing_can_be_moved_into_sight(workspace: Path) -> None:
    rules = tuple(map(parse_rule, (*DENY, "write_file(path=src/app.py)")))
    sandbox = await open_sandbox(
        "bwrap", workspace=workspace, network=False, read_only=False, denied=DeniedPaths(workspace, rules)
    )
    result = await sandbox.run(
        f"grep -rs {WORD} . ; find . -type f -size +0; mv conf other; mv conf/secrets other; rm -rf conf;"
        "echo changed > src/app.py; mv src else; touch conf/secrets/deep/new && echo lost;"
        "echo new > src/new && cat src/new",
        timeout=30,
    )
    assert result.stdout.splitlines() == ["./src/app.py", "new"], result
    assert (workspace / "src/app.py").read_text() == "print('hello')\n"
    assert (workspace / "conf/secrets/key").read_text() == f"{WORD}\n"
    again = await sandbox.run(f"cat */*/key */key twin; grep -rs {WORD} .", timeout=30)
    assert WORD not in again.stdout


@pytest.mark.needs("sandbox")
async def test_a_run_hides_by_its_settings_what_its_deny_rules_are_about(workspace: Path) -> None:
    loaded = load_settings(flags={"workdir": workspace, "deny": list(DENY)}, environ={}, cwd=workspace)
    permissions = permissions_of(loaded)
    make_tools = toolset_for(loaded, permissions, require_sandbox=False)
    run_tools = await make_tools(["list_files", "run_shell"], 2, "")
    listed = await run_tools.toolbox.get("list_files")({})
    said = await run_tools.toolbox.get("run_shell")({"command": f"grep -rs {WORD} .; echo done"})
    assert "src/app.py" in listed
    assert "key" not in listed
    assert WORD not in said
    assert "done" in said
