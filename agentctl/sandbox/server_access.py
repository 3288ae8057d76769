"""Decide what a server may reach: less than the commands of its run, and in the workspace only what its user named.

It reads what commands read, and changes only the paths of its ``write``. What other programs run or obey there stays as
it is (``WrittenFiles``): existing files are read-only to it, new ones are moved into the run's files when it has ended.
Git's folder is read-only to it: a copy, as commands have, would be out of date while they work.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from agentctl.core.autorun_files import AutorunFile, find_autorun
from agentctl.core.errors import ToolError
from agentctl.core.results import FileNotice
from agentctl.core.system_folders import is_beneath
from agentctl.sandbox.folder_index import AutorunEntry, FolderIndex
from agentctl.sandbox.git_files import is_git_name
from agentctl.sandbox.git_folder import OwnFolder
from agentctl.sandbox.import_path import import_folders, is_importable
from agentctl.sandbox.landlock_paths import NOTHING_NEW
from agentctl.sandbox.mount_plan import SandboxConfig, links_along
from agentctl.sandbox.quarantine import Placeholder, Quarantine
from agentctl.sandbox.workspace_guard import NamedPath, configured_in, link_targets
from agentctl.settings.sandbox_access import writable_paths

_MOST_PROTECTED = 1000  # mounts: each costs bubblewrap a fraction of a millisecond
_MOST_NOTES = 20


class ServerAccess(NamedTuple):
    """The input of a server's sandbox, bubblewrap's options besides, and who looks after what the server writes."""

    config: SandboxConfig
    mounts: tuple[str, ...] = ()
    written: WrittenFiles | None = None
    notes: tuple[str, ...] = ()


def server_access(
    config: SandboxConfig, write: Sequence[Path], *, network: bool, files: Path | None = None, has_mounts: bool = True
) -> ServerAccess:
    """Return what a server may reach in a run whose commands have ``config``; ``files`` is the folder of its files.

    Raises:
        ToolError: a path of ``write`` may not be written, or the workspace cannot be read.
    """
    config = config._replace(
        readable=(*config.readable, *config.writable), writable=(), environment={}, network=network
    )
    if config.read_only or not write:
        why = config.why_read_only or "so is the whole run"
        notes = tuple(f"{path} is read-only to it: {why}" for path in write)
        return ServerAccess(config._replace(read_only=True), notes=notes)
    inside: list[str] = []
    outside: list[str] = []
    for path in (os.path.normpath(os.path.join(config.given, path)) for path in write):  # noqa: PTH118
        real = os.path.realpath(path)
        if (reason := _why_not(path, real, config)) is not None:
            raise ToolError(f"a server may not write {path}: {reason}", hint="change the paths of its write")
        (inside if is_beneath(real, config.workspace) else outside).append(real)
    parts = None if config.workspace in inside else _outermost(inside)
    config = config._replace(parts=parts, writable=_outermost(outside))
    written = WrittenFiles(config, files)
    try:
        frozen = written.look()
    except OSError as error:
        raise ToolError(f"the workspace cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(frozen) > _MOST_PROTECTED:
        raise ToolError(
            f"a server may not write {', '.join(map(str, write))}: {len(frozen)} files in it are run or obeyed by "
            "other programs, too many to protect each",
            hint="name smaller folders in its write",
        )
    mounts = written.cover_git() if has_mounts else ()
    notes = () if has_mounts else tuple(map(NOTHING_NEW.format, _folders_around(frozen, config.roots)[:_MOST_NOTES]))
    return ServerAccess(config._replace(frozen=(*config.frozen, *frozen)), mounts, written, notes)


def _why_not(path: str, real: str, config: SandboxConfig) -> str | None:
    """Return why a server may not write a path, which leads to ``real``; None if it may."""
    if not os.path.exists(real):  # noqa: PTH110
        return "it does not exist"
    changed = (config.workspace, *config.readable)  # among the readable ones are those that commands write to
    own_way = {at for at, _ in links_along(config.given)}
    for at, _ in links_along(path):
        if at not in own_way and any(is_beneath(os.path.dirname(at), root) for root in changed):  # noqa: PTH120
            return f"{at} is a link, which a command could change"
    if real != config.workspace and is_beneath(config.workspace, real):
        return f"it contains the workspace {config.workspace}"
    for hidden in map(os.path.realpath, config.hidden):
        if is_beneath(real, hidden) or (is_beneath(hidden, real) and real != config.workspace):
            return f"{hidden} belongs to agentctl, or reaches past the sandbox"
    if is_beneath(real, config.workspace):
        within = real[len(config.workspace) :].strip("/").split("/") if real != config.workspace else []
        for count in range(1, len(within) + 1):
            part = "/".join(within[:count])
            found = find_autorun(part)
            if is_git_name(within[count - 1]) or (found is not None and found.policy != "reported"):
                program = "git" if found is None else found.program
                return f"{part} is run or obeyed by other programs ({program})"
        return None
    for own in map(os.path.realpath, (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]))):
        if is_beneath(own, real) or is_beneath(real, own):
            return f"agentctl is installed in {own}"
    try:
        writable_paths([real])
    except ValueError as error:
        return str(error).rpartition("; ")[2]
    return None


def _folders_around(places: Sequence[str], roots: Sequence[str]) -> list[str]:
    """Return the folders between the ``roots`` and the places in them, where Landlock lets nothing new be made."""
    found = set()
    for place in places:
        above = os.path.dirname(place)  # noqa: PTH120
        while any(is_beneath(above, root) for root in roots):
            found.add(above)
            above = os.path.dirname(above)  # noqa: PTH120
    return sorted(found)


def _outermost(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        path
        for path in dict.fromkeys(sorted(paths))
        if not any(path != other and is_beneath(path, other) for other in paths)
    )


class WrittenFiles:
    """Looks after the files of the workspace that other programs obey, in the paths that one server may write."""

    def __init__(self, config: SandboxConfig, files: Path | None = None) -> None:
        self._config, self._workspace, self._files = config, config.workspace, files
        folders = import_folders(config.workspace)
        imported = AutorunFile("asks", "agentctl")

        def also(path: str) -> AutorunFile | None:
            return imported if folders and is_importable(path, folders=folders) else None

        self._index = FolderIndex(self._workspace, skipped=set(map(os.path.realpath, config.hidden)), also=also)
        self._before: dict[str, AutorunEntry] = {}
        self._configured: dict[str, NamedPath] = {}
        self._frozen: tuple[str, ...] = ()
        self._quarantine = Quarantine(self._workspace, files)
        self._placeholder: Placeholder | None = None
        self._own: OwnFolder | None = None

    def look(self) -> tuple[str, ...]:
        """Return the paths that the server must not change, before it is started.

        Raises:
            OSError: the workspace cannot be read.
        """
        self._before = self._index.refresh()
        self._configured = configured_in(self._workspace, self._config.homes)
        self._configured |= link_targets(self._workspace, self._before.values())
        self._before |= self._look_at_configured()
        places = []
        for path, found in self._before.items():
            place = f"{self._workspace}/{path}"
            if found.target is not None:  # a link cannot be bound: its folder is, unless the server may write it all
                place = place.rpartition("/")[0]
            if found.autorun.policy != "reported" and self._is_written(path) and place not in self._config.roots:
                places.append(place)
        self._frozen = _outermost(places)
        return self._frozen

    def cover_git(self) -> tuple[str, ...]:
        """Return bubblewrap's options by which a git folder that the server makes, where there is none, is not
        visible outside.
        """
        place = f"{self._workspace}/.git"
        if self._config.parts is not None or (os.path.lexists(place) and not Placeholder.stands_at(place)):
            return ()
        above = Path(tempfile.gettempdir())
        if self._config.user is None and self._files is not None:
            self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
            above = self._files
        self._own = OwnFolder(above, self._config.user)
        inside = f"{self._own.path}/git"
        self._placeholder = Placeholder.create(place, inside, is_folder=True, owner=self._config.user)
        return () if self._placeholder is None else tuple(self._placeholder.mounts)

    def settle(self) -> tuple[list[str], list[FileNotice]]:
        """Move the new files that other programs obey out of the workspace, and return notes and notices. The server
        has ended.
        """
        notes: list[str] = []
        notices: list[FileNotice] = []
        self._quarantine.begin()
        try:
            with ExitStack() as opened:
                after = self._index.refresh(opened) | self._look_at_configured()
                for path, found in sorted(after.items()):
                    notices += self._settle_one(path, found, notes)
            notes += self._put_links_back()
        except OSError as error:
            notes.append(f"the workspace could not be checked after the server: {error}")
        finally:
            notices += self._uncover_git(notes)
        notes += [
            f"not checked for files that other programs obey: {folder[:200]}" for folder in self._index.unread[:3]
        ]
        return notes[:_MOST_NOTES], notices

    def _settle_one(self, path: str, found: AutorunEntry, notes: list[str]) -> Iterator[FileNotice]:
        earlier = self._before.get(path)
        place = f"{self._workspace}/{path}"
        is_as_before = earlier is not None and (earlier.identity, earlier.stamp) == (found.identity, found.stamp)
        is_git_here = path == ".git" and self._placeholder is not None  # not the server's: it saw another folder
        if not self._is_written(path) or is_as_before or is_git_here:
            return
        if found.autorun.policy == "reported":
            yield FileNotice(path, found.autorun.program)
        elif not any(is_beneath(place, frozen) for frozen in self._frozen):
            notice = self._quarantine.move(found, notes)
            yield from () if notice is None else (notice,)

    def _put_links_back(self) -> list[str]:
        notes = []
        for path, earlier in self._before.items():
            place = Path(self._workspace, path)
            if earlier.target is not None and self._is_written(path) and not os.path.lexists(place):
                with suppress(OSError):
                    place.symlink_to(earlier.target)
                    notes.append(f"{path} was put back: a link to {earlier.target}")
        return notes

    def _uncover_git(self, notes: list[str]) -> list[FileNotice]:
        made, self._placeholder = self._placeholder, None
        notice = None
        if made is not None and (inside := made.remove()) is not None:
            notice = self._quarantine.move_from(inside, ".git", "git", notes)
        if self._own is not None:
            self._own.remove()
        return [] if notice is None else [notice]

    def _is_written(self, path: str) -> bool:
        return any(is_beneath(f"{self._workspace}/{path}", root) for root in self._config.roots)

    def _look_at_configured(self) -> dict[str, AutorunEntry]:
        found = {
            path: self._index.look(path, AutorunFile("asks", named.program)) for path, named in self._configured.items()
        }
        return {path: entry for path, entry in found.items() if entry is not None}
