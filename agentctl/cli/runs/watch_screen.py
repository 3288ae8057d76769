"""Show the records of a journal as ``agentctl run`` shows its events: plain lines, the answer, how the run ended."""

from __future__ import annotations

from typing import TextIO

from agentctl.cli.exit_codes import status_named
from agentctl.cli.runs.watch import death_line
from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.columns import Page, page_of
from agentctl.cli.ui.format import Paint
from agentctl.cli.ui.lines import LineLayout, PlainScreen, changed_file_lines, event_lines
from agentctl.cli.ui.meter import Meter, follow
from agentctl.cli.ui.run_table import describe_failure
from agentctl.cli.ui.summary import hint_text, next_steps, short_id, summary_line
from agentctl.cli.ui.terminal import terminal_width
from agentctl.core.events import RunFinished
from agentctl.core.results import RunResult
from agentctl.core.text import safe_text
from agentctl.journal.decoder import decode_record
from agentctl.journal.record_parts import Fields


class WatchScreen:
    """Prints the records of a run on ``out``, in order; ``styles``: it is a terminal that shows them.

    ``is_over``: the last record was the end of the run, or of a part of it. Records that this version cannot read, as
    of a later one, are skipped.
    """

    def __init__(self, run_id: str, out: TextIO, *, paint: Paint, styles: bool, verbose: bool) -> None:
        self.is_over = False
        self._run_id, self._out, self._paint, self._styles, self._verbose = run_id, out, paint, styles, verbose
        self._meter = Meter()
        bar = "│" if "utf" in (out.encoding or "").lower() else "|"
        layout = LineLayout(paint=paint, markdown=styles, bar=bar)
        self._lines = PlainScreen(write=out.write, layout=layout, width=lambda: terminal_width(out))

    def show(self, fields: Fields) -> None:
        """Print a record."""
        if self.is_over:  # another part of the run begins
            self._write("")
        self.is_over = fields.get("event") == "run_finished"
        record = decode_record(fields)
        if record is None:
            return
        self._meter = follow(self._meter, record)
        self._lines.print_lines(*event_lines(record.event, self._meter, verbose=self._verbose))
        if isinstance(record.event, RunFinished):
            self._show_end(record.event.result)

    def show_death(self) -> None:
        """Say that the process of the run died before its end, and how to go on with it."""
        self._write(f"\n{self._paint('killed', 'red')}{death_line(self._run_id).removeprefix('killed')}")
        if self._meter.metered and self._meter.turn:
            self._write(hint_text(f"go on where it stopped: agentctl runs resume {short_id(self._run_id)}", self._page))

    @property
    def _page(self) -> Page:
        return page_of(self._out)

    def _show_end(self, result: RunResult) -> None:
        """Print the answer, the error with what to do, and how the run ended."""
        if answer := self._answer(result):
            self._write(f"\n{answer}\n" if result.complete else f"\nso far:\n{answer}\n")
        if result.error is not None:
            message = self._page.prose(f"error: {describe_failure(result)}").removeprefix("error:")
            self._write(f"{self._paint('error:', 'red')}{message}")
            for step in next_steps(result, ()):
                self._write(hint_text(step, self._page))
        self._lines.print_lines(*changed_file_lines(result))
        code, width = status_named(result.status).value, self._page.width
        ended = summary_line(result, self._paint, width=width)
        if code:
            last = f"{ended.rpartition(chr(10))[2]} · exit {code}"
            ended += f"\n  exit {code}" if width is not None and cell_width(last) > width else f" · exit {code}"
        self._write(ended)

    def _answer(self, result: RunResult) -> str:
        text, width = safe_text(result.answer).rstrip("\n"), self._page.width
        if width is None:
            return text
        if not result.metered:
            return self._page.refit(text)
        if not self._styles:
            return text
        from agentctl.cli.ui.markdown import render_answer

        return render_answer(text, width)

    def _write(self, text: str) -> None:
        self._out.write(f"{text}\n")
