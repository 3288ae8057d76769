"""A gateway answers with another model: from the second call on its price is held, and the user is told."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.app import main
from agentctl.cli.documents import run_document
from agentctl.core.messages import Completion, Delta, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price, worst_nano
from agentctl.runner.assemble import assemble
from agentctl.settings import ProviderChoice, load_settings
from tests.support.bill.book import Attempt
from tests.support.bill.parts import KEY, LOOKUPS, TASK, Here, assert_accounted, lookup, reaching
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Rates, WireRequest, WireServer

#: As a user of a LiteLLM proxy prices its models: "fallme" is cheap, and falls back to gpt-4o.
CHEAP = '[prices]\n"openai/fallme" = { input = 0.15, output = 0.60 }\n'
GPT_4O = Price(Decimal("2.5"), Decimal(10))
CENT = 10_000_000


def fallback(asked: WireRequest, *, model: str = "gpt-4o", first: int = 50, later: int = 4_000) -> Answer:
    """Answer with another model than was asked: briefly at first, then at length, and always with one more call."""
    step = sum(said.role == "assistant" for said in asked.messages)
    call = lookup(step)
    return Answer(
        f"Step {step}.", (call,), model=model, input_tokens=400 + 50 * step, output_tokens=later if step else first
    )


def gateway(wire: OpenWire, script: Callable[[WireRequest], Answer] = fallback) -> WireServer:
    return wire(script, rates={"fallme": Rates(GPT_4O.input, GPT_4O.output)}, keys=[KEY])


def asking(server: WireServer, model: str = "fallme") -> Mapping[str, str]:
    return reaching(server, "openai") | {"LLM_MODEL": model}


def assert_covered(attempts: tuple[Attempt, ...], price: Price = GPT_4O) -> None:
    """Check each attempt against its worst case at a price."""
    for one in attempts:
        worst = worst_nano(price, input_tokens=one.input_bound, output_tokens=one.granted_output)
        assert one.hold_nano >= worst, one


@pytest.mark.both_clients
async def test_a_dearer_fallback_is_held_at_its_own_price_from_the_second_call_on(user: Here, wire: OpenWire) -> None:
    server = gateway(wire)
    document = await user.run(asking(server), prices=CHEAP, max_cost_per_task="0.01")
    first, *later = user.book.sent
    assert (document["exit_code"], document["breaker"]["limit"], document["breaker"]["ceiling"]) == (
        *(3, "max_cost_per_task"),
        0.01,
    )
    assert first.hold_nano < first.nano * 3 < CENT  # the surprise was within its hold
    assert later
    assert_covered(tuple(later))
    assert server.books.billed_nano <= CENT
    assert user.book.most_nano <= CENT
    assert document["models"] == ["gpt-4o"]
    assert_accounted(server.books, user.book)


async def test_a_substitute_above_its_hold_stops_the_run_and_raises_the_next_hold(user: Here, wire: OpenWire) -> None:
    server = gateway(wire, lambda asked: fallback(asked, first=3_000))
    document = await user.run(asking(server), prices=CHEAP, max_cost_per_task="0.01")
    (first,) = user.book.sent
    assert (document["exit_code"], first.nano > first.hold_nano) == (3, True)
    breaker = document["breaker"]
    assert (breaker["ceiling"], breaker["spent"]) == (0.01, first.nano / 10**9)
    assert (breaker["hold"], breaker["charge"]) == (first.hold_nano / 10**9, first.nano / 10**9)
    message, hint = document["error"]["message"], document["error"]["hint"]
    assert "(gpt-4o answered in place of openai/fallme)" in message
    assert "; max_cost_per_task is $0.01, and $0.031 counts as spent" in message
    assert hint.endswith("until: agentctl ledger reconcile --clear-substitute openai/fallme")
    billed = server.books.billed_nano
    await user.run(asking(server), prices=CHEAP, max_cost_per_task="0.01")
    assert_covered(user.book.sent[1:])
    assert server.books.billed_nano - billed <= CENT


async def test_same_model_name_at_another_address_is_held_at_its_own_price(user: Here, wire: OpenWire) -> None:
    server = gateway(wire)
    await user.run(asking(server), prices=CHEAP, max_cost_per_task="0.01")
    other = wire(Answer("Half of it is used."), rates={"fallme": Rates(Decimal("0.15"), Decimal("0.6"))}, keys=[KEY])
    before = len(user.book.sent)
    document = await user.run(asking(other), prices=CHEAP, max_cost_per_task="0.01")
    assert document["exit_code"] == 0
    attempt = user.book.sent[before]
    cheap = Price(Decimal("0.15"), Decimal("0.60"))
    assert attempt.hold_nano == worst_nano(
        cheap, input_tokens=attempt.input_bound, output_tokens=attempt.granted_output
    )


async def test_a_substitute_without_a_price_is_refused_from_the_second_call_on(user: Here, wire: OpenWire) -> None:
    dear = Price(Decimal(1), Decimal(3))
    server = wire(
        lambda asked: fallback(asked, model="mystery"), rates={"fallme": Rates(dear.input, dear.output)}, keys=[KEY]
    )
    document = await user.run(asking(server), prices=CHEAP, max_cost_per_task="0.05")
    assert (document["exit_code"], document["error"]["kind"]) == (2, "unknown_price")
    said = f"openai/fallme at {server.openai_url} was answered by mystery, whose price is unknown"
    assert document["error"]["message"].startswith(said)
    lines = '[prices."openai/mystery"]\ninput = 1.00\noutput = 3.00'
    assert document["error"]["hint"].endswith(lines)
    (only,) = user.book.sent
    assert (only.phase, only.nano, only.answered_model) == ("doubt", only.hold_nano, "mystery")
    assert document["cost"]["in_doubt_usd"] == only.hold_nano / 10**9
    again = await user.run(asking(server), prices=CHEAP, max_cost_per_task="0.05")
    assert (again["exit_code"], len(server.books.chat_requests)) == (2, 1)
    await user.run(asking(server), prices=f"{CHEAP}{lines}\n", max_cost_per_task="0.05")
    assert_covered(user.book.sent[1:], dear)
    assert len(user.book.sent) > 2


@pytest.mark.parametrize("odd", [{"usage": "omit"}, {"cut_at": "middle"}, {"stall": True}])
async def test_an_answer_of_a_dearer_model_that_reports_nothing_is_in_doubt_at_its_price(
    user: Here, wire: OpenWire, odd: dict[str, Any]
) -> None:
    answer = Answer("Looking at it, at some length.", model="gpt-4o", input_tokens=200, output_tokens=20, **odd)
    server = wire(answer, rates={"fallme": Rates(GPT_4O.input, GPT_4O.output)}, keys=[KEY])
    more: dict[str, Any] = {"max_cost_per_task": "0.10", "llm_timeout": 1, "max_output_tokens": 500}
    document = await user.run(asking(server), prices=CHEAP, **more)
    (first,) = user.book.sent
    worst = worst_nano(GPT_4O, input_tokens=first.input_bound, output_tokens=first.granted_output)
    assert (first.phase, first.nano) == ("doubt", worst)
    assert document["exit_code"] == 3
    assert "openai may have charged $" in document["error"]["message"]
    assert "(gpt-4o answered in place of openai/fallme)" in document["error"]["message"]
    breaker = document["breaker"]
    assert (breaker["spent"], breaker["hold"], breaker["charge"]) == (
        *(worst / 10**9, first.hold_nano / 10**9),
        worst / 10**9,
    )
    await user.run(asking(server), prices=CHEAP, **more)
    assert_covered(user.book.sent[1:])
    assert server.books.billed_nano <= user.book.counted_nano


async def test_dated_release_of_the_asked_model_is_not_a_substitute(user: Here, wire: OpenWire) -> None:
    answer = Answer("Half of it is used.", model="gpt-4o-2024-08-06", input_tokens=400, output_tokens=50)
    server = wire(answer, rates=Rates(GPT_4O.input, GPT_4O.output), keys=[KEY])
    for _ in range(2):
        document = await user.run(asking(server, "gpt-4o"), max_cost_per_task="0.10")
        assert (document["exit_code"], document["models"]) == (0, ["gpt-4o-2024-08-06"])
    with closing(sqlite3.connect(user.state / "ledger.db")) as db:
        assert db.execute("SELECT count(*) FROM substitutes").fetchone() == (0,)


@pytest.fixture
def give(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process."""

    def run(*words: str) -> Ended:
        code = main(words)
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def test_answering_model_is_named_on_stderr_in_runs_costs_and_ledger(
    command: Callable[..., Ended], give: Callable[..., Ended], tmp_path: Path, wire: OpenWire
) -> None:
    server = gateway(wire)
    config = tmp_path / "fallme.toml"
    config.write_text(CHEAP)
    run = ("--config", str(config), "--max-cost", "0.01")
    ended = command(*run, env=asking(server))
    told = [line for line in ended.err.splitlines() if "was answered by" in line]
    assert told == [
        "warning: openai/fallme was answered by gpt-4o, which costs more; calls are held at its price from now on"
    ]
    assert "max_cost_per_task is $0.01" in ended.err
    shown = give("runs", "show").out
    assert ", answered by gpt-4o" in shown
    records = [json.loads(line) for line in give("runs", "show", "-o", "jsonl").out.splitlines()]
    (event,) = [one for one in records if one["event"] == "model_substituted"]
    assert (event["asked"], event["answered"], event["costs"]) == ("openai/fallme", "gpt-4o", "more")
    assert "openai/fallme (answered by gpt-4o)" in give("costs", "--by", "model").out
    rows = json.loads(give("costs", "--by", "model", "--json").out)["rows"]
    assert [(row["model"], row["answered_models"]) for row in rows] == [("fallme", ["gpt-4o"])]
    estimate = give("run", "--estimate", *run, TASK)
    assert "Another model has answered instead: calls are held at the highest price seen there." in estimate.out
    clears = "agentctl ledger reconcile --clear-substitute openai/fallme"
    assert_listed(give, server, clears)
    assert give(*shlex.split(clears)[1:]).out == "openai/fallme: its hold is reset to its own price\n"
    assert json.loads(give("ledger", "check", "--json").out)["substitutes"] == []
    assert give(*shlex.split(clears)[1:]).out == "openai/fallme: nothing to clear\n"


def assert_listed(give: Callable[..., Ended], server: WireServer, clears: str) -> None:
    """Look for the record in both forms of ``ledger check``, with the line that clears it."""
    lines = give("ledger", "check").out.splitlines()
    (said,) = [line for line in lines if "was answered by" in line]
    answered = f"openai/fallme at {server.openai_url} was answered by gpt-4o ($2.5 in, $10 out per million tokens)"
    assert said == f"{answered}: calls are held at the highest price seen there until you run"
    assert lines[lines.index(said) + 1] == f"  {clears}"
    (record,) = json.loads(give("ledger", "check", "--json").out)["substitutes"]
    del record["since"]
    assert record.pop("price")["input"] == "2.5"
    assert record == {
        "provider": "openai",
        "base_url": server.openai_url,
        "model": "fallme",
        "answered_model": "gpt-4o",
        "service_tier": None,
        "hint": clears,
    }


class Foreign:
    """A custom provider that prices no other model and answers under another name."""

    def __init__(self) -> None:
        self.facts = ModelFacts("mine", "asked", GPT_4O, context_window=100_000, output_ceiling=1_000)
        self.asked = 0

    async def stream(self, request: Request) -> AsyncIterator[Delta | Completion]:
        """Look twice, then answer."""
        self.asked += 1
        calls = (ToolCall(f"c{self.asked}", LOOKUPS[self.asked], {}),) if self.asked < 3 else ()
        yield Completion("Done.", calls, Usage(100, 10), "other", "tool_calls" if calls else "stop")


@pytest.mark.parametrize(("lines", "code", "asked"), [("", 2, 1), ('"mine/other" = { input = 1, output = 2 }\n', 0, 3)])
async def test_a_custom_providers_substitute_is_priced_by_the_users_prices(
    tmp_path: Path, lines: str, code: int, asked: int
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[prices]\n{lines}")
    folders = {f"AGENTCTL_{kind.upper()}_DIR": str(tmp_path / kind) for kind in ("state", "config", "cache")}
    loaded = load_settings(flags={"agent": "system"}, environ=folders, cwd=tmp_path, config=config, remember=False)
    provider = Foreign()
    choice = ProviderChoice("mine", "asked", "llm_provider")
    result = await assemble(loaded, choice, observers=(), provider=provider).run(TASK)
    assert (run_document(result)["exit_code"], provider.asked) == (code, asked)
