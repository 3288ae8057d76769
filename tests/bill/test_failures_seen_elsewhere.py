"""Money errors seen in other tools, one test each (B1 to B9): amounts that were not counted.

The numbers are those of the list that the project keeps; beside each stands what happened elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.core.errors import UnknownPrice
from tests.support.bill.book import book_of
from tests.support.bill.parts import (
    FORMATS,
    FOUR_CENTS,
    KEY,
    PAID,
    PENNY,
    TASK,
    Here,
    assert_accounted,
    assert_told,
    assert_within,
    reaching,
)
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Reported
from tests.support.wire.server import Answer, Fault, Rates, WireRequest

formats = pytest.mark.parametrize("format", FORMATS)
SOON = (("retry-after-ms", "20"),)


def test_b01_first_requests_of_many_processes_at_once_share_the_limit(
    shell: Commands, state: Path, wire: OpenWire
) -> None:
    """Elsewhere each of eight saw a counter at 0 and went ahead: over by seven calls.

    Answers wait until the processes without room have given up, so that all of them have asked the ledger.
    """
    gone = threading.Event()

    def held_back(asked: WireRequest) -> Answer:
        assert gone.wait(120)
        return PENNY.busy(asked)

    server = wire(held_back, rates=PENNY.rates, keys=[KEY])
    # No service tier goes to this address, so each hold is at the dearest one of the model's price row.
    words = ("--max-cost-per-hour", "0.08", "--max-output-tokens", "800", "--budget-wait", "1s")
    environ = reaching(server, "openai") | {"LLM_MODEL": PENNY.model}
    processes = [shell.start("run", TASK, "--json", *words, env=environ) for _ in range(4)]
    try:
        assert server.books.wait(lambda books: len(books.chat_requests) >= 2, 60)
        refused: set[int] = set()
        until = time.monotonic() + 60
        while len(refused) < 2 and time.monotonic() < until:
            refused |= {one.pid for one in processes if one.poll() is not None}
            gone.wait(0.05)
    finally:
        gone.set()
    codes = {one.pid: (one.communicate(timeout=60), one.returncode)[1] for one in processes}
    book = book_of(state)
    assert [codes[pid] for pid in refused] == [3, 3]
    assert server.books.most_at_once == 2
    assert len({attempt.run_id for attempt in book.sent}) == 2
    assert_accounted(server.books, book)
    assert_within(server.books, book, 80_000_000)


@formats
async def test_b02_the_call_that_would_pass_the_limit_is_not_made(user: Here, wire: OpenWire, format: str) -> None:
    """Elsewhere the counter is looked at before a call and added to after it: always over by one call."""
    server = wire(PAID[format].busy, keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="0.10")
    assert (document["exit_code"], server.books.billed_nano) == (3, 2 * FOUR_CENTS)
    assert_accounted(server.books, user.book)
    assert_within(server.books, user.book, 100_000_000)


@pytest.mark.both_clients
@formats
async def test_b03_each_retry_is_held_and_counted_separately(user: Here, wire: OpenWire, format: str) -> None:
    """Elsewhere a $4 cap let $700 pass: retries, also those of a library's own, were billed and never counted."""
    paid = PAID[format]

    def billed_and_failed(asked: WireRequest) -> Fault:
        said = min(paid.output_tokens, asked.clamp or 0)
        return Fault(500, bills=True, headers=SOON, input_tokens=paid.input_tokens, output_tokens=said)

    server = wire([billed_and_failed, paid.brief, paid.brief], keys=[KEY])
    words: dict[str, Any] = {"max_cost_per_task": "0.60", "max_output_tokens": paid.output_tokens + 100}
    document = await user.run(reaching(server, format), **words)
    assert (document["exit_code"], user.book.phases) == (0, ["doubt", "settled", "settled"])
    assert len(server.books.chat_requests) == len(user.book.sent) == 3
    assert all(one.nano >= bill.nano for one, bill in zip(user.book.sent, server.books.entries, strict=True))
    assert_accounted(server.books, user.book)
    assert_told(document, user.book)


@pytest.mark.both_clients
@pytest.mark.parametrize("usage", ["omit", "zero", "negative", "garbage"])
@formats
async def test_b04_an_answer_without_believable_usage_counts_as_the_worst_case(
    user: Here, wire: OpenWire, format: str, usage: Reported
) -> None:
    """Elsewhere it was recorded as $0: an invoice of 830 EUR where 1.47 USD had been counted."""
    server = wire([partial(PAID[format].brief, usage=usage), *[PAID[format].brief] * 2], keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="0.60")
    first, *others = user.book.attempts
    assert (document["exit_code"], first.phase) == (0, "doubt"), document["error"]
    assert {one.phase for one in others} == {"settled"}
    assert first.nano == first.hold_nano >= server.books.entries[0].nano
    assert_accounted(server.books, user.book)
    assert_told(document, user.book)


@pytest.mark.both_clients
@formats
async def test_b05_stream_that_we_close_counts_as_if_it_had_been_complete(
    user: Here, wire: OpenWire, format: str
) -> None:
    """Elsewhere a cancelled request was reconciled to its input, and the provider billed the whole output."""
    server = wire(partial(PAID[format].busy, stall=True), keys=[KEY])
    async with anyio.create_task_group() as group:
        group.start_soon(partial(user.run, reaching(server, format), max_cost_per_task="0.60"))
        assert await anyio.to_thread.run_sync(lambda: server.books.wait(lambda books: len(books.entries) == 1, 60))
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(lambda: server.books.wait(lambda books: len(books.hung_up) == 1, 60))
    (attempt,) = user.book.attempts
    assert (attempt.phase, attempt.nano) == ("doubt", attempt.hold_nano)
    assert_accounted(server.books, user.book)


CLASSES: dict[str, dict[str, int]] = {
    "openai": {"cached": 600, "cache_write": 0, "reasoning": 40},
    "anthropic": {"cached": 600, "cache_write": 300, "reasoning": 0},
    "ollama": {"cached": 0, "cache_write": 0, "reasoning": 0},
}
DEAR_TO_WRITE = Rates(Decimal(10), Decimal(30), cached=Decimal(1), cache_write=Decimal("12.5"))
LINE = "{ input = 10, output = 30, cached_input = 1, cache_write = 12.5 }"


@pytest.mark.both_clients
@formats
async def test_b06_cached_written_and_reasoning_tokens_count_once_at_their_own_price(
    user: Here, wire: OpenWire, format: str
) -> None:
    """Elsewhere cached tokens were added where they are included (OpenAI) or lost where they are not (Anthropic).

    A cache for an hour has a price of its own that no table row here knows, so that none is ever asked for.
    """
    told: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 100, **CLASSES[format]}
    server = wire([partial(PAID[format].brief, **told)] * 2, rates=DEAR_TO_WRITE, keys=[KEY])
    prices = f'[prices]\n"{format}/{PAID[format].model}" = {LINE}\n'
    document = await user.run(reaching(server, format), prices=prices, max_cost_per_task="1")
    cached, written = told["cached"], told["cache_write"]
    each = (1000 - cached - written) * 10_000 + cached * 1_000 + written * 12_500 + 100 * 30_000
    assert (document["exit_code"], server.books.billed_nano) == (0, 2 * each)
    assert user.book.nano("settled") == document["cost"]["nano_usd"] == 2 * each
    assert all(b'"ttl"' not in heard.raw for heard in server.books.chat_requests)


async def test_b07_a_long_request_is_held_and_charged_at_the_tier_that_it_passes(user: Here, wire: OpenWire) -> None:
    """Elsewhere neither the prices above 272,000 tokens nor the service tier were in what was reserved."""
    long = Rates(Decimal(5), Decimal("22.5"))
    rates = Rates(Decimal("2.5"), Decimal(15), above=(272_000, long))
    answer = Answer("All is well.", input_tokens=275_000, output_tokens=100)
    server = wire(answer, rates=rates, keys=[KEY])
    document = await user.run(
        reaching(server, "openai") | {"LLM_MODEL": "gpt-5.4"},
        task="a log " * 46_000,
        max_cost_per_task="2",
        max_context_tokens=400_000,
        max_tokens_per_task="none",
    )
    (attempt,) = user.book.attempts
    assert (document["exit_code"], attempt.phase) == (0, "settled"), document["error"]
    assert attempt.nano == server.books.billed_nano == 275_000 * 5_000 + 100 * 22_500
    dearest = 30_000  # the priority tier's: this address is asked for none
    assert attempt.hold_nano == attempt.input_bound * 5_000 + attempt.granted_output * dearest
    assert_accounted(server.books, user.book)


async def test_b07_hold_is_at_the_dearest_service_tier_where_none_is_requested(user: Here, wire: OpenWire) -> None:
    """A project can have a dearer tier as its default, and only the provider's own address is known to take a request
    for another one (``test_service_tier_goes_only_to_the_provider_itself``).
    """
    server = wire(PENNY.brief, rates=PENNY.rates, keys=[KEY])
    await user.run(reaching(server, "openai") | {"LLM_MODEL": PENNY.model}, max_cost_per_task="0.50")
    assert all("service_tier" not in (heard.body or {}) for heard in server.books.chat_requests)
    attempt = user.book.attempts[0]
    priority = (4_250, 17_000)  # nano-dollars a token of input and output; the usual ones are 2,500 and 10,000
    assert attempt.hold_nano == attempt.input_bound * priority[0] + attempt.granted_output * priority[1]


@formats
async def test_b08_no_tool_of_the_provider_is_offered_and_a_model_with_a_fee_is_refused(
    user: Here, wire: OpenWire, format: str
) -> None:
    """Elsewhere ten dollars for a thousand searches were in no counter."""
    server = wire(PAID[format].brief, keys=[KEY])
    await user.run(reaching(server, format), max_cost_per_task="0.50")
    bodies = [heard.body or {} for heard in server.books.chat_requests]
    own = {"openai": {"function"}, "anthropic": {"None", "custom"}, "ollama": {"function"}}[format]
    assert bodies
    assert {str(tool.get("type")) for body in bodies for tool in body["tools"]} <= own
    assert all(not any("search" in name for name in body) for body in bodies)
    fees = {"openai": "gpt-4o-search-preview"}
    if (model := fees.get(format)) is not None:
        with pytest.raises(UnknownPrice, match="searches are billed separately"):
            await user.run(reaching(server, format) | {"LLM_MODEL": model})
        assert len(server.books.chat_requests) == len(bodies)


async def test_b08_search_that_was_not_asked_for_stops_the_run(user: Here, wire: OpenWire) -> None:
    paid = PAID["anthropic"]
    server = wire(
        lambda asked: paid.busy(asked, searches=2), rates=replace(paid.rates, search=Decimal("0.01")), keys=[KEY]
    )
    document = await user.run(reaching(server, "anthropic"), max_cost_per_task="5")
    assert (document["exit_code"], document["status"]) == (3, "budget")
    assert "charged for a service that was not requested, 2 web_search_requests" in document["error"]["message"]
    assert "--clear-overrun anthropic/" in document["error"]["hint"]
    assert len(server.books.chat_requests) == 1
    assert user.book.counted_nano >= server.books.billed_nano > 40_000_000


def test_b09_a_model_without_a_price_is_refused_and_never_free(
    command: Callable[..., Ended], state: Path, wire: OpenWire
) -> None:
    """Elsewhere an unknown name cost 0.0, silently."""
    server = wire(PAID["anthropic"].brief, keys=[KEY])
    environ = reaching(server, "anthropic") | {"LLM_MODEL": "claude-opus-4-99"}
    ended = command("--json", env=environ)
    assert (ended.code, ended.document["error"]["kind"]) == (2, "unknown_price")
    assert '[prices."anthropic/claude-opus-4-99"]\ninput = ' in ended.document["error"]["hint"]
    assert (server.books.requests, book_of(state).sent) == ((), ())
    lifted = command("--json", "--max-cost", "none", "--max-cost-per-hour", "none", env=environ)
    assert (lifted.code, lifted.document["cost"]["usd"]) == (0, None)
    assert len(server.books.chat_requests) == 2
