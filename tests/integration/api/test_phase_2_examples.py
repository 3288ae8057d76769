"""The examples of the phase 2 document run unchanged, except for the module they import from."""

from __future__ import annotations

import ast
import inspect
import os
import re
from decimal import Decimal
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import pytest

import agentctl
from agentctl.core.messages import Message
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Rates, WireServer, containers

EXAMPLES = re.findall(r"```python\n(.*?)```", Path(__file__).with_name("phase_2_examples.md").read_text(), re.DOTALL)
ASYNC, LIMITS, PROVIDERS, CONTEXT = EXAMPLES
KEY = "sk-phase-2-0123456789"
GPT_4 = Rates(Decimal(30), Decimal(60))


def compiled(example: str) -> CodeType:
    """Return an example with its imports rewritten; top-level ``await`` is allowed, as in a notebook."""
    code = re.sub(
        r"^from (?:cost_tracker|llm_provider|context_manager) import", "from agentctl import", example, flags=re.M
    )
    code = f"import os\nfrom agentctl import DockerAgent\n{code}"
    found: CodeType = compile(code, "the phase 2 document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return found


def played(example: str, then: str = "", **names: Any) -> dict[str, Any]:  # noqa: ANN401 - what an example makes
    """Run an example, and code that a test adds, inside a running event loop; return its names."""
    namespace: dict[str, Any] = {"__name__": "example", **names}

    async def cell() -> None:
        done = eval(compiled(f"{example}\n{then}"), namespace)  # noqa: S307 - our own text
        if inspect.isawaitable(done):
            await done

    anyio.run(cell)
    return namespace


def played_without_a_loop(example: str, then: str = "") -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compiled(f"{example}\n{then}"), namespace)  # noqa: S102 - our own text
    return namespace


EXECUTE = 'result = agent.execute("List all containers")'
EXECUTE_ASYNC = 'result = await agent.execute_async("List all containers")'


@pytest.fixture
def engine(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the tests' engine to the agent."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    return docker_host


@pytest.fixture
def models(wire: OpenWire, engine: str, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """Serve as OpenAI and Anthropic, at GPT-4's prices."""
    server = wire(containers, keys=[KEY], rates=GPT_4)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("LLM_PROVIDER", "openai")
    monkeypatch.setenv("LLM_MODEL", "gpt-4")
    return server


def test_the_agent_answers_on_a_fresh_machine(engine: str) -> None:
    result = played(ASYNC)["result"]
    assert (result.status, result.provider) == ("done", "builtin")
    assert "sample-web" in str(result)


def test_the_sync_wrapper_needs_no_loop(engine: str) -> None:
    result = played_without_a_loop("agent = DockerAgent()", EXECUTE)["result"]
    assert "sample-web" in str(result)


def test_the_agent_answers_by_the_model_of_the_settings(models: WireServer) -> None:
    result = played(ASYNC)["result"]
    assert (result.status, result.provider, result.model) == ("done", "openai", "gpt-4")
    assert "sample-web" in str(result)
    assert len(models.books.chat_requests) == 4


def test_the_limits_and_prices_hold_in_the_agent(models: WireServer) -> None:
    made = played(LIMITS, EXECUTE)
    result, tracker = made["result"], made["cost_tracker"]
    assert "sample-web" in str(result)
    assert [use.ceiling for use in result.limits] == [1_000_000_000, 20_000_000_000, 200_000]
    assert result.price_source == "CostTracker"
    assert result.cost_nano == models.books.billed_nano == int(tracker.cost * 10**9) > 0
    assert tracker.hourly_cost() == tracker.cost


@pytest.mark.parametrize("execute", [EXECUTE, EXECUTE_ASYNC])
def test_a_provider_made_by_name_is_used(models: WireServer, execute: str) -> None:
    made = played(PROVIDERS, execute)
    assert (made["result"].status, made["result"].model) == ("done", "gpt-4")
    assert "sample-web" in str(made["result"])
    assert made["result"].cost_nano == models.books.billed_nano > 0
    assert made["anthropic_provider"].facts.model == "claude-3-sonnet-20240229"


def test_a_provider_made_by_name_is_used_without_a_loop(models: WireServer) -> None:
    assert "sample-web" in str(played_without_a_loop(PROVIDERS, EXECUTE)["result"])


SONNET = """
agent = DockerAgent(llm_provider=anthropic_provider, cost_tracker=CostTracker(0.03, 0.06))
result = agent.execute("List all containers")
"""


def test_a_model_that_the_price_table_forgot_runs_at_the_trackers_prices(models: WireServer) -> None:
    with pytest.raises(agentctl.AgentctlError, match="the price of anthropic/claude-3-sonnet-20240229 is unknown"):
        played(PROVIDERS, SONNET.replace(", cost_tracker=CostTracker(0.03, 0.06)", ""))
    assert models.books.chat_requests == ()
    result = played(PROVIDERS, SONNET, CostTracker=agentctl.CostTracker)["result"]
    assert (result.status, result.model) == ("done", "claude-3-sonnet-20240229")
    assert "sample-web" in str(result)
    assert result.cost_nano == models.books.billed_nano > 0


def test_the_context_manager_says_how_full_it_is(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    messages = (Message("system", "You help."), Message("user", "List all containers"))
    result = played(CONTEXT, EXECUTE, messages=messages)["result"]
    assert re.fullmatch(r"Using \d+\.\d% of context\n", capsys.readouterr().out)
    assert "sample-web" in str(result)


def test_the_examples_leave_nothing_in_the_folder(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    played(ASYNC)
    played(LIMITS, EXECUTE)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
