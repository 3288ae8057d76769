"""Replace ``${VAR}`` and ``${VAR:-default}`` in the entry of an MCP server, and find what must be redacted in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from agentctl.settings.declaration import PREFIX
from agentctl.settings.mcp_values import UnsetVariable
from agentctl.settings.names import CHILD_MARK, KEY_NAMES, LEAST_SECRET, PARENT_CAPABILITY, PARENT_RUN
from agentctl.settings.provider_names import SECRET_ENDINGS

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
#: What other hosts replace: ``${input:token}``, ``${env:TOKEN}``, ``${workspaceFolder}``.
_FOREIGN = re.compile(r"\$\{(?:(?:input|env|config|command):[^}]*|workspaceFolder|userHome|pathSeparator)\}")
_SECRET_NAME = re.compile(r"(?i)(?:^|[_.-])(?:api[_-]?key|apikey|key|token|secret|password|passwd|pass|pat|auth)$")
_SECRET_HEADERS = re.compile(r"(?i)(?:proxy-)?authorization|cookie|.*(?:key|token|secret|auth|password).*")
_SCHEME = re.compile(r"(?i)^(?:bearer|basic|token|apikey|bot)\s+")

#: Variables of the session and its folders: no keys, and text that is everywhere.
_COMMON = frozenset({"HOME", "PWD", "OLDPWD", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR", "HOSTNAME"})

#: Variables of agentctl itself, which no server gets and no entry sets.
OWN_VARIABLES = frozenset({CHILD_MARK, PARENT_RUN, PARENT_CAPABILITY})


def names_a_secret(name: str) -> bool:
    """Return whether a variable, or a part of an address, is a key by its name."""
    return name.upper().endswith(SECRET_ENDINGS) or _SECRET_NAME.search(name) is not None


def is_secret_header(name: str) -> bool:
    """Return whether the value of an HTTP header is a key by the header's name."""
    return _SECRET_HEADERS.fullmatch(name) is not None


def references(text: str) -> tuple[str, ...]:
    """Return the variables that a text refers to, in their order."""
    return tuple(match[1] for match in _REFERENCE.finditer(text))


def is_reference(text: str) -> bool:
    """Return whether a text has references and no literal text that could be a key: ``Bearer ${TOKEN}``.

    A default counts as literal text.
    """
    found = list(_REFERENCE.finditer(text))
    rest = _SCHEME.sub("", _REFERENCE.sub("", text).strip() + " ")
    return bool(found) and not any(match[2] for match in found) and not rest.strip()


class Expansion:
    """Replaces the references of one entry, and keeps what it meets on the way.

    ``unset`` are the references without a value, ``secrets`` the texts to redact, ``refused`` the variables that a
    project's file cannot read, ``foreign`` the references that only other hosts know.
    """

    def __init__(self, variables: Mapping[str, str], *, server: str, source: str, is_users_own: bool) -> None:
        self._variables, self._server, self._source, self._is_users_own = variables, server, source, is_users_own
        self.unset: list[UnsetVariable] = []
        self.secrets: list[str] = []
        self.refused: list[str] = []
        self.foreign: list[str] = []

    def expand(self, text: str, key: str, *, holds_secrets: bool = False) -> str:
        """Return ``text`` with its references replaced; ``key`` is where it stands, for messages.

        With ``holds_secrets`` every value that is put in is a secret, otherwise one whose variable is by its name.
        """
        self.foreign += _FOREIGN.findall(text)

        def value(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if self._is_refused(name):
                self.refused.append(name)
                return ""
            found = self._variables.get(name)
            if found is None or (not found and default is not None):
                if default is None:
                    self.unset.append(UnsetVariable(self._server, key, name, self._source))
                return default or ""
            if (holds_secrets and not _is_plain(name, found)) or names_a_secret(name):
                self.add_secret(found)
            return found

        return _REFERENCE.sub(value, text)

    def add_secret(self, text: str) -> None:
        """Redact ``text`` in all output, without the scheme of a header (``Bearer``)."""
        bare = _SCHEME.sub("", text.strip())
        if len(bare) >= LEAST_SECRET and bare not in self.secrets:
            self.secrets.append(bare)

    def add_address(self, url: str) -> None:
        """Redact the password of an address, and each part of its query that is a key by its name."""
        for secret in _address_secrets(url):
            self.add_secret(secret)

    def _is_refused(self, name: str) -> bool:
        """Return whether the entry cannot have this variable: the keys of models are not for a project's servers."""
        if name in OWN_VARIABLES:
            return True
        bare = name.removeprefix(PREFIX)
        return not self._is_users_own and (name.startswith(PREFIX) or bare in KEY_NAMES.values())


def _is_plain(name: str, value: str) -> bool:
    """Return whether a value would be redacted in vain: a path, an address without a key, a fact of the session."""
    if names_a_secret(name):
        return False
    if name in _COMMON or name.startswith(("XDG_", "LC_")):
        return True
    if re.match(r"https?://", value):
        parts = urlsplit(value)
        return "@" not in parts.netloc and not parts.query
    return value.startswith("/") and os.path.exists(value)  # noqa: PTH110 - Path raises for a NUL


def _address_secrets(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
    except ValueError:
        return
    if parts.password:
        yield parts.password
        yield unquote(parts.password)
    yield from (value for name, value in query if names_a_secret(name))
