"""A run as its journal has it: its conversation at the last complete step, and what was under way. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from agentctl.core.impact import DeniedCall
from agentctl.core.messages import Completion, Message, ToolCall, Usage
from agentctl.core.results import ErrorInfo, FileNotice
from agentctl.journal.record_parts import Fields


class PastAnswer(NamedTuple):
    """An answer that was received, with the hold that it was received under; ``completion`` is as it was returned.

    ``purpose`` is that of the hold; "closing" for a turn's that was asked for behind the turn's own answer.
    """

    completion: Completion
    attempt_id: str = ""
    purpose: str = "turn"
    input_bound: int = 0
    granted_output: int = 0
    hold_nano: int | None = None
    hold_tokens: int = 0
    probe: bool = False


class PastCall(NamedTuple):
    """A tool call that had started, with its arguments resolved; ``text`` is its result, None if it has none.

    ``may_change``: it was let through to a tool that can change something, or by a person.
    """

    call: ToolCall
    text: str | None = None
    error: ErrorInfo | None = None
    may_change: bool = False


class PastTurn(NamedTuple):
    """A complete turn with tool calls: the conversation that the model was sent, its calls, and their results."""

    sent: tuple[Message, ...]
    calls: tuple[ToolCall, ...]
    results: tuple[Message, ...]


class PastReport(NamedTuple):
    """What a provider counted for the messages that a turn sent (None: not known); ``way`` is how agentctl counted."""

    sent: tuple[Message, ...]
    usage: Usage | None
    way: str


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as its journal has it: ``started`` and ``result`` are the records of its start and last end.

    ``status`` is None if its process died. ``messages`` are the conversation after ``turns`` complete turns;
    ``answers`` were received after them and not acted on to the end, and the tool calls of the last one are in
    ``calls``, by id. ``history`` are the complete turns with tool calls, ``asked_at`` is how many of them came before
    the user's last words. ``redacted`` messages are not as the model had them. ``replaced``: a fallback or another
    provider took over. ``flags`` and ``digests`` are those of its last part. ``words`` are yet to be said. ``reports``
    are those of the complete turns, and of the last request. ``cut`` has the turn of the last cut, and the tokens left.
    ``denied`` are the calls that were refused, by id; ``reminders`` is what agentctl told the model, as the user, since
    the user's last words.
    """

    run_id: str
    path: Path
    seq: int
    started: Fields
    status: str | None
    result: Fields
    messages: tuple[Message, ...]
    turns: int
    answers: tuple[PastAnswer, ...]
    calls: Mapping[str, PastCall]
    history: tuple[PastTurn, ...]
    flags: Fields
    digests: Mapping[str, str]
    limits: Mapping[str, int | None]
    redacted: int = 0
    replaced: bool = False
    changed_files: tuple[FileNotice, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    asked_at: int = 0
    reports: tuple[PastReport, ...] = ()
    cut: tuple[int, int] = (0, 0)
    denied: Mapping[str, DeniedCall] = field(default_factory=dict)
    reminders: tuple[str, ...] = ()

    def without_closing(self) -> PastRun:
        """Return the run without an answer that was asked for because no turn was to follow."""
        return replace(self, answers=tuple(answer for answer in self.answers if answer.purpose != "closing"))

    def text(self, name: str) -> str:
        """Return a text of the record of its start, "" if there is none."""
        value = self.started.get(name)
        return value if isinstance(value, str) else ""

    @property
    def ended_well(self) -> bool:
        """Whether its last part ended with an answer."""
        return self.status == "done"

    @property
    def is_denied(self) -> bool:
        """Whether its last part ended because a call was denied."""
        return self.status == "denied"

    @property
    def is_unfinished(self) -> bool:
        """Whether its last part stopped before the run came to its end: it died, or something from outside ended it."""
        return self.status not in ("done", "failed", "denied")

    @property
    def ends_with_turn(self) -> bool:
        """Whether the results of its last complete turn are the last thing that happened, a closing answer aside."""
        if not self.history or any(answer.purpose == "turn" for answer in self.answers):
            return False
        last, result = self.messages[-1], self.history[-1].results[-1]
        return (last.role, last.tool_call_id) == (result.role, result.tool_call_id)

    @property
    def has_answer(self) -> bool:
        """Whether what comes next is an answer that was received."""
        return any(answer.purpose in ("turn", "closing") for answer in self.answers)

    @property
    def awaits_words(self) -> bool:
        """Whether the last message is the model's answer, so that the user's words must come next."""
        last = self.messages[-1] if self.messages else None
        return not self.has_answer and last is not None and last.role == "assistant" and not last.tool_calls

    @property
    def last_text(self) -> str:
        """The last text of the model, "" if it has written none."""
        said = (message.text for message in reversed(self.messages) if message.role == "assistant")
        return next((text for text in said if text.strip()), "")

    @property
    def closing_tool(self) -> str:
        """The tool for whose repeated call a closing answer was received behind a complete turn; "" if none was."""
        if not self.history or {answer.purpose for answer in self.answers} != {"closing"}:
            return ""
        return self.history[-1].calls[-1].name
