"""The screen without a terminal's tricks: plain lines, one for each thing worth a line."""

from __future__ import annotations

from collections.abc import Callable

from agentctl.cli.ui.colour import Paint
from agentctl.cli.ui.lines import ScreenLine, lines_of
from agentctl.cli.ui.meter import Meter, follow
from agentctl.core.events import Record


class PlainScreen:
    """Writes each record's lines; quiet writes none. ``meter`` is what it has counted so far."""

    def __init__(
        self, *, write: Callable[[str], object], paint: Paint, verbose: bool = False, quiet: bool = False
    ) -> None:
        self._write = write
        self._paint = paint
        self._verbose = verbose
        self._quiet = quiet
        self.meter = Meter()

    async def observe(self, record: Record) -> None:
        """Count the record and write what it is worth."""
        self.meter = follow(self.meter, record)
        self.say(*lines_of(record.event, self.meter, verbose=self._verbose))

    def say(self, *lines: ScreenLine) -> None:
        """Write lines, unless quiet."""
        if not self._quiet:
            for line in lines:
                self._write(line.render(self._paint) + "\n")

    def pause(self) -> None:
        """Step aside for a question: lines never stand in its way."""

    def resume(self) -> None:
        """Go on after it."""

    def close(self) -> None:
        """Nothing is kept back."""
