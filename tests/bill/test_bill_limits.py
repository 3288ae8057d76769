"""The promise itself: the real command against a server with its own record, checked against each limit."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.providers.factory import OllamaProvider
from tests.support.bill.book import book_of
from tests.support.bill.parts import (
    FORMATS,
    FOUR_CENTS,
    KEY,
    PAID,
    TASK,
    Here,
    Paid,
    assert_accounted,
    assert_told,
    assert_within,
    priced,
    reaching,
)
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, Rates, WireRequest

formats = pytest.mark.parametrize("format", FORMATS)
DIME = 100_000_000


def opened(wire: OpenWire, paid: Paid, script: Any = None, **more: Any) -> Any:  # noqa: ANN401
    """Open a server that knows the key and bills by the model's own price."""
    return wire(script or paid.busy, **{"rates": paid.rates, "keys": [KEY], **more})


@pytest.mark.both_clients
@formats
def test_answers_of_four_cents_stop_at_a_limit_of_ten_cents(
    shell: Commands, state: Path, wire: OpenWire, format: str
) -> None:
    server = opened(wire, PAID[format])
    words = ("run", TASK, "--json", "--max-cost", "0.10", "--config", str(priced(shell.folder)))
    ended = shell(*words, **reaching(server, format))
    document, book = ended.document, book_of(state)
    assert (ended.code, document["status"], document["complete"]) == (3, "budget", False)
    assert document["answer"].startswith("Step 2: looking.\n\nFound so far:\n- system_load() -> load average")
    assert (document["turns"], document["model"]) == (3, PAID[format].model)
    assert server.books.billed_nano == document["cost"]["nano_usd"] == 2 * FOUR_CENTS
    assert (document["cost"]["usd"], document["cost"]["in_doubt_usd"]) == (0.08, 0.0)
    assert document["limits"]["max_cost_per_task"] == {"limit": 0.1, "used": 0.08}
    breaker = document["breaker"]
    assert (breaker["limit"], breaker["ceiling"], breaker["spent"]) == ("max_cost_per_task", 0.1, 0.08)
    assert breaker["hint"].startswith("agentctl run --max-cost ")
    assert [(tool["name"], tool["calls"], tool["failed"]) for tool in document["tools"]] == [
        ("system_load", 1, 0),
        ("system_memory", 1, 0),
    ]
    assert_accounted(server.books, book)
    assert_within(server.books, book, DIME)
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err


@pytest.mark.both_clients
@formats
async def test_every_class_of_tokens_comes_to_the_same_nano_dollar_on_both_sides(
    user: Here, wire: OpenWire, format: str
) -> None:
    """The prices make every bill a fraction of a nano-dollar, so that both sides must round alike."""
    model = PAID[format].model
    cached, written, thought = {"openai": (333, 0, 55), "anthropic": (333, 77, 0), "ollama": (0, 0, 0)}[format]
    rates = Rates(Decimal("1.2345"), Decimal("6.7891"), Decimal("0.1237"), Decimal("1.5433"), Decimal("6.7891"))
    line = "{ input = 1.2345, output = 6.7891, cached_input = 0.1237, cache_write = 1.5433 }"
    told: dict[str, Any] = {
        "input_tokens": 1001,
        "output_tokens": 77,
        "cached": cached,
        "cache_write": written,
        "reasoning": thought,
    }
    server = opened(wire, PAID[format], [partial(PAID[format].brief, **told)] * 2, rates=rates)
    document = await user.run(reaching(server, format), prices=f'[prices]\n"{format}/{model}" = {line}\n')
    assert document["exit_code"] == 0
    assert document["usage"] == {
        "input_tokens": 2002,
        "cached_input_tokens": 2 * cached,
        "output_tokens": 154,
        "reasoning_tokens": 2 * thought,
    }
    assert document["cost"]["nano_usd"] == server.books.billed_nano
    assert_told(document, user.book)


def a_token_a_byte(asked: WireRequest) -> Answer:
    """Bill like the worst tokenizer: each byte of the request is a token, and the clamp is used up."""
    words = json.dumps(asked.body, ensure_ascii=False, separators=(",", ":"))
    step = sum(said.role == "assistant" for said in asked.messages)
    calls = () if step >= 4 else (Call("list_files", {"path": "日本/naïve " + "ﷺ" * step}),)
    clamp = asked.clamp or 0
    return Answer(f"schön {step}", calls, input_tokens=len(words.encode()), output_tokens=clamp)


@formats
async def test_no_tokenizer_is_worse_than_the_bound(user: Here, wire: OpenWire, format: str) -> None:
    server = opened(wire, PAID[format], a_token_a_byte)
    document = await user.run(
        reaching(server, format), task="Wie groß ist 日本? ﷺﷺﷺ", max_cost_per_task="2.00", max_output_tokens=300
    )
    assert document["exit_code"] == 0, document["error"]
    assert len(server.books.entries) == 5
    assert_accounted(server.books, user.book)
    assert all(one.nano <= one.hold_nano for one in user.book.attempts)


@pytest.mark.parametrize("most_output", [None, 4000])
@formats
async def test_answer_cut_short_by_the_limit_is_not_reported_as_complete(
    user: Here, wire: OpenWire, format: str, most_output: int | None
) -> None:
    """After a request of some 6,200 bytes the limit pays for some 1,500 tokens, and the answer needs 4,000."""
    paid = PAID[format]
    input_price = max(paid.rates.input, paid.rates.cache_write or Decimal(0))
    limit = (6_200 * input_price + 1_500 * paid.rates.output).quantize(Decimal(1)) / 1_000_000
    server = opened(wire, paid, lambda asked: paid.answer("The first of many words. " * 200, output_tokens=4000))
    document = await user.run(reaching(server, format), max_cost_per_task=str(limit), max_output_tokens=most_output)
    assert_accounted(server.books, user.book)
    assert_within(server.books, user.book, int(limit * 10**9))
    assert document["answer"].startswith("The first of many words.")
    assert (document["exit_code"], document["complete"]) == (3, False)
    assert document["breaker"]["limit"] == "max_cost_per_task"


@pytest.mark.both_clients
@formats
async def test_the_token_limit_binds_like_the_dollar_limit(user: Here, wire: OpenWire, format: str) -> None:
    paid = PAID[format]
    server = opened(wire, paid)
    document = await user.run(
        reaching(server, format), max_tokens_per_task=12_000, max_cost_per_task="none", max_cost_per_hour="none"
    )
    used = sum(entry.tokens.input + entry.tokens.output for entry in server.books.entries)
    assert (document["exit_code"], document["complete"]) == (3, False)
    assert document["breaker"]["limit"] == "max_tokens_per_task"
    assert document["limits"]["max_tokens_per_task"] == {"limit": 12_000, "used": used}
    assert 0 < used <= 12_000


async def test_two_providers_at_once_share_the_hour(user: Here, wire: OpenWire) -> None:
    servers = {format: opened(wire, PAID[format], PAID[format].brief) for format in FORMATS}
    documents = {}

    async def go(format: str) -> None:
        documents[format] = await user.run(
            reaching(servers[format], format), max_cost_per_hour="0.20", budget_wait="5s"
        )

    async with anyio.create_task_group() as group:
        for format in FORMATS:
            group.start_soon(go, format)
    billed = sum(server.books.billed_nano for server in servers.values())
    assert user.book.nano("settled") == billed == sum(d["cost"]["nano_usd"] for d in documents.values())
    assert user.book.most_nano <= 200_000_000
    assert len(user.book.sent) == sum(len(server.books.chat_requests) for server in servers.values())
    assert {document["exit_code"] for document in documents.values()} <= {0, 3}


async def test_ollama_on_this_host_is_free_unless_a_price_is_declared(user: Here, wire: OpenWire) -> None:
    server = opened(wire, PAID["ollama"], PAID["ollama"].brief, rates=Rates(Decimal(0), Decimal(0)))
    document = await user.run(reaching(server, "ollama"), prices="", max_cost_per_task="0")
    assert (document["exit_code"], document["cost"]["nano_usd"]) == (0, 0)
    assert len(server.books.entries) == len(user.book.sent) == 2
    assert OllamaProvider("llama3.1:latest", base_url=server.url).facts.price is not None


@pytest.mark.parametrize(
    ("flag", "limit", "value", "calls"),
    [
        ("--max-cost-per-day", "max_cost_per_day", "0.10", 2),
        ("--max-cost-per-month", "max_cost_per_month", "0.10", 2),
        ("--max-cost-per-minute", "max_cost_per_minute", "0.10", 2),
        ("--max-calls-per-minute", "max_calls_per_minute", "3", 3),
    ],
)
def test_each_further_limit_binds_as_strictly(
    command: Any,  # noqa: ANN401
    wire: OpenWire,
    state: Path,
    flag: str,
    limit: str,
    value: str,
    calls: int,
) -> None:
    server = opened(wire, PAID["openai"])
    words = ("--json", "--max-cost", "5", flag, value)
    ended = command(*words, env=reaching(server, "openai"))
    document = ended.document
    assert (ended.code, document["breaker"]["limit"]) == (3, limit)
    assert document["breaker"]["free_at"] is not None
    assert f"{flag} " in document["error"]["hint"]
    assert len(server.books.chat_requests) == calls
    used = calls if limit == "max_calls_per_minute" else calls * 0.04
    assert document["limits"][limit] == {"limit": float(value), "used": used}
    assert_accounted(server.books, book_of(state))


@formats
def test_an_outage_leaves_at_most_half_of_a_runs_limit_and_one_call_in_doubt(
    command: Any,  # noqa: ANN401
    wire: OpenWire,
    state: Path,
    format: str,
) -> None:
    """After two calls in a row of unknown cost, the rest are small probes."""
    server = opened(wire, PAID[format], Fault(500, bills=True, input_tokens=1000, output_tokens=100))
    ended = command("--json", "--max-cost", "1", env=reaching(server, format))
    book = book_of(state)
    assert (ended.code, ended.document["status"]) == (4, "unavailable")
    assert len(book.sent) == 4
    assert server.books.billed_nano <= book.nano("doubt") <= 500_000_000 + max(one.hold_nano for one in book.sent)
    assert [one.granted_output for one in book.sent[2:]] == [256, 256]
