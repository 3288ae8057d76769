"""The request that asks a model for its answer from the results: held, settled and journalled like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import FORMATS, KEY, PAID, PENNY, assert_accounted, assert_told, reaching
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, Mind, WireRequest, WireServer

Command = Callable[..., Ended]
MEMORY = (Call("system_memory"),)
LAST = "Half of it is used."


def repeating(asked: WireRequest) -> Answer:
    """Look at the memory for ever; without tools, answer."""
    return PENNY.answer("Looking.", MEMORY) if asked.tools else PENNY.answer(LAST)


def closed_by(last: Answer | Fault, turn: Callable[[WireRequest], Answer] = repeating) -> Mind:
    """Repeat a call, and say ``last`` when asked for the answer."""
    return lambda asked: turn(asked) if asked.tools else last


def counting(asked: WireRequest) -> Answer:
    """Ask for something else in each turn."""
    step = sum(said.role == "assistant" for said in asked.messages)
    return PENNY.answer("Looking.", (Call("list_files", {"limit": step + 1}),))


def silent(asked: WireRequest) -> Answer:
    """Look once, and say nothing then."""
    looked = any(said.role == "tool" for said in asked.messages)
    return PENNY.answer("") if looked else PENNY.answer("Looking.", MEMORY)


def closing_forms(server: WireServer) -> list[str]:
    """The texts of the requests without tools, each a system line and one message."""
    found = [heard.asked for heard in server.books.chat_requests if heard.asked is not None and not heard.asked.tools]
    assert all([said.role for said in asked.messages] == ["system", "user"] for asked in found)
    return [asked.messages[-1].text for asked in found]


@pytest.mark.parametrize("format", FORMATS)
def test_repeated_read_is_one_more_call_and_an_answer(
    command: Command, state: Path, wire: OpenWire, format: str
) -> None:
    paid = PAID[format]

    def mind(asked: WireRequest) -> Answer:
        return paid.answer("Looking.", MEMORY) if asked.tools else Answer(LAST, input_tokens=300, output_tokens=10)

    server = wire(mind, rates=paid.rates, keys=[KEY])
    ended = command("--json", "--max-tokens", "none", env=reaching(server, format))
    book = book_of(state)
    assert (ended.code, ended.document["answer"], ended.document["complete"]) == (0, LAST, True)
    (form,) = closing_forms(server)
    assert form.startswith("Task: How much memory is used?\n")
    assert form.count("\n\nsystem_memory() returned:\n") == 1
    assert len(server.books.chat_requests) == len(book.sent) == 4
    assert (ended.document["tools"], ended.document["turns"]) == (
        [{"name": "system_memory", "calls": 3, "failed": 0}],
        3,
    )
    assert_accounted(server.books, book)
    assert_told(ended.document, book)


def test_text_answer_stands_alone_on_stdout(command: Command, wire: OpenWire) -> None:
    server = wire(repeating, rates=PENNY.rates, keys=[KEY])
    ended = command("--model", "gpt-4o", env=reaching(server, "openai"))
    assert (ended.code, ended.out) == (0, f"{LAST}\n")
    assert "system_memory was called again although its result is at hand: asking for an answer" in ended.err


@pytest.mark.parametrize("turn", [repeating, silent, counting])
@pytest.mark.parametrize(
    "last",
    [PENNY.answer("", MEMORY), PENNY.answer('{"name": "system_memory", "arguments": {}}'), PENNY.answer(""),
     PENNY.answer("I'm sorry, but I can't assist with that."), PENNY.answer("Half of", stop="length")],
    ids=["call", "call as text", "empty", "refusal", "cut off"],
)  # fmt: skip
def test_no_answer_even_then_is_a_failure_with_the_results(
    command: Command, state: Path, wire: OpenWire, last: Answer, turn: Callable[[WireRequest], Answer]
) -> None:
    server = wire(closed_by(last, turn), rates=PENNY.rates, keys=[KEY])
    ended = command("--model", "gpt-4o", "--max-turns", "4", env=reaching(server, "openai"))
    assert (ended.code, ended.out) == (1, "")
    assert "Results so far:" in ended.err
    assert len(set(closing_forms(server))) == 1
    assert_accounted(server.books, book_of(state))


def test_turn_limit_puts_the_answer_on_stderr(command: Command, wire: OpenWire) -> None:
    server = wire(closed_by(PENNY.answer(LAST), counting), rates=PENNY.rates, keys=[KEY])
    ended = command("--model", "gpt-4o", "--max-turns", "3", env=reaching(server, "openai"))
    assert (ended.code, ended.out, len(server.books.chat_requests)) == (1, "", 4)
    assert f"--- so far ---\n{LAST}\n" in ended.err


def test_denied_change_is_5_whatever_is_said_after_it(command: Command, wire: OpenWire) -> None:
    def mind(asked: WireRequest) -> Answer:
        looked = sum(said.role == "tool" for said in asked.messages)
        calls = (Call("write_file", {"path": ".envrc", "text": "x"}),) if looked == 1 else MEMORY
        return PENNY.answer("On it.", calls) if asked.tools else PENNY.answer("Written.")

    server = wire(mind, rates=PENNY.rates, keys=[KEY])
    words = ("--json", "--model", "gpt-4o", "--tools", "system_memory,write_file")
    ended = command(*words, env=reaching(server, "openai"), task="Save it")
    assert (ended.code, ended.document["status"], ended.document["answer"]) == (5, "denied", "Written.")
    assert (ended.document["complete"], len(closing_forms(server))) == (False, 1)


def test_limit_without_room_for_the_request_trips(command: Command, state: Path, wire: OpenWire) -> None:
    server = wire(repeating, rates=PENNY.rates, keys=[KEY])
    words = ("--json", "--model", "gpt-4o", "--max-calls-per-minute", "3")
    ended = command(*words, env=reaching(server, "openai"))
    assert (ended.code, ended.document["breaker"]["limit"]) == (3, "max_calls_per_minute")
    assert (ended.document["complete"], closing_forms(server)) == (False, [])
    assert "Found so far:\n- system_memory() -> " in ended.document["answer"]
    assert len(book_of(state).sent) == 3


def test_dollar_limit_without_room_for_the_request_trips(command: Command, state: Path, wire: OpenWire) -> None:
    """The third turn takes almost all of it."""
    outputs = (20, 20, 3_800)

    def mind(asked: WireRequest) -> Answer:
        repeats = sum(said.role == "tool" for said in asked.messages)
        if not asked.tools:
            return PENNY.answer(LAST, output_tokens=10)
        return PENNY.answer("Looking.", MEMORY, input_tokens=900, output_tokens=outputs[repeats])

    server = wire(mind, rates=PENNY.rates, keys=[KEY])
    words = ("--json", "--model", "gpt-4o", "--max-cost", "0.05", "--max-output-tokens", "3800")
    ended = command(*words, env=reaching(server, "openai"))
    book = book_of(state)
    assert (ended.code, ended.document["breaker"]["limit"]) == (3, "max_cost_per_task")
    assert (len(book.sent), closing_forms(server)) == (3, [])
    assert book.most_nano <= 50_000_000
    assert_accounted(server.books, book)


def test_provider_that_fails_then_is_asked_again(command: Command, state: Path, wire: OpenWire) -> None:
    failures = [Fault(503)]

    def mind(asked: WireRequest) -> Answer | Fault:
        return failures.pop() if not asked.tools and failures else repeating(asked)

    server = wire(mind, rates=PENNY.rates, keys=[KEY])
    ended = command("--json", "--model", "gpt-4o", env=reaching(server, "openai"))
    assert (ended.code, ended.document["answer"], len(closing_forms(server))) == (0, LAST, 2)
    assert_accounted(server.books, book_of(state))


def test_reserve_for_a_last_answer_gives_way(command: Command, state: Path, wire: OpenWire) -> None:
    server = wire(repeating, rates=PENNY.rates, keys=[KEY])
    assert command("--model", "gpt-4o", env=reaching(server, "openai")).code == 0
    assert [(one.phase, one.purpose) for one in book_of(state).kept] == [("void", "answer")]


def test_unverified_answer_is_sent_back_once(command: Command, state: Path, wire: OpenWire, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("one\ntwo\n")
    server = wire(lambda _: PENNY.answer("100 lines."), rates=PENNY.rates, keys=[KEY])
    task = "How many lines are in app.log?"
    ended = command("--model", "gpt-4o", env=reaching(server, "openai"), task=task)
    assert (ended.code, ended.out, len(server.books.chat_requests)) == (1, "", 2)
    assert "error: the model answered twice without looking at app.log\n" in ended.err
    assert "--- so far ---\n100 lines.\n" in ended.err
    assert_accounted(server.books, book_of(state))
    document = command("--json", "--model", "gpt-4o", env=reaching(server, "openai"), task=task).document
    assert (document["error"]["kind"], document["complete"], document["answer"]) == ("unverified", False, "100 lines.")
