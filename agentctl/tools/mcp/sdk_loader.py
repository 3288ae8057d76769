"""Load the official MCP SDK, which only a run with servers needs, and keep it from writing logs to the terminal."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import anyio.to_thread

from agentctl.core.errors import UsageError

#: The loggers of the SDK and of its HTTP client: with keys in addresses and headers, none of their lines may be seen.
_LOGGERS = ("mcp", "client", "httpx2", "httpcore2")
INSTALL = "pip install 'agentctl-cli[mcp]'"


def check_installed() -> None:
    """Check that the SDK is installed, without loading it.

    Raises:
        UsageError: it is not.
    """
    if find_spec("mcp") is None:
        raise UsageError("MCP servers need the extra mcp, which is not installed", hint=INSTALL)


async def load_sdk() -> None:
    """Load the SDK in a thread: it takes about a second of CPU.

    Raises:
        UsageError: it is not installed, or cannot be loaded.
    """
    check_installed()
    await anyio.to_thread.run_sync(_load)


@cache
def _load() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    try:
        import_module("mcp.client.session")
    except ImportError as exc:
        raise UsageError(f"the extra mcp cannot be loaded: {exc}", hint=f"{INSTALL} --force-reinstall") from exc
