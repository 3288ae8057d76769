"""Money errors seen in other tools, one test each (B10 to B18): limits that did not bind.

The numbers are those of the list that the project keeps; beside each stands what happened elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.budget.rules import Ask
from agentctl.cli.app import main
from agentctl.core.limits import CostLimit
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger import SqliteLedger
from tests.support.bill.audit import Audit
from tests.support.bill.book import Book, book_of
from tests.support.bill.parts import (
    FORMATS,
    FOUR_CENTS,
    KEY,
    PAID,
    PENNY,
    Document,
    Here,
    assert_accounted,
    assert_told,
    reaching,
)
from tests.support.command_line import ROOT, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, Rates, Step, WireRequest

formats = pytest.mark.parametrize("format", FORMATS)
SOON = (("retry-after-ms", "20"),)
FREE = {"max_cost_per_task": "none", "max_cost_per_hour": "none"}


@pytest.mark.parametrize("price", ["0.00000015", "0.00003", "150000", "30000000"])
def test_b10_a_price_in_another_unit_than_dollars_per_million_is_refused(
    command: Callable[..., Ended], wire: OpenWire, tmp_path: Path, price: str
) -> None:
    """Elsewhere a price per token stood where one per million was meant: a millionth of the money was counted."""
    server = wire(PAID["openai"].brief, keys=[KEY])
    own = tmp_path / "own.toml"
    own.write_text(f'[prices]\n"openai/gpt-4-turbo" = {{ input = {price}, output = {price} }}\n')
    ended = command("--json", "--config", str(own), env=reaching(server, "openai"))
    assert (ended.code, ended.document["status"]) == (2, "usage")
    assert "dollars per million tokens" in ended.document["error"]["message"]
    assert server.books.requests == ()


@pytest.mark.both_clients
@formats
async def test_b11_every_kind_of_call_goes_through_the_one_door(user: Here, wire: OpenWire, format: str) -> None:
    """Elsewhere helpers beside the main loop (titles, summaries, sub-agents) were outside the budget.

    Here: a retry, an answer cut by its clamp and asked for again, and a summary.
    """
    paid, long = {**PAID, "openai": PENNY}[format], "Some words of a long answer. " * 40
    cut = partial(paid.busy, output_tokens=5000)
    server = wire([Fault(503, headers=SOON), cut, paid.brief, Answer(long)], keys=[KEY])
    environ = reaching(server, format) | {"LLM_MODEL": paid.model}
    document = await user.run(environ, max_cost_per_task="2", max_context_tokens=6000)
    assert (document["exit_code"], document["answer"]) == (0, long), document["error"]
    assert len(server.books.chat_requests) == len(user.book.sent) == 4
    assert_accounted(server.books, user.book)
    assert_told(document, user.book)


def test_b11_trying_a_provider_out_is_held_and_counted_too(
    state: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = PAID["openai"]  # LLM_MODEL names it, and by that its provider
    server = wire(
        Answer("ready", input_tokens=1000, output_tokens=1), rates=paid.rates, models=[paid.model], keys=[KEY]
    )
    for name, value in reaching(server, "openai").items():
        monkeypatch.setenv(name, value)
    main(("providers", "test", "openai", "--json"))
    assert len(server.books.chat_requests) >= 1
    assert_accounted(server.books, book_of(state))


def test_b11_provider_calls_are_made_in_one_place_only() -> None:
    """A provider's own call is for use by hand, and documents that it bypasses the ledger."""
    asking = {
        str(path.relative_to(ROOT / "agentctl"))
        for path in (ROOT / "agentctl").rglob("*.py")
        for text in [
            path.read_text().replace("engine.stream(", "").replace("client.stream(method, url", "")
        ]  # Docker's, the probe's
        if ".stream(" in text or ".ainvoke(" in text
    }
    assert asking == {"runner/streaming.py", "providers/llm_provider.py"}


SECOND = """
import sys, anyio
from pathlib import Path
from agentctl.budget.rules import Ask, Hold
from agentctl.ledger import SqliteLedger
from agentctl.core.pricing import ModelFacts, Price
from decimal import Decimal

async def main():
    ledger = SqliteLedger(Path(sys.argv[1]))
    facts = ModelFacts("p", "m", price=Price(Decimal(1), Decimal(1)), context_window=10**6, output_ceiling=10**5)
    answer = await ledger.reserve(Ask("second", "run", facts, 0, int(sys.argv[2]), 10**5, None))
    print(answer.nano if isinstance(answer, Hold) else f"{answer.limit} {answer.spent} {answer.would_be}")
    await ledger.aclose()

anyio.run(main)
"""


async def test_b12_spending_counts_when_another_process_continues_the_run(tmp_path: Path) -> None:
    """Elsewhere the counter was the process's own, and began at 0 when a run was resumed."""
    path = tmp_path / "state" / "ledger.db"
    first = SqliteLedger(path)
    limits = CostLimit(max_cost_per_task=Decimal("0.001"))  # a thousand tokens at a dollar a million
    await first.open_run("run", limits, task="t", agent="a", labels={})
    facts = ModelFacts("p", "m", price=Price(Decimal(1), Decimal(1)), context_window=10**6, output_ceiling=10**5)
    await first.reserve(Ask("first", "run", facts, 0, 600, 600, None))
    assert await first.mark_sent("first")
    await first.doubt("first", "its answer was lost", provider_fault=False)

    def going_on(least: int) -> str:
        words = [sys.executable, "-c", SECOND, str(path), str(least)]
        return subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60).stdout.strip()

    assert await anyio.to_thread.run_sync(going_on, 401) == "max_cost_per_task 0 1001000"
    await first.aclose()


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Move this process to another time zone until the end of the test."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


async def test_b13_the_hour_is_the_same_hour_in_every_time_zone(
    user: Here, wire: OpenWire, zone: Callable[[str], None]
) -> None:
    """Elsewhere a window that lost its zone let a day's limit act as three quarters of it, or begin anew."""
    server = wire(PAID["openai"].busy, keys=[KEY])
    words: dict[str, Any] = {"max_cost_per_hour": "0.10", "budget_wait": 0}
    for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"):
        zone(name)
        document = await user.run(reaching(server, "openai"), **words)
        assert (document["exit_code"], document["breaker"]["limit"]) == (3, "max_cost_per_hour")
        assert document["limits"]["max_cost_per_hour"] == {"limit": 0.1, "used": 0.08}
    assert server.books.billed_nano == 2 * FOUR_CENTS
    assert_accounted(server.books, user.book)


@pytest.mark.parametrize("limit", ["max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task"])
@formats
async def test_b14_each_limit_is_wired_for_each_provider(user: Here, wire: OpenWire, format: str, limit: str) -> None:
    """Elsewhere a limiter was written and never registered, or one kind of endpoint was never counted."""
    server = wire(PAID[format].busy, keys=[KEY])
    lifted: dict[str, Any] = {**FREE, "max_tokens_per_task": "none"}
    document = await user.run(reaching(server, format), **{**lifted, limit: 0, "budget_wait": 0})
    assert (document["exit_code"], document["breaker"]["limit"]) == (3, limit)
    assert (server.books.chat_requests, user.book.attempts) == ((), ())


@pytest.mark.both_clients
async def test_b15_no_hold_is_left_behind_however_a_call_ends(user: Here, wire: OpenWire) -> None:
    """Elsewhere held amounts leaked, and refused what there was room for; or were given back twice."""
    paid = PAID["openai"]
    ends: list[Step | Callable[[WireRequest], Step]] = [
        paid.brief, Answer("All is well."), Fault(429, headers=(("retry-after", "3600"),)), Fault(401), Fault(404),
        Fault(400), Fault(307, location="/elsewhere"),
    ]  # fmt: skip
    server = wire(keys=[KEY])
    for end in ends:
        server.play(end)
        await user.run(reaching(server, "openai"), max_cost_per_task="0.50", max_cost_per_hour="3")
    refused = await user.run(reaching(server, "openai"), max_cost_per_task="0.01")
    assert refused["exit_code"] == 3
    server.play(partial(paid.busy, stall=True))
    seen = len(server.books.entries)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(user.run, reaching(server, "openai"), max_cost_per_task="0.50"))
        assert await anyio.to_thread.run_sync(lambda: server.books.wait(lambda books: len(books.entries) > seen, 60))
        group.cancel_scope.cancel()
    book = user.book
    assert Counter(book.phases) == {"settled": 3, "void": 5, "doubt": 1}
    assert_accounted(server.books, book)
    await _assert_all_that_is_left_can_be_held(user, book)


async def _assert_all_that_is_left_can_be_held(user: Here, book: Book) -> None:
    ledger = SqliteLedger(user.state / "ledger.db")
    await ledger.open_run(
        "last", CostLimit(max_cost_per_task=None, max_tokens_per_task=None), task="t", agent="a", labels={}
    )
    hour = 3_000_000_000
    facts = ModelFacts("p", "m", price=Price(Decimal("0.001"), Decimal("0.001")), context_window=10**12)
    rest = hour - book.counted_nano  # at a nano-dollar a token
    held = await ledger.reserve(Ask("all", "last", facts, 0, rest, rest, hour))
    assert getattr(held, "nano", held) == rest
    await ledger.aclose()


LIMITS: dict[str, Callable[[Book], str]] = {
    "max_cost_per_task": lambda book: str(Decimal(book.attempts[0].hold_nano) / 10**9),
    "max_cost_per_hour": lambda book: str(Decimal(book.attempts[0].hold_nano) / 10**9),
    "max_tokens_per_task": lambda book: str(book.attempts[0].input_bound + book.attempts[0].granted_output),
}
STEP = {"max_tokens_per_task": Decimal(1)}


@pytest.mark.parametrize("limit", LIMITS)
async def test_b16_each_limit_may_be_reached_exactly_and_not_passed_by_one(
    tmp_path: Path, wire: OpenWire, audit: Audit, limit: str
) -> None:
    """Elsewhere one check said ``<`` and another ``<=``: the last cent was refused here and passed there."""

    async def first_call(name: str, ceiling: str) -> tuple[Document, Book]:
        server = wire(PAID["openai"].answer("All is well."), keys=[KEY])
        here = Here(tmp_path / name)  # names of one length: they stand in the request
        audit.follow(here.state / "ledger.db")
        limits: dict[str, Any] = {**FREE, "max_tokens_per_task": "none", "budget_wait": 0, limit: ceiling}
        return await here.run(reaching(server, "openai"), max_output_tokens=256, **limits), here.book

    _, wide = await first_call("wide", "5" if limit in FREE else "100000")
    exact = LIMITS[limit](wide)
    document, book = await first_call("even", exact)
    assert (document["exit_code"], book.attempts[0].hold_nano) == (0, wide.attempts[0].hold_nano), document["error"]
    document, book = await first_call("less", f"{Decimal(exact) - STEP.get(limit, Decimal('1e-9')):f}")
    assert (document["exit_code"], document["breaker"]["limit"], book.attempts) == (3, limit, ())


async def test_b17_token_limit_holds_where_the_model_is_free(user: Here, wire: OpenWire) -> None:
    """Elsewhere a subscription made every call $0, and the dollar limit blind."""
    server = wire(PAID["ollama"].busy, rates=Rates(Decimal(0), Decimal(0)))
    document = await user.run(reaching(server, "ollama"), prices="", max_tokens_per_task=20_000)
    used = sum(entry.tokens.input + entry.tokens.output for entry in server.books.entries)
    assert (document["exit_code"], document["cost"]["nano_usd"]) == (3, 0)
    assert document["breaker"]["limit"] == "max_tokens_per_task"
    assert document["limits"]["max_tokens_per_task"] == {"limit": 20_000, "used": used}
    assert 0 < used <= 20_000


def test_b18_turns_and_time_end_a_run_with_every_limit_lifted(
    command: Callable[..., Ended], state: Path, wire: OpenWire
) -> None:
    """Elsewhere a run without any ceiling went on for as long as the model asked for more."""
    server = wire(PAID["openai"].busy, keys=[KEY])
    environ = reaching(server, "openai")
    lifted = ("--json", "--max-cost", "none", "--max-cost-per-hour", "none", "--max-tokens", "none")
    for flag in ("--max-turns", "--timeout"):
        refused = command(*lifted, flag, "none", env=environ)
        assert (refused.code, server.books.requests) == (2, ())
        assert flag.removeprefix("--").replace("-", "_") in refused.document["error"]["message"].replace("-", "_")
    ended = command(*lifted, env=environ)
    assert (ended.code, ended.document["turns"], len(server.books.chat_requests)) == (1, 30, 31)
    assert "--max-turns" in json.dumps(ended.document["error"])
    assert_accounted(server.books, book_of(state))
