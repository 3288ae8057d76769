"""Tests that start processes, beside ``tests/unit/tools/test_system.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.tools.toolbox import toolbox


async def _ask(tool: str, **arguments: object) -> str:
    return await toolbox(workspace=Path("/tmp")).get(tool)(arguments)


@pytest.mark.needs("root")
async def test_ports_are_listed_without_root_and_owners_left_out() -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as roots:  # noqa: ASYNC220
        assert roots.stdin
        assert roots.stdout
        port = int(roots.stdout.readline())
        os.seteuid(65534)
        try:
            text = await _ask("system_ports", port=port)
        finally:
            os.seteuid(0)
            roots.stdin.write("over\n")
    assert text.splitlines()[1].split() == ["tcp", "127.0.0.1", str(port), "-", "-"]
    assert text.splitlines()[2] == "Who owns the others is visible to root only."
