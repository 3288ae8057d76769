"""The list of project files that the user trusts, by real path and content hash, in the state folder."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from agentctl.core.errors import StateError
from agentctl.core.files import file_lock, write_atomically
from agentctl.core.text import safe_text
from agentctl.settings.own_files import is_there
from agentctl.settings.untrusted_files import ProjectFile, read_project_file

SCHEMA = "agentctl.trusted/1"
_MOST_BYTES = 4 * 1024 * 1024
_WHAT = "the list of trusted files"

TrustState = Literal["trusted", "changed", "unknown"]


class TrustRecord(NamedTuple):
    """One trusted content: the file's real path, and when it was trusted (ISO 8601, UTC)."""

    path: Path
    sha256: str
    at: str

    @property
    def state(self) -> str:
        """The state of the record: "trusted", or why it has no effect."""
        found = read_project_file(self.path)
        if found is None:
            return "gone"
        if found.unread or found.doubt:
            return found.unread or found.doubt
        return "trusted" if found.sha256 == self.sha256 else "changed"


def real(path: Path) -> Path:
    """Return a file's path with the links in its folder resolved, but not the file itself."""
    return Path(os.path.realpath(path.parent)) / path.name


class TrustStore:
    """The list of trusted files."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "trusted.json"

    def records(self) -> Mapping[Path, TrustRecord]:
        """Return the records by real path.

        Raises:
            StateError: the list cannot be read, or others could have written it.
        """
        try:
            if not is_there(self._path):
                return {}
            return {record.path: record for record in _parse(self._read())}
        except OSError as error:
            raise self._unbelievable((error.strerror or "it cannot be read").lower()) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._unbelievable("it is damaged") from error

    def grant(self, files: Iterable[ProjectFile], *, now: datetime) -> None:
        """Trust the content that each file had when it was read; the file is not read again.

        Raises:
            StateError: the list cannot be written; nothing more is trusted than before.
        """
        at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        added = {real(file.path): TrustRecord(real(file.path), file.sha256, at) for file in files}
        with file_lock(self._path, _WHAT):
            self._write({**self.records(), **added})

    def revoke(self, place: Path | None) -> tuple[Path, ...]:
        """Stop trusting the file at ``place``, or those of a project there (None: all); return their paths.

        They need not exist.

        Raises:
            StateError: the list cannot be written; all files stay trusted.
        """
        if not is_there(self._path):
            return ()
        target = None if place is None else Path(os.path.realpath(place))
        with file_lock(self._path, _WHAT):
            records = {} if target is None and self._is_damaged() else self.records()
            gone = [path for path in records if target is None or _covers(target, path)]
            if gone or target is None:
                self._write({path: record for path, record in records.items() if path not in gone})
            return tuple(sorted(gone))

    def _is_damaged(self) -> bool:
        try:
            self.records()
        except StateError:
            return True
        return False

    def _read(self) -> str:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise self._unbelievable("it is not a regular file")
            if found.st_uid != os.geteuid():
                raise self._unbelievable(f"it belongs to another user (uid {found.st_uid})")
            if found.st_mode & 0o022:
                raise self._unbelievable(f"other users can write to it (mode {stat.S_IMODE(found.st_mode):04o})")
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise self._unbelievable("it is larger than 4 MiB")
        return data.decode("ascii")

    def _write(self, records: Mapping[Path, TrustRecord]) -> None:
        files = {str(path): {"sha256": record.sha256, "at": record.at} for path, record in sorted(records.items())}
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(self._path.lstat().st_mode):  # it holds nothing of ours, and is replaced
                self._path.unlink()
        write_atomically(self._path, json.dumps({"schema": SCHEMA, "files": files}, indent=1) + "\n", for_folder=True)

    def _unbelievable(self, why: str) -> StateError:
        return StateError(
            safe_text(f"{_WHAT} {self._path} is not used: {why}"),
            hint="agentctl trust --revoke --all   starts a new one",
        )


def _covers(target: Path, path: Path) -> bool:
    """Return whether a trusted file is ``target``, or one of the project in that folder."""
    return target in (path, path.parent) or target / ".agentctl" in path.parents


def trust_state(file: ProjectFile, records: Mapping[Path, TrustRecord]) -> TrustState:
    """Return whether ``file`` is trusted with the content that was read, with another content, or not at all."""
    record = records.get(real(file.path))
    if record is None:
        return "unknown"
    is_same = bool(file.sha256) and record.sha256 == file.sha256 and not file.doubt
    return "trusted" if is_same else "changed"


def _parse(text: str) -> list[TrustRecord]:
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(document["schema"])
    found = []
    for path, said in document["files"].items():
        if not isinstance(said["sha256"], str) or not isinstance(said["at"], str):
            raise TypeError(path)
        found.append(TrustRecord(Path(path), said["sha256"], said["at"]))
    return found
