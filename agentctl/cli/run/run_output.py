"""The output of a run: screen and records while it runs; answer, error and summary at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentctl.cli.documents import as_json, finished_line, redact_document, run_document
from agentctl.cli.error_output import print_error
from agentctl.cli.exit_codes import status_named
from agentctl.cli.invocation import Form
from agentctl.cli.streams import StdoutStream, is_ready, require_reader, write_question
from agentctl.cli.ui.format import Paint
from agentctl.cli.ui.lines import PlainScreen, ScreenLine, changed_file_lines
from agentctl.cli.ui.summary import is_retry_hint, retry_command, summary_line
from agentctl.cli.ui.terminal import can_draw, can_style, is_person_here, is_terminal
from agentctl.core.events import (
    CallHeld,
    CallRetried,
    CallSent,
    CallWaited,
    Record,
    RunFinished,
    RunStarted,
    TurnStarted,
)
from agentctl.core.redaction import redact
from agentctl.core.results import RunResult
from agentctl.core.text import safe_text
from agentctl.protocols import Approver, Observer

if TYPE_CHECKING:
    from agentctl.cli.ui.approval_prompt import TerminalApprover
    from agentctl.cli.ui.live import LiveScreen


class JsonLines:
    """Print each record as a line of JSON at once, except the last, which ``Presenter`` prints with the document."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self.last_seq = 0
        self.last_at = datetime.now(UTC)

    async def observe(self, record: Record) -> None:
        """Print the record, unless it is the end of the run."""
        from agentctl.journal.writer import encode_record

        self.last_seq, self.last_at = record.seq, record.at
        if isinstance(record.event, RunFinished):
            return
        line = as_json(redact_document(encode_record(record), self._secrets), line=True) + "\n"
        if is_ready(sys.stdout):
            _print(line)
        else:  # a reader that is busy: meanwhile signals and timeouts go on
            from anyio.to_thread import run_sync

            await run_sync(_print, line)


class ReaderWatch:
    """Stops a run whose stdout nobody can read any more before it pays for another call; builtin's calls are free."""

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
            case CallSent() if isinstance(sys.stdout, StdoutStream):
                sys.stdout.has_paid = True
            case TurnStarted() | CallHeld() | CallRetried() | CallWaited() if self._metered:
                require_reader()
            case _:
                pass


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
    ) -> None:
        self._form: Form = form
        self._paint = paint
        self._quiet = quiet
        self._verbose = verbose
        self._command = command
        self._secrets = secrets
        self._term, self._styles = term, styles
        # JSON lines on the same terminal would break the drawing.
        self._draws = not quiet and can_draw(sys.stderr, term) and not (form == "jsonl" and is_terminal(sys.stdout))
        self._screen = self._open_screen()
        self._approver: TerminalApprover | None = None
        self._lines = JsonLines(secrets)
        self._watch = ReaderWatch()

    def _open_screen(self) -> LiveScreen | PlainScreen:
        if not self._draws:
            return PlainScreen(write=self._write, paint=self._paint, verbose=self._verbose, quiet=self._quiet)
        from agentctl.cli.ui.live import LiveScreen

        return LiveScreen(
            file=sys.stderr,
            paint=self._paint,
            colour=self._paint("", "dim") != "",
            term=self._term,
            size=_size,
            ready=lambda: is_ready(sys.stderr),
            secrets=self._secrets,
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
        """Remove what the screen drew."""
        self._screen.close()

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers that receive the records of the run."""
        lines = (self._lines,) if self._form == "jsonl" else ()
        return (self._screen, *lines, self._watch)

    def present(self, result: RunResult) -> int:
        """Print the result of a run and return its exit code."""
        self._to_stdout(result)
        tabled = not self._quiet and (result.breaker is not None or self._verbose)
        if result.error is not None:
            if self._form == "text" and result.answer and not result.complete:
                self._write(f"--- so far ---\n{safe_text(result.answer).rstrip()}\n--------------\n")
            hint = "" if tabled and result.breaker is not None else self._hint(result)  # the table ends with the hint
            print_error(self._clean(result.error.message), self._clean(hint), self._paint)
        if not self._quiet:
            for line in changed_file_lines(result):
                self._write(line.render(self._paint) + "\n")
            if tabled:
                from agentctl.cli.ui.columns import page_of
                from agentctl.cli.ui.run_table import render_run_table

                paste = self._hint(result) if result.breaker is not None else ""
                page = page_of(sys.stderr)
                table = render_run_table(result, self._screen.meter, self._paint, paste=paste, page=page)
                self._write(f"\n{table}\n\n")
            self._write(summary_line(result, self._paint) + "\n")
        sys.stderr.flush()
        return status_named(result.status).value

    def _to_stdout(self, result: RunResult) -> None:
        match self._form:
            case "text":
                text = self._answer(result) if result.status == "done" else ""
            case "json":
                text = as_json(redact_document(run_document(result), self._secrets))
            case "jsonl":
                document = finished_line(run_document(result), seq=self._lines.last_seq, at=self._lines.last_at)
                text = as_json(redact_document(document, self._secrets), line=True)
        aired = text and self._form == "text" and self._draws and is_terminal(sys.stdout)
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
        if not (result.metered and self._styles and can_style(sys.stdout, self._term)):
            return text
        from agentctl.cli.ui.markdown import render_markdown

        with suppress(OSError):
            return render_markdown(text, width=os.get_terminal_size(sys.stdout.fileno()).columns)
        return text

    def _hint(self, result: RunResult) -> str:
        """Return the hint of the error; a hint to run again with a higher limit gets all flags of this run."""
        hint = "" if result.error is None else result.error.hint
        again = result.breaker is not None and self._command and is_retry_hint(hint)
        return retry_command(self._command, result.breaker) if again and result.breaker else hint

    def _write(self, text: str) -> None:
        sys.stderr.write(self._clean(text))
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
