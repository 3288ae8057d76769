"""Keep the facts of a passed sandbox test until the next boot, so that not every start of agentctl repeats it.

A test is repeated when anything that it depends on has changed: the boot, the namespaces and rights of this process,
the mounts, the configuration and the places that it names, the program that makes the sandbox, or agentctl itself. A
test that failed is never kept. The file lies in the state folder, beside the list of trusted files, and is believed
only if no other user could have written it; commands in a sandbox cannot see it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from agentctl.core.files import make_folder, replace_file
from agentctl.core.version import __version__
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.tiers import ProbeFacts

FILE = "sandbox-tests"
_MOST_BYTES = 64 * 1024
_MOST_LINES = 50
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
#: What a process may do, by its lines in /proc/self/status.
_RIGHTS = ("Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp")
_NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
_SWITCHES = (
    "self/attr/current",
    "sys/kernel/unprivileged_userns_clone",
    "sys/user/max_user_namespaces",
    "sys/kernel/apparmor_restrict_unprivileged_userns",
)


class _Line(NamedTuple):
    key: str
    options: tuple[str, ...]
    missing: tuple[str, ...]


def probe_key(tier: str, identity: Sequence[str], config: SandboxConfig, proc: Path = Path("/proc")) -> str | None:
    """Return the hash of what the test of a tier depends on, or None if some of that is unknown."""
    try:
        parts = [__version__, *os.uname(), tier, *identity, *_here(proc), *_code(), *_config(config)]
    except OSError:
        return None
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _here(proc: Path) -> Iterator[str]:
    """Yield what identifies this boot, this container and the rights of this process.

    Raises:
        OSError: it cannot be read.
    """
    yield (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii")
    yield from (os.readlink(proc / "self/ns" / name) for name in _NAMESPACES)  # noqa: PTH115
    status = (proc / "self/status").read_text(encoding="utf-8", errors="surrogateescape")
    yield from (line for line in status.splitlines() if line.startswith(_RIGHTS))
    yield (proc / "self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    for place in _SWITCHES:
        try:
            yield (proc / place).read_text(encoding="utf-8", errors="surrogateescape")
        except (OSError, ValueError):
            yield ""  # this kernel does not have it


def _code() -> Iterator[str]:
    """Yield what changes when agentctl's own sandbox code does; the version of a checkout does not."""
    with os.scandir(os.path.dirname(__file__)) as entries:  # noqa: PTH120
        files = sorted((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py"))
    yield from (f"{name} {found.st_ino} {found.st_size} {found.st_mtime_ns}" for name, found in files)


def _config(config: SandboxConfig) -> Iterator[str]:
    """Yield the whole configuration, and which files and folders its paths are at this moment."""
    yield repr(config._replace(environment={}))
    yield repr(sorted(config.environment.items()))
    named = (config.workspace, config.given, *config.homes, *config.hidden, *config.readable, *config.writable)
    for place in named:
        try:
            found = os.stat(place)  # noqa: PTH116
        except OSError:
            yield f"{place} is not there"
        else:
            yield f"{place} {found.st_dev} {found.st_ino} {found.st_mode} {found.st_uid} {found.st_gid}"


class ProbeCache:
    """The facts of the tests that passed since the boot, in a file of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> ProbeFacts | None:
        """Return the facts of the test with this key; None if it has not passed, or the file is not to be believed."""
        with suppress(OSError), _opened(self._folder) as folder:
            found = next((line for line in _lines(folder) if line.key == key), None)
            return None if found is None else ProbeFacts(found.options, found.missing)
        return None

    def remember(self, key: str, facts: ProbeFacts) -> None:
        """Add the facts of a test that passed; if the file cannot be written, the next start tests again."""
        with suppress(OSError):
            make_folder(self._folder)
            with _opened(self._folder) as folder:
                kept = [line for line in _lines(folder) if line.key != key][-(_MOST_LINES - 1) :]
                lines = [json.dumps(line) for line in (*kept, _Line(key, facts.options, facts.missing))]
                replace_file(folder, FILE, ("\n".join(lines) + "\n").encode("ascii"), mode=0o600)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the folder.

    Raises:
        OSError: it cannot be opened, or another user could write in it.
    """
    folder = os.open(path, _FOLDER)
    try:
        _refuse_foreign(os.fstat(folder), path)
        yield folder
    finally:
        os.close(folder)


def _refuse_foreign(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        raise PermissionError(f"other users can write to {path}")


def _lines(folder: int) -> list[_Line]:
    """Return the lines of the file; none if it is not a file that only this user could have written."""
    with suppress(OSError, ValueError, TypeError):
        descriptor = os.open(FILE, _READ, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            _refuse_foreign(found, Path(FILE))
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > _MOST_BYTES:
                return []
            read = [_Line(*json.loads(line)) for line in file.read(_MOST_BYTES).splitlines()]
        if all(isinstance(text, str) for line in read for text in (line.key, *line.options, *line.missing)):
            return [_Line(line.key, tuple(line.options), tuple(line.missing)) for line in read]
    return []
