"""Read the entries of ``mcpServers``, each by itself: a broken one is left out and hides no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agentctl.core.redaction import PLAIN_MARK, has_mark
from agentctl.core.text import did_you_mean
from agentctl.settings.host import is_loopback
from agentctl.settings.mcp_options import OPTION_KEYS, canonical_key, read_options
from agentctl.settings.mcp_values import McpServer, SkippedServer, UnsetVariable, one_line
from agentctl.settings.mcp_variables import OWN_VARIABLES, Expansion, is_secret_header, names_a_secret

if TYPE_CHECKING:
    from agentctl.settings.model import Settings

NAME_ALLOWED = "letters, digits, - and _, at most 40; no __ in it, and no _ at its end"
_NAME = re.compile(r"(?!.*__)[A-Za-z0-9_-]{0,39}[A-Za-z0-9-]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")

#: Headers that the protocol sets.
_RESERVED_HEADERS = frozenset(
    {
        *("host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "accept-encoding"),
        *("upgrade", "te", "trailer", "mcp-session-id", "mcp-protocol-version", "last-event-id"),
    }
)
ENTRY_KEYS = ("type", "command", "args", "env", "url", "headers", "agentctl")
_ENTRY_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("cmd", "program", "exec", "run", "executable"), "command"),
        **dict.fromkeys(("arguments", "argv", "arg"), "args"),
        **dict.fromkeys(("environment", "envs", "variables", "env_vars"), "env"),
        **dict.fromkeys(("serverurl", "httpurl", "endpoint", "address", "uri", "base_url", "server_url"), "url"),
        **dict.fromkeys(("http_headers", "header", "httpheaders"), "headers"),
        **dict.fromkeys(("transport", "transporttype", "kind"), "type"),
    }
)
#: Keys of other hosts without a meaning here, and without one that a user would miss.
_OF_OTHERS = frozenset(
    {
        *("description", "title", "icon", "iconUrl", "version", "tags", "metadata", "gallery", "$schema", "note"),
        *("autoApprove", "alwaysAllow", "trust", "timeout", "disabled", "enabled", "startup_timeout_sec"),
    }
)
_Check = Callable[[str, str, str], None]
_STDIO = frozenset({"stdio", "local"})
_HTTP = frozenset({"http", "streamable-http", "streamable_http", "streamablehttp"})


class EntryPlace(NamedTuple):
    """What an entry is read with: where it stands, and what its references and paths mean."""

    source: str
    variables: Mapping[str, str]
    settings: Settings
    workspace: Path
    is_users_own: bool = True


class EntryRead(NamedTuple):
    """One entry: the server, or why it is left out; warnings, secrets, and references without a value."""

    server: McpServer | None
    skipped: SkippedServer | None
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    unset: tuple[UnsetVariable, ...] = ()
    is_required: bool = False


def is_name(name: str) -> bool:
    """Return whether a server can have this name: the names of its tools are NAME__TOOL, so no other may begin so."""
    return _NAME.fullmatch(name) is not None


def read_entry(name: str, entry: object, place: EntryPlace) -> EntryRead:
    """Read one entry of ``mcpServers``, or one table ``[mcp.servers.NAME]``."""
    return _Entry(name, entry, place).read()


class _Wrong(Exception):
    """Why an entry cannot be used, and a hint."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class _Entry:
    def __init__(self, name: str, entry: object, place: EntryPlace) -> None:
        self._name, self._given, self._place = one_line(name[:60]), entry, place
        self._expansion = Expansion(
            place.variables, server=self._name, source=place.source, is_users_own=place.is_users_own
        )
        self._warnings: list[str] = []
        self._is_required = False

    def read(self) -> EntryRead:
        server = skipped = None
        try:
            server = self._server()
        except _Wrong as wrong:
            skipped = SkippedServer(self._name, one_line(wrong.why), one_line(wrong.hint), self._place.source)
        found = self._expansion
        unset = tuple(dict.fromkeys(found.unset)) if server is not None else ()
        secrets = tuple(found.secrets)
        return EntryRead(server, skipped, tuple(self._warnings), secrets, unset, self._is_required)

    def _server(self) -> McpServer:
        if not is_name(self._name):
            raise _Wrong(f"its name cannot be used; allowed: {NAME_ALLOWED}", "rename it")
        if not isinstance(self._given, Mapping):
            raise _Wrong("it is not an object", '{"command": "PROGRAM", "args": []}')
        entry = {str(key): value for key, value in self._given.items()}
        read = read_options(
            entry.get("agentctl", {}),
            settings=self._place.settings,
            workspace=self._place.workspace,
            is_users_own=self._place.is_users_own,
        )
        self._is_required = read.options.required
        self._warn_of_keys(entry)
        for said in read.unknown:
            self._warn(said)
        if entry.get("disabled") is True or entry.get("enabled") is False:
            self._is_required = False
            raise _Wrong("it is disabled in the file")
        if read.wrong:
            raise _Wrong("; ".join(read.wrong))
        for said in read.dropped:
            self._warn(f"{said}, so it has no effect")
        server = McpServer(
            name=self._name, options=read.options, source=self._place.source, is_users_own=self._place.is_users_own
        )
        server = self._remote(server, entry) if self._is_remote(entry) else self._local(server, entry)
        found = self._expansion
        if found.refused:
            names = ", ".join(dict.fromkeys(found.refused))
            whose = "no server" if OWN_VARIABLES & {*found.refused} else "no server of a project's file"
            raise _Wrong(f"it asks for {names}, which {whose} gets")
        for reference in dict.fromkeys(found.foreign):
            self._warn(f"{reference} is not replaced: only ${{VAR}} and ${{VAR:-default}} are")
        texts = (server.command, *server.args, server.url, *server.env.values(), *server.headers.values())
        if any(PLAIN_MARK in text or has_mark(text) for text in texts):
            raise _Wrong("a key in it is redacted", "give --mcp-config again, with ${VAR} in place of the key")
        return server

    def _is_remote(self, entry: Mapping[str, object]) -> bool:
        """Return whether the entry is an address; refuse one that is neither, or both."""
        kind = entry.get("type")
        word = kind.strip().lower() if isinstance(kind, str) else ""
        if word == "sse":
            raise _Wrong(
                'type "sse" is the transport that the protocol replaced in 2025; agentctl speaks "http"',
                'ask the server for its "http" address, which often ends in /mcp',
            )
        if "type" in entry and word not in _STDIO | _HTTP:
            near = did_you_mean(word[:40], ("stdio", "http"))
            raise _Wrong(f'type cannot be "{_shown(kind)}"; allowed: "stdio", "http"', near)
        if "command" in entry and "url" in entry:
            raise _Wrong("it has both command and url", "remove one of them")
        if word in _HTTP and "url" not in entry:
            raise _Wrong(f'it has no url, which type "{word}" needs', '"url": "https://mcp.example.com/mcp"')
        if word in _STDIO and "command" not in entry:
            raise _Wrong(f'it has no command, which type "{word}" needs', '"command": "mcp-server-git"')
        if "command" not in entry and "url" not in entry:
            found = (did_you_mean(key[:60], ("command", "url"), _ENTRY_MEANINGS) for key in entry)
            raise _Wrong("it has neither command nor url", next(filter(None, found), '"command": "mcp-server-git"'))
        return "url" in entry

    def _local(self, server: McpServer, entry: Mapping[str, object]) -> McpServer:
        command = self._text("command", entry["command"]).strip()
        if not command:
            raise _Wrong("command is empty", '"command": "mcp-server-git"')
        args = entry.get("args", ())
        if isinstance(args, str) or not isinstance(args, Sequence):
            raise _Wrong("args is not a list", '"args": ["mcp-server-git"]')
        if "headers" in entry:
            self._warn("headers has no effect beside command")
        if not args and " " in command and "/" not in command.split(" ", 1)[0]:
            self._warn('command has blanks in it: put its arguments into "args"')
        words = [self._text(f"args[{number}]", word, lenient=True) for number, word in enumerate(args)]
        return server._replace(
            command=command,
            args=tuple(words),
            env=MappingProxyType(dict(self._pairs("env", entry.get("env", {}), _check_variable))),
        )

    def _remote(self, server: McpServer, entry: Mapping[str, object]) -> McpServer:
        url = self._text("url", entry["url"]).strip()
        is_incomplete = bool(self._expansion.unset)  # the whole command ends with exit 2 for that
        if not is_incomplete:
            _check_url(url)
        self._expansion.add_address(url)
        for key in ("args", "env"):
            if entry.get(key):
                self._warn(f"{key} has no effect beside url")
        headers = dict(self._pairs("headers", entry.get("headers", {}), _check_header))
        if headers and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
            self._warn("its headers are sent without encryption: use https")
        if server.options.sandbox == "none" or server.options.network or server.options.write:
            self._warn("sandbox, network and write have no effect beside url: nothing is started here")
        return server._replace(url=url, headers=MappingProxyType(headers))

    def _text(self, key: str, value: object, *, lenient: bool = False, holds_secrets: bool = False) -> str:
        """Return a text with its references replaced; with ``lenient`` a number or a truth value counts as its text."""
        if lenient and isinstance(value, bool):
            value = str(value).lower()
        elif lenient and isinstance(value, int | float | Decimal):
            value = str(value)
        if not isinstance(value, str):
            raise _Wrong(f"{key} is not a text")
        if "\0" in value:
            raise _Wrong(f"{key} has a NUL character in it")
        return self._expansion.expand(value, key, holds_secrets=holds_secrets)

    def _pairs(self, key: str, table: object, check: _Check) -> Iterator[tuple[str, str]]:
        if not isinstance(table, Mapping):
            raise _Wrong(f"{key} is not an object", f'"{key}": {{"NAME": "value"}}')
        for word, value in table.items():
            name = str(word)
            shown = f"{key}.{one_line(name[:60])}"
            text = self._text(shown, value, lenient=True, holds_secrets=True)
            check(name, text, shown)
            if names_a_secret(name) or (key == "headers" and is_secret_header(name)):
                self._expansion.add_secret(text)
            yield name, text

    def _warn_of_keys(self, entry: Mapping[str, object]) -> None:
        for key in entry:
            if key in ENTRY_KEYS or key in _OF_OTHERS:
                continue
            hint = did_you_mean(key[:60], ENTRY_KEYS, _ENTRY_MEANINGS)
            if key == "cwd":
                hint = "a server starts in the workspace"
            elif option := canonical_key(key):
                hint = f'move {option} into "agentctl": {{}}'
            elif not hint and (near := did_you_mean(key[:60], OPTION_KEYS)):
                hint = f'{near.removesuffix("?")} in "agentctl"?'
            self._warn(one_line(f'unknown key "{key[:60]}"') + (f" ({hint})" if hint else ""))

    def _warn(self, said: str) -> None:
        self._warnings.append(one_line(f'MCP server "{self._name}" ({self._place.source}): {said}'))


def _shown(value: object) -> str:
    return one_line(str(value)[:60])


def _check_variable(name: str, text: str, shown: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise _Wrong(f"{shown} is not the name of a variable")
    if name in OWN_VARIABLES:
        raise _Wrong(f"{shown} is set by agentctl itself")


def _check_header(name: str, text: str, shown: str) -> None:
    if not _HEADER.fullmatch(name):
        raise _Wrong(f"{shown} is not the name of a header")
    if name.lower() in _RESERVED_HEADERS:
        raise _Wrong(f"{shown} is set by the protocol itself")
    if not all(" " <= character <= "~" or character == "\t" for character in text):
        raise _Wrong(f"{shown} has characters that a header cannot carry")


def _check_url(url: str) -> None:
    allowed = "an address such as https://mcp.example.com/mcp"
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_right = False
    if not is_right or parts.fragment or len(url) > 4000 or not url.isprintable() or " " in url:
        raise _Wrong(f"url is not an address; allowed: {allowed}")
