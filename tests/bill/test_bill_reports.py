"""Usage reports that are odd: larger than any table allows, smaller in a later block, with fees, and beyond 64 bits."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

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
    reaching,
)
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Tokens

formats = pytest.mark.parametrize("format", FORMATS)
MOST = 2**63 - 1


def test_a_report_above_the_context_window_is_recorded_in_full_and_stops_the_run(
    shell: Commands, wire: OpenWire, state: Path
) -> None:
    """Regression: $2.93 were billed under a limit of $0.50, and $0.27 recorded."""
    server = wire(partial(PENNY.busy, input_tokens=130_000), rates=PENNY.rates, keys=[KEY])
    environ = reaching(server, "openai") | {"LLM_MODEL": PENNY.model}
    ended = shell("run", TASK, "--max-cost", "0.50", "--max-tokens", "none", **environ)
    assert (ended.code, "provider_overrun" in ended.err, "Step 1: looking." in ended.err) == (3, True, True), ended.err
    (attempt,) = book_of(state).attempts
    assert (attempt.phase, attempt.nano) == ("settled", server.books.billed_nano)
    assert len(server.books.chat_requests) == 1
    again = shell("run", TASK, "--max-cost", "0.48", "--max-tokens", "none", **environ)
    assert (again.code, len(server.books.chat_requests)) == (3, 1), again.err  # 130,000 in and 16,384 out are $0.4888


def test_amounts_at_the_end_of_64_bits_are_shown_by_every_command(shell: Commands, wire: OpenWire, state: Path) -> None:
    for model in ("gpt-4o", "gpt-4-turbo"):
        absurd = partial(PENNY.busy, input_tokens=2**63, output_tokens=2**63, obeys=False, bill_nano=FOUR_CENTS)
        server = wire(absurd, keys=[KEY])
        environ = reaching(server, "openai") | {"LLM_MODEL": model}
        limits = ("--max-cost", "none", "--max-cost-per-hour", "none", "--max-tokens", "none")
        ended = shell("run", TASK, *limits, "--json", **environ)
        assert ended.code == 3, ended.err
        assert json.loads(ended.out)["cost"]["nano_usd"] == MOST
    assert [one.nano for one in book_of(state).attempts] == [MOST] * 2
    for words in (
        ("costs",),
        ("costs", "--by", "model", "-o", "csv"),
        ("runs", "list"),
        ("runs", "show"),
        ("ledger", "check"),
    ):
        ended = shell(*words)
        assert ended.code == 0, (words, ended.err)
    costs = json.loads(shell("costs", "-o", "json").out)
    assert costs["total"]["nano_usd"] == 2 * MOST


@formats
async def test_a_later_smaller_block_takes_nothing_off_the_bill(user: Here, wire: OpenWire, format: str) -> None:
    """Regression: the charge was 40 times too low. The next request is bound by its bytes: its report may be true."""
    paid = PAID[format]
    server = wire([partial(paid.busy, usage="falls"), *[paid.brief] * 2], keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="0.60")
    assert document["exit_code"] == 0, document["error"]
    first, second = user.book.attempts
    assert (first.phase, first.nano) == ("settled", server.books.entries[0].nano)
    assert second.input_bound > server.books.chat_requests[1].asked.size  # type: ignore[union-attr]
    assert_accounted(server.books, user.book)
    assert_told(document, user.book)


@pytest.mark.both_clients
@pytest.mark.parametrize("how", [{"stall": True}, {"cut_at": "middle"}], ids=["silence", "a cut"])
async def test_usage_reported_before_an_answer_broke_off_counts(
    user: Here, wire: OpenWire, how: dict[str, Any]
) -> None:
    """Anthropic reports the input first; the answer breaks off before its end."""
    paid = PAID["anthropic"]
    server = wire(partial(paid.busy, input_tokens=60_000, output_tokens=300, **how), rates=paid.rates, keys=[KEY])
    document = await user.run(reaching(server, "anthropic"), max_cost_per_task="0.60", llm_timeout=1.5)
    (attempt,) = user.book.attempts
    assert (document["exit_code"], attempt.phase, len(server.books.chat_requests)) == (3, "doubt", 1)
    assert "provider_overrun" in document["error"]["message"]
    assert attempt.nano >= server.books.billed_nano > attempt.hold_nano


@formats
async def test_report_covered_by_its_hold_is_a_charge_whatever_the_price_table_says(
    user: Here, wire: OpenWire, format: str
) -> None:
    """Regression: a price line with too low a window put exact reports in doubt and ended the run with 4."""
    paid = PAID[format]
    rates = f"input = {paid.rates.input}, output = {paid.rates.output}"
    line = f'[prices]\n"{format}/{paid.model}" = {{ {rates}, context_window = 3000, certain = true }}\n'
    answer = Answer("Half of it is used.", input_tokens=3_100, output_tokens=40)
    server = wire(answer, rates=paid.rates, keys=[KEY])
    document = await user.run(reaching(server, format), prices=line, max_cost_per_task="0.50")
    assert (document["exit_code"], user.book.phases) == (0, ["settled"]), document["error"]
    assert user.book.nano("settled") == server.books.billed_nano == paid.rates.nano(Tokens(3_100, 40))
