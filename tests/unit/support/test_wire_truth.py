"""The server's bills: computed independently, reported in each provider's way, marked where they break a promise."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support.wire.client import FORMATS, Got, ask
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Format, Json
from tests.support.wire.server import Answer, Fault, Rates, Tokens

formats = pytest.mark.parametrize("format", FORMATS)


def usage_of(got: Got, format: Format) -> Json:
    """Return the last usage block of a stream."""
    if format == "ollama":
        return {name: got.events[-1].get(name) for name in ("prompt_eval_count", "eval_count")}
    blocks = [event["usage"] for event in got.events if event.get("usage")]
    return dict(blocks[-1])


@pytest.mark.parametrize(("usage", "input_tokens", "output_tokens"), [
    ("zero", 0, 0), ("negative", -1000, -20), ("absurd", 10**15, 10**15), ("falls", 10, 2),
])  # fmt: skip
@formats
def test_reported_usage_can_be_anything_and_the_bill_stays(
    wire: OpenWire, format: Format, usage: Any, input_tokens: int, output_tokens: int  # noqa: ANN401
) -> None:  # fmt: skip
    server = wire(
        Answer("hello", input_tokens=1000, output_tokens=20, usage=usage), rates=Rates(Decimal(1), Decimal(2))
    )
    told = usage_of(ask(server, format, stream=True), format)
    names = {"openai": ("prompt_tokens", "completion_tokens"), "anthropic": ("input_tokens", "output_tokens")}
    first, second = names.get(format, ("prompt_eval_count", "eval_count"))
    assert (told[first], told[second]) == (input_tokens, output_tokens)
    (bill,) = server.books.entries
    reported = {"absurd": 3 * 10**18, "falls": 1_040_000}.get(usage)
    assert (bill.nano, bill.reported_nano, bill.breaks) == (1_040_000, reported, None)


def test_each_provider_reports_a_cache_in_its_own_way(wire: OpenWire) -> None:
    answer = Answer("hello", input_tokens=1000, output_tokens=20, cached=300, cache_write=200, cache_hour=50)
    server = wire(answer)
    openai = usage_of(ask(server, "openai", stream=True), "openai")
    assert (openai["prompt_tokens"], openai["prompt_tokens_details"]["cached_tokens"]) == (1000, 300)
    anthropic = usage_of(ask(server, "anthropic", stream=True), "anthropic")
    assert anthropic == {
        "input_tokens": 500,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
        "output_tokens": 20,
    }
    ollama = usage_of(ask(server, "ollama", stream=True), "ollama")
    assert ollama == {"prompt_eval_count": 1000, "eval_count": 20}


def test_prices_cover_hour_long_caches_tiers_and_searches() -> None:
    long = Rates(Decimal(2), Decimal(4))
    rates = Rates(
        Decimal(1), Decimal(2), cache_write=Decimal("1.25"), cache_hour=Decimal(2), search=Decimal("0.01"),
        above=(1000, long),
    )  # fmt: skip
    assert rates.nano(Tokens(1000, 10, cache_write=200, cache_hour=50)) == (800 + 100) * 1000 + 150 * 1250 + 10 * 2000
    assert rates.nano(Tokens(1001, 10)) == 1001 * 2000 + 10 * 4000
    assert rates.nano(Tokens(10, 0), searches=3) == 10_000 + 30_000_000


@formats
def test_server_bills_twice_on_command_and_records_it(wire: OpenWire, format: Format) -> None:
    server = wire(Answer("hello", billed=2))
    ask(server, format)
    first, second = server.books.entries
    assert (first.nano, first.breaks, second.breaks, second.reported_nano) == (second.nano, None, "twice", None)


@formats
def test_a_bill_that_breaks_an_assumption_is_marked(wire: OpenWire, format: Format) -> None:
    wordy = Answer("hello", output_tokens=100, obeys=False)
    steps = [wordy, Answer("hello", bill_nano=1), Fault(429, bills=True), Fault(500, bills=True), Answer(model="other")]
    server = wire(steps)
    for _ in steps:
        ask(server, format, clamp=10)
    assert [bill.breaks for bill in server.books.entries] == ["clamp", "bill", "refusal", None, "model"]


def test_searches_of_the_provider_are_reported_and_billed(wire: OpenWire) -> None:
    server = wire(Answer("hello", searches=2), rates=Rates(Decimal(1), Decimal(2), search=Decimal("0.01")))
    told = usage_of(ask(server, "anthropic", stream=True), "anthropic")
    assert told["server_tool_use"]["web_search_requests"] == 2
    (bill,) = server.books.entries
    assert (bill.nano - (bill.reported_nano or 0), bill.breaks) == (20_000_000, "bill")


@formats
def test_observer_is_called_at_each_step_and_after_the_bill(wire: OpenWire, format: Format) -> None:
    server = wire(Answer("hello"))
    seen: list[tuple[int, int]] = []
    server.books.watch(lambda: seen.append((len(server.books.requests), len(server.books.entries))))
    ask(server, format)
    server.close()
    assert seen == [(1, 0), (1, 1), (1, 1)]
