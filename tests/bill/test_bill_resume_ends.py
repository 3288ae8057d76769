"""Runs that were killed just before a guard, or a limit of turns, ended them: resumed, they end as their twins did."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from agentctl.core.messages import Message
from agentctl.journal.past_run import PastRun
from agentctl.journal.replay import read_past
from tests.support.bill.parts import KEY, PAID
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer

Cli = Callable[..., Ended]
FLAGS = (
    *("--json", "--agent", "system", "--tools", "read_file,write_file,list_files"),
    *("--max-cost", "9", "--max-tokens", "none", "--max-cost-per-hour", "none", "--approve", "deny"),
)
LOOK = (Call("read_file", {"path": "a.txt"}),)
AS_TEXT = '{"name": "read_file", "arguments": {"path": "b.txt"'
SAME = ("status", "exit_code", "answer", "complete", "turns", "tools", "denied", "denied_calls")


def step_of(asked: WireRequest) -> int:
    return sum(said.role == "assistant" for said in asked.messages)


def repeated(asked: WireRequest) -> Answer:
    return Answer("Looking.", LOOK) if asked.tools else Answer("It is fine.")


def in_turn(asked: WireRequest) -> Answer:
    """Look at two files in turn, for ever."""
    path = "ab"[step_of(asked) % 2]
    return Answer("Looking.", (Call("read_file", {"path": f"{path}.txt"}),)) if asked.tools else Answer("It is fine.")


def busy(asked: WireRequest) -> Answer:
    """Look at something else in each turn."""
    return Answer("Looking.", (Call("list_files", {"limit": 1 + step_of(asked)}),)) if asked.tools else Answer("Half.")


def denied(asked: WireRequest) -> Answer:
    return Answer("I write it.", (Call("write_file", {"path": ".envrc", "text": "x"}),))


def denied_once(asked: WireRequest) -> Answer:
    """Write a file that asks for approval; told no, look at another one."""
    return (denied(asked), Answer("Looking.", LOOK), Answer("It is fine."))[min(2, step_of(asked))]


def text_call(asked: WireRequest) -> Answer:
    """Look once, then write calls as text."""
    return Answer(AS_TEXT) if step_of(asked) else Answer("Looking.", LOOK)


def unseen(asked: WireRequest) -> Answer:
    return Answer("The file a.txt is fine, I am sure.")


class Kind(NamedTuple):
    """What the model does, how the run ends, and by which flags."""

    mind: Callable[[WireRequest], Answer]
    code: int
    flags: tuple[str, ...] = ()


KINDS = {
    "a repeated read": Kind(repeated, 0),
    "a round of reads": Kind(in_turn, 0),
    "the last turn": Kind(busy, 1, ("--max-turns", "2")),
    "a call denied twice": Kind(denied, 5),
    "a denial made up for": Kind(denied_once, 0),
    "calls as text": Kind(text_call, 1),
    "an answer without a look": Kind(unseen, 1),
}


def places(lines: Sequence[str], *, whole: bool) -> list[int]:
    """Return after which records a run is killed: behind the last message that is not the model's, or each one."""
    records = [json.loads(line) for line in lines]
    told = [
        place
        for place, record in enumerate(records)
        if record["event"] == "message_added" and record["message"]["role"] in ("tool", "user")
    ]
    return list(range(told[0], len(lines) - 1)) if whole else told[-1:]


def texts(messages: Sequence[Message]) -> list[tuple[str, str, tuple[Call, ...]]]:
    return [(one.role, one.text, tuple(Call(call.name, call.arguments) for call in one.tool_calls)) for one in messages]


@pytest.mark.parametrize("kind", KINDS.values(), ids=[name.replace(" ", "-") for name in KINDS])
def test_a_run_killed_before_it_was_ended_ends_as_its_twin(
    cli: Cli, state: Path, wire: OpenWire, pytestconfig: pytest.Config, kind: Kind
) -> None:
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(f"this is {name}\n")
    server = wire(kind.mind, rates=PAID["openai"].rates, keys=[KEY])
    twin = cli(server, "run", "Look at a.txt: is it fine?", *FLAGS, *kind.flags)
    asked = len(server.books.chat_requests)
    assert twin.code == kind.code, twin.err
    path = state / "runs" / f"{twin.document['run_id']}.jsonl"
    lines, past = path.read_text().splitlines(keepends=True), read_past(path)
    for place in places(lines, whole=pytestconfig.getoption("full")):
        path.write_text("".join(lines[: place + 1]))
        before = len(server.books.chat_requests)
        ended = cli(server, "runs", "resume", twin.document["run_id"], "--json")
        found = f"killed behind record {place}, {json.loads(lines[place])['event']}: {ended.err}"
        assert {name: ended.document[name] for name in SAME} == {name: twin.document[name] for name in SAME}, found
        assert ended.document["error"] == twin.document["error"], found
        assert conversation(read_past(path)) == conversation(past), found
        received = sum('"event":"answer_received"' in line for line in lines[: place + 1])
        assert len(server.books.chat_requests) - before == asked - received, found


def unfit(asked: WireRequest) -> Answer:
    """Make calls that reach no tool: of one that there is not, with arguments that it does not take."""
    calls = (Call("no_such"), Call("write_file", {"pth": 1}), Call("write_file", {"path": "../out", "text": "x"}))
    return Answer("It is fine.") if step_of(asked) else Answer("Looking.", calls)


@pytest.mark.parametrize("begun", [1, 2, 3])
def test_a_call_that_reached_no_tool_is_not_said_to_have_run_perhaps(
    cli: Cli, state: Path, wire: OpenWire, begun: int
) -> None:
    server = wire(unfit, rates=PAID["openai"].rates, keys=[KEY])
    twin = cli(server, "run", "Write it", *FLAGS[:-2], "--yes")
    path = state / "runs" / f"{twin.document['run_id']}.jsonl"
    lines, past = path.read_text().splitlines(keepends=True), read_past(path)
    started = [place for place, line in enumerate(lines) if '"event":"tool_started"' in line]
    path.write_text("".join(lines[: started[begun - 1] + 1]))
    ended = cli(server, "runs", "resume", twin.document["run_id"], "--json")
    assert ended.document["tools"] == twin.document["tools"], ended.err
    assert conversation(read_past(path)) == conversation(past)


def conversation(past: PastRun) -> list[tuple[str, str, tuple[Call, ...]]]:
    return texts(past.messages)
