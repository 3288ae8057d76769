"""Servers that break an assumption of the promise: the excess is recorded in full and stops the spending."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from agentctl.providers.catalog import load_catalog
from tests.support.bill.parts import FORMATS, FOUR_CENTS, KEY, PAID, Here, Paid, assert_accounted, assert_told, reaching
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Rates, Tokens

#: Models whose own ceiling lies far above the clamp.
LOOSE = PAID | {"openai": Paid("openai", "gpt-4o", Rates(Decimal("2.5"), Decimal(10)), 4000, 3000)}
formats = pytest.mark.parametrize("format", FORMATS)
DOLLAR = 1_000_000_000


@pytest.mark.both_clients
@formats
async def test_a_model_past_its_clamp_is_recorded_in_full_and_ends_the_run(
    user: Here, wire: OpenWire, format: str
) -> None:
    paid = LOOSE[format]
    server = wire(partial(paid.busy, output_tokens=12_000, obeys=False), rates=paid.rates, keys=[KEY])
    document = await user.run(reaching(server, format) | {"LLM_MODEL": paid.model}, max_cost_per_task="0.20")
    (entry,) = server.books.entries
    assert entry.tokens.output > user.book.attempts[0].granted_output
    assert (document["exit_code"], document["complete"], document["answer"]) == (3, False, "Step 1: looking.")
    assert "provider_overrun" in document["error"]["message"]
    assert document["cost"]["nano_usd"] == entry.nano > user.book.attempts[0].hold_nano
    assert_accounted(server.books, user.book)
    assert_told(document, user.book)


@formats
async def test_models_ceiling_is_held_in_every_later_run_after_an_overrun(
    user: Here, wire: OpenWire, format: str
) -> None:
    paid = LOOSE[format]
    server = wire(partial(paid.busy, output_tokens=12_000, obeys=False), rates=paid.rates, keys=[KEY])
    environ = reaching(server, format) | {"LLM_MODEL": paid.model}
    await user.run(environ, max_cost_per_task="0.20")
    server.play(paid.brief)
    refused = await user.run(environ, max_cost_per_task="0.14")
    assert (refused["exit_code"], refused["cost"]["nano_usd"], len(server.books.chat_requests)) == (3, 0, 1)
    free = {"max_cost_per_hour": "none", "max_tokens_per_task": "none"}
    bold = await user.run(environ, max_cost_per_task="50", **free)
    assert bold["exit_code"] == 0
    openai = 128_000 * 4.25 + 16_384 * 17  # in the dearest service tier, as none goes to a server elsewhere
    ceilings = {"openai": openai, "anthropic": 200_000 * 6.25 + 64_000 * 25, "ollama": 12_288 * 16}
    assert {one.hold_nano for one in user.book.attempts[1:]} == {int(ceilings[format] * 1000)}
    assert_accounted(server.books, user.book)


@pytest.mark.both_clients
@formats
async def test_report_above_the_hold_is_charged_and_ends_the_run(user: Here, wire: OpenWire, format: str) -> None:
    paid = PAID[format]
    server = wire(partial(paid.busy, input_tokens=12_000, bill_nano=FOUR_CENTS), rates=paid.rates, keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="0.10")
    reported = paid.rates.nano(server.books.entries[0].tokens)
    assert (document["exit_code"], document["cost"]["nano_usd"]) == (3, reported)
    assert len(server.books.chat_requests) == 1
    assert_accounted(server.books, user.book)


@pytest.mark.parametrize("tokens", [2**31, 2**52, 2**53, 2**60, 2**80])
@formats
async def test_a_report_beyond_what_the_model_can_do_is_recorded_in_full_and_ends_the_run(
    user: Here, wire: OpenWire, format: str, tokens: int
) -> None:
    """The amount is capped at what the ledger can store: 2^63 - 1 nano-dollars."""
    paid = PAID[format]
    answer = partial(paid.busy, input_tokens=tokens, output_tokens=9, bill_nano=FOUR_CENTS)
    server = wire(answer, rates=paid.rates, keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="0.20")
    (attempt,) = user.book.attempts
    assert (document["exit_code"], document["answer"], document["complete"]) == (3, "Step 1: looking.", False)
    assert len(server.books.chat_requests) == 1
    reported = paid.rates.dearest_nano(Tokens(tokens, 9))
    assert (attempt.phase, attempt.nano) == ("settled", min(reported, 2**63 - 1))
    assert ("more than the ledger can store" in document["error"]["message"]) is (reported >= 2**63)
    assert_told(document, user.book)


@formats
async def test_a_report_far_too_low_is_charged_but_never_built_on(user: Here, wire: OpenWire, format: str) -> None:
    """The bound of each further request stays that of its bytes: the next report may be true."""
    paid = PAID[format]
    low = partial(paid.busy, input_tokens=1, output_tokens=1, bill_nano=FOUR_CENTS)
    server = wire([low, low, paid.brief], keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="0.50")
    assert document["exit_code"] == 0
    bounds = [attempt.input_bound for attempt in user.book.attempts]
    sizes = [heard.asked.size for heard in server.books.chat_requests if heard.asked]
    assert bounds == sorted(bounds)
    assert all(bound > size for bound, size in zip(bounds, sizes, strict=True))
    reported = sum(paid.rates.nano(entry.tokens) for entry in server.books.entries)
    assert user.book.nano("settled") == reported > 2 * paid.rates.nano(server.books.entries[0].tokens)


async def test_a_dearer_model_than_the_one_asked_is_charged_at_its_own_price(user: Here, wire: OpenWire) -> None:
    cheap, dear = load_catalog().price_of("openai", "gpt-4o-mini"), load_catalog().price_of("openai", "gpt-4o")
    assert cheap is not None
    assert dear is not None
    answer = Answer("All is well.", input_tokens=3000, output_tokens=900, model="gpt-4o")
    server = wire(answer, rates=Rates(dear.input, dear.output), keys=[KEY])
    environ = reaching(server, "openai") | {"LLM_MODEL": "gpt-4o-mini"}
    document = await user.run(environ, max_cost_per_task="0.10")
    (attempt,) = user.book.attempts
    assert document["cost"]["nano_usd"] == server.books.billed_nano == attempt.nano > attempt.hold_nano
    assert (document["models"], attempt.answered_model, document["exit_code"]) == (["gpt-4o"], "gpt-4o", 3)
    assert (document["answer"], document["complete"]) == ("All is well.", False)
    assert "provider_overrun" in document["error"]["message"]


async def test_a_cheaper_model_than_the_one_asked_is_charged_at_the_price_of_the_one_asked(
    user: Here, wire: OpenWire
) -> None:
    answer: Any = partial(PAID["openai"].brief, model="gpt-4o-mini")
    server = wire(answer, rates=PAID["openai"].rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], document["cost"]["nano_usd"]) == (0, 2 * FOUR_CENTS)
    assert_accounted(server.books, user.book)
