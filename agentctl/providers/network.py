"""All that a provider wants of the network: connections for its requests, and answers about a model's server.

A cassette replaces both: one that records keeps what came, one that replays gives it back and opens no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

REPLAY_KEY = "replayed"  # in place of a key: nothing is sent


class Network:
    """The network itself; ``is_live`` is False for one that sends nothing."""

    is_live = True

    def connect(self, url: str) -> httpx.AsyncBaseTransport:
        """Return the connections for requests to ``url``; the first one may have been opened early."""
        from agentctl.providers.connections import open_network  # noqa: PLC0415 - httpx comes with the client

        return open_network(url)

    def ask(self, name: str, question: Callable[[], T], *, missing: T) -> T:
        """Return what ``question`` finds out at a server, as JSON; ``name`` says what that is.

        ``missing`` is the answer of a network that sends nothing, and does not know.
        """
        return question()


LIVE = Network()
