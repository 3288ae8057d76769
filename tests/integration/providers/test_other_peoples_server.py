"""Whole runs against aimock, a server of language models that others wrote: both clients get along with it.

Our own server speaks the formats as we read the providers' documents; this one as somebody else reads them.
"""

from __future__ import annotations

import gc
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.messages import Usage
from agentctl.core.pricing import charge_nano
from agentctl.providers.catalog import load_catalog
from tests.support.bill.parts import KEY, Here
from tests.support.machine import AIMOCK

SAID = "Half of it is used, naïve 日本."
REPORTED = {"prompt_tokens": 1200, "completion_tokens": 11, "input_tokens": 1200, "output_tokens": 11}
STORY = [
    {"match": {"hasToolResult": True}, "response": {"content": SAID, "usage": REPORTED}},
    {
        "match": {"userMessage": "memory"},
        "response": {
            "content": "I look.",
            "toolCalls": [{"name": "system_memory", "arguments": "{}"}, {"name": "system_load", "arguments": "{}"}],
            "usage": REPORTED,
        },
    },
]
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "ollama": "llama3.1"}

pytestmark = pytest.mark.needs("aimock")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of the server, which refuses what its story does not have."""
    story = tmp_path_factory.mktemp("aimock") / "story.json"
    story.write_text(json.dumps({"fixtures": STORY}))
    words = [*AIMOCK, "-p", "0", "-f", str(story), "--strict", "--chunk-size", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        found = None
        for line in server.stdout:
            if (found := re.search(r"http://127\.0\.0\.1:\d+", line)) is not None:
                break
        assert found is not None, "it did not start"
        yield found[0]
        server.terminate()
        server.stdout.read()


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    yield
    gc.enable()  # a run arranges the collector for a process of its own
    gc.unfreeze()


@pytest.mark.parametrize("client", ["lean", "litellm"])
@pytest.mark.parametrize("provider", MODELS)
async def test_run_with_tools_gets_its_answer_and_is_charged_what_was_reported(
    url: str, tmp_path: Path, provider: str, client: str
) -> None:
    environ = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": url,
        "OLLAMA_HOST": url,
        "LLM_PROVIDER": provider,
        "LLM_MODEL": MODELS[provider],
        "LLM_CLIENT": client,
        "AGENTCTL_AGENT": "system",
    }
    document = await Here(tmp_path / "user").run(environ, prices="")
    assert (document["exit_code"], document["answer"], document["client"]) == (0, SAID, client), document["error"]
    assert [(tool["name"], tool["failed"]) for tool in document["tools"]] == [("system_memory", 0), ("system_load", 0)]
    if provider == "ollama":
        assert document["cost"]["nano_usd"] == 0
        return
    price = load_catalog().price_of(provider, MODELS[provider])
    assert price is not None
    assert document["cost"]["nano_usd"] == 2 * charge_nano(price, Usage(1200, 11))
    assert document["cost"]["in_doubt_usd"] == 0
