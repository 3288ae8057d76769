"""A scripted model that reads one log after another, and a user with these logs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.bill.parts import Document, Here, reaching
from tests.support.wire.books import Entry, Heard
from tests.support.wire.server import Answer, Call, Fault, Step, WireRequest, WireServer

ANSWER = "It is line 17 of log-3.txt."
TASK = "Which log tells why web restarts?"
SUMMARY = "Looked at log-0 to log-4.\nlog-3.txt, line 17: OOM killed process 4711 (web).\nOpen: who started it."
LOGS = 40
FLAGS = {
    "tools": "read_file",
    "max_context_tokens": "4800",
    "summaries": "always",
    "max_tokens_per_task": "none",
    "max_cost_per_task": "5",
    "max_cost_per_hour": "none",
}


def is_for_a_summary(asked: WireRequest) -> bool:
    """Return whether a request is the one for a summary."""
    return "its older part will be removed" in asked.messages[-1].text


@dataclass(slots=True)
class Reader:
    """Reads ``logs`` logs, then answers; asked for a summary it takes the next of ``summaries``, the last for ever."""

    logs: int = 9
    summaries: Sequence[Step | Callable[[WireRequest], Step]] = (Answer(SUMMARY),)
    read: int = 0
    asked: int = 0
    unforeseen: list[str] = field(default_factory=list)

    def __call__(self, asked: WireRequest) -> Step:
        if is_for_a_summary(asked):
            self.asked += 1
            step = self.summaries[min(self.asked, len(self.summaries)) - 1]
            return step if isinstance(step, Answer | Fault) else step(asked)
        self.read += 1
        if self.read > self.logs:
            return Answer(ANSWER)
        return Answer(f"Step {self.read}.", (Call("read_file", {"path": f"log-{self.read - 1}.txt"}),))


def write_logs(folder: Path) -> Path:
    """Write the logs that the reader reads, about 450 tokens each."""
    folder.mkdir(exist_ok=True)
    for number in range(LOGS):
        (folder / f"log-{number}.txt").write_text(f"line of log {number}\n" * 105)
    return folder


async def run(user: Here, server: WireServer, format: str = "openai", **more: object) -> Document:
    """Run the task that makes the user's model read the logs."""
    folder = write_logs(user.folder)
    flags = {**FLAGS, "workdir": folder, **more}
    return await user.run(reaching(server, format), **{"task": TASK, **flags})  # type: ignore[arg-type]


def around(server: WireServer) -> list[tuple[Heard, Heard, Heard | None]]:
    """Return each request for a summary between the one before it and the one after it."""
    heard = server.books.chat_requests
    return [
        (heard[place - 1], one, heard[place + 1] if place + 1 < len(heard) else None)
        for place, one in enumerate(heard)
        if one.asked is not None and is_for_a_summary(one.asked)
    ]


def task_of(heard: Heard | None) -> str:
    """Return the task's message as a request has it, without the line of the clock."""
    assert heard is not None
    assert heard.asked is not None
    text = next(said.text for said in heard.asked.messages if said.role == "user")
    return re.sub(r"\n\n\[It is [^\n]*\]", "", text)


def bill_of(server: WireServer, heard: Heard) -> Entry:
    """Return what a request was billed."""
    return next(entry for entry in server.books.entries if entry.number == heard.number)
