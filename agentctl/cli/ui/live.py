"""The screen on a terminal: permanent lines above a live region, which is removed at the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from agentctl.cli.ui.format import Paint
from agentctl.cli.ui.layout import Row, StyledText, region_rows, wrapped_rows
from agentctl.cli.ui.lines import LineLayout, ScreenLine, event_lines
from agentctl.cli.ui.meter import Meter, follow
from agentctl.cli.ui.terminal import FRAME, set_restore_sequence
from agentctl.core.events import Record, RunStarted
from agentctl.core.redaction import redact
from agentctl.core.text import safe_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.text import Text

PATIENCE_S = 0.3  # a run that ends sooner draws nothing
_FRAME_S = 0.1
_SUSPEND_S = 1.0
_SHORTEST_BEGINNING = 4


class _Frame:
    """The renderable for rich: one line of text per row."""

    def __init__(self) -> None:
        self.rows: tuple[Row, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        for row in self.rows:
            yield Text.assemble(*((text, style or "") for text, style in row), no_wrap=True, overflow="crop")


def _styled_row(text: Text) -> Row:
    """Return text of rich, in styles that do not overlap, as a row."""
    edges = sorted({edge for span in text.spans for edge in (span.start, span.end)})
    pieces = text.divide(edges) if edges else (text,)
    return tuple(StyledText(each.plain, str(each.spans[0].style) if each.spans else None) for each in pieces if each)


class LiveScreen:
    """Fold the records into a meter and draw it in a thread, so that a slow terminal does not delay the run.

    ``size`` returns the current columns and rows, ``ready`` whether the terminal takes output now: until then nothing
    is drawn, and lines wait. ``markdown``: draw the Markdown of what a model says. If drawing fails, only plain lines
    follow. Call ``close`` at the end.
    """

    def __init__(
        self,
        *,
        file: TextIO,
        paint: Paint,
        colour: bool,
        term: str,
        size: Callable[[], os.terminal_size],
        secrets: Sequence[str] = (),
        markdown: bool = False,
        verbose: bool = False,
        patience_s: float = PATIENCE_S,
        ready: Callable[[], bool] = lambda: True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._file, self._colour, self._term, self._size = file, colour, term, size
        self._layout = LineLayout(paint=paint, secrets=secrets, markdown=markdown)
        self._markdown = markdown
        self._answer: tuple[tuple[str, int, int], tuple[Row, ...]] = (("", 0, 0), ())
        self._secrets, self._verbose, self._patience_s, self._now = tuple(secrets), verbose, patience_s, now
        self._ready = ready
        self.meter = Meter()
        self._turn = threading.Condition()
        self._lines: list[ScreenLine] = []
        self._thread: threading.Thread | None = None
        self._pausing = self._was_pausing = self._paused = self._closing = self._broken = False
        self._live: Live | None = None
        self._frame = _Frame()
        self._drawn_at = os.terminal_size((0, 0))

    async def observe(self, record: Record) -> None:
        """Add the record to the meter and queue its lines; never waits for the terminal."""
        self.meter = follow(self.meter, record)
        lines = event_lines(record.event, self.meter, verbose=self._verbose)
        if lines or isinstance(record.event, RunStarted):  # the next frame shows all other changes
            self.print_lines(*lines)

    def print_lines(self, *lines: ScreenLine) -> None:
        """Queue lines to print, without waiting for the terminal."""
        if self._closing:
            self._write(lines)
            return
        with self._turn:
            self._lines += lines
            self._turn.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Remove the region; return when all queued lines are written."""
        with self._turn:
            self._pausing = True
            self._turn.notify_all()
            if self._thread is not None:
                self._turn.wait_for(lambda: self._paused or self._closing)

    def suspend(self) -> None:
        """Remove the region before the process stops, unless the terminal is too slow."""
        with self._turn:
            self._was_pausing, self._pausing = self._pausing, True
            self._turn.notify_all()
            if self._thread is not None:
                self._turn.wait_for(lambda: self._paused or self._closing, _SUSPEND_S)

    def come_back(self) -> None:
        """Draw the region again after ``suspend``, unless it was removed before."""
        if not self._was_pausing:
            self.resume()

    def resume(self) -> None:
        """Draw the region again."""
        with self._turn:
            self._pausing = False
            self._turn.notify_all()

    def close(self) -> None:
        """Remove the region for good; return when all lines are written."""
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        """Draw until closed; runs in the thread."""
        began = time.monotonic()
        while True:
            with self._turn:
                self._turn.wait_for(self._has_work, _FRAME_S)
                pausing, closing = self._pausing, self._closing
                if not (pausing or closing or self._ready()):  # a frame that is lost would shift the next
                    self._turn.wait_for(lambda: self._pausing or self._closing, _FRAME_S)
                    continue
                lines, self._lines = tuple(self._lines), []
            waited = time.monotonic() - began >= self._patience_s
            with FRAME:
                self._step(lines, show=waited and not (pausing or closing or self._broken))
            with self._turn:
                self._paused = pausing
                self._turn.notify_all()
                if closing and not self._lines:
                    return

    def _has_work(self) -> bool:
        return bool(self._lines) or self._closing or self._pausing != self._paused

    def _step(self, lines: Sequence[ScreenLine], *, show: bool) -> None:
        try:
            size = self._size() if show or self._live else self._drawn_at
            drawn = self._rows(size) if show else ()
            if drawn and self._live is None:
                self._write(lines)
                self._start(size, drawn)
            elif self._live is not None:
                self._refresh(self._live, size, drawn, lines)
                if not drawn:
                    self._stop()
            else:
                self._write(lines)
        except Exception:  # noqa: BLE001 - a broken screen must not end a run: print plain lines instead
            self._broken = True
            with suppress(Exception):
                self._stop()
            with suppress(Exception):
                self._write(lines)

    def _rows(self, size: os.terminal_size) -> tuple[Row, ...]:
        # One column and row less: the last cell makes some terminals wrap, and a full screen would scroll.
        return region_rows(
            self.meter,
            self._now(),
            width=size.columns - 1,
            height=size.lines - 1,
            clean=self._clean,
            draw=self._draw_answer if self._markdown else wrapped_rows,
        )

    def _draw_answer(self, text: str, width: int, most: int) -> tuple[Row, ...]:
        """Return the last rows of a streamed answer with its Markdown drawn; the same text is not drawn again."""
        from rich.text import Text

        from agentctl.cli.ui.markdown import draw_end

        asked = (text, width, most)
        if self._answer[0] != asked:
            rows = map(Text.from_ansi, draw_end(text, width=width, most=most))
            self._answer = (asked, tuple(map(_styled_row, rows)))
        return self._answer[1]

    def _write(self, lines: Sequence[ScreenLine]) -> None:
        if not lines:
            return
        for line in lines:
            rows = (self._layout.whole(line),) if self._broken else self._layout.rows(line, self._size().columns)
            for row in rows:
                self._file.write(row + "\n")
        self._file.flush()

    def _start(self, size: os.terminal_size, drawn: tuple[Row, ...]) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(
            file=self._file,
            force_terminal=True,
            force_interactive=True,
            force_jupyter=False,
            legacy_windows=False,
            color_system="standard" if self._colour else None,
            markup=False,
            emoji=False,
            highlight=False,
            width=size.columns,
            height=size.lines,
            _environ={"TERM": self._term},
        )
        self._frame.rows, self._drawn_at = drawn, size
        live = Live(
            self._frame,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        set_restore_sequence(b"\x1b[?25h")
        live.start(refresh=True)
        self._live = live
        self._remember_restore()

    def _refresh(self, live: Live, size: os.terminal_size, drawn: tuple[Row, ...], lines: Sequence[ScreenLine]) -> None:
        """Redraw the region below ``lines``, if anything changed."""
        from rich.console import ConsoleDimensions

        if size != self._drawn_at:
            self._erase_wrapped(live, size)
            live.console.size = ConsoleDimensions(size.columns, size.lines)
        elif drawn == self._frame.rows and not lines:
            return
        self._frame.rows, self._drawn_at = drawn or self._frame.rows, size
        live.update(self._frame)
        if lines:
            from rich.text import Text

            wrapped = [Text.from_ansi(row) for line in lines for row in self._layout.rows(line, size.columns)]
            live.console.print(*wrapped, sep="\n", soft_wrap=True)
        elif drawn:
            live.refresh()
        self._remember_restore()

    def _erase_wrapped(self, live: Live, size: os.terminal_size) -> None:
        """Erase the rows that a narrower window wrapped: rich knows only how many there were before."""
        from rich.control import Control
        from rich.segment import ControlType

        widths = (sum(len(span.text) for span in row) for row in self._frame.rows)
        more = sum(max(0, -(-width // size.columns) - 1) for width in widths if width)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * min(more, size.lines)
        live.console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up))

    def _stop(self) -> None:
        live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        finally:
            set_restore_sequence(b"")

    def _remember_restore(self) -> None:
        """Set the sequence for a forced exit: move to the first row of the region, erase below, show the cursor."""
        up = len(self._frame.rows) - 1
        set_restore_sequence(b"\r" + (b"\x1b[%dA" % up if up > 0 else b"") + b"\x1b[J\x1b[?25h")

    def _clean(self, text: str) -> str:
        """Return text that is safe to show; withhold an end that may be the beginning of a secret."""
        ends = (secret[:length] for secret in self._secrets for length in range(_SHORTEST_BEGINNING, len(secret)))
        begun = max((len(end) for end in ends if text.endswith(end)), default=0)
        return safe_text(redact(text[: len(text) - begun], self._secrets))
