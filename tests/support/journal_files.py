"""Write journals as runs write them, from the events themselves: of runs that ended, were resumed, forked or died."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agentctl.core.events import (
    AnswerReceived,
    CallHeld,
    CallSent,
    CallSettled,
    ContextMeasured,
    Event,
    MessageAdded,
    ModelAnswered,
    Record,
    RunFinished,
    RunResumed,
    RunStarted,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agentctl.core.messages import Message, ToolCall, Usage
from agentctl.core.results import ErrorInfo, LimitUse, RunResult
from agentctl.journal.writer import encode_record

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
NANO = 13_000_000  # of each request
USED = Usage(input_tokens=1000, output_tokens=100)
DIGESTS = {"tools": "t0", "agent": "a0", "model": "m0", "prices": "p0", "sandbox": "bwrap"}


def limits(usd: float | None = 0.5, used_nano: int = 0) -> tuple[LimitUse, ...]:
    """Return the limits of a run: dollars, and 100,000 tokens."""
    ceiling = None if usd is None else int(usd * 10**9)
    return (
        LimitUse("max_cost_per_task", "nano_usd", ceiling, used_nano),
        LimitUse("max_tokens_per_task", "tokens", 100_000, 0),
    )


class JournalFile:
    """The journal of one run, which grows as the test says; each record comes a second after the one before."""

    def __init__(self, state: Path, run_id: str = "aaa1", *, at: datetime = AT) -> None:
        self.run_id, self.seq, self._at = run_id, 0, at
        self.path = state / "runs" / f"{run_id}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.turns = self.nano = 0
        self.tokens = Usage()

    def add(self, *events: Event) -> JournalFile:
        """Append the records of events."""
        lines = ""
        for event in events:
            self.seq += 1
            record = encode_record(Record(self.run_id, self.seq, self._at + timedelta(seconds=self.seq), event))
            lines += json.dumps(record) + "\n"
        with self.path.open("a") as file:
            file.write(lines)
        return self

    def start(
        self,
        task: str = "look around",
        *,
        prompt: str | None = "You look after the machine.\nLook before you answer.",
        model: str | None = "priced",
        **more: object,
    ) -> JournalFile:
        """Begin the run, with its first two messages; without a ``prompt`` it has none yet."""
        started = RunStarted(
            *(task, "system", "flag", "scripted", "flag", model, True, "/w", limits()),
            flags={"max_cost_per_task": "0.5"},
            digests=DIGESTS,
        )
        self.add(started._replace(**more))  # type: ignore[arg-type]
        if prompt is not None:
            self.add(MessageAdded(Message("system", prompt)), MessageAdded(Message("user", task)))
        return self

    def turn(
        self, *calls: tuple[str, dict[str, object]] | str, text: str = "", result: str = "RAM 23 GB", failed: str = ""
    ) -> JournalFile:
        """Add a turn with tool calls, each a name or a name with arguments; without any, ``text`` is the answer."""
        self.turns += 1
        self.nano += NANO
        self.tokens += USED
        attempt = f"{self.run_id}-{self.turns}"
        asked = tuple(_call(number, call) for number, call in enumerate(calls, start=10 * self.turns))
        stop = "tool_calls" if asked else "stop"
        self.add(
            TurnStarted(self.turns),
            ContextMeasured(2 * self.turns, 800 + self.turns, 8000),
            CallHeld(attempt, "scripted", "priced", 4000, 4096, 10 * NANO, 8000),
            CallSent(attempt),
            AnswerReceived(attempt, text, asked, stop, None, USED),  # type: ignore[arg-type]
            CallSettled(attempt, USED, NANO),
            ModelAnswered(self.turns, text, asked, stop, None),  # type: ignore[arg-type]
            MessageAdded(Message("assistant", text, asked)),
        )
        for call in asked:
            error = ErrorInfo("tool", failed) if failed else None
            self.add(ToolStarted(call), ToolFinished(call, result, 0.25, error))
            self.add(MessageAdded(Message("tool", result, tool_call_id=call.id)))
        return self

    def resume(
        self, words: str = "", *, source: str = "", until: int = 0, turns: int | None = None, usd: float = 1.0
    ) -> JournalFile:
        """Go on with the run, or with that of ``source`` from its record ``until``."""
        self.turns = self.turns if turns is None else turns
        event = RunResumed(
            *(source or self.run_id, until or self.seq, 2 * self.turns + 2, self.turns, words),
            limits(usd, self.nano),
            digests=DIGESTS,
            task="look around",
            agent="system",
            provider="scripted",
            model="priced",
        )
        self.add(event)
        return self.add(MessageAdded(Message("user", words))) if words else self

    def end(
        self, status: str = "done", answer: str = "All is well.", *, error: ErrorInfo | None = None, **more: object
    ) -> JournalFile:
        """End the run, or its part."""
        values: dict[str, object] = {
            "run_id": self.run_id,
            "status": status,
            "answer": answer,
            "complete": status == "done",
            "task": "look around",
            "agent": "system",
            "provider": "scripted",
            "provider_chosen_by": "flag",
            "model": "priced",
            "models": ("priced",),
            "turns": self.turns,
            "started_at": AT,
            "finished_at": AT + timedelta(seconds=4),
            "duration_s": 4.2,
            "usage": self.tokens,
            "cost_nano": self.nano,
            "in_doubt_nano": 0,
            "price_source": "test",
            "limits": limits(used_nano=self.nano),
            "error": error,
        }
        return self.add(RunFinished(RunResult(**(values | more))))  # type: ignore[arg-type]

    def tear(self, data: bytes) -> JournalFile:
        """Append bytes that are no record, as a killed writer or a failing disk leaves them."""
        with self.path.open("ab") as file:
            file.write(data)
        return self


def _call(number: int, call: tuple[str, dict[str, object]] | str) -> ToolCall:
    name, arguments = (call, {}) if isinstance(call, str) else call
    return ToolCall(f"c{number}", name, arguments)


def write_fork(state: Path, source: JournalFile, run_id: str, *, words: str = "And now?") -> JournalFile:
    """Return the journal of a run that was forked from ``source`` as it is now, with a turn of its own."""
    fork = JournalFile(state, run_id, at=AT + timedelta(hours=1)).start(prompt=None)
    fork.resume(words, source=source.run_id, until=source.seq, turns=source.turns)
    return fork.turn(text="Still well.").end(answer="Still well.")
