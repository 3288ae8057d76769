"""Render events as permanent lines, and a screen that prints only those."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, assert_never

from agentctl.cli.ui.format import Paint, Style, amount, limit, money, plural, seconds
from agentctl.cli.ui.meter import Meter, describe_wait, follow
from agentctl.core.events import (
    AnswerReceived,
    AnswerStreamed,
    ApprovalAsked,
    BreakerTripped,
    CallDoubted,
    CallHeld,
    CallRetried,
    CallSent,
    CallSettled,
    CallUnsettled,
    CallVoided,
    CallWaited,
    ContextMeasured,
    ContextPruned,
    Crashed,
    Event,
    LimitsMeasured,
    LimitWarned,
    MessageAdded,
    ModelAnswered,
    ModelSubstituted,
    Noted,
    ObeyedFilesChanged,
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
from agentctl.core.messages import ToolCall
from agentctl.core.redaction import redact
from agentctl.core.results import FileNotice, RunResult
from agentctl.core.text import safe_text

_LONGEST_CALL = 200
_MOST_NOTICES = 20
_INDENT = "  "


class ScreenLine(NamedTuple):
    """One line; ``style`` applies to the lead, or to the whole line without one. The text may be untrusted.

    ``said``: it is what a model said before its tool calls, in Markdown; a terminal shows it behind a bar.
    """

    text: str
    style: Style | None = None
    lead: str = ""
    said: bool = False

    def render(self, paint: Paint) -> str:
        """Return the line, made safe and styled."""
        text = safe_text(self.text)
        if self.lead:
            return f"{paint(self.lead, self.style) if self.style else self.lead} {text}"
        return paint(text, self.style) if self.style else text


class LineLayout:
    """Lays out lines for a terminal: wrapped at spaces, which a terminal itself does not do, and redacted.

    ``markdown``: draw the Markdown of what a model said. ``bar`` stands before it.
    """

    def __init__(self, *, paint: Paint, secrets: Sequence[str] = (), markdown: bool = False, bar: str = "│") -> None:
        self._paint, self._secrets, self._markdown, self._bar = paint, tuple(secrets), markdown, bar

    def whole(self, line: ScreenLine) -> str:
        """Return a line as it is."""
        return redact(line.render(self._paint), self._secrets)

    def rows(self, line: ScreenLine, width: int) -> Iterator[str]:
        """Yield the rows of a line for a terminal of ``width`` cells."""
        from agentctl.cli.ui.cells import cell_width, wrap

        text = safe_text(redact(line.text, self._secrets))  # before wrapping, which could split a secret
        if line.said:
            bar = self._paint(self._bar, "dim")
            yield from (f"{bar} {row}".rstrip() for row in self._said(text, max(2, width - len(self._bar) - 1)))
            return
        lead = f"{line.lead} " if line.lead else ""
        width = max(width, 2 * len(lead), 4 * len(_INDENT))
        for number, part in enumerate(f"{lead}{text}".split("\n")):
            fits = cell_width(part.expandtabs(4)) <= width
            rows = (part,) if fits else wrap(part, width - len(_INDENT))
            for place, row in enumerate(rows):
                if not number and not place:
                    yield self.whole(line._replace(text=row[len(lead) :]))
                else:
                    indented = f"{_INDENT if place else ''}{row}"
                    yield self.whole(ScreenLine(indented, None if lead else line.style))

    def _said(self, text: str, width: int) -> Iterator[str]:
        from agentctl.cli.ui.cells import wrap

        drawn = text
        if self._markdown:
            from agentctl.cli.ui.markdown import render_markdown

            drawn = render_markdown(text, width=width)
        yield from wrap(text, width) if drawn == text else drawn.split("\n")


def call_text(call: ToolCall, *, whole: bool = False) -> str:
    """Return a tool call as text: ``docker_ps(all=true)``; long arguments are cut unless ``whole``."""
    given = ", ".join(f"{name}={value_text(value)}" for name, value in call.arguments.items())
    if len(given) > _LONGEST_CALL and not whole:
        given = given[: _LONGEST_CALL - 1] + "…"
    return f"{call.name}({given})"


def value_text(value: object) -> str:
    """Return an argument as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def describe_cut(gone: int, shortened: int) -> str:
    """Return what a cut removed: ``2 messages cut, 1 shortened``."""
    said = [f"{plural(gone, 'message')} cut"] if gone or not shortened else []
    if shortened:
        said.append(f"{shortened:,} shortened" if said else f"{plural(shortened, 'message')} shortened")
    return ", ".join(said)


def describe_pruning(event: ContextPruned) -> str:
    """Return what a cut removed and left, what summarized it, and its cost and savings in dollars, if known."""
    said = describe_cut(event.messages_cut, event.messages_shortened)
    if event.tokens_before:
        said += f", about {event.tokens_before:,} tokens to {event.tokens_after:,}"
    if event.summary == "model":
        said += ", summarized by the model"
    dollars = [f"costs about {money(event.cost_nano)}"] if event.cost_nano else []
    if event.saves_nano:
        each = f"about {money(abs(event.saves_nano))}"
        dollars.append(f"saves {each} a turn" if event.saves_nano > 0 else f"makes each turn {each} more expensive")
    return f"{said}; {', '.join(dollars)}" if dollars else said


def describe_notice(notice: FileNotice) -> str:
    """Return a changed file with the program that it controls, and where it was moved: ``Makefile (make)``."""
    where = "" if notice.moved_to is None else f", moved to {notice.moved_to}"
    return f"{_name_file(notice)}{where}"


def changed_file_lines(result: RunResult) -> tuple[ScreenLine, ...]:
    """Return lines about changed files that control other programs."""
    changed = [notice for notice in result.changed_files_run_later if notice.moved_to is None]
    moved = [notice for notice in result.changed_files_run_later if notice.moved_to is not None]
    lines = [_warning(f"changed files that other programs run later: {_list_files(changed)}")] if changed else []
    if moved:
        lines.append(_warning(f"moved out of the workspace, because they control other programs: {_list_files(moved)}"))
        back = [notice.restore_command for notice in moved[:_MOST_NOTICES] if notice.restore_command]
        lines += [ScreenLine("to restore a file:"), *(ScreenLine(f"  {command}") for command in back)] if back else []
    return tuple(lines)


def _name_file(notice: FileNotice) -> str:
    return f"{notice.path} ({notice.obeyed_by})"


def _list_files(notices: Sequence[FileNotice]) -> str:
    words = [_name_file(notice) for notice in notices[:_MOST_NOTICES]]
    more = [f"and {len(notices) - _MOST_NOTICES:,} more"] if len(notices) > _MOST_NOTICES else []
    return "; ".join(words + more)


def describe_substitution(event: ModelSubstituted) -> str:
    """Return which model answered instead of the requested one, and what that means for the price."""
    follows = {
        "more": "which costs more; calls are held at its price from now on",
        "less": "which costs less",
        "unknown": "whose price is unknown",
    }
    return f"{event.asked} was answered by {event.answered}, {follows[event.costs]}"


def _warning(text: str) -> ScreenLine:
    return ScreenLine(text, "yellow", "warning:")


def event_lines(event: Event, meter: Meter, *, verbose: bool) -> tuple[ScreenLine, ...]:
    """Return the lines of ``event``, often none; ``meter`` already includes it."""
    match event:
        case RunStarted():
            return (_start_line(event, verbose=verbose),)
        case RunResumed():
            return (_resume_line(event),)
        case ModelAnswered():
            return _turn_lines(event, meter)
        case ToolFinished():
            return _tool_lines(event, meter, verbose=verbose)
        case ObeyedFilesChanged():
            return tuple(ScreenLine(f"  {describe_notice(file)}", "dim") for file in event.files) if verbose else ()
        case ToolAllowed():
            printed = verbose or meter.was_asked(event.call)
            return (ScreenLine(f"{call_text(event.call)} · {event.by}", "green", "allowed:"),) if printed else ()
        case ToolDenied():
            why = " · you" if meter.was_asked(event.call) else f": {event.reason}"
            return (ScreenLine(f"{call_text(event.call)}{why}", "yellow", "denied:"),)
        case Noted():
            if event.level == "detail":
                return (ScreenLine(f"  {event.text}", "dim"),) if verbose else ()
            return (_warning(event.text) if event.level == "warning" else ScreenLine(event.text),)
        case LimitWarned():
            use = event.use
            share = 100 * use.used // use.ceiling if use.ceiling else 100
            used = f"{amount(use.used, use.unit)} of {limit(use.ceiling, use.unit)}"
            return (_warning(f"{use.name}: {share} % used ({used})"),)
        case CallRetried():
            when = f"in {seconds(event.seconds)}" if event.seconds >= 0.05 else "at once"
            return (ScreenLine(f"retrying {when}: {event.reason}"),)
        case ProviderReplaced():
            return (_warning(f"{event.failed} failed ({event.message}): continuing with {meter.chosen.name}"),)
        case CallWaited():
            most = "" if event.at_most_s is None else f", {seconds(event.at_most_s)} at most"
            return (ScreenLine(describe_wait(event) + most),)
        case CallUnsettled():
            wait = f"waiting up to {seconds(event.seconds)} to record the cost of a call: {event.reason}"
            return (_warning(f"{wait} (press Ctrl-C twice to stop waiting)"),) if event.seconds else ()
        case CallDoubted():
            if event.nano == 0:  # its price is 0: only its tokens are unknown
                said = f"; up to {event.tokens:,} tokens count against the limit" if meter.metered else ""
                return (_warning(f"a free call failed ({event.reason}){said}"),)
            counts = f"; {money(event.nano)} counts as spent" if event.nano and meter.metered else ""
            return (_warning(f"the cost of a call is unknown ({event.reason}){counts}"),)
        case ModelSubstituted():
            return (_warning(describe_substitution(event)),)
        case CallVoided():
            return (ScreenLine(f"  a call was not billed: {event.reason}", "dim"),) if verbose and meter.metered else ()
        case CallHeld():
            shown = verbose and meter.metered and event.hold_nano
            return (ScreenLine(f"  held {money(event.hold_nano or 0)}", "dim"),) if shown else ()
        case ContextPruned():
            return (ScreenLine(f"context: {describe_pruning(event)}"),)
        case ContextMeasured():
            return (_fullness_line(event),) if event.near else ()
        case (
            TurnStarted()
            | MessageAdded()
            | LimitsMeasured()
            | ApprovalAsked()
            | CallSent()
            | AnswerReceived()
            | CallSettled()
            | BreakerTripped()
            | AnswerStreamed()
            | ToolStarted()
            | Crashed()
            | RunFinished()
        ):
            return ()
        case _:
            assert_never(event)


def _start_line(event: RunStarted, *, verbose: bool) -> ScreenLine:
    name = f"{event.provider}/{event.model}" if event.model else event.provider
    parts = [name, event.provider_chosen_by]
    if verbose:
        parts += [f"via {event.client}"] if event.client else []
        parts += [f"agent {event.agent} ({event.agent_chosen_by})", event.workdir]
    if event.token_turns is not None:
        parts.append(_token_turns(event, *event.token_turns))
    return ScreenLine(" · ".join(part for part in parts if part), "dim")


def _resume_line(event: RunResumed) -> ScreenLine:
    """Return the line of a run that goes on: from where, and what of its limits is used already."""
    spent = next((use for use in event.limits if use.name == "max_cost_per_task"), None)
    used = f", {amount(spent.used, spent.unit)} of {limit(spent.ceiling, spent.unit)} is spent" if spent else ""
    return ScreenLine(f"going on with run {event.source[:6]} after {plural(event.turns, 'turn')}{used}")


def _token_turns(event: RunStarted, least: int, most: int) -> str:
    """Return how many turns the token limit allows with a full context."""
    tokens = next((use.ceiling or 0 for use in event.limits if use.name == "max_tokens_per_task"), 0)
    turns = plural(most, "turn") if least == most else f"{least:,} to {most:,} turns"
    return f"{tokens:,} tokens allow about {turns} with a full context"


def _fullness_line(event: ContextMeasured) -> ScreenLine:
    full = f"context: {100 * event.tokens // event.limit} % of {event.limit:,} tokens used"
    return ScreenLine(f"{full}; beyond that the least relevant parts are cut: agentctl help context", "dim")


def _turn_lines(event: ModelAnswered, meter: Meter) -> tuple[ScreenLine, ...]:
    """Return the lines of a turn, without a final answer, which is printed on stdout."""
    said = event.text.strip("\n") if event.tool_calls else ""
    lines = (ScreenLine(said, said=meter.metered),) if said else ()
    if not meter.metered:
        return lines
    did = ", ".join(map(call_text, event.tool_calls)) or "answer"
    spent = f" · {money(meter.cost_nano)}" if meter.cost_nano else ""
    return (*lines, ScreenLine(f"turn {event.turn} · {did}{spent}", "dim"))


def _tool_lines(event: ToolFinished, meter: Meter, *, verbose: bool) -> tuple[ScreenLine, ...]:
    took = seconds(event.duration_s)
    if event.error is not None:
        # The only call of builtin ends the run, and the error of the run says the same.
        shown = meter.metered or verbose
        return (ScreenLine(f"{call_text(event.call)}: {event.error.message}", "yellow", "failed:"),) if shown else ()
    size = plural(event.text.count("\n") + 1 if event.text else 0, "line")
    return (ScreenLine(f"  {call_text(event.call)} · {took} · {size}", "dim"),) if verbose else ()


class PlainScreen:
    """A screen of plain lines: prints the lines of each record, none if ``quiet``. ``meter`` is the current state.

    ``width`` returns the columns of a terminal, None where lines are not wrapped.
    """

    def __init__(
        self,
        *,
        write: Callable[[str], object],
        layout: LineLayout,
        width: Callable[[], int | None] = lambda: None,
        verbose: bool = False,
        quiet: bool = False,
    ) -> None:
        self._write = write
        self._layout, self._width = layout, width
        self._verbose = verbose
        self._quiet = quiet
        self.meter = Meter()

    async def observe(self, record: Record) -> None:
        """Add the record to the meter and print its lines."""
        self.meter = follow(self.meter, record)
        self.print_lines(*event_lines(record.event, self.meter, verbose=self._verbose))

    def print_lines(self, *lines: ScreenLine) -> None:
        """Print lines, unless quiet."""
        if not self._quiet:
            width = self._width()
            for line in lines:
                rows = (self._layout.whole(line),) if width is None else self._layout.rows(line, width)
                self._write("".join(f"{row}\n" for row in rows))

    def pause(self) -> None:
        """Do nothing: there is no drawing to remove."""

    def resume(self) -> None:
        """Do nothing: see ``pause``."""

    def suspend(self) -> None:
        """Do nothing: see ``pause``."""

    def come_back(self) -> None:
        """Do nothing: see ``pause``."""

    def close(self) -> None:
        """Do nothing: all lines are already printed."""
