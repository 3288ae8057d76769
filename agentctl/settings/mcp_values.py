"""The values that the configuration of MCP servers becomes: a server, its options, an entry that is left out.

No value prints what may be a key: neither the environment nor the headers of a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.core.text import safe_text

McpEffect = Literal["read", "write", "destructive", "network"]
McpSandbox = Literal["run", "none"]

#: The effects that a server's options can name, the one that is assumed first.
MCP_EFFECTS: tuple[McpEffect, ...] = ("destructive", "read", "write", "network")

DEFAULT_CONNECT_TIMEOUT_S = 10.0
DEFAULT_CALL_TIMEOUT_S = 60.0
DEFAULT_MAX_RESULT = 64 * 1024

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_EFFECTS: Mapping[str, McpEffect] = MappingProxyType({})


def one_line(text: str) -> str:
    """Return a text of a file safe to print, as one line: it must not pose as a line of agentctl's own."""
    return safe_text(text).replace("\n", "\\n").replace("\t", "\\t")


class McpOptions(NamedTuple):
    """What agentctl does with a server: the part ``agentctl`` of its entry.

    ``tools`` are the only ones that are used (the server's own names, with * as a wildcard; None: all), without those
    of ``exclude``. ``effects`` maps a name, or a pattern, to the effect of its calls. ``trust_annotations`` lets the
    server's own word lower an effect. ``defer`` None: as the number of tools says. Times are in seconds, ``max_result``
    is in bytes. ``sandbox`` "run" is the tier of the run. ``write`` are absolute paths. ``pin`` is the SHA-256 of the
    catalogue in hex, "" without one.
    """

    tools: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    effects: Mapping[str, McpEffect] = _NO_EFFECTS
    trust_annotations: bool = False
    defer: bool | None = None
    required: bool = False
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    call_timeout_s: float = DEFAULT_CALL_TIMEOUT_S
    max_result: int = DEFAULT_MAX_RESULT
    sandbox: McpSandbox = "run"
    network: bool = False
    write: tuple[Path, ...] = ()
    pin: str = ""


class McpServer(NamedTuple):
    """One server: a program (``command``, ``args``, ``env``), or an address (``url``, ``headers``).

    ``source`` says where it was configured. ``is_users_own`` is False for a server of a project's file.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = _NOTHING
    url: str = ""
    headers: Mapping[str, str] = _NOTHING
    options: McpOptions = McpOptions()
    source: str = ""
    is_users_own: bool = True

    def __repr__(self) -> str:
        """Return the name and the place alone: arguments, address, environment and headers may hold keys."""
        return f"McpServer(name={self.name!r}, source={self.source!r})"

    @property
    def is_remote(self) -> bool:
        """Whether it is reached at an address, and not started here."""
        return bool(self.url)


class SkippedServer(NamedTuple):
    """An entry that is not used: ``why``, and what to do about it."""

    name: str
    why: str
    hint: str = ""
    source: str = ""

    def __str__(self) -> str:
        said = f'MCP server "{self.name}" ({self.source}) is left out: {self.why}'
        return f"{said} ({self.hint})" if self.hint else said


class UnsetVariable(NamedTuple):
    """A ``${VAR}`` of an entry for which no value was found: the server, and the key that it stands in."""

    server: str
    key: str
    variable: str
    source: str

    def __str__(self) -> str:
        return f'MCP server "{self.server}" ({self.source}): {self.key} needs {self.variable}, which is not set'


class McpConfig(NamedTuple):
    """The servers of a run, the entries that are left out, and one sentence for each key that has no effect.

    ``secrets`` are the texts in it to redact in all output.
    """

    servers: tuple[McpServer, ...] = ()
    skipped: tuple[SkippedServer, ...] = ()
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    unset: tuple[UnsetVariable, ...] = ()

    def __repr__(self) -> str:
        """Return the names alone, without the secrets."""
        return f"McpConfig(servers={self.servers!r}, skipped={self.skipped!r}, warnings={self.warnings!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all entries, used or left out."""
        return (*(server.name for server in self.servers), *(one.name for one in self.skipped))
