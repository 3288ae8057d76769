"""The last answer: reserved with each hold, asked for without tools when a limit stops a run, never above the limit."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import (
    FORMATS,
    KEY,
    PAID,
    TASK,
    Here,
    assert_accounted,
    assert_within,
    lookup,
    priced,
    reaching,
)
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, WireRequest

HALF = 500_000_000
LAST = "A third is used; nothing was changed; open: why."


def looking(asked: WireRequest) -> Answer:
    """Call a tool again at each turn; without tools, answer."""
    if not asked.tools:
        return Answer(LAST, input_tokens=900, output_tokens=20)
    step = sum(said.role == "assistant" for said in asked.messages)
    return Answer(
        f"Step {step}.",
        (lookup(step) if step else Call("system_memory"),),
        input_tokens=2_000 + 100 * step,
        output_tokens=60,
    )


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
def test_a_run_that_a_limit_stops_says_what_it_has(shell: Commands, state: Path, wire: OpenWire, format: str) -> None:
    paid = PAID[format]
    server = wire(looking, rates=paid.rates, keys=[KEY])
    most = "0.30" if format == "ollama" else "0.50"
    words = ("run", TASK, "--json", "--max-cost", most, "--max-tokens", "none", "--config", str(priced(shell.folder)))
    ended = shell(*words, **reaching(server, format))
    document, book = ended.document, book_of(state)
    assert (ended.code, document["complete"], document["answer"]) == (3, False, LAST)
    assert document["breaker"]["limit"] == "max_cost_per_task"
    last = server.books.chat_requests[-1].asked
    assert last is not None
    assert not last.tools
    assert [said.role for said in last.messages] == ["system", "user"]
    assert TASK in last.messages[-1].text
    assert "system_memory" in last.messages[-1].text
    assert [(one.phase, one.reason) for one in book.kept] == [("void", "exchanged for the last answer")]
    assert [(one.purpose, one.phase) for one in book.attempts[-2:]] == [("turn", "settled"), ("answer", "settled")]
    assert server.books.billed_nano == document["cost"]["nano_usd"]
    assert_accounted(server.books, book)
    assert_within(server.books, book, HALF)


def test_model_gets_a_notice_of_the_rest_at_half_and_at_four_fifths(
    command: object, wire: OpenWire, state: Path
) -> None:
    server = wire(looking, rates=PAID["openai"].rates, keys=[KEY])
    words = ("--json", "--max-tokens", "none", "--max-cost", "2", "--max-turns", "80")
    ended = command(*words, env=reaching(server, "openai"))  # type: ignore[operator]
    assert ended.code == 3
    heard = [asked.asked.messages for asked in server.books.chat_requests if asked.asked is not None]
    lines = (said.text.rpartition("[Budget: ") for messages in heard for said in messages if said.role == "tool")
    told = list(dict.fromkeys(line for _, mark, line in lines if mark))
    assert [line[:1] for line in told] == ["5", "8"]
    assert "of max_cost_per_task is used, $1." in told[0]
    assert "left. Plan for" in told[0]
    assert "Come to an end now" in told[1]


def test_a_provider_in_doubt_is_not_asked_once_more(command: object, wire: OpenWire, state: Path) -> None:
    def failing(asked: WireRequest) -> Answer | Fault:
        looked = sum(said.role == "tool" for said in asked.messages)
        return looking(asked) if looked < 2 else Fault(500, bills=True)

    server = wire(failing, rates=PAID["openai"].rates, keys=[KEY])
    ended = command("--json", "--max-tokens", "none", env=reaching(server, "openai"))  # type: ignore[operator]
    assert ended.code == 4
    assert all(heard.asked is not None and heard.asked.tools for heard in server.books.chat_requests)
    assert ended.document["answer"].startswith("Step 1.\n\nFound so far:\n- system_memory() -> ")


def test_a_last_answer_that_fails_leaves_the_notes(command: object, wire: OpenWire, state: Path) -> None:
    def failing(asked: WireRequest) -> Answer | Fault:
        return looking(asked) if asked.tools else Fault(500, bills=True)

    server = wire(failing, rates=PAID["openai"].rates, keys=[KEY])
    ended = command("--json", "--max-tokens", "none", env=reaching(server, "openai"))  # type: ignore[operator]
    assert (ended.code, ended.document["breaker"]["limit"]) == (3, "max_cost_per_task")
    assert "Found so far:" in ended.document["answer"]
    asked, _, then = ended.err.partition(": asking for a last answer\n")
    assert asked.endswith("max_cost_per_task has no room for another turn")
    assert "\nno final answer could be obtained: showing the results so far\n" in then
    assert sum(not heard.asked.tools for heard in server.books.chat_requests if heard.asked) == 1
    assert server.books.billed_nano <= HALF
    assert book_of(state).most_nano <= HALF


async def test_last_answer_and_seven_other_processes_never_pass_the_hourly_limit(
    tmp_path: Path, wire: OpenWire
) -> None:
    """A run's reserve gives way to another run's turn; a run without a reserve asks for no last answer."""
    server = wire(looking, rates=PAID["openai"].rates, keys=[KEY])
    user = Here(tmp_path / "user")
    environ = reaching(server, "openai")
    ends: list[dict[str, object]] = []

    async def one() -> None:
        flags = {"max_tokens_per_task": "none", "max_cost_per_hour": "0.90", "max_cost_per_task": "none"}
        ends.append(await user.run(environ, **flags))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(one)
    hour = 900_000_000
    assert [end["exit_code"] for end in ends] == [3] * 8
    assert 0.8 * hour <= server.books.billed_nano <= hour
    assert user.book.most_nano <= hour
    assert set(user.book.phases) <= {"settled", "void"}
    assert all(end["answer"] == LAST or "Found so far:" in str(end["answer"]) for end in ends)
