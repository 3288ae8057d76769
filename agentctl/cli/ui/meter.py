"""The state of a screen: a fold over the events of a run."""

# Annotations are not postponed here: to compile them from text takes longer at every start.

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from agentctl.core.events import (
    AnswerStreamed,
    ApprovalAsked,
    CallDoubted,
    CallHeld,
    CallRetried,
    CallSent,
    CallSettled,
    CallUnsettled,
    CallVoided,
    CallWaited,
    ContextMeasured,
    Event,
    LimitsMeasured,
    ModelAnswered,
    ProviderReplaced,
    Record,
    RunFinished,
    RunResumed,
    RunStarted,
    ToolAllowed,
    ToolDenied,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agentctl.core.messages import ToolCall, Usage
from agentctl.core.results import LimitUse

#: Characters of a streamed answer to keep: more than any screen shows.
MOST_STREAMED = 16_000
_LONGEST_LINE = 400  # characters to look for the end of a line that is cut
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")


class MeteredCall(NamedTuple):
    """One attempt at a call; ``nano`` is its charge or amount in doubt, None if the price is unknown."""

    id: str
    model: str | None = None
    state: Literal["held", "sent", "settled", "void", "in doubt"] = "held"
    usage: Usage = Usage()
    nano: int | None = 0
    held_nano: int | None = 0
    held_tokens: int = 0


class RunningTool(NamedTuple):
    """A running tool call; ``since`` None: unknown."""

    call: ToolCall
    since: datetime | None


class RunChoice(NamedTuple):
    """The task, agent, provider and model of a run, and how the provider was chosen."""

    task: str = ""
    agent: str = ""
    provider: str = ""
    provider_chosen_by: str = ""
    model: str | None = None

    @property
    def name(self) -> str:
        """Provider and model, ``openai/gpt-4o-mini``, or only the provider."""
        return f"{self.provider}/{self.model}" if self.model else self.provider


_NOT_YET = RunChoice()
_NO_USAGE = Usage()


class Meter(NamedTuple):
    """The state of a run since its start, in nano-dollars and tokens.

    ``doing`` names what the run waits for while no tool runs, and ``since`` is when that began. ``answer`` is the end
    of the streamed answer. ``said`` is the text that came with the latest tool calls. ``asked`` is the call of the last
    question to the user. ``context`` is (tokens used, limit).
    """

    metered: bool = True
    chosen: RunChoice = _NOT_YET
    started_at: datetime | None = None
    turn: int = 0
    calls: int = 0
    tool_calls: int = 0
    denied: int = 0
    cost_nano: int = 0
    cost_known: bool = True
    in_doubt_nano: int = 0
    held_nano: int = 0
    tokens: int = 0
    usage: Usage = _NO_USAGE
    attempts: tuple[MeteredCall, ...] = ()
    limits: tuple[LimitUse, ...] = ()
    context: tuple[int, int] = (0, 0)
    answer: str = ""
    said: str = ""
    running: tuple[RunningTool, ...] = ()
    doing: str = ""
    since: datetime | None = None
    asked: ToolCall | None = None
    finished: bool = False

    def was_asked(self, call: ToolCall) -> bool:
        """Return whether the last question to the user was about ``call``."""
        return self.asked is not None and (self.asked.id, self.asked.name) == (call.id, call.name)


def follow(meter: Meter, record: Record) -> Meter:
    """Return the meter after ``record``."""
    return advance(meter, record.event, record.at)


def advance(meter: Meter, event: Event, at: datetime | None = None) -> Meter:
    """Return the meter after ``event``, which happened at ``at``."""
    match event:
        case RunStarted():
            chosen = RunChoice(event.task, event.agent, event.provider, event.provider_chosen_by, event.model)
            meter = meter._replace(metered=event.metered, chosen=chosen, started_at=at, limits=event.limits)
            return _waiting_for(meter, "getting ready", at)
        case RunResumed():
            chosen = RunChoice(event.task, event.agent, event.provider, event.provider_chosen_by, event.model)
            meter = meter._replace(metered=True, chosen=chosen, started_at=at, limits=event.limits, turn=event.turns)
            return _waiting_for(meter, "getting ready", at)
        case TurnStarted():
            return meter._replace(turn=event.turn)
        case ContextMeasured():
            return meter._replace(context=(event.tokens, event.limit))
        case LimitsMeasured():
            return meter._replace(limits=event.limits)
        case CallHeld() | CallSent() | CallSettled() | CallVoided() | CallDoubted():
            return _enter_call(meter, event, at)
        case CallWaited():
            return _waiting_for(meter._replace(answer=""), describe_wait(event), at)
        case CallUnsettled():
            return _waiting_for(meter, f"waiting for the ledger: {event.reason}", at)
        case CallRetried():
            return _waiting_for(meter._replace(answer=""), f"retrying: {event.reason}", at)
        case ProviderReplaced():
            chosen = meter.chosen._replace(provider=event.provider, model=event.model, provider_chosen_by="fallback")
            return _waiting_for(meter._replace(chosen=chosen, answer=""), "getting ready", at)
        case AnswerStreamed():
            meter = meter if meter.answer else _waiting_for(meter, "answering", at)
            before = "" if event.kind == "restart" else meter.answer
            return meter._replace(answer=_keep_end(before + event.text))
        case ModelAnswered():
            answer, said = ("", event.text) if event.tool_calls else (meter.answer, "")
            return _waiting_for(_name_answerer(meter, event.model)._replace(answer=answer, said=said), "", at)
        case ApprovalAsked():
            return _waiting_for(meter._replace(asked=event.call), "waiting for your answer", at)
        case ToolAllowed():
            return _waiting_for(meter, "", at)
        case ToolStarted():
            return meter._replace(running=(*meter.running, RunningTool(event.call, at)), doing="", since=at)
        case ToolFinished():
            left = _without(meter.running, event.call)
            return meter._replace(tool_calls=meter.tool_calls + 1, running=left, since=at)
        case ToolDenied():
            return _waiting_for(meter._replace(denied=meter.denied + 1), "", at)
        case RunFinished():
            return meter._replace(finished=True)
        case _:
            return meter


def fenced_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line of Markdown, with the line that opened the code fence which is open after it, or ""."""
    opened, mark = "", ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found is not None and not mark:
            opened, mark = (line, found[1]) if found[1][0] == "~" or "`" not in found[2] else ("", "")
        elif found is not None and found[1].startswith(mark) and not found[2].strip():
            opened, mark = "", ""
        yield line, opened


def open_fence(text: str) -> str:
    """Return the line that opened the Markdown code fence in which ``text`` ends; "" if it ends outside one."""
    return [*fenced_lines(text)][-1][1] if "```" in text or "~~~" in text else ""


def _keep_end(text: str) -> str:
    """Return the end of a streamed answer, from the beginning of a line if one is near, and inside its code fence."""
    if len(text) <= MOST_STREAMED:
        return text
    start = len(text) - MOST_STREAMED
    line = text.find("\n", start, start + _LONGEST_LINE) + 1
    start = line or start
    fence = open_fence(text[:start])
    return f"{fence}\n{text[start:]}" if fence else text[start:]


def describe_wait(event: CallWaited) -> str:
    """Return what a call waits for: a provider, with its address, or holds of other runs."""
    if event.reason != "provider":
        return "waiting for holds of other runs to end"
    name = f"{event.provider}/{event.model}" if event.model else event.provider or "the provider"
    there = f" at {event.base_url}" if event.base_url else ""
    return f"waiting for {name}{there} to recover from failed calls"


def _waiting_for(meter: Meter, doing: str, at: datetime | None) -> Meter:
    return meter._replace(doing=doing, since=at)


def _without(running: tuple[RunningTool, ...], call: ToolCall) -> tuple[RunningTool, ...]:
    place = next((place for place, each in enumerate(running) if each.call == call), None)
    return running if place is None else running[:place] + running[place + 1 :]


def _enter_call(
    meter: Meter, event: CallHeld | CallSent | CallSettled | CallVoided | CallDoubted, at: datetime | None
) -> Meter:
    """Return the meter with the event of an attempt added to its row and the totals."""
    rows = meter.attempts
    place = next((place for place in reversed(range(len(rows))) if rows[place].id == event.attempt_id), len(rows))
    row = rows[place] if place < len(rows) else MeteredCall(event.attempt_id, meter.chosen.model)
    let_go = (row.held_nano or 0) if row.state in ("held", "sent") and place < len(rows) else 0
    match event:
        case CallHeld():
            row = MeteredCall(event.attempt_id, event.model, "held", Usage(), 0, event.hold_nano, event.hold_tokens)
            meter = meter._replace(held_nano=meter.held_nano - let_go + (event.hold_nano or 0))
        case CallSent():
            row = row._replace(state="sent") if row.state == "held" else row
            meter = _waiting_for(meter._replace(calls=meter.calls + 1, answer=""), "asking", at)
        case CallSettled():
            row = row._replace(state="settled", usage=event.usage, nano=event.cost_nano)
            meter = meter._replace(
                cost_nano=meter.cost_nano + (event.cost_nano or 0),
                cost_known=meter.cost_known and event.cost_nano is not None,
                tokens=meter.tokens + event.usage.total_tokens,
                usage=meter.usage + event.usage,
                held_nano=meter.held_nano - let_go,
            )
        case CallVoided():
            row = row._replace(state="void", nano=0)
            meter = meter._replace(held_nano=meter.held_nano - let_go)
        case CallDoubted():
            row = row._replace(state="in doubt", nano=event.nano)
            doubt, tokens = meter.in_doubt_nano + (event.nano or 0), meter.tokens + event.tokens
            meter = meter._replace(in_doubt_nano=doubt, tokens=tokens, held_nano=meter.held_nano - let_go)
    return meter._replace(attempts=(*rows[:place], row, *rows[place + 1 :]))


def _name_answerer(meter: Meter, model: str | None) -> Meter:
    """Return the meter with the answering model set in the last row, if it is known."""
    if model is None or not meter.attempts:
        return meter
    return meter._replace(attempts=(*meter.attempts[:-1], meter.attempts[-1]._replace(model=model)))
