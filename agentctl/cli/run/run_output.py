"""The output of a run: screen and records while it runs; answer, error and summary at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from agentctl.cli.documents import as_json, finished_line, redact_document, run_document
from agentctl.cli.exit_codes import status_named
from agentctl.cli.invocation import Form
from agentctl.cli.streams import StdoutStream, is_ready, require_reader, write_question
from agentctl.cli.ui.format import Paint
from agentctl.cli.ui.lines import LineLayout, PlainScreen, ScreenLine, changed_file_lines
from agentctl.cli.ui.summary import hint_text, next_steps, short_id, summary_line
from agentctl.cli.ui.terminal import can_draw, can_style, is_in_batch, is_person_here, is_terminal, terminal_width
from agentctl.core.events import (
    AnswerReceived,
    AnswerStreamed,
    CallHeld,
    CallRetried,
    CallSent,
    CallWaited,
    Record,
    RunFinished,
    RunResumed,
    RunStarted,
    TurnStarted,
)
from agentctl.core.redaction import redact
from agentctl.core.results import FOUND_SO_FAR, RESULTS_SO_FAR, RunResult
from agentctl.core.text import safe_text
from agentctl.protocols import Approver, Observer

if TYPE_CHECKING:
    from agentctl.cli.ci.reports import RunReports
    from agentctl.cli.ui.approval_prompt import TerminalApprover
    from agentctl.cli.ui.columns import Page
    from agentctl.cli.ui.live import LiveScreen


class JsonLines:
    """Print each record as a line of JSON at once, except the last, which ``Presenter`` prints with the document.

    Pieces of an answer that may be reasoning wait until that is certain: for the next piece that is none, or the end.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._unsure: list[str] = []
        self.last_seq = 0
        self.last_at = datetime.now(UTC)

    async def observe(self, record: Record) -> None:
        """Print the record, unless it is the end of the run."""
        from agentctl.journal.writer import encode_record

        self.last_seq, self.last_at = record.seq, record.at
        event = record.event
        if isinstance(event, AnswerStreamed) and event.kind == "restart":
            self._unsure.clear()
        if isinstance(event, RunFinished):
            return  # an answer's end came before
        if isinstance(event, AnswerReceived):  # the journal alone has the answer as it came, with its reasoning
            record = record._replace(event=event._replace(text="", thoughts=(), reasoning=""))
        line = as_json(redact_document(encode_record(record), self._secrets), line=True) + "\n"
        if isinstance(event, AnswerStreamed) and event.kind == "unsure":
            self._unsure.append(line)
            return
        line = self._take_unsure() + line
        if is_ready(sys.stdout):
            _print(line)
        else:  # a reader that is busy: meanwhile signals and timeouts go on
            from anyio.to_thread import run_sync

            await run_sync(_print, line)

    def _take_unsure(self) -> str:
        """Return the lines that wait, and forget them."""
        lines = "".join(self._unsure)
        self._unsure.clear()
        return lines


class ReaderWatch:
    """Stops a run before it pays for another call once stdout has no reader; builtin's calls are free."""

    def __init__(self) -> None:
        self._metered = False

    async def observe(self, record: Record) -> None:
        """Check whether stdout has a reader, before each turn, call, retry and wait.

        Raises:
            ReaderGone: it has none.
            StateError: it cannot be written.
        """
        match record.event:
            case RunStarted(metered=metered):
                self._metered = metered
            case RunResumed():
                self._metered = True
            case CallSent() if isinstance(sys.stdout, StdoutStream):
                sys.stdout.has_paid = True
            case TurnStarted() | CallHeld() | CallRetried() | CallWaited() if self._metered:
                require_reader()
            case _:
                pass


class RunTag:
    """The text before each line of a run at a terminal of several: ``[7f3a21] ``; empty before the run starts."""

    def __init__(self) -> None:
        self.text = ""

    async def observe(self, record: Record) -> None:
        """Take the id of the run from its first record."""
        self.text = self.text or f"[{short_id(record.run_id)}] "

    def put_before(self, text: str) -> str:
        """Return ``text`` with the tag before each line that is not empty."""
        return "\n".join(f"{self.text}{line}" if line else line for line in text.split("\n"))


class Presenter:
    """Print one run in the output format ``form``.

    ``command`` is the command line that would repeat it, ``term`` is TERM, ``styles`` allows styles if stdout is a
    terminal. Call ``close`` before ``present``: the screen must be removed first.
    """

    def __init__(
        self,
        *,
        form: Form,
        paint: Paint,
        quiet: bool,
        verbose: bool,
        command: Sequence[str],
        secrets: tuple[str, ...] = (),
        term: str = "",
        styles: bool = True,
        reports: RunReports | None = None,
    ) -> None:
        self._reports = reports
        self._form: Form = form
        self._paint = paint
        self._quiet = quiet
        self._verbose = verbose
        self._command = command
        self._secrets = secrets
        self._term, self._styles = term, styles
        # JSON lines on the same terminal would break the drawing, and so would the lines of other runs.
        self._tag = RunTag() if is_in_batch(sys.stdin, sys.stderr) else None
        has_lines = self._tag is not None or (form == "jsonl" and is_terminal(sys.stdout))
        self._draws = not quiet and can_draw(sys.stderr, term) and not has_lines
        self._layout = LineLayout(
            paint=paint,
            secrets=secrets,
            markdown=self._can_style(sys.stderr),
            bar="│" if "utf" in (sys.stderr.encoding or "").lower() else "|",
        )
        self._screen = self._open_screen()
        self._approver: TerminalApprover | None = None
        self._lines = JsonLines(secrets)
        self._watch = ReaderWatch()

    def _open_screen(self) -> LiveScreen | PlainScreen:
        if not self._draws:
            return PlainScreen(
                write=self._write,
                layout=self._layout,
                width=self._width,
                verbose=self._verbose,
                quiet=self._quiet,
            )
        from agentctl.cli.ui.live import LiveScreen

        return LiveScreen(
            file=sys.stderr,
            paint=self._paint,
            colour=self._paint("", "dim") != "",
            term=self._term,
            size=_size,
            ready=lambda: is_ready(sys.stderr),
            secrets=self._secrets,
            markdown=self._styles,
            verbose=self._verbose,
        )

    @property
    def approver(self) -> Approver | None:
        """The approver at the terminal, None if there is no user to ask; independent of ``quiet`` and ``form``."""
        if not is_person_here(sys.stdin, sys.stderr):
            return None
        from agentctl.cli.ui.approval_prompt import TerminalApprover

        self._approver = TerminalApprover(
            stdin=sys.stdin.fileno(),
            write=self._tell_unmasked,
            paint=self._paint,
            size=_size,
            pause=self._screen.pause,
            resume=self._screen.resume,
            wipe=self._draws,
        )
        return self._approver

    @contextmanager
    def suspendable(self) -> Iterator[None]:
        """While Ctrl-Z stops the run, remove what is drawn; then draw and ask it again. Enter it in the event loop."""
        if not self._draws and self._approver is None:
            yield
            return
        from agentctl.cli.signals import when_suspended

        with when_suspended(self._screen.suspend, self._come_back, in_loop=True):
            yield

    def _come_back(self) -> None:
        self._screen.come_back()
        if self._approver is not None:
            self._approver.ask_again()

    def warn(self, text: str) -> None:
        """Print a warning during the run."""
        self._screen.print_lines(ScreenLine(text, "yellow", "warning:"))

    def close(self) -> None:
        """Remove what the screen drew, and end the last section of a CI system's log."""
        self._screen.close()
        if self._reports is not None:
            self._reports.close()

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers that receive the records of the run."""
        lines = (self._lines,) if self._form == "jsonl" else ()
        tag = () if self._tag is None else (self._tag,)
        sections = (self._reports,) if self._reports is not None and self._reports.observes else ()
        return (*tag, *sections, self._screen, *lines, self._watch)

    def present(self, result: RunResult) -> int:
        """Print the result of a run and return its exit code: error, what to do, answer so far, table, summary."""
        if self._reports is not None:
            self._reports.take(result, meter=self._screen.meter, steps=next_steps(result, self._command))
        self._to_stdout(result)
        tripped = result.breaker is not None
        tabled = not self._quiet and (tripped or self._verbose)
        width = self._width()
        if result.error is not None:
            self._write("\n" if tabled and self._draws else "")
            self._print_error(result)
            if self._form == "text" and not result.complete and (partial := self._partial_answer(result)):
                head, foot = (self._paint(rule, "dim") for rule in ("--- so far ---", "--------------"))
                self._write("\n" if tabled and self._draws else "")
                self._write(f"{head}\n{partial}\n{foot}\n")
        if not self._quiet:
            for line in changed_file_lines(result):
                rows = (self._layout.whole(line),) if width is None else self._layout.rows(line, width)
                self._write("".join(f"{row}\n" for row in rows))
            if tabled:
                from agentctl.cli.ui.run_table import render_run_table

                table = render_run_table(result, self._screen.meter, self._paint, page=self._page())
                self._write(f"\n{table}\n\n")
            self._write(summary_line(result, self._paint, below_table=tabled and tripped, width=width) + "\n")
        sys.stderr.flush()
        return status_named(result.status).value

    def _print_error(self, result: RunResult) -> None:
        """Print the error, or which limit tripped, and the hints; text to paste is not wrapped."""
        from agentctl.cli.ui.run_table import describe_failure

        page, message = self._page(), describe_failure(result)
        message = page.prose(f"error: {self._clean(message)}").removeprefix("error:")
        self._write(f"{self._paint('error:', 'red')}{message}\n")
        for step in map(self._clean, next_steps(result, self._command)):
            self._write(f"{hint_text(step, page)}\n")

    def _partial_answer(self, result: RunResult) -> str:
        """Return the answer so far; on a terminal drawn, without the words that are its last line already."""
        text = safe_text(self._clean(result.answer)).rstrip()
        width = self._width()
        if width is None:
            return text
        said = "" if self._quiet else safe_text(self._clean(self._screen.meter.said)).strip()
        if said and text.startswith(said):
            text = text.removeprefix(said).lstrip("\n")
        from agentctl.cli.ui.cells import wrap_prose

        words, heading, found = text.partition(RESULTS_SO_FAR if RESULTS_SO_FAR in text else FOUND_SO_FAR)
        words = words.strip("\n")
        found = wrap_prose(f"{heading if words else ''}{found}".strip("\n"), width)
        if result.metered and self._can_style(sys.stderr):
            from agentctl.cli.ui.markdown import render_answer

            words = render_answer(words, width)
        return "\n\n".join(part for part in (words, found) if part)

    def _to_stdout(self, result: RunResult) -> None:
        match self._form:
            case "text":
                text = self._answer(result) if result.status == "done" else ""
                text = text if self._reports is None else self._reports.for_stdout(text)
            case "json":
                text = as_json(redact_document(run_document(result), self._secrets))
            case "jsonl":
                document = finished_line(run_document(result), seq=self._lines.last_seq, at=self._lines.last_at)
                text = as_json(redact_document(document, self._secrets), line=True)
        aired = text and self._form == "text" and self._draws and is_terminal(sys.stdout)
        if text and self._tag is not None and self._form == "text" and is_terminal(sys.stdout):
            self._write("answer:\n")  # stdout has no tags
        if aired:
            self._write("\n")  # separate the answer from the lines above
        if text:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
        if aired:
            self._write("\n")

    def _answer(self, result: RunResult) -> str:
        """Return the answer; render Markdown of a model if stdout is a terminal with styles."""
        text = safe_text(self._clean(result.answer))
        if result.structured is not None:
            return text  # one line of JSON, which neither a width nor Markdown may change
        width = terminal_width(sys.stdout)
        if width is not None and not result.metered:
            from agentctl.cli.ui.columns import page_of

            return page_of(sys.stdout).refit(text)
        if width is None or not self._can_style(sys.stdout):
            return text
        from agentctl.cli.ui.markdown import render_answer

        return render_answer(text, width)

    def _can_style(self, stream: TextIO) -> bool:
        return self._styles and can_style(stream, self._term)

    def _width(self) -> int | None:
        """Return the columns for a line on stderr, None if it is no terminal."""
        width = terminal_width(sys.stderr)
        return width if width is None or self._tag is None else max(1, width - len(self._tag.text))

    def _page(self) -> Page:
        from agentctl.cli.ui.columns import page_of

        return page_of(sys.stderr)._replace(width=self._width())

    def _write(self, text: str) -> None:
        text = self._clean(text)
        text = text if self._reports is None else self._reports.for_log(text)
        sys.stderr.write(text if self._tag is None else self._tag.put_before(text))
        sys.stderr.flush()

    def _tell_unmasked(self, text: str) -> None:
        """Print a question without redaction: the user must see everything that they allow."""
        write_question(text)

    def _clean(self, text: str) -> str:
        return redact(text, self._secrets)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _size() -> os.terminal_size:
    try:
        return os.get_terminal_size(sys.stderr.fileno())
    except OSError:  # the terminal is gone
        return os.terminal_size((80, 24))
