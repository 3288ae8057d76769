"""What a run looks like from outside: who watches it, and what stdout and stderr get at its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from agentctl.cli.document import Document, as_json, finished_line, run_document
from agentctl.cli.exits import named
from agentctl.cli.failure import tell
from agentctl.cli.invocation import Form
from agentctl.events import Record, RunFinished, RunResult
from agentctl.protocols import Observer
from agentctl.text import redact, safe_text
from agentctl.ui.colour import Paint
from agentctl.ui.plain import PlainScreen
from agentctl.ui.summary import details, retry_command, summary


class JsonLines:
    """Writes each record as a line of JSON at once; the last one waits for the whole document."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self.last_seq = 0
        self.last_at = datetime.now(UTC)

    async def observe(self, record: Record) -> None:
        """Write the record, unless it is the run's end."""
        from agentctl.journal import as_line

        self.last_seq, self.last_at = record.seq, record.at
        if not isinstance(record.event, RunFinished):
            sys.stdout.write(as_json(without(as_line(record), self._secrets), line=True) + "\n")
            sys.stdout.flush()


class Presenter:
    """Shows one run in the form asked for; ``command`` are the words that would start it again."""

    def __init__(
        self,
        *,
        form: Form,
        paint: Paint,
        quiet: bool,
        verbose: bool,
        command: Sequence[str],
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._form: Form = form
        self._paint = paint
        self._quiet = quiet
        self._verbose = verbose
        self._command = command
        self._secrets = secrets
        self._screen = PlainScreen(write=self._write, paint=paint, verbose=verbose, quiet=quiet)
        self._lines = JsonLines(secrets)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who sees the run's records."""
        return (self._screen, self._lines) if self._form == "jsonl" else (self._screen,)

    def present(self, result: RunResult) -> int:
        """Print the end of a run and return its exit code."""
        self._to_stdout(result)
        if result.error is not None:
            if self._form == "text" and result.answer and not result.complete:
                self._write(f"--- so far ---\n{safe_text(result.answer).rstrip()}\n--------------\n")
            tell(self._clean(result.error.message), self._clean(self._hint(result)), self._paint)
        if not self._quiet:
            if result.breaker is not None or self._verbose:
                self._write(details(result, self._screen.meter, self._paint) + "\n")
            self._write(summary(result, self._paint) + "\n")
        sys.stderr.flush()
        return named(result.status).value

    def _to_stdout(self, result: RunResult) -> None:
        match self._form:
            case "text":
                text = safe_text(self._clean(result.answer)) if result.status == "done" else ""
            case "json":
                text = as_json(without(run_document(result), self._secrets))
            case "jsonl":
                document = finished_line(run_document(result), seq=self._lines.last_seq, at=self._lines.last_at)
                text = as_json(without(document, self._secrets), line=True)
        if text:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def _hint(self, result: RunResult) -> str:
        """Return the error's hint; where that is to run again with more, with all the flags of this run."""
        hint = "" if result.error is None else result.error.hint
        again = result.breaker is not None and self._command and hint.startswith("agentctl run ")
        return retry_command(self._command, result.breaker) if again and result.breaker else hint

    def _write(self, text: str) -> None:
        sys.stderr.write(self._clean(text))
        sys.stderr.flush()

    def _clean(self, text: str) -> str:
        return redact(text, self._secrets)


def without(document: Mapping[str, object], secrets: tuple[str, ...]) -> Document:
    """Return the document with secrets taken out of every text in it."""
    return {name: _without(value, secrets) for name, value in document.items()}


def _without(value: object, secrets: tuple[str, ...]) -> object:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, dict):
        return {redact(str(name), secrets): _without(item, secrets) for name, item in value.items()}
    return [_without(item, secrets) for item in value] if isinstance(value, list) else value
