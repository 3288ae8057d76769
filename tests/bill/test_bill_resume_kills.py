"""Runs killed by SIGKILL at random points and resumed to the end, against a twin that nobody killed."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agentctl.core.messages import Message
from agentctl.journal.replay import read_past
from agentctl.runner.tool_calls import UNKNOWN
from tests.support.bill.book import book_of
from tests.support.bill.parts import CLIENT_VARIABLE, KEY, PAID, priced, reaching
from tests.support.command_line import Commands
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer, WireServer

LIMIT = 4_000_000_000
FLAGS = ("--json", "--agent", "system", "--tools", "read_file,write_file", "--max-cost", "4", "--max-tokens", "none")
CUTS = ("--max-context-tokens", "2400", "--max-result-tokens", "700", "--summaries", "always")
STEPS = (
    (Call("read_file", {"path": "a.txt"}, "call_a"), Call("read_file", {"path": "b.txt"}, "call_b")),
    (Call("write_file", {"path": "c.txt", "text": "one\n"}, "call_c"),),
    (Call("write_file", {"path": "d.txt", "text": "two\n"}, "call_d"), Call("read_file", {"path": "e.txt"}, "call_e")),
    (Call("read_file", {"path": "f.txt"}, "call_f"),),
)
_CLOCK = re.compile(r"It is \d{4}-\d\d-\d\d \d\d:\d\d UTC\.")
_STEP = re.compile(r"Step (\d)\.")


class Kind(NamedTuple):
    """Runs of one kind: on which wire, by which client; whether their context is cut, whether they go on in forks.

    ``quick`` are the runs that are killed in each run of the tests, ``whole`` those with ``--full``.
    """

    format: str
    quick: int
    whole: int
    client: str = "auto"
    is_cut: bool = False
    forks: bool = False

    @property
    def name(self) -> str:
        named = (self.format, self.client, "cut" if self.is_cut else "", "forks" if self.forks else "")
        return "-".join(word for word in named if word not in ("", "auto"))

    @property
    def flags(self) -> tuple[str, ...]:
        return (*FLAGS, *(CUTS if self.is_cut else ()))


KINDS = (
    Kind("openai", 1, 80),
    Kind("openai", 1, 40, is_cut=True),
    Kind("anthropic", 1, 25, is_cut=True),
    Kind("ollama", 1, 20, forks=True),
    Kind("ollama", 1, 15, is_cut=True),
    Kind("ollama", 1, 10, client="litellm"),
    Kind("openai", 0, 15, client="litellm"),
    Kind("anthropic", 0, 10, client="litellm", is_cut=True),
    Kind("openai", 0, 10, is_cut=True, forks=True),
)


def mind(asked: WireRequest) -> Answer:
    """Make the steps in their order, then answer; asked for a summary, give one."""
    done = max((int(step) for said in asked.messages for step in _STEP.findall(said.text)), default=0)
    if "Stop here for once" in asked.messages[-1].text:
        return Answer(f"The steps up to number {done} are done.", gap_s=0.004)
    said = f"Step {done + 1}." if done < len(STEPS) else "All is done."
    return Answer(said, STEPS[done] if done < len(STEPS) else (), gap_s=0.004)


class Case:
    """One run in a folder and with a ledger of its own, and its forks."""

    def __init__(self, shell: Commands, server: WireServer, kind: Kind, folder: Path) -> None:
        self.shell, self.server, self.kind, self.state = shell, server, kind, folder / "state"
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        for name in ("a.txt", "b.txt", "e.txt", "f.txt"):
            more = "".join(f"line {number} of it\n" for number in range(250)) if kind.is_cut else ""
            (self.work / name).write_text(f"this is {name}\n{more}")
        own = {
            "AGENTCTL_STATE_DIR": str(self.state),
            "AGENTCTL_CACHE_DIR": str(folder / "cache"),
            "AGENTCTL_WORKDIR": str(self.work),
        }
        self.env = {**reaching(server, kind.format), **own, CLIENT_VARIABLE: kind.client}
        self.config = priced(folder)

    @property
    def journal(self) -> Path | None:
        """The journal that was written to last."""
        found = (self.state / "runs").glob("*.jsonl")
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

    @property
    def last_begun(self) -> str | None:
        """The last run with a conversation to go on with; before the first nothing is sent."""
        found = sorted((self.state / "runs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        begun = (path.stem for path in found if {b'"role":"user"', b'"event":"run_resumed"'} & _marks(path))
        return next(begun, None)

    @property
    def is_over(self) -> bool:
        """Whether the run has recorded its end: a kill after that changes nothing."""
        return (path := self.journal) is not None and b'"event":"run_finished"' in path.read_bytes()[-40_000:]

    def size(self) -> int:
        return sum(path.stat().st_size for path in (self.state / "runs").glob("*.jsonl"))

    def part(self, *words: str, until: int | None) -> int | None:
        """Run one part; kill it once its journals have so many bytes, None: never. Return its exit code."""
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

    def begin(self, *, until: int | None) -> int | None:
        return self.part("run", "Do the steps", *self.kind.flags, "--config", str(self.config), until=until)

    def go_on(self, *, until: int | None) -> int | None:
        if (run_id := self.last_begun) is None:
            return self.begin(until=until)
        return self.part("runs", "resume", run_id, "--json", *(("--fork",) if self.kind.forks else ()), until=until)

    def conversation(self) -> list[Message]:
        assert self.journal is not None
        past = read_past(self.journal)
        assert past.status == "done", past.result
        return [*past.messages]


def _marks(path: Path) -> set[bytes]:
    text = path.read_bytes()
    return {mark for mark in (b'"role":"user"', b'"event":"run_resumed"') if mark in text}


def texts(messages: list[Message]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.role, _CLOCK.sub("It is.", one.text), tuple(call.name for call in one.tool_calls)) for one in messages]


def check_calls_answered(messages: list[Message]) -> None:
    for place, message in enumerate(messages):
        ids = [call.id for call in message.tool_calls]
        assert [one.tool_call_id for one in messages[place + 1 : place + 1 + len(ids)]] == ids


def around_cuts(journal: Path) -> list[int]:
    """Return the sizes of a journal at which a context was being cut."""
    found, size = list[int](), 0
    for line in journal.read_text().splitlines(keepends=True):
        size += len(line)
        record = json.loads(line)
        if record["event"] == "context_pruned" or record.get("purpose") == "summary":
            found.append(size)
    return found


@pytest.fixture
def serve() -> Iterator[Callable[[Kind], WireServer]]:
    """Open servers that serve many ledgers, so that the audit of one cannot watch them."""
    opened: list[WireServer] = []

    def of(kind: Kind) -> WireServer:
        paid = PAID[kind.format]
        server = WireServer(mind, rates=paid.rates, keys=[] if kind.format == "ollama" else [KEY])
        server.__enter__()
        opened.append(server)
        return server

    yield of
    for server in opened:
        server.__exit__(None, None, None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each kind of runs, without ``--full`` for some."""
    kinds = [kind for kind in KINDS if kind.quick or metafunc.config.getoption("full")]
    metafunc.parametrize("kind", kinds, ids=[kind.name for kind in kinds])


@pytest.mark.own_clients
def test_runs_killed_at_random_points_are_resumed_to_their_twins_end(
    shell: Commands,
    serve: Callable[[Kind], WireServer],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    kind: Kind,
) -> None:
    runs = kind.whole if pytestconfig.getoption("full") else kind.quick
    server = serve(kind)
    twin = Case(shell, server, kind, tmp_path / "twin")
    assert twin.begin(until=None) == 0
    wanted, length, asked = texts(twin.conversation()), twin.size(), len(server.books.chat_requests)
    assert twin.journal is not None
    cuts = around_cuts(twin.journal)
    assert asked >= len(STEPS) + 1
    assert bool(cuts) == kind.is_cut
    dice = random.Random(kind.name)
    kills = in_flight = unknown = 0
    for number in range(runs):
        before, billed = len(server.books.chat_requests), server.books.billed_nano
        case = Case(shell, server, kind, tmp_path / f"case{number}")
        near = dice.choice(cuts) + dice.randrange(-300, 300) if cuts and number % 2 == 0 else dice.randrange(1, length)
        code, parts = case.begin(until=near), 1
        while code != 0 and not case.is_over:
            kills += code == -9
            assert code in (0, -9), case.journal
            until = case.size() + dice.randrange(1, length) if parts < 3 else None
            code, parts = case.go_on(until=until), parts + 1
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
        assert len(found) == len(wanted), case.journal
        differing = [one for one, other in zip(found, wanted, strict=True) if one != other]
        assert all(text == f"error: {UNKNOWN}" for _, text, _ in differing), (case.journal, differing)
        unknown += len(differing)
    print(f"{kills} kills, {in_flight} calls in doubt, {unknown} changes of which it is unknown whether they ran")
    assert kills
