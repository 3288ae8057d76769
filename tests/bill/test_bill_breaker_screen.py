"""What a person reads when a limit stops a run: each fact once, in one rounding, with the counts of the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_UP, Decimal

import pytest

from tests.support.bill.parts import KEY, PAID, TASK, lookup, reaching
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, WireRequest

OPENAI = PAID["openai"]
AMOUNT = re.compile(r"\$(\d+(?:\.\d+)?)")
Script = Callable[[WireRequest], Answer | Fault]


def steady(asked: WireRequest) -> Answer:
    """Call a tool again at each turn, for an amount of many digits; without tools, answer."""
    if not asked.tools:
        return Answer("A third is used.", input_tokens=901, output_tokens=21)
    step = sum(said.role == "assistant" for said in asked.messages)
    return Answer(f"Step {step}.", (lookup(step),), input_tokens=2_003 + 7 * step, output_tokens=861)


def dear(asked: WireRequest) -> Answer:
    """Ask for a tool again at each turn, at a price that leaves no room for a last answer."""
    return OPENAI.busy(asked)


def failing(asked: WireRequest) -> Answer | Fault:
    """Fail on a request without tools."""
    return steady(asked) if asked.tools else Fault(500, bills=True)


def sections(ended: Ended) -> list[str]:
    """Return the first words of the lines that head a part of the end of the screen, in their order."""
    heads = ("error:", "hint:", "--- so far ---", "call ", "limit ", "tool ", "agent ", "budget ")
    return [head for row in ended.err.splitlines() for head in heads if row.startswith(head)]


@pytest.mark.parametrize(
    ("script", "flags", "limit", "asked_last"),
    [
        (steady, ("--max-cost", "0.50", "--max-tokens", "none"), "max_cost_per_task", 1),
        (steady, ("--max-cost-per-hour", "0.50", "--max-cost", "none", "--max-tokens", "none"), "max_cost_per_hour", 1),
        (steady, ("--max-tokens", "30000", "--max-cost", "5"), "max_tokens_per_task", 1),
        (steady, ("--max-calls-per-minute", "2"), "max_calls_per_minute", 0),
        (dear, ("--max-cost", "0.10"), "max_cost_per_task", 0),
        (failing, ("--max-cost", "0.50", "--max-tokens", "none"), "max_cost_per_task", 1),
    ],
)
def test_breaker_screen_says_each_fact_once_with_the_servers_counts(
    shell: Commands, wire: OpenWire, script: Script, flags: tuple[str, ...], limit: str, asked_last: int
) -> None:
    server = wire(script, rates=OPENAI.rates, keys=[KEY])
    ended = shell("run", TASK, *flags, **reaching(server, "openai"))
    requests = [heard.asked for heard in server.books.chat_requests if heard.asked is not None]
    assert (ended.code, ended.out) == (3, "")
    waits = ["hint:"] if limit not in ("max_cost_per_task", "max_tokens_per_task") else []
    assert sections(ended) == [
        *("error:", "hint:", *waits, "hint:", "--- so far ---"),
        *("call ", "limit ", "tool ", "agent ", "budget "),
    ]
    end = ended.err[ended.err.index("error:") :]
    assert re.match(rf"error: {limit} is \S+: \S+ (spent|used), the next call could make it \S+\n", end)
    named = [row.split() for row in end.splitlines() if f"{limit} " in row]
    assert (named[0][0], named[1:]) == ("error:", [[limit, "tripped"]])
    assert f"hint: agentctl run '{TASK}'" in end
    assert re.search(rf"^all +{len(requests)} calls ", end, re.MULTILINE)
    assert sum(not one.tools for one in requests) == asked_last
    assert ended.err.count("asking for a last answer") == asked_last
    assert ("no final answer could be obtained" in ended.err) is (script is failing)
    if limit == "max_cost_per_task" and script is not failing:
        spent = (Decimal(server.books.billed_nano) / 10**9).quantize(Decimal("0.0001"), ROUND_UP).normalize()
        first, total = end.splitlines()[0], next(row for row in end.splitlines() if row.startswith("all "))
        assert f": ${spent:f} spent" in re.sub(r"(?<=\.\d)0 spent", " spent", first)
        assert f"${spent:f}" in re.sub(r"(?<=\.\d)0\b", "", total)
    assert [amount for amount in AMOUNT.findall(ended.err) if len(amount.partition(".")[2]) > 4] == []


def test_overrun_screen_names_what_was_reported_once(shell: Commands, wire: OpenWire) -> None:
    def greedy(asked: WireRequest) -> Answer:
        return Answer("Dear.", (Call("system_memory"),), input_tokens=77_777, output_tokens=61)

    server = wire(greedy, rates=OPENAI.rates, keys=[KEY])
    ended = shell("run", TASK, **reaching(server, "openai"))
    assert ended.code == 3
    end = ended.err[ended.err.index("error:") :]
    assert end.startswith("error: provider_overrun: openai ")
    assert end.count("max_cost_per_task is $0.50") == 1
    assert end.count("--clear-overrun") == 1
    assert len(server.books.chat_requests) == 1
    assert "\nall " not in end  # a single call needs no sum
    assert [amount for amount in AMOUNT.findall(end) if len(amount.partition(".")[2]) > 4] == []
