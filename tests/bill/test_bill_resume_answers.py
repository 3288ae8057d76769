"""Answers that an earlier part of a run has paid for: each is used where it belongs, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, TASK, lookup
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer

Cli = Callable[..., Ended]
WIRED = PAID["openai"]
MEMORY = (Call("system_memory"),)
LAST = "Half of it is used."


def repeating(asked: WireRequest) -> Answer:
    """Look at the memory for ever; without tools, answer."""
    return WIRED.answer("Looking.", MEMORY) if asked.tools else WIRED.answer(LAST)


def silent(asked: WireRequest) -> Answer:
    """Look once, and say nothing then; without tools, answer."""
    if not asked.tools:
        return WIRED.answer(LAST)
    return WIRED.answer("") if any(said.role == "tool" for said in asked.messages) else WIRED.answer("", MEMORY)


def looking(asked: WireRequest) -> Answer:
    """Look at something else in each turn; without tools, answer."""
    step = sum(said.role == "assistant" for said in asked.messages)
    if not asked.tools:
        return Answer(LAST, input_tokens=900, output_tokens=20)
    return Answer("Looking.", (lookup(step),), input_tokens=2000, output_tokens=60)


def events(state: Path, run_id: str) -> list[str]:
    return [json.loads(line)["event"] for line in journal(state, run_id).read_text().splitlines()]


def journal(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{run_id}.jsonl"


def cut(state: Path, run_id: str, *, last: str) -> None:
    """Leave of a journal what a process that was killed behind its last record ``last`` left."""
    path = journal(state, run_id)
    end = max(place for place, event in enumerate(events(state, run_id)) if event == last)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: end + 1]))


ENDS = {
    "repeated": (repeating, ("--max-cost", "1"), 0),
    "silent": (silent, ("--max-cost", "1"), 0),
    "turns": (looking, ("--max-cost", "1", "--max-turns", "2"), 1),
    "limit": (looking, ("--max-cost", "0.24"), 3),
}


@pytest.mark.parametrize("killed_at", ["answer_received", "message_added"])
@pytest.mark.parametrize("end", ENDS)
def test_a_closing_answer_is_not_paid_again(cli: Cli, state: Path, wire: OpenWire, end: str, killed_at: str) -> None:
    mind, flags, code = ENDS[end]
    server = wire(mind, rates=WIRED.rates, keys=[KEY])
    first = cli(server, "run", TASK, "--json", *flags)
    document, asked = first.document, len(server.books.chat_requests)
    assert (first.code, document["answer"]) == (code, LAST), first.err
    if end == "limit" and killed_at == "message_added":  # the last answer is not in the conversation
        killed_at = "run_finished"
    for place in (killed_at, "run_resumed")[: 2 if killed_at == "answer_received" else 1]:
        cut(state, document["run_id"], last=place)
        again = cli(server, "runs", "resume", document["run_id"], "--json")
        assert (again.code, again.document["answer"]) == (code, LAST), again.err
        assert len(server.books.chat_requests) == asked
        assert again.document["turns"] == document["turns"]
        assert again.document["cost"]["nano_usd"] == server.books.billed_nano == book_of(state).counted_nano


@pytest.mark.parametrize(("end", "raised"), [("turns", ("--max-turns", "3")), ("limit", ("--max-cost", "0.40"))])
def test_a_closing_answer_is_left_out_once_its_limit_is_raised(
    cli: Cli, state: Path, wire: OpenWire, end: str, raised: tuple[str, ...]
) -> None:
    mind, flags, code = ENDS[end]
    server = wire(mind, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", *flags).document["run_id"]
    cut(state, run_id, last="answer_received")
    asked = len(server.books.chat_requests)
    again = cli(server, "runs", "resume", run_id, "--json", *raised)
    assert (again.code, again.document["answer"]) == (code, LAST), again.err
    after = [heard.asked for heard in server.books.chat_requests[asked:] if heard.asked is not None]
    assert (bool(after[0].tools), bool(after[-1].tools)) == (True, False), "turns, then an answer of their own"


def test_new_words_make_no_use_of_an_answer_to_earlier_ones(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(repeating, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "1").document["run_id"]
    cut(state, run_id, last="answer_received")
    server.play([WIRED.answer("Since noon.")])
    again = cli(server, "runs", "resume", run_id, "--json", "And since when?")
    assert (again.code, again.document["answer"]) == (0, "Since noon."), again.err


@pytest.mark.parametrize("end", ["repeated", "turns"])
def test_a_closing_answer_outlives_a_part_that_failed_before_it(
    cli: Cli, state: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    mind, flags, code = ENDS[end]
    server = wire(mind, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", *flags).document["run_id"]
    cut(state, run_id, last="answer_received")
    asked = len(server.books.chat_requests)

    def fails(*_: object) -> None:
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr("agentctl.runner.plan.Plan.window_note", fails)
        assert cli(server, "runs", "resume", run_id, "--json").code == 70
    again = cli(server, "runs", "resume", run_id, "--json")
    assert (again.code, again.document["answer"], len(server.books.chat_requests)) == (code, LAST, asked), again.err


@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_a_summary_that_was_paid_for_is_not_paid_again(cli: Cli, state: Path, wire: OpenWire, form: str) -> None:
    paid = PAID[form]

    def mind(asked: WireRequest) -> Answer:
        if "Stop here for once" in asked.messages[-1].text:
            return Answer("What was read so far is fine.")
        read = sum(said.role == "assistant" for said in asked.messages) + 7 * ("is fine" in asked.messages[1].text)
        return Answer(f"Look {read}.", (Call("read_file", {"path": f"{read}.txt"}),)) if read < 9 else Answer(LAST)

    for number in range(9):
        Path(f"{number}.txt").write_text("".join(f"line {one} of {number}\n" for one in range(150)))
    server = wire(mind, rates=paid.rates, keys=[KEY])
    flags = ("--tools", "read_file", "--max-context-tokens", "2400", "--max-result-tokens", "700")
    first = cli(server, "run", TASK, "--json", "--max-cost", "4", *flags, "--summaries", "always", paid=paid)
    run_id = first.document["run_id"]
    lines = journal(state, run_id).read_text().splitlines(keepends=True)
    records = [json.loads(line) for line in lines]
    summaries = {one["attempt_id"] for one in records if one["event"] == "call_held" and one["purpose"] == "summary"}
    assert summaries, first.err
    end = next(
        place
        for place, one in enumerate(records)
        if one["event"] == "answer_received" and one["attempt_id"] in summaries
    )
    journal(state, run_id).write_text("".join(lines[: end + 1]))
    asked = len(server.books.chat_requests)
    again = cli(server, "runs", "resume", run_id, "--json", paid=paid)
    assert again.code == 0, again.err
    (heard, *_) = [one.asked for one in server.books.chat_requests[asked:] if one.asked is not None]
    assert "Stop here for once" not in heard.messages[-1].text
    assert "What was read so far is fine." in heard.messages[1].text
