"""Find the files of a workspace that deny rules hide from every tool, or protect from writing.

``DeniedPaths`` is made once for a run. ``find`` looks only where the rules can match; an unchanged folder is not read
again. Rules name paths, but one file may have several names (hard links, bind mounts, symbolic links), so files are
compared by identity.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import ToolError
from agentctl.core.targets import ancestors, canonical_path, fold_case, frozen_pattern, hidden_pattern, patterns_of
from agentctl.core.tool_rules import Rule, glob
from agentctl.sandbox.mount_table import mounts

Identity = tuple[int, int]
MOST_PLACES = 2000
_MOST_ENTRIES = 500_000
_MOST_INSIDE = 20_000  # most entries of hidden folders whose identity is recorded
_FEW_INSIDE = 1000
_MANY = 64  # with more hidden files in one folder, the sandbox covers the folder
_SETTLED_NS = 100_000_000  # a folder that changed this recently may change again within one tick of its clock


class _Pattern(NamedTuple):
    """A rule's path pattern; ``before`` is prepended to a relative path if the pattern is absolute."""

    expression: re.Pattern[str]
    literal: str
    is_whole: bool
    before: str

    def matches(self, path: str) -> bool:
        return self.expression.fullmatch(self.before + path) is not None

    def may_match_below(self, path: str) -> bool:
        text = f"{self.before}{path}/" if path != "." else self.before
        return self.literal.startswith(text) or (not self.is_whole and text.startswith(self.literal))

    def leads_through(self, path: str) -> bool:
        return self.literal.startswith(f"{self.before}{path}/")


class _Folder(NamedTuple):
    """The relevant content of one folder: names that a pattern matches, folders to descend into (maybe links), and its
    stamp.
    """

    stamp: tuple[int, int, int, int]
    is_settled: bool
    matched: tuple[tuple[str, bool], ...]
    deeper: tuple[tuple[str, bool], ...]


class _Contents(NamedTuple):
    """The content of a hidden folder: its subfolders as they were read, and the identity of each entry."""

    folders: tuple[tuple[str, tuple[int, int] | None], ...]
    identities: tuple[Identity, ...]
    is_linked: bool


class HiddenPaths(NamedTuple):
    """The hidden paths at the time of the search. ``places``: real path -> the name that a rule matches."""

    root: str
    patterns: tuple[_Pattern, ...]
    places: dict[str, str]
    identities: dict[Identity, str]

    def hides(self, relative: str) -> bool:
        """Return whether a path of the workspace, with links followed, is hidden, or lies in a hidden folder."""
        if any(pattern.matches(above) for above in ancestors(canonical_path(relative)) for pattern in self.patterns):
            return True
        real = self.root if relative == "." else f"{self.root.rstrip('/')}/{relative}"
        return any(above in self.places for above in ancestors(real))

    def hides_entry(self, relative: str, status: os.stat_result) -> bool:
        """Return whether an entry of a folder is hidden, if the folder itself is not."""
        path = canonical_path(relative)
        if any(pattern.matches(path) for pattern in self.patterns):
            return True
        return (status.st_dev, status.st_ino) in self.identities or f"{self.root}/{relative}" in self.places

    def hides_open(self, descriptor: int, status: os.stat_result) -> bool:
        """Return whether an open file is hidden, by its real path and its identity, which can no longer be swapped."""
        if (status.st_dev, status.st_ino) in self.identities:
            return True
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        except OSError:
            return False  # without /proc the earlier check of the path has to suffice
        top = self.root.rstrip("/")
        return real.startswith(f"{top}/") and self.hides(real[len(top) + 1 :])

    def name_of(self, relative: str, status: os.stat_result | None) -> str | None:
        """Return the name by which a rule matches the file at a real path of the workspace, or None."""
        if status is not None and (name := self.identities.get((status.st_dev, status.st_ino))) is not None:
            return name
        real = f"{self.root.rstrip('/')}/{relative}"
        return next((self.places[above] for above in ancestors(real) if above in self.places), None)


class DeniedPaths:
    """Finds the files that deny rules on paths match, in one workspace. Several threads may use it."""

    def __init__(self, workspace: Path, rules: Iterable[Rule]) -> None:
        rules = tuple(rules)
        self._root = os.path.realpath(workspace)
        self._roots = tuple(dict.fromkeys((os.path.abspath(workspace), self._root)))  # noqa: PTH100
        self.hidden_texts = tuple(filter(None, map(hidden_pattern, rules)))
        self._hidden = _compile(self.hidden_texts, self._roots)
        self._frozen = _compile(tuple(filter(None, map(frozen_pattern, rules))), self._roots)
        self._folders: dict[tuple[int, str], _Folder] = {}
        self._inside: dict[str, _Contents] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Return whether any rule is about paths."""
        return bool(self._hidden or self._frozen)

    def find(self) -> HiddenPaths:
        """Return the paths that are hidden now."""
        with self._lock:
            return self._find(0, self._hidden)

    def find_frozen(self) -> tuple[str, ...]:
        """Return the real paths of existing files that must not be written, by all their names."""
        with self._lock:
            return tuple(self._find(1, self._frozen).places)

    def _find(self, kind: int, patterns: tuple[_Pattern, ...]) -> HiddenPaths:
        places = dict(self._look(kind, patterns))
        identities: dict[Identity, str] = {}
        is_linked = False
        for place, name in places.items():
            is_linked |= self._identify(place, name, identities)
        if identities and (is_linked or self._has_mounts()):
            for place, name in self._other_names(identities):
                places.setdefault(place, name)
        return HiddenPaths(self._root, patterns, places, identities)

    def to_cover(self) -> tuple[str, ...]:
        """Return the real paths that a sandbox must cover; a folder in place of many files in it.

        Raises:
            ToolError: there are too many paths.
        """
        found = self.find()
        inside: dict[str, list[str]] = {}
        for place in found.places:
            inside.setdefault(os.path.dirname(place), []).append(place)  # noqa: PTH120
        covered = [
            one
            for folder, places in inside.items()
            for one in ([folder] if len(places) > _MANY and folder != self._root else places)
        ]
        if len(covered) > MOST_PLACES:
            raise ToolError(
                f"deny rules hide {len(covered):,} files and folders here, more than a sandbox can hide",
                hint="complete the task without run_shell",
            )
        return tuple(sorted(covered))

    def _look(self, kind: int, patterns: Sequence[_Pattern]) -> Iterator[tuple[str, str]]:
        """Yield the real path of each match, and the name that is matched."""
        pending, left = [(".", self._root)] if patterns else [], _MOST_ENTRIES
        while pending and left > 0:
            name, real = pending.pop()
            folder = self._read(kind, name, real, patterns)
            if folder is None:
                continue
            left -= 1
            for entry, is_link in folder.matched:
                target = self._inside_workspace(f"{real}/{entry}", is_link=is_link)
                if target is not None:
                    yield target, entry if name == "." else f"{name}/{entry}"
            for entry, is_link in folder.deeper:
                target = self._inside_workspace(f"{real}/{entry}", is_link=is_link)
                if target is not None:
                    pending.append((entry if name == "." else f"{name}/{entry}", target))

    def _inside_workspace(self, place: str, *, is_link: bool) -> str | None:
        """Return the target of an entry in a folder of the workspace, or None if it is outside."""
        target = os.path.realpath(place) if is_link else place
        return target if target.startswith(f"{self._root.rstrip('/')}/") else None

    def _read(self, kind: int, name: str, real: str, patterns: Sequence[_Pattern]) -> _Folder | None:
        """Return the content of a folder, read again only if it has changed, or None if it is not a folder."""
        try:
            status = os.stat(real)  # noqa: PTH116
        except OSError:
            self._folders.pop((kind, name), None)
            return None
        stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        known = self._folders.get((kind, name))
        if known is not None and known.is_settled and known.stamp == stamp:
            return known
        is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
        matched: list[tuple[str, bool]] = []
        deeper: list[tuple[str, bool]] = []
        above = "" if name == "." else f"{canonical_path(name)}/"
        try:
            with os.scandir(real) as entries:
                for entry in islice(entries, _MOST_ENTRIES):
                    path = above + fold_case(entry.name)
                    if any(pattern.matches(path) for pattern in patterns):
                        matched.append((entry.name, entry.is_symlink()))
                    elif entry.is_dir(follow_symlinks=False):
                        if any(pattern.may_match_below(path) for pattern in patterns):
                            deeper.append((entry.name, False))
                    elif entry.is_symlink() and any(pattern.leads_through(path) for pattern in patterns):
                        deeper.append((entry.name, True))
        except OSError:
            return None
        found = _Folder(stamp, is_settled, tuple(matched), tuple(deeper))
        self._folders[kind, name] = found
        return found

    def _identify(self, place: str, name: str, identities: dict[Identity, str]) -> bool:
        """Record the identity of a hidden file, or of all files in a hidden folder; return whether one has a second
        name.
        """
        try:
            status = os.lstat(place)
        except OSError:
            return False
        identities.setdefault((status.st_dev, status.st_ino), name)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_nlink > 1
        known = self._inside.get(place)
        # A new hard link changes the file but no folder around it, so a few files are checked each time.
        is_small = known is not None and len(known.identities) <= _FEW_INSIDE
        if known is None or is_small or _has_changed(known):
            known = self._inside[place] = _read_contents(place)
        for identity in known.identities:
            identities.setdefault(identity, name)
        return known.is_linked

    def _has_mounts(self) -> bool:
        """Return whether something is mounted in the workspace; the source may be one of its own folders."""
        return any(place.startswith(f"{self._root.rstrip('/')}/") for place, _ in mounts())

    def _other_names(self, identities: dict[Identity, str]) -> Iterator[tuple[str, str]]:
        """Yield the other places in the workspace of hidden files."""
        numbers = {inode for _, inode in identities}
        pending, left = [self._root], _MOST_ENTRIES
        while pending and left > 0:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in islice(entries, left):
                        left -= 1
                        # The entry of a mount point has the inode of the folder beneath it, so folders are checked,
                        # too.
                        is_folder = entry.is_dir(follow_symlinks=False)
                        if entry.inode() in numbers or is_folder:
                            status = entry.stat(follow_symlinks=False)
                            name = identities.get((status.st_dev, status.st_ino))
                            if name is not None:
                                yield entry.path, name
                                continue
                        if is_folder:
                            pending.append(entry.path)
            except OSError:
                continue


def _has_changed(known: _Contents) -> bool:
    return any(stamp is None or _stamp(folder) != stamp for folder, stamp in known.folders)


def _read_contents(place: str) -> _Contents:
    """Read the content of a hidden folder at any depth, up to a number of entries."""
    folders: list[tuple[str, tuple[int, int] | None]] = []
    identities: list[Identity] = []
    is_linked, pending = False, [place]
    while pending and len(identities) < _MOST_INSIDE:
        folder = pending.pop()
        folders.append((folder, _stamp(folder)))
        try:
            with os.scandir(folder) as entries:
                for entry in islice(entries, _MOST_INSIDE):
                    status = entry.stat(follow_symlinks=False)
                    identities.append((status.st_dev, status.st_ino))
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
                    else:
                        is_linked |= status.st_nlink > 1
        except OSError:
            continue
    return _Contents(tuple(folders), tuple(identities), is_linked)


def _stamp(folder: str) -> tuple[int, int] | None:
    """Return a stamp that changes with a folder's entries; None, which equals no stamp, if it changed a moment ago."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None
    last = max(status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_mtime_ns, status.st_ctime_ns) if time.time_ns() - last > _SETTLED_NS else None


def _compile(patterns: Iterable[str], roots: Sequence[str]) -> tuple[_Pattern, ...]:
    found: list[_Pattern] = []
    for pattern in patterns:
        for one in patterns_of(pattern):
            if not one.startswith("/"):
                found.append(_parse_pattern(one, ""))
                continue
            for root in roots:
                top = canonical_path(root).rstrip("/")
                if any(glob(one).fullmatch(above) for above in ancestors(top) if above != top):
                    found.append(_parse_pattern("*", ""))  # a folder around the workspace means the whole workspace
                found.append(_parse_pattern(one, f"{top}/"))
    return tuple(dict.fromkeys(found))


def _parse_pattern(text: str, before: str) -> _Pattern:
    literal, place = "", 0
    while place < len(text) and text[place] not in "*?":
        place += text[place] == "\\" and place + 1 < len(text)
        literal += text[place]
        place += 1
    return _Pattern(glob(text), literal, place >= len(text), before)


__all__ = ["DeniedPaths", "HiddenPaths"]
