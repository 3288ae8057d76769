"""Save whole texts of which a model was shown a part, in files beside the journal, for reading on."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

import anyio.to_thread

from agentctl.core.errors import StateError, ToolError
from agentctl.core.files import hand_over, make_folder, replace_file
from agentctl.core.redaction import redact
from agentctl.core.text import safe_text
from agentctl.protocols import Artifact

PREFIX = "run:"
MOST_BYTES = 512 * 1024 * 1024  # for one run, so that a model cannot fill a disk
_NAME = r"[0-9]{1,9}-[A-Za-z0-9_-]{1,40}\.txt"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class ArtifactFolder:
    """Saves texts in ``folder``, which is created with the first one, for its owner only; secrets are redacted."""

    def __init__(self, folder: Path, *, secrets: Iterable[str] = (), most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._secrets, self._left = folder, tuple(secrets), most_bytes

    async def keep(self, number: int, tool: str, text: str) -> Artifact:
        """Write ``text``, the result of call number ``number`` of a run, atomically.

        Raises:
            StateError: the disk is full or read-only, or the artifact quota of the run is exceeded.
        """
        return await anyio.to_thread.run_sync(self._keep, number, tool, text)

    def _keep(self, number: int, tool: str, text: str) -> Artifact:
        name = f"{number}-{re.sub('[^A-Za-z0-9_-]', '_', tool)[:40] or 'tool'}.txt"
        safe = safe_text(redact(text, self._secrets))  # as it is written, so that offsets stay right
        data = safe.encode("utf-8")
        if len(data) > self._left:
            raise StateError("result not saved: artifact quota for this run exceeded", hint="request less at once")
        try:
            make_folder(self._folder)
            folder = os.open(self._folder, _FOLDER)
            try:
                replace_file(folder, name, data, mode=0o600, set_up=lambda file: hand_over(file, folder))
            finally:
                os.close(folder)
        except OSError as exc:
            reason = (exc.strerror or str(exc)).lower()
            raise StateError(
                f"result not saved: {self._folder} cannot be written: {reason}",
                hint="free some space there, or set AGENTCTL_STATE_DIR",
            ) from exc
        self._left -= len(data)
        return Artifact(PREFIX + name, safe)


def copy_artifacts(source: Path, target: Path) -> None:
    """Copy the files of a run for one that goes on from it, as its results name them.

    Raises:
        StateError: one cannot be written.
    """
    try:
        names = [name for name in os.listdir(source) if re.fullmatch(_NAME, name)]  # noqa: PTH208 - a folder's names
    except FileNotFoundError:
        return
    try:
        for name in names:
            make_folder(target)
            with open_artifact(source, f"{PREFIX}{name}") as file:
                folder = os.open(target, _FOLDER)
                try:
                    replace_file(folder, name, file.read(), mode=0o600, set_up=lambda file: hand_over(file, target))
                finally:
                    os.close(folder)
    except (OSError, ToolError) as exc:
        raise StateError(
            f"the files of the run cannot be copied to {target}",
            hint="free some space there, or set AGENTCTL_STATE_DIR",
        ) from exc


def open_artifact(folder: Path | None, path: str) -> BufferedReader:
    """Open a file of the run (``run:NAME``) for reading.

    Raises:
        ToolError: the file does not exist, or the name or the file is not a plain one.
    """
    name = path.removeprefix(PREFIX)
    missing = ToolError(f"{path} does not exist", hint="take the name from the mark in a result that was cut")
    if folder is None or not re.fullmatch(_NAME, name):
        raise missing
    try:
        inside = os.open(folder, _FOLDER)
        try:
            file = os.open(name, _READ, dir_fd=inside)
        finally:
            os.close(inside)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise missing from exc
        raise ToolError(f"{path}: {(exc.strerror or str(exc)).lower()}") from exc
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(file)
        raise missing
    return open(file, "rb")  # noqa: PTH123 - a descriptor
