"""The observers that only some users have: the history file, and OpenTelemetry. Each is loaded where it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentctl.protocols import Observer
from agentctl.settings import Loaded

if TYPE_CHECKING:
    from agentctl.providers.cassettes.lane import Lane
    from agentctl.telemetry.span_observer import LiveTelemetry


def mirrors(cassette: Lane | None, loaded: Loaded, warn: Callable[[str], None]) -> tuple[Observer, ...]:
    """Return the cassette of a run, and what mirrors its calls in the history file, if one is named.

    A replay makes no calls that a history could mirror.
    """
    path, own = loaded.settings.cost_history_file, () if cassette is None else (cassette,)
    if path is None or (cassette is not None and cassette.replays):
        return own
    from agentctl.journal.cost_history import CostHistory  # noqa: PLC0415 - most runs have none

    return (*own, CostHistory(path, secrets=loaded.secrets, warn=warn))


def open_telemetry(loaded: Loaded, run_id: str, warn: Callable[[str], None]) -> LiveTelemetry | None:
    """Return the telemetry of a run, None if no variable of OpenTelemetry asks for any.

    ``warn`` gets a sentence about what is asked for and cannot be done.
    """
    found = loaded.telemetry
    if found is None or not (found.sends or found.problems):
        return None
    from agentctl.telemetry import span_observer  # noqa: PLC0415 - most runs have none

    return span_observer.open_telemetry(found, run_id, loaded.secrets, warn)


def span_observers(live: LiveTelemetry | None, loaded: Loaded, run_id: str) -> tuple[Observer, ...]:
    """Return the observer that sends the spans of a run, if they are sent; it comes after the journal."""
    return () if live is None else live.observers(loaded.settings.runs_dir, run_id)
