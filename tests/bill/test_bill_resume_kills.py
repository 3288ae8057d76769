"""Runs killed by SIGKILL at random points and resumed to the end, against a twin that nobody killed."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.core.messages import Message
from agentctl.journal.replay import read_past
from agentctl.runner.tool_calls import UNKNOWN
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, reaching
from tests.support.command_line import Commands
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer, WireServer

WIRED = PAID["openai"]
LIMIT = 4_000_000_000
FLAGS = ("--json", "--agent", "system", "--tools", "read_file,write_file", "--max-cost", "4")
STEPS = (
    (Call("read_file", {"path": "a.txt"}), Call("read_file", {"path": "b.txt"})),
    (Call("write_file", {"path": "c.txt", "text": "one\n"}),),
    (Call("write_file", {"path": "d.txt", "text": "two\n"}), Call("read_file", {"path": "e.txt"})),
    (Call("read_file", {"path": "f.txt"}),),
)
_CLOCK = re.compile(r"It is \d{4}-\d\d-\d\d \d\d:\d\d UTC\.")
_QUICK, _WHOLE = 6, 200


def mind(asked: WireRequest) -> Answer:
    """Make the steps in their order, then answer."""
    step = sum(said.role == "assistant" for said in asked.messages)
    said = f"Step {step + 1}." if step < len(STEPS) else "All is done."
    return WIRED.answer(said, STEPS[step] if step < len(STEPS) else (), gap_s=0.004)


@pytest.fixture
def unwatched() -> Iterator[WireServer]:
    """A server that serves many ledgers, so that the audit of one cannot watch it."""
    with WireServer(mind, rates=WIRED.rates, keys=[KEY]) as server:
        yield server


class Case:
    """One run in a folder and with a ledger of its own."""

    def __init__(self, shell: Commands, server: WireServer, folder: Path) -> None:
        self.shell, self.server, self.state = shell, server, folder / "state"
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        for name in ("a.txt", "b.txt", "e.txt", "f.txt"):
            (self.work / name).write_text(f"this is {name}\n")
        own = {"AGENTCTL_STATE_DIR": str(self.state), "AGENTCTL_WORKDIR": str(self.work)}
        self.env = {**reaching(server, "openai"), **own}

    @property
    def journal(self) -> Path | None:
        found = (self.state / "runs").glob("*.jsonl")
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

    @property
    def has_begun(self) -> bool:
        """Whether the task is in the journal; before that nothing is sent, and the run cannot be resumed."""
        return (path := self.journal) is not None and b'"role":"user"' in path.read_bytes()

    @property
    def is_over(self) -> bool:
        """Whether the run has recorded its end: a kill after that changes nothing."""
        return (path := self.journal) is not None and b'"event":"run_finished"' in path.read_bytes()[-20_000:]

    def size(self) -> int:
        return 0 if (path := self.journal) is None else path.stat().st_size

    def part(self, *words: str, until: int | None) -> int | None:
        """Run one part; kill it once its journal has so many bytes, None: never. Return its exit code."""
        process = self.shell.start(*words, env=self.env)
        try:
            while until is not None and process.poll() is None and self.size() < until:
                time.sleep(0.0005)
            if until is not None and process.poll() is None:
                process.kill()
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert b"Traceback" not in err, err.decode()
        return process.returncode

    def conversation(self) -> list[Message]:
        assert self.journal is not None
        past = read_past(self.journal)
        assert past.status == "done", past.result
        return [*past.messages]


def texts(messages: list[Message]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.role, _CLOCK.sub("It is.", one.text), tuple(call.name for call in one.tool_calls)) for one in messages]


def check_calls_answered(messages: list[Message]) -> None:
    for place, message in enumerate(messages):
        ids = [call.id for call in message.tool_calls]
        assert [one.tool_call_id for one in messages[place + 1 : place + 1 + len(ids)]] == ids


def test_runs_killed_at_random_points_are_resumed_to_their_twins_end(
    shell: Commands, unwatched: WireServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    server = unwatched
    twin = Case(shell, server, tmp_path / "twin")
    assert twin.part("run", "Do the steps", *FLAGS, until=None) == 0
    wanted, length, asked = texts(twin.conversation()), twin.size(), len(server.books.chat_requests)
    assert asked == len(STEPS) + 1
    dice = random.Random(1)
    kills = in_flight = unknown = 0
    for number in range(_WHOLE if pytestconfig.getoption("full") else _QUICK):
        before, billed = len(server.books.chat_requests), server.books.billed_nano
        case = Case(shell, server, tmp_path / f"case{number}")
        code, parts = case.part("run", "Do the steps", *FLAGS, until=dice.randrange(1, length)), 1
        while code != 0 and not case.is_over:
            kills += code == -9
            assert code in (0, -9), case.journal
            until = case.size() + dice.randrange(1, length) if parts < 3 else None
            words = ("runs", "resume", "--last", "--json") if case.has_begun else ("run", "Do the steps", *FLAGS)
            code, parts = case.part(*words, until=until), parts + 1
        book, heard = book_of(case.state), len(server.books.chat_requests) - before
        doubts = book.phases.count("doubt")
        in_flight += doubts
        assert server.books.billed_nano - billed <= book.counted_nano <= LIMIT
        settled = book.phases.count("settled")
        assert settled <= asked <= settled + doubts, "no settled call is sent again"
        assert asked <= heard <= asked + doubts <= asked + parts - 1
        messages = case.conversation()
        check_calls_answered(messages)
        found = texts(messages)
        assert len(found) == len(wanted)
        differing = [one for one, other in zip(found, wanted, strict=True) if one != other]
        assert all(text == f"error: {UNKNOWN}" for _, text, _ in differing), differing
        unknown += len(differing)
    print(f"{kills} kills, {in_flight} calls in doubt, {unknown} changes of which it is unknown whether they ran")
    assert kills
