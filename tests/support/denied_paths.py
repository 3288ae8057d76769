"""A workspace with secrets under several names, and the use of a tool in it under deny rules."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agentctl.core.errors import AgentctlError
from agentctl.core.events import Event
from agentctl.core.messages import ToolCall
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.sandbox.denied_paths import DeniedPaths
from agentctl.tools.toolbox import toolbox

WORD = "the-word-that-nobody-may-read"
NFC, NFD = "r\u00e9sum\u00e9", "re\u0301sume\u0301"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A project with one folder of secrets, and other names that lead into it."""
    work = tmp_path / "work"
    (work / "conf" / "secrets" / "deep").mkdir(parents=True)
    (work / "src").mkdir()
    for name in ("conf/secrets/key", "conf/secrets/deep/key", NFD, "server.pem"):
        (work / name).write_text(f"{WORD}\n")
    (work / "src" / "app.py").write_text("print('hello')\n")
    (work / "src" / "shortcut").symlink_to("../conf/secrets")
    (work / "src" / "pointer").symlink_to("../conf/secrets/key")
    os.link(work / "conf" / "secrets" / "key", work / "src" / "twin")
    os.link(work / "conf" / "secrets" / "deep" / "key", work / "twin")
    return work


DENY = ("read_file(path=conf/secrets/*)", f"search_files(path={NFC})", "list_files(path=*.PEM)")


async def use(workspace: Path, tool: str, arguments: Mapping[str, object], deny: Sequence[str] = DENY) -> object:
    """Admit a call by the rules and run it, as a run does; return its text or the refusal."""

    async def emit(_: Event) -> None:
        pass

    rules = tuple(map(parse_rule, deny))
    denied = DeniedPaths(workspace, rules)
    async with toolbox(workspace=workspace, restricting=rules, denied=denied) as box:
        one = box.get(tool)
        admission = Admission(permissions=Permissions(deny=rules), emit=emit, approve="all")
        admitted = await admission.admit(ToolCall("c1", tool, arguments), one)
        if isinstance(admitted, AgentctlError):
            return admitted
        try:
            return await one(admitted.arguments)
        except AgentctlError as error:
            return error
