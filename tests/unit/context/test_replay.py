"""Replay: agentctl's strategy is the cheapest that keeps to the limit, at every price table."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import anyio
import pytest

from agentctl.context.tokens import PLAIN
from agentctl.core.pricing import Price
from agentctl.providers.catalog import load_catalog
from tests.support.replay.recording import Recording, Size, record
from tests.support.replay.replaying import LIMIT, no_pruning, ours, sliding_window

MODELS = {"gpt-4o": "openai", "claude-sonnet-4-5": "anthropic", "gpt-4-turbo": "openai"}
models = pytest.mark.parametrize("model", MODELS)


@cache
def price_of(model: str) -> Price:
    """Return what the table says."""
    price = load_catalog({}).price_of(MODELS[model], model)
    assert price is not None
    return price


@cache
def recorded(turns: int, size: Size) -> Recording:
    """Return a conversation, made once for all tests."""
    with tempfile.TemporaryDirectory() as folder:
        return anyio.run(record, Path(folder), turns, size)


def test_a_recording_is_always_the_same_and_its_results_are_the_tools_own() -> None:
    recording, (_, answer) = recorded(30, "large"), recorded(30, "large").turns[0]
    with tempfile.TemporaryDirectory() as folder:
        assert anyio.run(record, Path(folder), 30, "large") == recording
    assert len(recording.turns) == 30
    assert "svc-0" in answer.text
    assert max(PLAIN.message(one) for added in recording.turns for one in added) > 4_000


@models
def test_conversation_that_fits_costs_the_same_with_each_strategy(model: str) -> None:
    recording, price = recorded(20, "small"), price_of(model)
    assert anyio.run(ours, recording, price) == sliding_window(recording, price) == no_pruning(recording, price)


def test_no_room_is_spared_where_no_summary_pays() -> None:
    recording, price = recorded(47, "small"), price_of("claude-sonnet-4-5")
    whole = no_pruning(recording, price)
    assert LIMIT - 650 < whole.longest <= LIMIT
    assert anyio.run(ours, recording, price) == whole


@pytest.mark.slow
@models
@pytest.mark.parametrize(("turns", "size"), [(30, "large"), (80, "small")])
def test_agentctls_strategy_is_cheapest_and_never_over_the_limit(model: str, turns: int, size: Size) -> None:
    recording, price = recorded(turns, size), price_of(model)
    whole, window, own = (
        no_pruning(recording, price),
        sliding_window(recording, price),
        anyio.run(ours, recording, price),
    )
    assert own.longest <= LIMIT
    assert window.longest <= LIMIT < whole.longest
    assert 1 <= own.cuts <= {"small": 2, "large": 7}[size] < window.cuts / 2, "they are rare and deep"
    assert own.breaks == own.cuts, "between two cuts each request begins with the one before"
    assert 100 * own.nano <= 102 * min(window.nano, whole.nano)


def test_summary_is_asked_for_where_turns_are_small_and_reading_is_cheap() -> None:
    asked = {(size, model): anyio.run(ours, recorded(turns, size), price_of(model)).summaries
             for turns, size in ((80, "small"), (30, "large")) for model in MODELS}  # fmt: skip
    assert asked["small", "gpt-4o"] >= 1
    assert asked["large", "gpt-4o"] == asked["large", "claude-sonnet-4-5"] == 0
