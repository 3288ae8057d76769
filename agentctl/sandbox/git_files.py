"""Judge the files of a git folder: which contents are harmless to git, and which paths its configuration names. Pure.

Formats: gitformat-index(5), git-check-ref-format(1), git-config(1), and ``packed-refs`` as git-pack-refs(1) writes it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

from agentctl.core.autorun_files import AutorunFile, find_autorun

_HASH = rb"[0-9a-f]{40}(?:[0-9a-f]{24})?"
_REF_VALUE = re.compile(rb"(?:" + _HASH + rb"|ref: (refs/[^\0\n]+))\n?")
_HASHES = re.compile(rb"(?:" + _HASH + rb"\n?)+")
_PACKED_LINE = re.compile(rb"#[^\n\0]*|\^" + _HASH + rb"|" + _HASH + rb" (refs/[^\n\0 ]+)")
_REFLOG_LINE = re.compile(_HASH + rb" " + _HASH + rb" [^\n\0]*")
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{")
_SUSPECT_PATH = re.compile(rb"(?:^|/)(?:\.|git~1|/|$)|\0", re.IGNORECASE)
_SECTION = re.compile(r'\[([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\]')
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\s*=\s*")
GIT = AutorunFile("never", "git")
GIT_FOLDER_PARTS = frozenset({"HEAD", "commondir", "objects", "refs"})
"""The entries by which git recognises a folder as one of its own."""

_SINGLE_HASHES = frozenset(
    {"ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "AUTO_MERGE", "REBASE_HEAD", "MERGE_AUTOSTASH"}
)
_MESSAGES = frozenset({"COMMIT_EDITMSG", "MERGE_MSG", "SQUASH_MSG", "TAG_EDITMSG", "MERGE_MODE", "FETCH_HEAD"})
STATE_FOLDERS = frozenset({"rebase-merge", "rebase-apply", "sequencer"})
"""The folders where git records its next steps. A todo list may hold ``exec`` lines, so it never leaves a sandbox."""


@lru_cache(maxsize=65_536)  # the entries of a workspace are asked for with each command
def is_git_name(name: str) -> bool:
    """Return whether any file system or any git takes ``name`` for ``.git``."""
    return find_autorun(name) == GIT


def is_git_folder(names: Collection[str]) -> bool:
    """Return whether git takes a folder with these entries for one of its own (as is_git_directory() in setup.c)."""
    return "HEAD" in names and ("commondir" in names or {"objects", "refs"} <= set(names))


def is_ref_name(name: str) -> bool:
    """Return whether git accepts ``name`` ("refs/heads/main") as the name of a ref."""
    parts = name.split("/")
    return (
        len(parts) > 1
        and parts[0] == "refs"
        and not _NOT_IN_REFS.search(name)
        and all(part and not part.startswith(".") and not part.endswith((".", ".lock")) for part in parts)
    )


def may_be_kept(path: str, data: bytes) -> bool:
    """Return whether ``data``, written to ``path`` of a git folder by an untrusted program, is harmless to git.

    ``path`` is relative to the folder. A ref must name a hash or a ref below ``refs/``; an index must not hold a path
    into a git folder (the next checkout would write hooks there); messages are harmless, because git only quotes them.
    """
    if path == "HEAD" or path.startswith("refs/"):
        return (path == "HEAD" or is_ref_name(path)) and _is_ref_value(data)
    if path == "packed-refs":
        return _is_packed_refs(data)
    if path == "index":
        return index_is_safe(data)
    if path.startswith("sharedindex."):
        return re.fullmatch(r"sharedindex\.[0-9a-f]{40,64}", path) is not None and index_is_safe(data)
    if path.startswith("logs/"):
        name = path.removeprefix("logs/")
        return (name == "HEAD" or is_ref_name(name)) and _all_lines(data, _REFLOG_LINE.fullmatch)
    if path in _SINGLE_HASHES:
        return not data or _HASHES.fullmatch(data) is not None
    return path in _MESSAGES


def _is_ref_value(data: bytes) -> bool:
    match = _REF_VALUE.fullmatch(data)
    return match is not None and (match[1] is None or is_ref_name(match[1].decode("utf-8", "surrogateescape")))


def _is_packed_refs(data: bytes) -> bool:
    def is_line(line: bytes) -> bool:
        match = _PACKED_LINE.fullmatch(line)
        return match is not None and (match[1] is None or is_ref_name(match[1].decode("utf-8", "surrogateescape")))

    return _all_lines(data, is_line)


def _all_lines(data: bytes, is_line: Callable[[bytes], object]) -> bool:
    return (not data or data.endswith(b"\n")) and all(is_line(line) for line in data.split(b"\n")[:-1])


class IndexEntry(NamedTuple):
    """One entry of an index without the file's stat data: the part that a commit would record."""

    path: bytes
    mode: int
    object_hash: bytes
    flags: int


def index_entries(data: bytes) -> list[IndexEntry]:
    """Return the entries of an index (versions 2 to 4, SHA-1 or SHA-256).

    Raises:
        ValueError: ``data`` is not an index.
    """
    for hash_bytes in (20, 32):
        try:
            return list(_entries(data, hash_bytes))
        except (ValueError, IndexError):
            continue
    raise ValueError("not an index of git")


def _entries(data: bytes, hash_bytes: int) -> Iterator[IndexEntry]:
    """Yield the entries. Each has 40 bytes of stat, a hash, flags, and a name; version 4 shares prefixes of names."""
    version = int.from_bytes(data[4:8], "big")
    if data[:4] != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("no header")
    at, end, name = 12, len(data) - hash_bytes, b""
    for _ in range(int.from_bytes(data[8:12], "big")):
        start = at
        mode = int.from_bytes(data[at + 24 : at + 28], "big")
        at += 40 + hash_bytes
        flags = int.from_bytes(data[at : at + 2], "big")
        at += 2
        extended = 0
        if flags & 0x4000:
            if version < 3:
                raise ValueError("extended flags in version 2")
            extended = int.from_bytes(data[at : at + 2], "big")
            at += 2
        shared = b""
        if version == 4:
            strip, at = _offset(data, at)
            if strip > len(name):
                raise ValueError("a name has a negative length")
            shared = name[: len(name) - strip]
        stop = data.index(b"\0", at, end)
        name = shared + data[at:stop]
        at = stop + 1 if version == 4 else start + ((stop - start) // 8 + 1) * 8
        known = name if len(name) < 0xFFF else name[:0xFFF]
        if at > end or not name or (flags & 0xFFF) != len(known):
            raise ValueError("an entry is cut short")
        yield IndexEntry(name, mode, data[start + 40 : start + 40 + hash_bytes], (flags & 0xF000) << 16 | extended)


def _offset(data: bytes, at: int) -> tuple[int, int]:
    """Return a number in the offset encoding of pack files, and the place after it."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at + 1


def index_is_safe(data: bytes) -> bool:
    """Return whether ``data`` is an index without a path that leads into a git folder or out of the work tree.

    Git checks such paths when it adds an entry, not when it reads one, and a checkout writes what the index names.
    """
    try:
        return all(_is_work_path(entry.path) for entry in index_entries(data))
    except ValueError:
        return False


def _is_work_path(path: bytes) -> bool:
    if _SUSPECT_PATH.search(path) is None and path.isascii():
        return True
    parts = path.decode("utf-8", "surrogateescape").split("/")
    return all(part not in ("", ".", "..") and not is_git_name(part) for part in parts)


class Configured(NamedTuple):
    """A path that a configuration of git names: absolute, with ``~``, or relative.

    ``kind`` is "include" (relative to the file that names it), "hooks" or "command" (relative to the work tree).
    """

    path: str
    kind: Literal["include", "hooks", "command"]


def configured_paths(text: str) -> Iterator[Configured]:
    """Yield the paths that git would read or run because of a configuration file with this ``text``."""
    for key, value in _settings(text):
        section, name = key.partition(".")[0], key.rpartition(".")[2]
        if section in ("include", "includeif") and name == "path":
            yield Configured(value, "include")
        elif key == "core.hookspath":
            yield Configured(value, "hooks")
        elif key == "core.attributesfile":
            yield Configured(value, "command")
        elif section in _COMMAND_SECTIONS or name in _COMMAND_NAMES:
            yield from (Configured(word, "command") for word in _words(value) if "/" in word)


_COMMAND_SECTIONS = frozenset({"alias", "pager", "filter", "difftool", "mergetool", "guitool", "gpg", "trailer"})
_COMMAND_NAMES = frozenset(
    {"fsmonitor", "sshcommand", "editor", "pager", "askpass", "gitproxy", "program", "helper", "external", "command"}
    | {"textconv", "driver", "difffilter", "packobjectshook", "uploadpack", "receivepack", "cmd", "smtpserver"}
)


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value.removeprefix("!"))
    except ValueError:
        return value.removeprefix("!").split()


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield keys (section and name in lower case, the subsection between them as it is) with their values."""
    section, lines = "", iter(text.splitlines())
    for line in lines:
        rest = line.strip()
        while match := _SECTION.match(rest):
            section = match[1].lower() + ("" if match[2] is None else f".{match[2]}")
            rest = rest[match.end() :].strip()
        setting = _SETTING.match(rest)
        if setting is None or not section:
            continue
        value = rest[setting.end() :]
        while _continues(value):
            value = value[:-1] + next(lines, "")
        yield f"{section}.{setting[1].lower()}", _unquote(value)


def _continues(value: str) -> bool:
    return (len(value) - len(value.rstrip("\\"))) % 2 == 1


def _unquote(value: str) -> str:
    """Return a value without quotes, escapes and a trailing comment."""
    found, quoted, place = [], False, 0
    while place < len(value):
        char = value[place]
        if char == '"':
            quoted = not quoted
        elif char in "#;" and not quoted:
            break
        elif char == "\\" and place + 1 < len(value):
            place += 1
            found.append({"n": "\n", "t": "\t", "b": "\b"}.get(value[place], value[place]))
        else:
            found.append(char)
        place += 1
    return "".join(found).strip()


__all__ = [
    "GIT",
    "GIT_FOLDER_PARTS",
    "STATE_FOLDERS",
    "Configured",
    "IndexEntry",
    "configured_paths",
    "index_entries",
    "index_is_safe",
    "is_git_folder",
    "is_git_name",
    "is_ref_name",
    "may_be_kept",
]
