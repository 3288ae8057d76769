"""MCP servers that others wrote, as tests/run installs them, and what the sandbox must show for them to run."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.machine import MCP_EVERYTHING, MCP_FILESYSTEM, MCP_PACKAGES

_PACKAGES = Path(getattr(find_spec("mcp"), "origin", "")).parents[1]
PYTHON = os.path.realpath(sys.executable)
_NODE = os.path.realpath(MCP_EVERYTHING[0]) if "/" in MCP_EVERYTHING[0] else MCP_EVERYTHING[0]
_MODULES = Path(MCP_EVERYTHING[1]).resolve().parents[3]
#: Folders that the sandbox hides where they are below a home or /tmp.
READABLE = tuple(
    str(path)
    for path in (
        *(_PACKAGES, MCP_PACKAGES.resolve(), Path(sys.base_prefix), _MODULES),
        *([Path(_NODE).parents[1]] if "/" in _NODE else []),
    )
)


def python_server(name: str) -> dict[str, Any]:
    """Return the entry of a server in Python: "git", "time" or "fetch"."""
    packages = f"{MCP_PACKAGES.resolve()}:{_PACKAGES}"
    return {"command": PYTHON, "args": ["-m", f"mcp_server_{name}"], "env": {"PYTHONPATH": packages}}


def node_server(name: str) -> dict[str, Any]:
    """Return the entry of a server in JavaScript: "everything" or "filesystem"."""
    program, words = (MCP_EVERYTHING[1], ()) if name == "everything" else (MCP_FILESYSTEM[1], (".",))
    return {"command": _NODE, "args": [str(Path(program).resolve()), *words]}


def config_of(**entries: dict[str, Any]) -> str:
    """Return the configuration of servers as one JSON text."""
    return json.dumps({"mcpServers": entries})
