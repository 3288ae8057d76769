"""Runs that go on at another provider in the midst of a turn: its calls, their ids and results, and what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer

Cli = Callable[..., Ended]
FLAGS = ("--json", "--agent", "system", "--tools", "read_file,list_files", "--max-cost", "3")
TURNS = (
    (Call("read_file", {"path": "a.txt"}, "functions.read:0"), Call("list_files", {"limit": 3}, "functions.read:0")),
    (Call("read_file", {"path": "b.txt"}, "functions.read:0"), Call("read_file", {"path": "c.txt"}, "call_x")),
)


def mind(asked: WireRequest) -> Answer:
    """Make two turns of calls whose ids are all but one the same, then answer."""
    step = sum(said.role == "assistant" for said in asked.messages)
    return Answer("I look.", TURNS[step]) if step < len(TURNS) else Answer("All is read.")


@pytest.mark.parametrize(
    ("first", "then", "killed_at"),
    [
        ("openai", "anthropic", "answer_received"),
        ("openai", "anthropic", "tool_finished"),
        ("anthropic", "openai", "tool_finished"),
        ("ollama", "anthropic", "answer_received"),
    ],
)
def test_a_turn_that_was_cut_off_goes_on_at_another_provider(
    cli: Cli, state: Path, wire: OpenWire, first: str, then: str, killed_at: str
) -> None:
    for name in "abc":
        Path(f"{name}.txt").write_text(f"this is {name}\n")
    prices = Path("prices.toml")
    prices.write_text('[prices]\n"ollama/llama3.1:latest" = { input = 4, output = 12 }\n')
    one, other = (wire(mind, rates=PAID[form].rates, keys=[] if form == "ollama" else [KEY]) for form in (first, then))
    words = ("run", "Read all", *FLAGS, "--config", str(prices), "--provider", first)
    run_id = cli(one, *words, paid=PAID[first]).document["run_id"]
    path = state / "runs" / f"{run_id}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    found = [place for place, line in enumerate(lines) if json.loads(line)["event"] == killed_at]
    path.write_text("".join(lines[: found[1 if killed_at == "answer_received" else 2] + 1]))

    again = ("run", "--resume", run_id, "--accept-changes", "--json", "-m", f"{then}/{PAID[then].model}")
    ended = cli(other, *again, paid=PAID[then])
    assert (ended.code, ended.document["answer"], ended.document["turns"]) == (0, "All is read.", 3), ended.err
    assert ended.document["tools"] == [
        {"name": "read_file", "calls": 3, "failed": 0},
        {"name": "list_files", "calls": 1, "failed": 0},
    ]
    (asked,) = [heard.asked for heard in other.books.chat_requests if heard.asked is not None]
    results = [said.text for said in asked.messages if said.role == "tool"]
    assert [text.split("\n")[0] for text in results if text.startswith("this is")] == [
        "this is a",
        "this is b",
        "this is c",
    ]
    ids = re.findall(r'"(?:tool_use_id|tool_call_id)": ?"([^"]*)"', json.dumps(asked.body))
    assert len(ids) == len(set(ids)) == 4
    assert then != "anthropic" or all(re.fullmatch("[A-Za-z0-9_-]+", id) for id in ids)
    assert book_of(state).counted_nano >= one.books.billed_nano + other.books.billed_nano

    back = cli(
        one, "run", "--resume", run_id, "--accept-changes", "--json", "--provider", first, "And?", paid=PAID[first]
    )
    assert (back.code, back.document["answer"]) == (0, "All is read."), back.err
