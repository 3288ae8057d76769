"""Golden charges: usage blocks as each provider sends them, through litellm and our readers, into the ledger's row."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from decimal import ROUND_CEILING, Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentctl.budget.breaker import Overrun
from agentctl.core.errors import ProviderError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message
from agentctl.ledger import SqliteLedger
from agentctl.ledger.check import check
from agentctl.ledger.report import CostQuery
from agentctl.ledger.repricing import reprice
from agentctl.providers.catalog import load_catalog
from agentctl.providers.installed_prices import TABLE_FILE
from agentctl.providers.remote import RemoteProvider
from agentctl.runner.model_calls import ModelCalls
from agentctl.settings import PriceLine
from agentctl.settings.prices import price_lines
from tests.support.bill.flood import FloodServer, chunked
from tests.support.bill.parts import FORMATS, KEY, PAID, PRICES, Here, reaching, this_client
from tests.support.wire.plugin import OpenWire

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
COLUMNS = (
    *("phase", "nano", "hold_nano", "answered_model", "prices", "price_source", "price_version", "price_digest"),
    *("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "reason"),
    *("charged_by", "charged_model", "charged_tier", "charged_prices", "charged_source", "charged_version"),
    *("charged_digest", "hour_write_tokens", "billed_nano"),
)


def sse(*events: Mapping[str, Any], named: bool = False, done: bool = True) -> bytes:
    """Return events as they stand on the wire; ``named`` as Anthropic's, each with its type before it."""
    said = [(f"event: {one['type']}\n" if named else "") + f"data: {json.dumps(one)}\n\n" for one in events]
    return "".join([*said, *(["data: [DONE]\n\n"] if done else [])]).encode()


def chat(model: str, usage: Mapping[str, Any], **more: object) -> bytes:
    """Return an answer in OpenAI's chat format: a word, its end, and the usage in a chunk of its own."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, **more}

    def choice(delta: Mapping[str, str], finish: str | None = None) -> list[dict[str, object]]:
        return [{"index": 0, "delta": delta, "finish_reason": finish}]

    return sse(
        {**head, "choices": choice({"role": "assistant", "content": "ok"}), "usage": None},
        {**head, "choices": choice({}, "stop"), "usage": None},
        {**head, "choices": [], "usage": usage},
    )


def claude(model: str, start: Mapping[str, Any], delta: Mapping[str, Any]) -> bytes:
    """Return an answer of Anthropic's: the input in the first event, the output in the last but one."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
    return sse(
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": start}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": delta},
        {"type": "message_stop"},
        named=True,
        done=False,
    )


def gemini(model: str, usage: Mapping[str, Any]) -> bytes:
    """Return an answer of Gemini's: every piece carries a usage so far, the last one counts."""

    def piece(text: str, **more: object) -> dict[str, object]:
        return {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}

    early = {"promptTokenCount": usage["promptTokenCount"], "totalTokenCount": usage["promptTokenCount"]}
    return sse(
        {"candidates": [piece("o")], "usageMetadata": early, "modelVersion": model, "responseId": "r1"},
        {"candidates": [piece("k", finishReason="STOP")], "usageMetadata": usage, "modelVersion": model},
        done=False,
    )


class Golden(NamedTuple):
    """A body on the wire and its expected usage by class (input, cached, written, output, reasoning)."""

    provider: str
    model: str
    body: bytes
    usage: tuple[int, int, int, int, int]
    nano: int


def claude_writes(five: int, hour: int) -> dict[str, Any]:
    """Return the first block of an answer that wrote caches of both kinds."""
    return {
        "input_tokens": 2048,
        "cache_creation_input_tokens": five + hour,
        "cache_read_input_tokens": 1800,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "output_tokens": 1,
        "service_tier": "standard",
    }


def openai_usage(prompt: int, cached: int, answer: int, thought: int) -> dict[str, Any]:
    """Return OpenAI's block: cached tokens are in the prompt's, thoughts in the answer's."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


#: The prices are litellm 1.105.3's, in dollars a million: one of them is a thousand nano-dollars a token.
GOLDEN = {
    "openai, cached and reasoning": Golden(
        "openai",
        "gpt-5.5",  # 5 in, 0.5 cached, 30 out
        chat("gpt-5.5-2026-04-23", openai_usage(2006, 1920, 300, 128), service_tier="default"),
        (2006, 1920, 0, 300, 128),
        # 86 x 5,000 + 1,920 x 500 + 300 x 30,000 = 430,000 + 960,000 + 9,000,000
        10_390_000,
    ),
    "openai, at 272,000 the lower tier": Golden(
        "openai",
        "gpt-5.5",
        chat("gpt-5.5", openai_usage(272_000, 0, 10, 0)),
        (272_000, 0, 0, 10, 0),
        # 272,000 x 5,000 + 10 x 30,000
        1_360_300_000,
    ),
    "openai, above 272,000 the higher tier for all of it": Golden(
        "openai",
        "gpt-5.5",  # above: 10 in, 1 cached, 45 out
        chat("gpt-5.5", openai_usage(272_001, 100_000, 10, 0)),
        (272_001, 100_000, 0, 10, 0),
        # 172,001 x 10,000 + 100,000 x 1,000 + 10 x 45,000 = 1,720,010,000 + 100,000,000 + 450,000
        1_820_460_000,
    ),
    "openai, served at the dearer tier than was asked for": Golden(
        "openai",
        "gpt-5.5",  # priority: 12.5 in, 1.25 cached, 75 out
        chat("gpt-5.5", openai_usage(1000, 200, 10, 0), service_tier="priority"),
        (1000, 200, 0, 10, 0),
        # 800 x 12,500 + 200 x 1,250 + 10 x 75,000 = 10,000,000 + 250,000 + 750,000
        11_000_000,
    ),
    "anthropic, the input without its caches": Golden(
        "anthropic",
        "claude-sonnet-4-5",  # 3 in, 0.3 read, 3.75 written, 6 for an hour, 15 out
        claude("claude-sonnet-4-5-20250929", claude_writes(148, 0), {"output_tokens": 503}),
        (2048 + 148 + 1800, 1800, 148, 503, 0),
        # 2,048 x 3,000 + 1,800 x 300 + 148 x 3,750 + 503 x 15,000 = 6,144,000 + 540,000 + 555,000 + 7,545,000
        14_784_000,
    ),
    "anthropic, caches of five minutes and of an hour": Golden(
        "anthropic",
        "claude-sonnet-4-5",
        claude(
            "claude-sonnet-4-5-20250929",
            claude_writes(148, 100),
            # the last event may say all of it again
            {"input_tokens": 2048, "cache_creation_input_tokens": 248, "cache_read_input_tokens": 1800}
            | {"output_tokens": 503},
        ),
        (2048 + 248 + 1800, 1800, 248, 503, 0),
        # 14,784,000 as before + 100 x 6,000
        15_384_000,
    ),
    "gemini, thoughts beside the candidates": Golden(
        "gemini",
        "gemini-2.5-pro",  # 1.25 in, 0.125 cached, 10 out
        gemini(
            "gemini-2.5-pro",
            {
                "promptTokenCount": 1500,
                "cachedContentTokenCount": 1000,
                "candidatesTokenCount": 31,
                "thoughtsTokenCount": 437,
                "totalTokenCount": 1968,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1500}],
            },
        ),
        (1500, 1000, 0, 31 + 437, 437),
        # 500 x 1,250 + 1,000 x 125 + 468 x 10,000 = 625,000 + 125,000 + 4,680,000
        5_430_000,
    ),
    "gemini, above 200,000": Golden(
        "gemini",
        "gemini-2.5-pro",  # above: 2.5 in, 0.25 cached, 15 out
        gemini(
            "gemini-2.5-pro",
            {
                "promptTokenCount": 200_001,
                "cachedContentTokenCount": 200_000,
                "candidatesTokenCount": 3,
                "thoughtsTokenCount": 7,
                "totalTokenCount": 200_011,
            },
        ),
        (200_001, 200_000, 0, 10, 7),
        # 1 x 2,500 + 200,000 x 250 + 10 x 15,000 = 2,500 + 50,000,000 + 150,000
        50_152_500,
    ),
    "deepseek, hits and misses": Golden(
        "deepseek",
        "deepseek-chat",  # 0.28 in, 0.028 hit, 0.42 out
        chat(
            "deepseek-chat",
            {
                "prompt_tokens": 1237,
                "completion_tokens": 11,
                "total_tokens": 1248,
                "prompt_cache_hit_tokens": 1216,
                "prompt_cache_miss_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 1216},
            },
        ),
        (1237, 1216, 0, 11, 0),
        # 21 x 280 + 1,216 x 28 + 11 x 420 = 5,880 + 34,048 + 4,620
        44_548,
    ),
    "deepseek, the hits at the top alone": Golden(
        "deepseek",
        "deepseek-chat",
        chat("deepseek-chat", {"prompt_tokens": 64, "completion_tokens": 1, "prompt_cache_hit_tokens": 63}),
        (64, 63, 0, 1, 0),
        # 1 x 280 + 63 x 28 + 1 x 420
        2_464,
    ),
    "openrouter, what it billed where that is more": Golden(
        "openrouter",
        "openai/gpt-4o-mini",  # 0.15 in, 0.60 out
        chat(
            "openai/gpt-4o-mini-2024-07-18",
            {
                **openai_usage(1940, 0, 200, 0),
                "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0},
                "cost": 0.000450123456789,
                "is_byok": False,
                "cost_details": {"upstream_inference_cost": None},
            },
            provider="Azure",
        ),
        (1940, 0, 0, 200, 0),
        # by the table 1,940 x 150 + 200 x 600 = 411,000; billed $0.000450123456789, rounded up
        450_124,
    ),
    "openrouter, not what it billed where that is less": Golden(
        "openrouter",
        "openai/gpt-4o-mini",
        chat("openai/gpt-4o-mini", {**openai_usage(1940, 0, 200, 0), "cost": 0}, provider="OpenAI"),
        (1940, 0, 0, 200, 0),
        411_000,
    ),
    "openrouter, with the user's own key at the host": Golden(
        "openrouter",
        "openai/gpt-4o-mini",
        chat(
            "openai/gpt-4o-mini",
            {
                **openai_usage(9171, 0, 113, 55),
                "cost": 0.0001,
                "is_byok": True,
                "cost_details": {
                    "upstream_inference_cost": 0.0360795,
                    "upstream_inference_prompt_cost": 0.0343845,
                    "upstream_inference_completions_cost": 0.001695,
                },
            },
            provider="Anthropic",
        ),
        (9171, 0, 0, 113, 55),
        # $0.0001 to OpenRouter and $0.0360795 to the host
        36_179_500,
    ),
}


async def charged(
    folder: Path, provider: str, model: str, body: bytes, prices: Mapping[str, PriceLine] | None = None
) -> dict[str, Any]:
    """Ask once for a hundred dollars at most; return the ledger's row, read by SQL."""

    def answer() -> Iterable[bytes]:
        return chunked((body, b""), b"connection: close")

    async def nobody(_: object) -> None:
        pass

    with FloodServer(answer) as server:
        remote = RemoteProvider(
            provider, model, api_key=KEY, base_url=f"{server.url}/v1", prices=prices, via=this_client()
        )
        ledger, limits = SqliteLedger(folder / "ledger.db"), CostLimit(max_cost_per_task=Decimal(100))
        try:
            await ledger.open_run("r", limits, task="t", agent="a", labels={})
            calls = ModelCalls(provider=remote, ledger=ledger, run_id="r", limits=limits, emit=nobody, retries=0)
            with suppress(Overrun, ProviderError):
                await calls.ask((Message("user", "hello"),))
        finally:
            await remote.aclose()
            await ledger.aclose()
    assert check(folder / "ledger.db").wrong == ()
    again = reprice(folder / "ledger.db", CostQuery(), load_catalog(prices or {}).prices_at).total
    assert (again.repriced_calls, again.difference_nano or 0) == (again.calls - again.in_doubt_calls, 0)
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        (row,) = db.execute(f"SELECT {', '.join(COLUMNS)} FROM attempts").fetchall()  # noqa: S608
    return dict(zip(COLUMNS, row, strict=True))


@pytest.mark.both_clients
@pytest.mark.parametrize("name", GOLDEN)
async def test_a_usage_block_comes_to_the_nano_dollar_that_was_counted_by_hand(tmp_path: Path, name: str) -> None:
    golden = GOLDEN[name]
    row = await charged(tmp_path, golden.provider, golden.model, golden.body)
    assert row["phase"] == "settled", row["reason"]
    assert tuple(row[f"{part}_tokens"] for part in ("input", "cached_input", "cache_write", "output", "reasoning")) == (
        golden.usage
    )
    assert (row["nano"], type(row["nano"])) == (golden.nano, int)
    assert counted_by_hand(row) == golden.nano, "the row alone says how the amount came about"


def counted_by_hand(row: Mapping[str, Any]) -> Decimal:
    """Compute the amount of a row from its columns, without the program's arithmetic."""
    if row["charged_by"] == "billed":
        return Decimal(row["billed_nano"])
    prices = json.loads(row["charged_prices"])
    tiers = {int(name.removeprefix("above_")): unit for name, unit in prices.items() if name.startswith("above_")}
    prices = next((tiers[above] for above in sorted(tiers, reverse=True) if row["input_tokens"] > above), prices)
    own = {name: value for name, value in prices.items() if name[:5] not in ("above", "tier_")}
    unit = {name: None if value is None else Decimal(str(value)) for name, value in own.items()}

    def at(name: str, parent: str) -> Decimal:
        found = unit.get(name)
        return found if found is not None else at(parent, "input")

    cached, written, hour = row["cached_input_tokens"], row["cache_write_tokens"], row["hour_write_tokens"]
    dollars = (row["input_tokens"] - cached - written) * at("input", "input") + cached * at("cached_input", "input")
    dollars += (written - hour) * at("cache_write", "input") + hour * at("cache_write_hour", "cache_write")
    dollars += (row["output_tokens"] - row["reasoning_tokens"]) * at("output", "output")
    dollars += row["reasoning_tokens"] * at("reasoning", "output")
    return Decimal((dollars * 1000).to_integral_value(ROUND_CEILING))


async def test_the_row_says_in_which_service_tier_and_at_which_price_a_call_was_charged(tmp_path: Path) -> None:
    golden = GOLDEN["openai, served at the dearer tier than was asked for"]
    row = await charged(tmp_path, golden.provider, golden.model, golden.body)
    assert (row["charged_by"], row["charged_model"], row["charged_tier"]) == ("asked", "gpt-5.5", "priority")
    held, at = json.loads(row["prices"]), json.loads(row["charged_prices"])
    assert (held["input"], at["input"], at["output"]) == ("5", "12.5", "75")


async def test_the_row_says_how_many_cache_writes_last_an_hour(tmp_path: Path) -> None:
    golden = GOLDEN["anthropic, caches of five minutes and of an hour"]
    row = await charged(tmp_path, golden.provider, golden.model, golden.body)
    assert (row["hour_write_tokens"], row["cache_write_tokens"], row["billed_nano"]) == (100, 248, None)


@pytest.mark.parametrize(
    ("name", "by", "billed"),
    [
        ("openrouter, what it billed where that is more", "billed", 450_124),
        ("openrouter, not what it billed where that is less", "asked", 0),
        ("openrouter, with the user's own key at the host", "billed", 36_179_500),
    ],
)
async def test_the_row_says_what_was_billed_and_whether_that_was_charged(
    tmp_path: Path, name: str, by: str, billed: int
) -> None:
    golden = GOLDEN[name]
    row = await charged(tmp_path, golden.provider, golden.model, golden.body)
    assert (row["charged_by"], row["billed_nano"]) == (by, billed)


async def test_dearer_answering_model_leaves_its_price_source_and_version_in_the_row(tmp_path: Path) -> None:
    mine = {"openai/gpt-4o-mini": PriceLine(Decimal("0.1"), Decimal("0.2"))}
    row = await charged(tmp_path, "openai", "gpt-4o-mini", chat("gpt-4o", openai_usage(100, 0, 10, 0)), mine)
    assert row["nano"] == 100 * 2_500 + 10 * 10_000
    assert (row["charged_by"], row["charged_model"], row["answered_model"]) == ("answered", "gpt-4o", "gpt-4o")
    assert (row["price_source"], row["price_version"], row["price_digest"]) == ("config.toml", "", "")
    assert row["charged_source"] == f"litellm {row['charged_version']}"
    assert len(row["charged_digest"]) == 64
    assert json.loads(row["charged_prices"])["input"] == "2.5"


async def test_a_cheaper_model_that_answers_is_charged_at_the_price_of_the_one_asked(tmp_path: Path) -> None:
    row = await charged(tmp_path, "openai", "gpt-4o", chat("gpt-4o-mini", openai_usage(100, 0, 10, 0)))
    assert (row["charged_by"], row["charged_model"], row["answered_model"]) == ("asked", "gpt-4o", "gpt-4o-mini")
    assert row["charged_prices"] == row["prices"]


async def test_charge_keeps_unit_prices_with_version_and_hash_of_their_table(tmp_path: Path) -> None:
    golden = GOLDEN["anthropic, caches of five minutes and of an hour"]
    row = await charged(tmp_path, golden.provider, golden.model, golden.body)
    found = find_spec("litellm")
    assert found is not None
    assert found.origin is not None
    table = Path(found.origin).with_name(TABLE_FILE)
    (version,) = table.parent.parent.glob("litellm-*.dist-info")
    assert json.loads(row["prices"]) == {
        "input": "3",
        "output": "15",
        "cached_input": "0.3",
        "cache_write": "3.75",
        "reasoning": None,
        "cache_write_hour": "6",
    }
    assert f"litellm-{row['price_version']}.dist-info" == version.name
    assert row["price_source"] == f"litellm {row['price_version']}"
    assert row["price_digest"] == hashlib.sha256(table.read_bytes()).hexdigest()


async def test_charge_keeps_its_tiers_and_names_a_price_line_of_the_user(tmp_path: Path) -> None:
    long = PriceLine(Decimal(2), Decimal(8), Decimal("0.2"))
    line = PriceLine(Decimal(1), Decimal(4), Decimal("0.1"), tiers=((200_000, long),))
    body = chat("my-own", openai_usage(200_001, 1, 3, 0))
    row = await charged(tmp_path, "openai", "my-own", body, {"openai/my-own": line})
    # 200,000 x 2,000 + 1 x 200 + 3 x 8,000
    assert row["nano"] == 400_024_200
    prices = json.loads(row["prices"])
    assert (prices["input"], prices["above_200000"]["input"], prices["above_200000"]["cached_input"]) == (
        "1",
        "2",
        "0.2",
    )
    assert (row["price_source"], row["price_version"], row["price_digest"]) == ("config.toml", "", "")


async def test_service_tier_of_unknown_price_leaves_the_call_in_doubt(tmp_path: Path) -> None:
    row = await charged(tmp_path, "openai", "gpt-4o", chat("gpt-4o", openai_usage(9, 0, 9, 0), service_tier="turbo"))
    assert (row["phase"], row["nano"]) == ("doubt", row["hold_nano"])


async def test_a_fraction_of_a_nano_dollar_is_rounded_up_once_over_all_classes(tmp_path: Path) -> None:
    line = PriceLine(Decimal("0.0012345"), Decimal("0.0067891"), Decimal("0.0010007"))
    body = chat("my-own", openai_usage(3, 1, 2, 0))
    row = await charged(tmp_path, "openai", "my-own", body, {"openai/my-own": line})
    # 2 x 1.2345 + 1 x 1.0007 + 2 x 6.7891 = 17.0479; class by class it would be 3 + 2 + 14
    assert row["nano"] == 18


WHOLE: dict[str, tuple[str, dict[str, Any], int]] = {
    "openai": (
        "gpt-5.5",
        {
            "object": "chat.completion",
            "model": "gpt-5.5",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
            "usage": openai_usage(2006, 1920, 300, 128),
        },
        10_390_000,  # as when it comes in pieces
    ),
    "anthropic": (
        "claude-sonnet-4-5",
        {
            "type": "message",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": "ok"}],
            "stop_reason": "end_turn",
            "usage": {**claude_writes(148, 100), "output_tokens": 503},
        },
        15_384_000,
    ),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("provider", WHOLE)
async def test_an_answer_in_one_document_instead_of_a_stream_is_never_charged_less(
    tmp_path: Path, provider: str, indent: int | None
) -> None:
    """The server does not stream although asked to; an answer that cannot be read is in doubt."""
    model, document, nano = WHOLE[provider]
    row = await charged(tmp_path, provider, model, json.dumps(document, indent=indent).encode())
    assert (row["phase"], row["nano"]) in (("settled", nano), ("doubt", row["hold_nano"]))
    assert row["nano"] >= nano


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
async def test_the_calls_of_a_run_are_repriced_to_what_its_server_billed(
    user: Here, wire: OpenWire, format: str
) -> None:
    """The row has the address: a price line of the user and "free on this host" apply at that address only."""
    server = wire(PAID[format].brief, keys=[KEY])
    document = await user.run(reaching(server, format))
    assert document["status"] == "done"
    own = price_lines(tomllib.loads(PRICES)["prices"])
    total = reprice(user.state / "ledger.db", CostQuery(), load_catalog(own).prices_at).total
    assert (total.repriced_calls, total.repriced_nano) == (2, server.books.billed_nano)
    free = reprice(user.state / "ledger.db", CostQuery(), load_catalog().prices_at).total
    assert free.repriced_nano == (0 if format == "ollama" else server.books.billed_nano)
