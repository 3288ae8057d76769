"""Whole runs against a server that counts in its own way: the difference is reported, learned and kept."""

from __future__ import annotations

import gc
import json
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from agentctl.core.events import ContextMeasured
from agentctl.providers.tokenizers import load_vocabulary
from tests.support.bill.parts import FORMATS, PAID, Here, lookup, reaching
from tests.support.command_line import Commands
from tests.support.loop import Diary
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, WireRequest

VOCABULARY = {"openai": "cl100k_base", "anthropic": "older Claude", "ollama": "cl100k_base"}
#: A limit of the context to which the fourth request comes near, but not so near that anything is cut.
NEAR = {"openai": 3300, "anthropic": 4200, "ollama": 3300}
ROUGHLY = "kinds of characters"


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    yield
    gc.enable()  # a run arranges the collector for a process of its own
    gc.unfreeze()


def prompt(asked: WireRequest) -> int:
    """Count what a server makes of a request: all of its JSON, a third more than the vocabulary's count."""
    count = load_vocabulary(VOCABULARY[asked.format])
    assert count is not None
    body = {name: asked.body.get(name) for name in ("system", "messages", "tools")}
    return 300 + count(json.dumps(body, ensure_ascii=False)) * 13 // 10


def looking(turns: int) -> Callable[[WireRequest], Answer]:
    """Look so many times, then answer."""

    def answer(asked: WireRequest) -> Answer:
        step = sum(said.role == "assistant" for said in asked.messages)
        call = () if step >= turns else (lookup(step),)
        return Answer(f"Step {step}.", call, input_tokens=prompt(asked), output_tokens=20)

    return answer


async def run(folder: Path, env: Mapping[str, str], *, limit: int = 6000) -> list[ContextMeasured]:
    """Run the task; return how full the context was before each request."""
    diary = Diary()
    user = Here(folder / "user", observers=(diary,))
    ended = await user.run(env, max_cost_per_task=None, max_context_tokens=limit)
    assert ended["status"] == "done", ended
    return diary.of(ContextMeasured)


@pytest.mark.parametrize("format", FORMATS)
async def test_a_run_learns_how_its_provider_counts_and_the_next_run_knows(
    tmp_path: Path, wire: OpenWire, format: str
) -> None:
    server = wire(looking(3))
    env = reaching(server, format)
    first = await run(tmp_path, env, limit=NEAR[format])
    truths = [prompt(one.asked) for one in server.books.chat_requests if one.asked is not None]
    assert len(first) == len(truths) == 4
    assert "calibrated" not in first[0].counted_by
    assert first[-1].counted_by.startswith(VOCABULARY[format])
    assert first[-1].counted_by.endswith(", calibrated")
    assert truths[-1] <= first[-1].tokens * 1.05, "reports made it about right"

    kept = tmp_path / "user" / "cache" / "counts.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert f"{format}/{PAID[format].model}" in json.loads(kept.read_bytes())["models"]

    second = await run(tmp_path, env, limit=NEAR[format])
    assert second[0].counted_by.endswith(", calibrated")
    assert truths[0] <= second[0].tokens * 1.1
    assert abs(second[-1].tokens - truths[-1]) <= 0.2 * truths[-1]


async def test_a_short_run_is_counted_without_a_vocabulary(tmp_path: Path, wire: OpenWire) -> None:
    events = await run(tmp_path, reaching(wire(looking(1)), "openai"), limit=100_000)
    assert {event.counted_by.removesuffix(", calibrated") for event in events} == {ROUGHLY}


async def test_a_cache_folder_that_cannot_be_made_ends_no_run(tmp_path: Path, wire: OpenWire) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "cache").write_text("a file where the folder should be")
    assert len(await run(tmp_path, reaching(wire(looking(2)), "openai"))) == 3


async def test_a_server_that_leaves_out_cached_tokens_teaches_nothing(tmp_path: Path, wire: OpenWire) -> None:
    def forgetful(asked: WireRequest) -> Answer:
        step = sum(said.role == "assistant" for said in asked.messages)
        call = (lookup(step),) if step < 3 else ()
        return Answer(f"Step {step}.", call, input_tokens=prompt(asked) if not step else 40, output_tokens=20)

    server = wire(forgetful)
    events = await run(tmp_path, reaching(server, "ollama"))
    truths = [prompt(one.asked) for one in server.books.chat_requests if one.asked is not None]
    assert [truth <= event.tokens * 1.2 for truth, event in zip(truths[1:], events[1:], strict=True)] == [True] * 3


def test_an_estimate_counts_as_the_model_does(tmp_path: Path) -> None:
    shell = Commands(tmp_path)

    def likely(model: str) -> int:
        words = ("run", "--estimate", "--json", "--max-cost", "none", "--max-cost-per-hour", "none", "1234567890" * 200)
        told = shell(*words, "-m", model, OPENAI_API_KEY="sk-0123456789abcdef", LLM_PROVIDER="openai")
        return int(told.document["first_call"]["likely_input_tokens"])

    assert 600 < likely("gpt-4o") < likely("some-model") - 1000, "the one takes three digits as one, the other each"
