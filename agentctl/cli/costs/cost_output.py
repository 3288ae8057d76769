"""Print the report of ``agentctl costs`` once, or again after each change (``--watch``)."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TextIO

from agentctl.cli.costs.document import LimitStatus, SpendGate
from agentctl.cli.exit_codes import ExitStatus, exit_status
from agentctl.cli.streams import wait_for_more
from agentctl.core.errors import UsageError
from agentctl.ledger.report import CostQuery, CostReport


class CostView(NamedTuple):
    """A report with its query; ``notes`` say how ambiguous times were interpreted."""

    report: CostReport
    query: CostQuery
    title: str
    notes: tuple[str, ...]
    statuses: tuple[LimitStatus, ...]
    gate: SpendGate | None

    @property
    def code(self) -> int:
        """The exit code."""
        return ExitStatus.done.value if self.gate is None or self.gate.passed else ExitStatus.budget.value


def print_view(view: CostView, form: str, out: TextIO) -> int:
    """Print the view once; return the exit code."""
    print_notes(view)
    out.write(render(view, form, out))
    out.flush()
    return report_gate(view)


def print_notes(view: CostView) -> None:
    """Print on stderr how ambiguous times were interpreted."""
    from agentctl.cli.error_output import print_stderr

    for text in view.notes:
        print_stderr(f"note: {text}")


def report_gate(view: CostView) -> int:
    """Print on stderr why ``--fail-above`` failed, if it did; return the exit code."""
    if view.gate is not None and not view.gate.passed:
        from agentctl.cli.error_output import print_error

        print_error(view.gate.message, view.gate.hint)
    return view.code


def render(view: CostView, form: str, out: TextIO, *, line: bool = False) -> str:
    """Return the text for stdout, with its final newline; ``line`` puts JSON on one line."""
    if form == "csv":
        from agentctl.cli.costs.document import costs_csv

        return costs_csv(view.report, view.query)
    if form == "json":
        from agentctl.cli.costs.document import costs_document
        from agentctl.cli.documents import as_json

        found = costs_document(view.report, view.query, statuses=view.statuses, gate=view.gate)
        return as_json(found, line=line) + "\n"
    from agentctl.cli.costs.table import render_table
    from agentctl.cli.ui.cells import has_blocks
    from agentctl.cli.ui.columns import page_of

    blocks = has_blocks(out.encoding)
    return render_table(view.report, view.query, view.title, view.statuses, page_of(out), blocks=blocks) + "\n"


_PAUSE_S = 1.0
_REST = 10  # a report on a long window may take seconds: spend at most a tenth of the time on it
_BOTTOM = 6  # last rows to keep if the table does not fit the screen
_CLEAR = "\x1b[H\x1b[2J"


def watch_costs(look: Callable[[], CostView], form: str) -> int:
    """Print views until a signal (Ctrl-C: 130), until ``--fail-above`` fails (3), or until stdout has no reader (0).

    Raises:
        UsageError: the format is CSV, or a table and stdout is not a terminal that can be redrawn.
    """
    from agentctl.cli.ui.terminal import is_terminal
    from agentctl.settings.host import is_dumb

    if form == "csv":
        raise UsageError("--watch does not support CSV", hint="agentctl costs --watch -o json")
    if form != "json" and (not is_terminal(sys.stdout) or is_dumb()):
        raise UsageError(
            "--watch needs stdout to be a terminal that can be redrawn",
            hint="agentctl costs --watch -o json   prints a line of JSON per change",
        )
    gc.enable()  # it was turned off at start-up, for short commands
    try:
        return _watch_json(look) if form == "json" else _watch_screen(look, form)
    except KeyboardInterrupt:
        from agentctl.cli.signals import interruption

        return exit_status(interruption()).value


def _watch_json(look: Callable[[], CostView]) -> int:
    before = None
    while True:
        began = time.monotonic()
        view = look()
        if before is None:
            print_notes(view)
        if before != view.report.timeless:
            before = view.report.timeless
            sys.stdout.write(render(view, "json", sys.stdout, line=True))
            sys.stdout.flush()
        if view.code:
            return report_gate(view)
        if not wait_for_more(sys.stdout, max(_PAUSE_S, _REST * (time.monotonic() - began))):
            return ExitStatus.done.value


def _watch_screen(look: Callable[[], CostView], form: str) -> int:
    from agentctl.cli.signals import when_suspended

    screen = _WatchedScreen()
    with when_suspended(lambda: None, screen.forget):
        return _draw_again_and_again(look, form, screen)


@dataclass(slots=True)
class _WatchedScreen:
    """What was drawn last: the report (None: nothing, or another program wrote since), its rows, and the size."""

    report: object = None
    rows: int = 0
    size: os.terminal_size | None = None

    def forget(self) -> None:
        """Draw below what is there now."""
        self.report, self.rows = None, 0


def _draw_again_and_again(look: Callable[[], CostView], form: str, screen: _WatchedScreen) -> int:
    while True:
        began = time.monotonic()
        view = look()
        size = os.get_terminal_size(sys.stdout.fileno())
        if screen.size is None:
            print_notes(view)
        if (screen.report, screen.size) != (view.report.timeless, size):
            again = f"\x1b[{screen.rows}A\r\x1b[J" if screen.rows else ""
            again = _CLEAR if screen.size not in (None, size) else again  # wrapped rows may be anywhere
            screen.report, screen.size = view.report.timeless, size
            shown = render(view, form, sys.stdout)
            mark = f"as of {datetime.now():%H:%M:%S}; Ctrl-C to stop"
            lines = _fit_to_screen([*shown.splitlines(), mark], size)
            screen.rows = len(lines)
            sys.stdout.write(again + "\n".join(lines) + "\n")
            sys.stdout.flush()
        if view.code:
            return report_gate(view)
        if not wait_for_more(sys.stdout, max(_PAUSE_S, _REST * (time.monotonic() - began))):
            return ExitStatus.done.value


def _fit_to_screen(lines: list[str], size: os.terminal_size) -> list[str]:
    """Return the rows that fit the screen; if there are too many, one line replaces those in the middle."""
    from agentctl.cli.ui.cells import cell_width

    room = max(2, size.lines - 1)
    if len(lines) > room:
        bottom = min(_BOTTOM, room - 1)
        top = room - bottom - 1
        lines = [*lines[:top], f"({len(lines) - top - bottom:,} more rows)", *lines[-bottom:]]
    fitting = []
    for line in lines:
        end = line[: size.columns]
        while cell_width(end) > size.columns:
            end = end[:-1]
        fitting.append(end)
    return fitting
