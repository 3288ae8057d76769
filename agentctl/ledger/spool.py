"""Keep conclusions that the ledger could not store in files beside it, until a process that can write applies them.

One file per attempt, ``ledger.unsettled/ATTEMPT.json`` (mode 0600), written whole or not at all. A process that sends
paid requests allocates its first file in advance, so that a full disk does not stop it. An unreadable file is never an
error of a run: it stays where it is, and ``agentctl ledger check`` names it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import stat
import types
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

from agentctl.budget.conclusions import Charge, Conclusion, Doubt, Void, conclusion_kind
from agentctl.core.files import hand_over, make_folder, sync_folder
from agentctl.core.text import safe_text
from agentctl.ledger.errors import translate_errors

SCHEMA = "agentctl.unsettled/1"
ALLOCATED_BYTES = 8192
MOST_BYTES = 65_536
MOST_FILES = 1_000
_KINDS: Mapping[str, type] = {"charge": Charge, "doubt": Doubt, "void": Void}
_NAME = re.compile(r"([0-9A-Za-z_-]{1,100})\.json")
_OF_SERVER = re.compile(r"ledger-[0-9a-f]{12}\.unsettled")
_MOST_TEXT, _LONGEST_REASON = 10_000, 500
_TOO_MUCH = 2**63
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would block


class SpoolFile(NamedTuple):
    """One file of the spool: the ``conclusion`` of its attempt, or None and the ``problem`` with the file."""

    attempt_id: str
    path: Path
    conclusion: Conclusion | None
    problem: str = ""


class Spool:
    """The conclusions beside one ledger; ``owner_id`` is the process that writes here."""

    def __init__(self, ledger: Path, *, owner_id: str = "") -> None:
        self._ledger, self._owner_id = ledger, owner_id
        self._owners = ledger.with_suffix(".owners")
        self.folder = ledger.with_suffix(".unsettled")
        self._spare: int | None = None
        self._written: set[str] = set()

    def allocate(self) -> None:
        """Allocate the file that ``put`` writes first, one per process; ignore a failure."""
        if self._spare is not None or not self._owner_id:
            return
        with suppress(OSError):
            self._make_folder()
            for left in self.folder.glob("*.spare"):  # left by processes that were killed
                if not (self._owners / left.stem).exists() and not _is_locked(left):
                    left.unlink()
            spare = self._new()
            try:
                with suppress(OSError):
                    fcntl.flock(spare, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed: this process lives
                os.posix_fallocate(spare, 0, ALLOCATED_BYTES)
            except OSError:
                self._spare_path.unlink()
                os.close(spare)
                raise
            self._spare = spare

    def put(self, attempt_id: str, conclusion: Conclusion) -> Path:
        """Write the conclusion of an attempt to disk; return the path of the file.

        Raises:
            StateError: the file cannot be written.
        """
        path = self.folder / f"{attempt_id}.json"
        data = _encode(attempt_id, conclusion)
        with translate_errors(path):
            if not self._ledger.parent.is_dir():
                raise FileNotFoundError(2, "no such folder", str(self._ledger.parent))
            file, self._spare = self._spare, None
            if file is None or not self._spare_path.exists():
                if file is not None:
                    os.close(file)
                self._make_folder()
                file = self._new()
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(file, data[written:], written)
                os.ftruncate(file, len(data))
                os.fsync(file)
                self._spare_path.replace(path)
            except BaseException:
                with suppress(OSError):
                    self._spare_path.unlink()
                raise
            finally:
                os.close(file)
            self._written.add(attempt_id)
            with suppress(OSError):  # the file is written; only a crash of the machine could lose its name
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
        return path

    def _make_folder(self) -> None:
        make_folder(self.folder, sync=False)  # put syncs it, once it has a file
        if not stat.S_ISDIR(self.folder.lstat().st_mode):  # root would remove files where a link of the user's leads
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(self.folder))

    def _new(self) -> int:
        with suppress(FileNotFoundError):
            self._spare_path.unlink()
        file = os.open(self._spare_path, _NEW, 0o600)
        hand_over(file, self.folder)
        return file

    @property
    def _spare_path(self) -> Path:
        return self.folder / f"{self._owner_id}.spare"

    def at_other_addresses(self) -> tuple[Spool, ...]:
        """Return the spools of other addresses of servers: the same ledger may have been reached by one of them."""
        if not _OF_SERVER.fullmatch(self.folder.name):
            return ()
        found = sorted(self.folder.parent.glob("ledger-*.unsettled"))
        return tuple(Spool(one) for one in found if _OF_SERVER.fullmatch(one.name) and one.name != self.folder.name)

    def remove(self, attempt_id: str) -> None:
        """Remove a conclusion that was applied; a file that cannot be removed is applied again, without effect."""
        self._written.discard(attempt_id)
        with suppress(OSError):
            (self.folder / f"{attempt_id}.json").unlink()

    def remove_own(self, attempt_id: str) -> None:
        """Remove the conclusion of an attempt if this process has written it."""
        if attempt_id in self._written:
            self.remove(attempt_id)

    def read(self) -> Iterator[SpoolFile]:
        """Yield the files of the spool by name, at most a thousand; one that cannot be read has a ``problem``."""
        try:
            with os.scandir(self.folder) as found:
                names = sorted(one.name for one in found if one.name.endswith(".json"))
        except OSError:
            return
        for name in names[:MOST_FILES]:
            path, matched = self.folder / name, _NAME.fullmatch(name)
            if matched is None:
                yield SpoolFile("", path, None, "its name is not the id of an attempt")
                continue
            try:
                yield SpoolFile(matched[1], path, _decode(matched[1], _content(path)))
            except FileNotFoundError:
                continue  # another process has applied it
            except (OSError, ValueError, RecursionError) as error:
                said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                yield SpoolFile(matched[1], path, None, safe_text(said))

    def close(self) -> None:
        """Remove the allocated file."""
        spare, self._spare = self._spare, None
        if spare is not None:
            with suppress(OSError):
                self._spare_path.unlink()
            os.close(spare)


def _content(path: Path) -> bytes:
    file = os.open(path, _FOUND)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > MOST_BYTES:
            raise ValueError(f"it is longer than {MOST_BYTES:,} bytes")
        return os.read(file, MOST_BYTES)
    finally:
        os.close(file)


def _is_locked(path: Path) -> bool:
    """Return whether a process has a file locked; False for what is no file."""
    with suppress(OSError):
        file = os.open(path, _FOUND)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False


def _encode(attempt_id: str, conclusion: Conclusion) -> bytes:
    kind = conclusion_kind(conclusion)
    if not isinstance(conclusion, Charge):
        conclusion = conclusion._replace(reason=conclusion.reason[:_LONGEST_REASON])
    document = {"schema": SCHEMA, "attempt_id": attempt_id, "kind": kind, kind: _plain(conclusion)}
    return json.dumps(document).encode("ascii") + b"\n"


def _decode(attempt_id: str, data: bytes) -> Conclusion:
    """Return the conclusion that a file holds.

    Raises:
        ValueError: it holds something else.
    """
    document = json.loads(data)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"it is not {SCHEMA}")
    if document.get("attempt_id") != attempt_id:
        raise ValueError("it is about another attempt than its name says")
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError("its kind is unknown")
    return cast("Conclusion", _value(_KINDS[kind], document.get(kind), kind))


def _field_names(kind: type) -> Collection[str]:
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return cast("Collection[str]", getattr(kind, "_fields", ()))


def _plain(value: object) -> object:
    """Return a value for JSON: named tuples and dataclasses as objects, Decimals as strings."""
    if names := _field_names(type(value)):
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def _value(kind: object, found: object, place: str) -> object:
    """Return a value of the given type from JSON; a field that is missing gets its default.

    Raises:
        ValueError: the value is not of that type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        for one in inner:
            with suppress(ValueError):
                return _value(one, found, place)
    elif origin is Literal and isinstance(found, str) and found in inner:
        return found
    elif origin is tuple and isinstance(found, list):
        return tuple(_value(inner[0], one, place) for one in found)
    elif isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(found, dict):
        return {key: _value(inner[1], one, place) for key, one in found.items()}
    elif isinstance(kind, type) and _field_names(kind) and isinstance(found, dict):
        return _fields_of(kind, found, place)
    elif kind is Decimal and isinstance(found, str):
        with suppress(InvalidOperation):
            if (amount := Decimal(found)).is_finite() and amount >= 0:
                return amount
    elif _is_plain(kind, found):
        return found
    raise ValueError(f"{place} cannot be read")


def _fields_of(kind: type, found: Mapping[str, object], place: str) -> object:
    names, hints = _field_names(kind), get_type_hints(kind)
    if unknown := sorted(found.keys() - set(names)):
        raise ValueError(f"{place} has an unknown field: {unknown[0]}")
    values = {name: _value(hints[name], found[name], f"{place}.{name}") for name in names if name in found}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{place} has a missing field") from error


def _is_plain(kind: object, found: object) -> bool:
    """Return whether a scalar has that type; a number must be one that the ledger can store."""
    if kind is int:
        return type(found) is int and 0 <= found < _TOO_MUCH
    if kind is float:
        return isinstance(found, (int, float)) and type(found) is not bool and math.isfinite(found)
    if kind is str:
        return isinstance(found, str) and len(found) <= _MOST_TEXT
    return (kind is bool and type(found) is bool) or (kind is types.NoneType and found is None)
