"""What is loaded for what: a quick command stays quick."""

from __future__ import annotations

from tests.support.command_line import HEAVY_MODULES, loaded_by_all, loaded_modules


def test_what_needs_no_run_loads_no_weight() -> None:
    loaded = loaded_by_all(("config", "show"), ("runs", "list"), ("run", "list"), ("providers", "list"))
    assert loaded & {*HEAVY_MODULES, "asyncio", "rich"} == set()


def test_the_help_loads_nothing_below_the_command_line() -> None:
    loaded = loaded_modules("--help")
    assert loaded & {*HEAVY_MODULES, "asyncio"} == set()
    assert "rich" in loaded
    ours = {name for name in loaded if name.startswith("agentctl.") and ".cli" not in name}
    assert ours == {"agentctl.core", "agentctl.core.errors"}


def test_costs_loads_the_ledger_and_no_more() -> None:
    assert loaded_modules("costs") & {*HEAVY_MODULES, "rich", "agentctl.runner.orchestrator"} == set()


def test_a_run_loads_no_screen_library_and_no_engine() -> None:
    loaded = loaded_modules("run", "How much memory is used?")
    assert "agentctl.runner.assemble" in loaded
    assert loaded & {"rich", "litellm", "aiodocker", "aiohttp", "openai", "httpx"} == set()


def test_an_ollama_that_is_not_there_costs_a_run_no_http() -> None:
    loaded = loaded_modules("config", "check")
    assert "agentctl.providers.selection" in loaded
    assert loaded & {"http.client", "ssl", "urllib.request", "litellm", "httpx"} == set()
