"""What is loaded for what: a quick command stays quick."""

from __future__ import annotations

import pytest

from tests.support.command_line import HEAVY_MODULES, loaded_modules


@pytest.mark.parametrize(
    "words", [["--help"], ["config", "show"], ["runs", "list"], ["run", "list"], ["providers", "list"]]
)
def test_what_needs_no_run_loads_no_weight(words: list[str]) -> None:
    loaded = loaded_modules(*words)
    assert loaded & {*HEAVY_MODULES, "asyncio"} == set()
    assert ("rich" in loaded) == (words == ["--help"])


def test_the_help_loads_nothing_below_the_command_line() -> None:
    ours = {name for name in loaded_modules("--help") if name.startswith("agentctl.") and ".cli" not in name}
    assert ours == {"agentctl.core", "agentctl.core.errors"}


def test_costs_loads_the_ledger_and_no_more() -> None:
    assert loaded_modules("costs") & {*HEAVY_MODULES, "rich", "agentctl.runner.orchestrator"} == set()


def test_a_run_loads_no_screen_library_and_no_engine() -> None:
    loaded = loaded_modules("run", "How much memory is used?")
    assert "agentctl.runner.assemble" in loaded
    assert loaded & {"rich", "litellm", "aiodocker", "aiohttp", "openai", "httpx"} == set()


def test_an_ollama_that_is_not_there_costs_a_run_no_http() -> None:
    assert "agentctl.providers.selection" in loaded_modules("config", "check")
    assert loaded_modules("config", "check") & {"http.client", "ssl", "urllib.request", "litellm", "httpx"} == set()
