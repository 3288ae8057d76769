"""Read untrusted project files: the settings that they may tighten, and those that they would set."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.errors import LIMIT_NAMES
from agentctl.core.files import hand_over, make_folder, replace_file

MOST_BYTES = 64 * 1024
MOST_REMEMBERED = 500
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

#: Ceilings that an untrusted file may lower; None: no ceiling.
LOWERABLE = (
    *LIMIT_NAMES,
    "max_context_tokens",
    "summary_tokens",
    "max_turns",
    "max_identical_calls",
    "schema_retries",
    "timeout",
)
#: Settings with one value that can only tighten: change nothing, pay for no summary, run only with a lease.
ONE_WAY: Mapping[str, object] = MappingProxyType({"read_only": True, "summaries": "never", "require_lease": True})
TIGHTENING = frozenset({*LOWERABLE, *ONE_WAY, "deny", "ask"})

#: Settings that no project file decides, trusted or not: our own folders (with the list of trusted files), the working
#: directory, where the user's own providers are, the MCP servers, which a project has in its .mcp.json, leases, and
#: where a shared ledger is.
NEVER = frozenset({
    *("state_dir", "config_dir", "cache_dir", "workdir", "providers", "mcp", "mcp_config", "mcp_also_user"),
    *("lease", "lease_keys", "lease_signing_key", "ledger", "strict", "accept_lost_holds"),
})  # fmt: skip

#: The name of a project's MCP servers among the ignored lines; no setting has it.
MCP_FIELD = "mcpServers"

#: The consequences of trusting a file that sets one of these.
CONSEQUENCES: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({"openai_base_url", "anthropic_base_url", "ollama_host"}),
        "decides where tasks and keys are sent",
    ),
    (frozenset({"docker_host"}), "decides which containers are read and changed"),
    (frozenset({"approve", "allow", "ask", "deny", "read_only"}), "decides what is done without asking you"),
    (
        frozenset({"sandbox", "sandbox_read", "sandbox_write", "sandbox_env", "network"}),
        "decides what shell commands can reach",
    ),
    (frozenset(LIMIT_NAMES), "decides what may be spent"),
    (frozenset({"prices"}), "decides the prices of models"),
    (frozenset({"cost_history_file"}), "decides which file is written"),
    (frozenset({"hook"}), "decides which programs agentctl starts, outside of the sandbox"),
)


class IgnoredLine(NamedTuple):
    """A line that would have taken effect if the file had been trusted; without its value."""

    field: str
    name: str
    path: Path
    place: str

    @property
    def remedy(self) -> str:
        """The command that uses the file anyway; a provider, and where it is, is only the user's own to decide."""
        if self.field == "providers":
            return "copy the lines to your own config.toml, if you trust that server with your tasks and files"
        if self.field == "mcp":
            return "write these servers into .mcp.json, or copy the lines to your own config.toml"
        flag = "--config" if self.path.suffix == ".toml" else "--env-file"
        flag = "--mcp-config" if self.field == MCP_FIELD else flag
        once = f"agentctl run {flag} {shlex.quote(self.place.removeprefix('./'))}"
        if self.field in NEVER:
            return once
        there = "" if self.place.startswith("./") else f" {shlex.quote(os.fspath(self.path.parent))}"
        return f"{once}   or for good: agentctl trust{there}"


class TrustPrompt(NamedTuple):
    """A question whether to trust a file: what it would set, bound to the content that was read.

    ``names`` are written as in the file. ``changed``: another content of the file is trusted. ``note`` is shown if
    asking is not possible.
    """

    file: ProjectFile
    place: str
    names: tuple[str, ...]
    consequences: tuple[str, ...] = ()
    changed: bool = False
    note: str = ""


def consequences(names: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence for each effect of setting ``names`` (field -> name in the file)."""
    found = []
    for fields, said in CONSEQUENCES:
        if here := [name for field, name in names.items() if field in fields]:
            found.append(f"{', '.join(here)} {said if len(here) == 1 else said.replace('decides', 'decide', 1)}")
    return tuple(found)


class Tightening(NamedTuple):
    """The changes, and the fields that would loosen a setting and therefore have no effect."""

    changes: Mapping[str, object] = MappingProxyType({})
    loosening: tuple[str, ...] = ()


def tighten(resolved: Mapping[str, object], offered: Mapping[str, object]) -> Tightening:
    """Return the changes of an untrusted file: its values that tighten the ``resolved`` ones.

    A limit becomes the lower of both, ``deny`` and ``ask`` the union, ``read_only`` true if either is true,
    ``summaries`` "never" if either is.
    """
    changes: dict[str, object] = {}
    loosening: list[str] = []
    for name, new in offered.items():
        old = resolved[name]
        if name in LOWERABLE:
            if old == new:
                continue
            if new is not None and (old is None or _is_below(new, old)):
                changes[name] = new
            else:
                loosening.append(name)
        elif name in ONE_WAY:
            if old == new:
                continue
            if new == ONE_WAY[name]:
                changes[name] = new
            else:
                loosening.append(name)
        elif name in ("deny", "ask"):
            before, more = _names(old), _names(new)
            if added := tuple(item for item in more if item not in before):
                changes[name] = (*before, *added)
        else:
            loosening.append(name)
    return Tightening(changes, tuple(loosening))


def _is_below(new: object, old: object) -> bool:
    return bool(new < old)  # type: ignore[operator]  # both of the same limit: int, float or Decimal


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, tuple) else ()


class ProjectFile(NamedTuple):
    """A file of the working directory: its text, or the reason why it was not read.

    ``sha256`` is the hash of its bytes. ``doubt`` says why it cannot be trusted whatever its content, with a ``hint``.
    """

    path: Path
    text: str = ""
    unread: str = ""
    sha256: str = ""
    doubt: str = ""
    hint: str = ""

    @property
    def digest(self) -> str:
        """The hash of the file's path and content, for ``NoticeMemory``."""
        said = "\0".join((os.fspath(self.path), self.unread, self.text))
        return _hash(said.encode("utf-8", "surrogateescape"))


def read_project_file(path: Path) -> ProjectFile | None:
    """Read at most 64 KiB of a regular file, or say why not; None if there is no file.

    A pipe, a device, a link, a huge or a binary file neither blocks nor raises.
    """
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return ProjectFile(path, unread="it is not a regular file")
    if found.st_size > MOST_BYTES:
        return ProjectFile(path, unread=f"it is larger than {MOST_BYTES // 1024} KiB")
    try:
        read = _read_bounded(path)
        doubt, hint = ("", "") if read is None else _doubt(read[1], path)
    except OSError as exc:
        return ProjectFile(path, unread=(exc.strerror or "it cannot be read").lower())
    if read is None:
        return ProjectFile(path, unread="it is not a regular file of at most 64 KiB")
    data = read[0]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ProjectFile(path, unread="it is not UTF-8 text")
    if "\0" in text:
        return ProjectFile(path, unread="it is binary")
    return ProjectFile(path, text, sha256=_hash(data), doubt=doubt, hint=hint)


def _hash(data: bytes) -> str:
    import hashlib  # noqa: PLC0415 - most working directories have no such file

    return hashlib.sha256(data).hexdigest()


def _doubt(found: os.stat_result, path: Path) -> tuple[str, str]:
    """Return who else could have written the opened file, and a hint; both empty if no other user could."""
    folder, me = path.parent.stat(), os.geteuid()
    name, around = shlex.quote(os.fspath(path)), shlex.quote(os.fspath(path.parent))
    if found.st_uid != me:
        return f"it belongs to another user (uid {found.st_uid})", f'sudo chown "$(id -u)" {name}'
    if folder.st_uid not in (me, 0):
        return f"its folder belongs to another user (uid {folder.st_uid})", f'sudo chown "$(id -u)" {around}'
    if found.st_mode & _OTHERS_WRITE:
        return f"other users can write to it (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod go-w {name}"
    if folder.st_mode & _OTHERS_WRITE:
        return f"other users can write to its folder (mode {stat.S_IMODE(folder.st_mode):04o})", f"chmod go-w {around}"
    return "", ""


def _read_bounded(path: Path) -> tuple[bytes, os.stat_result] | None:
    """Read without following links or blocking: the file may have been replaced since ``lstat``."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        data = file.read(MOST_BYTES + 1)
    return (data, found) if len(data) <= MOST_BYTES else None


class NoticeMemory:
    """The notices that were shown (or questions ``asked``), as hashes in a small file of the state folder."""

    def __init__(self, state_dir: Path, name: str = "told") -> None:
        self._path = state_dir / name

    def knows(self, digest: str) -> bool:
        """Return whether ``digest`` was shown before; an unreadable file counts as empty."""
        return digest in self._lines()

    def remember(self, digest: str) -> None:
        """Add ``digest``, atomically, mode 0600; on failure nothing happens, and the notice is shown again."""
        with contextlib.suppress(OSError):
            lines = [line for line in self._lines() if line != digest][-(MOST_REMEMBERED - 1) :]
            make_folder(self._path.parent)
            data = ("\n".join([*lines, digest]) + "\n").encode("ascii")
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(folder, self._path.name, data, mode=0o600, set_up=lambda file: hand_over(file, folder))
            finally:
                os.close(folder)

    def _lines(self) -> list[str]:
        try:
            read = _read_bounded(self._path)
        except OSError:
            return []
        return (read[0] if read else b"").decode("ascii", "replace").split()
