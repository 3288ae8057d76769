"""A live screen on a file instead of a terminal, and events to observe."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime

from agentctl.cli.ui.format import painter
from agentctl.cli.ui.live import LiveScreen
from agentctl.core.events import Event, Record, RunStarted

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
STARTED = RunStarted("look", "docker", "words", "openai", "key", "gpt", True, "/srv", ())
KEY = "not-to-be-seen-0123456789"


def open_screen(file: io.StringIO, *, patience_s: float = 0.0, colour: bool = False, **parts: object) -> LiveScreen:
    """Open a live screen that draws into ``file``: 80 columns, 24 rows unless ``size`` says otherwise."""
    named: dict[str, object] = {"size": lambda: os.terminal_size((80, 24)), **parts}
    return LiveScreen(
        file=file,
        paint=painter("always" if colour else "never", terminal=True),
        colour=colour,
        term="xterm",
        secrets=(KEY,),
        patience_s=patience_s,
        **named,  # type: ignore[arg-type]
    )


async def tell(screen: LiveScreen, *events: Event) -> None:
    """Let the screen observe the events, as records of one run."""
    for number, event in enumerate(events, 1):
        await screen.observe(Record("r", number, AT, event))
