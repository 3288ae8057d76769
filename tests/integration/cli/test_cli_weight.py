"""What is loaded for what: a quick command stays quick."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.command_line import ROOT

HEAVY = {"litellm", "aiodocker", "aiohttp", "psutil", "openai", "httpx", "rich.live", "agentctl.runner.assemble"}
PROGRAM = (
    "import json, sys; from agentctl.cli.app import main; main(sys.argv[1:]); "
    "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
)


def loaded_by(*words: str) -> set[str]:
    """Return the modules of a process that has run a command."""
    argv = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "words", [["--help"], ["config", "show"], ["runs", "list"], ["run", "list"], ["providers", "list"]]
)
def test_what_needs_no_run_loads_no_weight(words: list[str]) -> None:
    loaded = loaded_by(*words)
    assert loaded & {*HEAVY, "asyncio"} == set()
    assert ("rich" in loaded) == (words == ["--help"])


def test_the_help_loads_nothing_below_the_command_line() -> None:
    ours = {name for name in loaded_by("--help") if name.startswith("agentctl.") and ".cli" not in name}
    assert ours == {"agentctl.core", "agentctl.core.errors"}


def test_costs_loads_the_ledger_and_no_more() -> None:
    assert loaded_by("costs") & {*HEAVY, "rich", "agentctl.runner.orchestrator"} == set()


def test_a_run_loads_no_screen_library_and_no_engine() -> None:
    loaded = loaded_by("run", "How much memory is used?")
    assert "agentctl.runner.assemble" in loaded
    assert loaded & {"rich", "litellm", "aiodocker", "aiohttp", "openai", "httpx"} == set()


def test_an_ollama_that_is_not_there_costs_a_run_no_http() -> None:
    assert "agentctl.providers.selection" in loaded_by("config", "check")
    assert loaded_by("config", "check") & {"http.client", "ssl", "urllib.request", "litellm", "httpx"} == set()
