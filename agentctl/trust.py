"""What a file that lies in the working directory may do: tighten, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

MOST_BYTES = 64 * 1024
MOST_REMEMBERED = 500

#: Ceilings that such a file may lower; None is no ceiling.
LOWERABLE = (
    "max_cost_per_task",
    "max_cost_per_hour",
    "max_tokens_per_task",
    "max_context_tokens",
    "max_turns",
    "timeout",
)
TIGHTENING = frozenset({*LOWERABLE, "read_only", "deny", "ask"})


class Ignored(NamedTuple):
    """A line that we would have used, had the file been trusted; never its value."""

    field: str
    name: str
    path: Path
    place: str

    @property
    def remedy(self) -> str:
        """Return the command that uses the file after all."""
        flag = "--config" if self.path.suffix == ".toml" else "--env-file"
        return f"agentctl run {flag} {shlex.quote(self.place.removeprefix('./'))}"


class Tightening(NamedTuple):
    """What changes, and the fields that would have loosened something and therefore do nothing."""

    changes: Mapping[str, object] = MappingProxyType({})
    loosening: tuple[str, ...] = ()


def tighten(resolved: Mapping[str, object], offered: Mapping[str, object]) -> Tightening:
    """Compare what an untrusted file offers with what is resolved, field by field.

    A limit becomes the lower of both, ``deny`` and ``ask`` the union, ``read_only`` true if either is.
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
        elif name == "read_only":
            if new and not old:
                changes[name] = True
            elif old and not new:
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
    """A file of the working directory: its text, or the reason why it was not read."""

    path: Path
    text: str = ""
    unread: str = ""

    @property
    def digest(self) -> str:
        """Name this content of this file in the told-once memory."""
        said = "\0".join((os.fspath(self.path), self.unread, self.text))
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


def read_project_file(path: Path) -> ProjectFile | None:
    """Read at most 64 KiB of a regular file, or say why not; None where there is nothing.

    A pipe, a device, a link, a huge or a binary file neither hangs nor fails.
    """
    try:
        found = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return ProjectFile(path, unread="it is not a regular file")
    if found.st_size > MOST_BYTES:
        return ProjectFile(path, unread=f"it is larger than {MOST_BYTES // 1024} KiB")
    try:
        data = _bounded(path)
    except OSError as exc:
        return ProjectFile(path, unread=(exc.strerror or "it cannot be read").lower())
    if data is None:
        return ProjectFile(path, unread="it is not a regular file of at most 64 KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ProjectFile(path, unread="it is not UTF-8 text")
    if "\0" in text:
        return ProjectFile(path, unread="it is binary")
    return ProjectFile(path, text)


def _bounded(path: Path) -> bytes | None:
    """Open without following or blocking: the file may have been exchanged since it was looked at."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = file.read(MOST_BYTES + 1)
    return data if len(data) <= MOST_BYTES else None


class Told:
    """What was told once already: content hashes in a small file of the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "told"

    def knows(self, digest: str) -> bool:
        """Tell whether ``digest`` was told before; an unreadable memory knows nothing."""
        return digest in self._lines()

    def remember(self, digest: str) -> None:
        """Add ``digest``, atomically and for the user alone; failing is not an error, it is told again."""
        with contextlib.suppress(OSError):
            lines = [line for line in self._lines() if line != digest][-(MOST_REMEMBERED - 1) :]
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._path.with_name(f"told.{os.getpid()}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(fresh, flags, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write("\n".join([*lines, digest]) + "\n")
                fresh.replace(self._path)
            except OSError:
                fresh.unlink(missing_ok=True)
                raise

    def _lines(self) -> list[str]:
        try:
            data = _bounded(self._path)
        except OSError:
            return []
        return (data or b"").decode("ascii", "replace").split()
