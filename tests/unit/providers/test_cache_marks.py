"""Marks for Anthropic's cache: their places, their savings, and that no bill passes its hold because of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message, Request, ToolCall
from agentctl.core.pricing import Price
from agentctl.ledger import SqliteLedger
from agentctl.providers.chat_format import add_cache_marks, allows_cache_marks, as_messages
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.settings import PriceLine
from tests.support.bill.book import book_of
from tests.support.economy import looking, marks_in, provider_of, run_of, tools, turn_of, written
from tests.support.formats import KEY, MODELS, PS, Wire, answer_of, open_provider
from tests.support.wire.anthropic_wire import _mismarked
from tests.support.wire.prompt_cache import Block, MarkedCache, PlainCache, Split, blocks_of
from tests.support.wire.server import Answer, Call, Rates, WireRequest

MARKED = {"cache_control": {"type": "ephemeral"}}
HAIKU = Rates(Decimal(1), Decimal(5), cached=Decimal("0.1"), cache_write=Decimal("1.25"))
WRITES = Price(Decimal(1), Decimal(5), cache_write=Decimal("1.25"))
SAID = (
    Message("system", "You help."),
    Message("user", "List"),
    Message("assistant", "I look.", (ToolCall("a", "docker_ps", {}), ToolCall("b", "docker_ps", {}))),
    Message("tool", "web", tool_call_id="a"),
    Message("tool", "", tool_call_id="b"),
)


def places(messages: tuple[Message, ...], *, followed: bool = True) -> list[int]:
    """Return which messages are marked."""
    written = add_cache_marks(as_messages(messages), followed=followed)
    return [place for place, one in enumerate(written) if one.pop("cache_control", None)]


def test_marks_stand_behind_the_system_at_the_last_end_and_at_this_one() -> None:
    assert places(SAID[:2]) == [0, 1]
    assert places(SAID) == [0, 1, 3]  # nothing that is empty
    assert places((*SAID, Message("assistant", ""), Message("user", "And?"))) == [0, 3, 6]


def test_last_request_of_a_run_reads_the_cache_and_writes_nothing() -> None:
    assert places((*SAID, Message("user", "Sum it up.")), followed=False) == [0, 1, 3]


def test_the_conversation_itself_is_left_as_it_is() -> None:
    written = as_messages(SAID)
    add_cache_marks(written, followed=True)
    assert written == as_messages(SAID)


def test_only_claude_takes_marks_and_only_where_the_price_of_a_write_is_known() -> None:
    unknown = Price(Decimal(1), Decimal(5))
    assert allows_cache_marks("anthropic", "claude-haiku-4-5", WRITES)
    assert allows_cache_marks("openrouter", "anthropic/claude-sonnet-4.5", None)
    assert not allows_cache_marks("openrouter", "openai/gpt-4o", WRITES)
    assert not allows_cache_marks("openai", "gpt-4o", WRITES)
    assert not allows_cache_marks("anthropic", "claude-haiku-4-5", unknown)


async def bill_of(wire: Wire, folder: Path, *, marks: bool) -> tuple[int, list[int]]:
    """Return what a run of 20 turns costs at Anthropic, in nano-dollars, and how many marks each request had."""
    server = wire(looking(19), cache=MarkedCache(), rates=HAIKU)
    line = PriceLine(Decimal(1), Decimal(5), Decimal("0.1"), Decimal("1.25") if marks else None)
    model = MODELS["anthropic"]
    provider = RemoteProvider("anthropic", model, api_key=KEY, base_url=server.url, prices={f"anthropic/{model}": line})
    ledger = SqliteLedger(folder / f"{marks}.db")
    result, _ = await run_of(ledger, provider, tools(8), max_context_tokens=60_000)
    await provider.aclose()
    await ledger.aclose()
    assert (result.status, result.turns) == ("done", 20)
    assert result.cost_nano == server.books.billed_nano
    return server.books.billed_nano, [marks_in(heard.raw) for heard in server.books.chat_requests]


async def test_a_run_of_twenty_turns_costs_less_than_half_with_marks(wire: Wire, tmp_path: Path) -> None:
    with_marks, counts = await bill_of(wire, tmp_path, marks=True)
    without, none = await bill_of(wire, tmp_path, marks=False)
    assert set(none) == {0}
    assert counts == [2, *[3] * 19]
    assert with_marks < without / 2, f"{with_marks} against {without} nano-dollars"


async def test_request_reads_all_that_the_one_before_wrote_for_any_number_of_calls(
    wire: Wire, ledger: SqliteLedger
) -> None:
    def busy(asked: WireRequest) -> Answer:  # 24 blocks a turn: a look back from the end would not reach the last one
        turn = turn_of(asked)
        return Answer(calls=tuple(Call("log", {"turn": turn, "n": n}) for n in range(12))) if turn < 4 else Answer("ok")

    server = wire(busy, cache=MarkedCache(least=0), rates=HAIKU)
    provider = provider_of(server, "anthropic")
    await run_of(ledger, provider, tools(8), max_context_tokens=60_000)
    await provider.aclose()
    spent = [entry.tokens for entry in server.books.entries]
    assert all(after.cached == before.cached + before.cache_write for before, after in pairwise(spent))


async def test_bill_with_cache_writes_never_passes_its_hold(wire: Wire, ledger: SqliteLedger, tmp_path: Path) -> None:
    densest = MarkedCache(bytes_per_token=1)  # as many tokens as there can be
    server = wire(looking(12), cache=densest, rates=HAIKU)
    provider = provider_of(server, "anthropic")
    limits = CostLimit(max_cost_per_task=Decimal(1), max_cost_per_hour=None, max_tokens_per_task=None)
    task = "Is the web well? " * 600
    result, _ = await run_of(
        ledger, provider, tools(8), task=task, limits=limits, max_context_tokens=6_000, max_output_tokens=256
    )
    await provider.aclose()
    assert result.status == "done"
    assert max(entry.tokens.cache_write for entry in server.books.entries) > 10_000
    attempts = book_of(tmp_path).sent
    assert len(attempts) == 13
    assert all(one.nano <= one.hold_nano for one in attempts)
    assert sum(one.nano for one in attempts) == server.books.billed_nano


async def test_a_call_without_tools_has_no_marks_and_a_summary_none_at_its_end(wire: Wire) -> None:
    server = wire(Answer("ok"), repeat=True)
    asked = Request("m", (*SAID, Message("user", "Sum it up.")), (PS,), max_output_tokens=50)
    async with open_provider(server, "anthropic") as provider:
        for request in (replace(asked, followed=False), asked, replace(asked, tools=())):
            await answer_of(provider, request)
    heard = server.books.chat_requests
    assert [marks_in(one.raw) for one in heard] == [3, 3, 0]
    assert [one.body and "cache_control" in one.body["messages"][-1]["content"][-1] for one in heard] == [
        False,
        True,
        False,
    ]
    assert [written(one.raw, "messages") for one in heard] == [written(heard[0].raw, "messages")] * 3


async def test_users_price_without_cache_writes_asks_for_none(wire: Wire, ledger: SqliteLedger, tmp_path: Path) -> None:
    server = wire(looking(6), cache=MarkedCache(least=0), rates=HAIKU)
    provider = provider_of(server, "anthropic")
    assert provider.facts.price is not None
    assert provider.facts.price.cache_write is not None
    result, _ = await run_of(ledger, FixedPriceProvider(provider, Price(Decimal(1), Decimal(5))), tools(8))
    await provider.aclose()
    assert result.status == "done"
    assert [marks_in(heard.raw) for heard in server.books.chat_requests] == [0] * 7
    assert sum(one.nano for one in book_of(tmp_path).sent) == server.books.billed_nano


async def test_marks_for_openrouter_are_in_the_content(wire: Wire) -> None:
    server = wire(Answer("ok"))
    line = PriceLine(Decimal(1), Decimal(5), Decimal("0.1"), Decimal("1.25"))
    name = "anthropic/claude-sonnet-4.5"
    prices = {f"openrouter/{name}": line}
    provider = RemoteProvider("openrouter", name, api_key=KEY, base_url=server.openai_url, prices=prices)
    await answer_of(provider, Request(name, SAID, (PS,), max_output_tokens=50))
    await provider.aclose()
    (heard,) = server.books.chat_requests
    assert heard.body is not None
    contents = [one["content"] for one in heard.body["messages"]]
    assert [isinstance(one, list) and one[-1].get("cache_control") for one in contents] == [
        {"type": "ephemeral"}, {"type": "ephemeral"}, False, {"type": "ephemeral"}, False,
    ]  # fmt: skip


def test_the_server_refuses_what_the_real_one_refuses() -> None:
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    assert _mismarked({"system": [block] * 4}) is None
    assert _mismarked({"system": [block] * 3, "messages": [{"role": "user", "content": [block] * 2}]}) is not None
    assert _mismarked({"system": [{**block, "text": ""}]}) is not None


def test_marked_cache_reads_up_to_a_written_mark_at_most_twenty_blocks_back() -> None:
    cache, blocks = MarkedCache(least=20), [Block(bytes([at]), 10) for at in range(40)]

    def take(length: int, *marks: int) -> Split:
        return cache.take([one._replace(marked=at in marks) for at, one in enumerate(blocks[:length])])

    assert take(1, 0) == Split(10, 0, 0)  # too short
    assert take(4) == Split(40, 0, 0)
    assert take(4, 2) == Split(40, 0, 30)
    assert take(5, 4) == Split(50, 30, 20)
    assert take(30, 29) == Split(300, 0, 300)
    assert take(30, 4, 29) == Split(300, 300, 0)
    assert MarkedCache(least=20).take(blocks) == Split(400, 0, 0)


def test_a_plain_cache_reads_whole_steps_of_what_any_prompt_had_in_common() -> None:
    cache, blocks = PlainCache(), [Block(bytes([at]), 500) for at in range(5)]
    assert cache.take(blocks[:4]) == Split(2_000, 0, 0)
    assert cache.take(blocks[:2]) == Split(1_000, 0, 0)
    assert cache.take([*blocks[:3], blocks[4]]) == Split(2_000, 1_408, 0)


def test_a_prompt_is_its_tools_its_system_and_its_blocks_without_their_marks() -> None:
    block = {"type": "text", "text": "x"}
    body = {"tools": [{"name": "a"}], "system": "s", "messages": [{"role": "user", "content": [{**block, **MARKED}]}]}
    plain, (*_, last) = blocks_of({**body, "messages": [{"role": "user", "content": [block]}]}), blocks_of(body)
    assert (len(plain), last.marked, last._replace(marked=False)) == (3, True, plain[-1])
