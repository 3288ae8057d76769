"""Tests that start processes, beside ``tests/unit/context/test_manager.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Talk = list[dict[str, Any]]


ROOT = Path(__file__).parents[3]


LONG = "x" * 2_000


def openai(result: str = LONG, turns: int = 8) -> Talk:
    said: Talk = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "why?"}]},
    ]
    for n in range(turns):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "logs", "arguments": json.dumps({"n": n})}}
        said.append({"role": "assistant", "content": None, "tool_calls": [call], "refusal": None})
        said.append({"role": "tool", "tool_call_id": f"c{n}", "content": result})
    return said


def test_manager_loads_no_runtime_no_models_and_no_clients() -> None:
    script = (
        "import sys\nfrom agentctl import ContextManager\nmanager = ContextManager(200, warn=print)\n"
        "talk = [{'role': 'user', 'content': 'x'}] + [{'role': 'assistant', 'content': 'y' * 80}] * 40\n"
        "assert len(manager.prune(talk)) < 20\nprint('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"anyio", "asyncio", "pydantic", "litellm", "openai", "httpx", "rich", "typer", "sqlite3"}
    ours = {name for name in done.stdout.split() if name.startswith("agentctl.")}
    assert ours == {
        f"agentctl.{module}"
        for module in [
            "context",
            "context.blocks",
            "context.cut",
            "context.digest",
            "context.formats",
            "context.kept_names",
            "context.manager",
            "context.message_cache",
            "context.pruning",
            "context.relevance",
            "context.tokens",
            "context.truncation",
            "core",
            "core.errors",
            "core.impact",
            "core.messages",
            "core.text",
        ]
    }
