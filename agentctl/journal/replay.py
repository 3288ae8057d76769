"""Read back from a journal how far a run came: its conversation at the last complete step, and what was under way.

A turn is complete once each of its tool calls has its result in the conversation. The answer of an incomplete turn is
given to the resumed run again, with the results that its calls have had, instead of being asked for a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from agentctl.core.errors import StateError, UsageError
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import Completion, Message, Stop, Usage
from agentctl.core.redaction import PLAIN_MARK
from agentctl.core.results import FileNotice
from agentctl.journal.past_run import PastAnswer, PastCall, PastReport, PastRun, PastTurn
from agentctl.journal.reader import read_with_origin
from agentctl.journal.record_parts import (
    Fields,
    call_of,
    calls_of,
    denied_of,
    error_of,
    fields_of,
    int_of,
    list_of,
    message_of,
    notice_of,
    thoughts_of,
)
from agentctl.journal.writer import ENDING

JOURNAL_VERSION = 1
#: How a part ends that might have done its next step; the last three also before it has done any.
_CUT_OFF = (None, "interrupted", "timeout", "usage", "state", "internal")


def read_past(path: Path) -> PastRun:
    """Return a run as its journal has it.

    Raises:
        UsageError: a newer agentctl wrote it, or the run never began.
        StateError: the journal cannot be read, or is broken.
    """
    replay = _Replay()
    for record in _records(path):
        try:
            replay.add(record)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as exc:
            raise StateError(
                f"record {record.get('seq')} of {path} cannot be read",
                hint="the run cannot be resumed; to see what is readable of it: agentctl runs show",
            ) from exc
    run_id = path.name.removesuffix(ENDING)
    if not replay.started:
        raise UsageError(f"run {run_id} never began, so it cannot be resumed", hint="start it again: agentctl run")
    if not any(message.role == "user" for message in replay.messages):
        if source := replay.started.get("forked_from"):
            said = f"run {run_id}, a fork of run {source}, stopped before it had begun"
            raise UsageError(said, hint=f"fork that one again: agentctl runs resume {source} --fork")
        said = f"run {run_id} stopped before its first request, so there is nothing to go on with"
        raise UsageError(said, hint="run the task again: nothing was sent")
    return replay.close(run_id, path)


def _records(path: Path) -> Iterator[Fields]:
    """Yield the records of a run; those of the run that it was forked from come first."""
    for record in read_with_origin(path):
        if record.get("event") in ("run_started", "run_resumed"):
            _refuse_newer(record, path.parent / f"{record.get('run_id')}{ENDING}")
        yield record


def _refuse_newer(record: Fields, path: Path) -> None:
    version = record.get("journal", JOURNAL_VERSION)
    if not isinstance(version, int) or version > JOURNAL_VERSION:
        raise UsageError(
            f"{path} was written by a newer agentctl (journal {version}, known: {JOURNAL_VERSION})",
            hint="upgrade agentctl to resume this run",
        )


@dataclass(slots=True)
class _Replay:
    """The state of a run while its records are read, in order."""

    started: Fields = field(default_factory=dict)
    labels: Fields | None = None
    words: str = ""
    asked_at: int = 0
    seq: int = 0
    status: str | None = None
    result: Fields = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    turn: int = 0
    is_asking: bool = False  # a turn has begun, and has no answer yet
    answers: list[PastAnswer] = field(default_factory=list)
    used: list[PastAnswer] = field(default_factory=list)  # answers that this turn's assistant message was made of
    assistant: int | None = None  # the place of that message
    closing: list[PastAnswer] = field(default_factory=list)  # answers that the closing message was made of
    closed: int | None = None  # the place of that message
    holds: dict[str, Fields] = field(default_factory=dict)
    calls: dict[str, PastCall] = field(default_factory=dict)
    history: list[PastTurn] = field(default_factory=list)
    reports: dict[int, PastReport] = field(default_factory=dict)
    cut: tuple[int, int] = 0, 0  # its turn, and the tokens that it left
    way: str = ""  # how the last request was counted
    flags: Fields = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    is_redacted: bool = False
    replaced: bool = False
    changed_files: list[FileNotice] = field(default_factory=list)
    denied: dict[str, DeniedCall] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)
    reminders: list[str] = field(default_factory=list)

    def add(self, record: Fields) -> None:
        """Take one record."""
        self.seq = max(int_of(record.get("seq")), 0)
        match record.get("event"):
            case "run_started":
                self.started, self.labels = record, self.labels or fields_of(record.get("labels") or {})
                self._begin_part(record)
            case "run_resumed":
                answers = self._standing()[2]
                del self.messages[int_of(record["kept"]) :]
                self._begin_turn(int_of(record["turns"]) + 1)
                self.answers += answers
                self.status, self.result = None, {}
                chosen = {name: record[name] for name in ("provider", "model", "agent") if name in record}
                self.replaced = self.replaced or chosen.get("provider") != self.started.get("provider")
                self.started, said = {**self.started, **chosen}, str(record.get("words") or "")
                self.words = f"{self.words}\n\n{said}".strip()
                self._begin_part(record)
            case "turn_started":
                if int_of(record["turn"]) != self.turn:
                    self._begin_turn(int_of(record["turn"]))
                self.is_asking = True
            case "call_held":
                self.holds[str(record["attempt_id"])] = record
                purpose = self._purpose(record)  # of a new call: what was not used for it so far is for another one
                self.answers = [answer for answer in self.answers if answer.purpose == purpose]
            case "answer_received":
                if record.get("stop") != "broken":
                    hold = self.holds.get(str(record["attempt_id"]), {})
                    self.answers.append(_answer(record, hold)._replace(purpose=self._purpose(hold)))
                self.is_redacted |= bool(record.get("redacted"))
            case "call_doubted":
                self._forget_usage(str(record["attempt_id"]))
            case "message_added":
                self._add_message(message_of(fields_of(record["message"])))
                self.is_redacted |= bool(record.get("redacted"))
            case "context_pruned":
                self._prune(record)
            case "tool_started":
                call = call_of(fields_of(record["call"]))
                self.calls[call.id] = PastCall(call, may_change=call.id in self.allowed)
            case "tool_finished":
                call = call_of(fields_of(record["call"]))
                self.calls[call.id] = PastCall(call, str(record["text"]), error_of(record.get("error")))
            case "tool_allowed":
                self.allowed.add(str(fields_of(record["call"])["id"]))
            case "tool_denied":
                self.denied[str(fields_of(record["call"])["id"])] = denied_of(record)
            case "obeyed_files_changed":
                self.changed_files += [notice_of(fields_of(one)) for one in list_of(record["files"])]
            case "provider_replaced":
                self.replaced = True
            case "run_finished":
                self.result = result = fields_of(record["result"])
                self.status = str(result.get("status") or "failed")
            case "context_measured":
                self.way = str(record.get("counted_by") or "")
            case _:
                pass

    def _begin_part(self, record: Fields) -> None:
        self.flags = fields_of(record.get("flags") or {})
        self.digests = cast("Mapping[str, str]", fields_of(record.get("digests") or {}))
        for use in map(fields_of, list_of(record.get("limits"))):
            self.limits[str(use["name"])] = found if isinstance(found := use.get("ceiling"), int) else None

    def _begin_turn(self, turn: int) -> None:
        self.turn, self.answers, self.used, self.assistant = turn, [], [], None
        self.closing, self.closed, self.is_asking = [], None, False

    def _purpose(self, hold: Fields) -> str:
        purpose = str(hold.get("purpose") or "turn")
        return "closing" if purpose == "turn" and not self.is_asking else purpose

    def _forget_usage(self, attempt_id: str) -> None:
        """Learn nothing from the report of an attempt that is in doubt, as the run itself did not."""
        for place, answer in enumerate(self.answers):
            if answer.attempt_id == attempt_id:
                bare = replace(answer.completion, usage=None)
                self.answers[place] = answer._replace(completion=bare)

    def _add_message(self, message: Message) -> None:
        if message.role == "assistant" and self.is_asking:
            self.assistant, self.used, self.answers, self.is_asking = len(self.messages), self.answers, [], False
            if self.used and (usage := self.used[-1].completion.usage) is not None:
                self.reports[self.turn] = PastReport(tuple(self.messages), usage, self.way)
        elif message.role == "assistant":
            self.closed, self.closing, self.answers = len(self.messages), self.answers, []
        elif message.role == "user":  # whatever was received for another conversation is no answer to this one
            self.answers, self.closing, self.closed = [], [], None
            if self.words or len(self.messages) < 2:  # the user's own words, or the task
                self.words, self.asked_at, self.reminders = "", len(self.history), []
            else:
                self.reminders.append(message.text)
        self.messages.append(message)
        if (place := self.assistant) is None or message.role != "tool":
            return
        said, results = self.messages[place], self.messages[place + 1 :]
        if len(results) == len(said.tool_calls) and all(result.role == "tool" for result in results):
            self.history.append(PastTurn(tuple(self.messages[:place]), said.tool_calls, tuple(results)))

    def _prune(self, record: Fields) -> None:
        left = list_of(record.get("left"))
        if not left:
            raise ValueError("the conversation after the cut is not in the record")
        self.is_redacted |= bool(record.get("redacted"))
        self.cut = self.turn, int_of(record.get("tokens_after"))
        self.messages = [self.messages[item] if isinstance(item, int) else message_of(fields_of(item)) for item in left]
        self.answers = [answer for answer in self.answers if answer.purpose != "summary"]
        self.assistant = None

    def close(self, run_id: str, path: Path) -> PastRun:
        """Return the run as it stands after the last record."""
        messages, turns, answers = self._standing()
        next_ones = [answer.completion.as_message() for answer in answers if answer.purpose == "turn"]
        left_out = [one for one in (*messages, *next_ones) if self.is_redacted and PLAIN_MARK in str(one)]
        return PastRun(
            run_id=run_id,
            path=path,
            seq=self.seq,
            started=self.started,
            status=self.status,
            result=self.result,
            messages=tuple(messages),
            turns=turns,
            answers=tuple(answers),
            calls=self.calls,
            history=tuple(self.history),
            flags=self.flags,
            digests=self.digests,
            limits=self.limits,
            redacted=len(left_out),
            replaced=self.replaced,
            changed_files=tuple(self.changed_files),
            labels=cast("Mapping[str, str]", self.labels or {}),
            words=self.words,
            asked_at=self.asked_at,
            reports=(*(one for turn, one in self.reports.items() if turn <= turns), PastReport((), None, self.way)),
            cut=self.cut,
            denied=self.denied,
            reminders=tuple(self.reminders),
        )

    def _standing(self) -> tuple[list[Message], int, list[PastAnswer]]:
        """Return the conversation at the last complete step, its complete turns, and the answers that go on from it."""
        messages, answers, place = self.messages, self.answers, self.assistant
        is_cut_off = self.status in _CUT_OFF
        if self.closed is not None and is_cut_off:
            messages, answers = messages[: self.closed], [*self.closing, *answers]
        if not is_cut_off:  # a closing answer has had its effect
            answers = [answer for answer in answers if answer.purpose != "closing"]
        if place is None:
            return messages, max(0, self.turn - 1), answers
        said, behind = messages[place], messages[place + 1 :]
        is_open = len(behind) < len(said.tool_calls) if said.tool_calls else not behind and is_cut_off
        if not is_open:
            return messages, self.turn, answers
        return messages[:place], max(0, self.turn - 1), [*(self.used or [PastAnswer(_as_answer(said))]), *answers]


def _as_answer(message: Message) -> Completion:
    """Return the answer that a message was made of; an older journal has nothing else of it."""
    stop: Stop = "tool_calls" if message.tool_calls else "stop"
    return Completion(message.text, message.tool_calls, stop=stop, thoughts=message.thoughts)


def _answer(record: Fields, hold: Fields) -> PastAnswer:
    nano, usage = hold.get("hold_nano"), record.get("usage")
    completion = Completion(
        str(record["text"]),
        calls_of(record),
        usage=None if usage is None else Usage(**cast("dict[str, int]", dict(fields_of(usage)))),
        model=None if record.get("model") is None else str(record["model"]),
        stop=cast("Stop", str(record["stop"])),
        thoughts=thoughts_of(record.get("thoughts")),
        reasoning=str(record.get("reasoning") or ""),
    )
    return PastAnswer(
        completion,
        str(record["attempt_id"]),
        str(hold.get("purpose") or "turn"),
        int_of(hold.get("input_bound")),
        int_of(hold.get("granted_output")),
        nano if isinstance(nano, int) else None,
        int_of(hold.get("hold_tokens")),
        hold.get("probe") is True,
    )
