"""No process of an MCP server is left, whichever way a run ends: servers of others, and one that forks a daemon."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.parts import wait_for_file
from tests.support.command_line import Commands
from tests.support.mcp_servers.opened import HOSTILE
from tests.support.mcp_servers.other_peoples import PYTHON, READABLE, config_of, node_server, python_server
from tests.support.survivors import PATIENCE_S, Mark

SIGNALS = {"Ctrl-C": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143), "SIGKILL": (signal.SIGKILL, -9)}
WAYS = ("end", "timeout", *SIGNALS)
FORKER = {"command": PYTHON, "args": ["-S", str(HOSTILE)]}


@pytest.fixture(autouse=True)
def _sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_SANDBOX", "bwrap")
    monkeypatch.setenv("AGENTCTL_SANDBOX_READ", ",".join((*READABLE, str(HOSTILE.parent))))


def left_after(agentctl: Commands, folder: Path, way: str, **entries: dict[str, Any]) -> dict[int, str]:
    """Run until the daemon is there, end the run, and return the processes that are left."""
    words = ("run", "--provider", "ollama", "--model", "m", "--allow", "h__*", "--mcp-config", config_of(**entries))
    script = "daemon" if way == "end" else "daemon, then hang"
    agentctl.starts_cold = True  # so that the mark is on its processes, and on no others
    mark = Mark()
    with mark.on_this_process():
        process = agentctl.start(
            *words,
            *(("--timeout", "6s" if len(entries) == 1 else "15s") if way == "timeout" else ()),
            "look",
            script=script,
        )
    with process:
        if way != "end":
            wait_for_file(folder / "reached", process)
            assert len(mark.alive({os.getpid()})) > 1 + len(entries)
        number, code = SIGNALS.get(way, (None, {"end": 0, "timeout": 124}.get(way)))
        if number is not None:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
    return mark.left({os.getpid()}, patience_s=PATIENCE_S if way == "SIGKILL" else 0.0)


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_a_server_that_forks_a_daemon(agentctl: Commands, tmp_path: Path, way: str) -> None:
    assert left_after(agentctl, tmp_path, way, h=FORKER) == {}


@pytest.mark.slow
@pytest.mark.needs("sandbox", "MCP servers")
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_servers_of_others(
    agentctl: Commands, tmp_path: Path, request: pytest.FixtureRequest, way: str
) -> None:
    if way not in ("end", "SIGKILL") and not request.config.getoption("--full"):
        return  # the other ways end one process in the same manner
    others = {"time": python_server("time"), "git": python_server("git"), "fetch": python_server("fetch")}
    others |= {"everything": node_server("everything"), "files": node_server("filesystem")}
    assert left_after(agentctl, tmp_path, way, h=FORKER, **others) == {}
