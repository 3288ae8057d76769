"""A provider lent to several runs lets go of its connections when the last of them has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.lowlevel import RunVar

from agentctl.protocols import LLMProvider

CLOSING_S = 5.0
_USERS: RunVar[Counter[int]] = RunVar("runs of each provider")


@asynccontextmanager
async def shared_provider(provider: LLMProvider) -> AsyncIterator[None]:
    """Close the provider's connections in this event loop when the last run that uses them here has ended."""
    users = _USERS.get(Counter())
    _USERS.set(users)
    users[id(provider)] += 1
    try:
        yield
    finally:
        users[id(provider)] -= 1
        if users[id(provider)] == 0:
            del users[id(provider)]
            if (close := getattr(provider, "aclose", None)) is not None:
                with anyio.move_on_after(CLOSING_S, shield=True), suppress(Exception):
                    await close()
