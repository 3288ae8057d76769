"""What a cassette changes of a run's parts: the network of its providers, its ledger, and the tools that it replays.

Loaded only by runs that are recorded or replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.core.errors import UsageError
from agentctl.ledger.ledger_session import PAUSE_S
from agentctl.ledger.replay_ledger import ReplayLedger
from agentctl.ledger.sqlite import SqliteLedger, ThreadedLedger
from agentctl.protocols import LLMProvider
from agentctl.providers.cassettes.lane import Lane
from agentctl.providers.cassettes.replaying import ReplayLane
from agentctl.providers.network import Network
from agentctl.runner.streaming import client_of

if TYPE_CHECKING:
    from agentctl.settings import Loaded


def insert(
    cassette: Lane, run_id: str, loaded: Loaded, providers: Iterable[LLMProvider], ledger: ThreadedLedger
) -> ThreadedLedger:
    """Let a run's providers reach the network through the cassette, and return the run's ledger.

    That is the given one, unless the run is replayed: then the first run has one of its own, which those that it
    delegates share.

    Raises:
        UsageError: a provider sends nothing, or by a client of its own; or the cassette's file exists.
        StateError: the file, or the ledger of a replay, cannot be created.
    """
    answering = tuple(providers)
    for provider in answering:
        if not isinstance(getattr(provider, "network", None), Network):
            raise UsageError(
                f"{provider.facts.provider} cannot be recorded or replayed: it sends no requests by agentctl's clients",
                hint="choose a model: --provider NAME",
            )
    cassette.begin(run_id, loaded, str(loaded.settings.workdir or Path.cwd()))
    for provider in answering:
        facts = provider.facts
        network = cassette.network(facts.provider, facts.model, facts.base_url, client_of(provider))
        provider.network = network  # type: ignore[attr-defined]  # checked above
    if not isinstance(cassette, ReplayLane):
        return ledger
    replay = cassette.replay
    pause_s = PAUSE_S if replay.timing == "real" else 0.0
    if cassette.name and replay.ledger is not None:
        return SqliteLedger(replay.ledger, pause_s=pause_s)
    own = ReplayLedger(spent_nano=replay.hour_nano, pause_s=pause_s, state_dir=loaded.settings.state_dir)
    replay.ledger = own.path
    return own
