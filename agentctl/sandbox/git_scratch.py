"""A copy of the git folder that commands may change; harmless changes are copied back to the real one.

Git runs commands from files in its folder (hooks, ``config``, a rebase's todo list) and follows paths out of it
(``commondir``, links). A list of dangerous names is never complete, so this module lists the harmless ones: only
``objects`` is the real one and writable; ``config``, ``hooks`` and every other folder are the real ones, read-only; the
rest (``HEAD``, ``index``, refs, reflogs, messages) is a copy. After a command, the changes that
``git_files.may_be_kept`` accepts are copied back under git's own locks; the rest is dropped and reported.

Single files cannot be mounted instead: git replaces ``index`` by renaming ``index.lock``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from agentctl.sandbox.git_files import index_entries, may_be_kept
from agentctl.sandbox.git_folder import (
    COPIED_FOLDERS,
    NEW,
    READ_ONLY_FILES,
    GitFolderBusy,
    GitLocks,
    Stamp,
    Stamps,
    is_litter,
    open_folder,
    read_file,
    remove_tree,
    scan,
    write_all,
)

_MOST_COPIED_BYTES = 256 * 1024**2
MOST_KEPT_BYTES = 128 * 1024**2  # of one file


class GitFolderNotCopied(Exception):
    """The git folder has a layout that is not copied, so it can only be shown read-only; the message says why."""


class GitScratch:
    """The copy of one git folder for all commands of a run, renewed when the real folder has changed.

    ``folder`` is the real git folder, ``place`` an existing folder of agentctl's own for the copies. ``owner`` is the
    user and group that commands run as, if not our own.
    """

    def __init__(self, folder: str, place: str, *, owner: tuple[int, int] | None = None) -> None:
        self._folder, self._place, self._owner = folder, place, owner
        self._count = 0
        self._copy = ""
        self._real: Stamps = {}  # stamps of the real files when they were copied
        self._copied: Stamps = {}  # stamps of the copies after that
        self._shown: dict[str, str] = {}  # name -> how an entry that is not copied is shown
        self._alternates: dict[str, bytes | None] = {}
        self._unfinished: set[str] = set()
        self._notes: list[str] = []

    def mounts(self) -> list[str]:
        """Bring the copy up to date and return bubblewrap's options that mount it over the real folder.

        Raises:
            GitFolderNotCopied: the folder has a layout that is not copied.
        """
        try:
            with open_folder(self._folder) as root:
                self._alternates = {name: read_file(root, f"objects/info/{name}") for name in _ALTERNATES}
                if not self._copy or (scan(root)[0] != self._real and not self._can_go_on(root)):
                    self._renew(root)
        except OSError as error:
            raise GitFolderNotCopied((error.strerror or str(error)).lower()) from error
        options = ["--bind", self._copy, self._folder]
        options += ["--bind", f"{self._folder}/objects", f"{self._folder}/objects"]
        for name, kind in self._shown.items():
            if kind != "link":
                options += ["--ro-bind", f"{self._folder}/{name}", f"{self._folder}/{name}"]
        return options

    def copy_back(self) -> list[str]:
        """Copy back a command's harmless changes; return notes about the others.

        All or nothing: if the real index or refs have changed meanwhile, or the command's versions cannot be trusted,
        nothing is copied back.
        """
        if not self._copy:
            return []
        notes, self._notes = [*self._notes, *self._restore_objects()], []
        with open_folder(self._copy) as copy:
            inside, strange = scan(copy)
            changed = sorted(path for path in {*inside, *self._copied} if inside.get(path) != self._copied.get(path))
            if begun := unfinished_operations(changed, inside):
                return [*notes, *self._postpone(begun)]
            data: dict[str, bytes | None] = {}
            made = [name for name in READ_ONLY_FILES if os.path.lexists(f"{self._copy}/{name}")]
            refused = [name for name in (*strange, *made) if name not in self._shown and not is_litter(name)]
            for path in changed:
                content = read_file(copy, path) if path in inside and inside[path].size <= MOST_KEPT_BYTES else None
                if path not in inside and path not in NEVER_REMOVED:
                    data[path] = None
                elif content is not None and may_be_kept(path, content):
                    data[path] = content
                elif not is_litter(path):
                    refused.append(path)
        vital = [path for path in refused if path in NEVER_REMOVED or path.startswith("refs/")]
        if vital:
            notes.append(f"git's changes were not kept: {join_names(vital)} in .git cannot be trusted")
        elif data:
            try:
                self._write(data, inside["index"].modified_ns if "index" in inside else None)
            except (GitFolderBusy, OSError) as error:
                why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                vital = [why]
                notes.append(f"git's changes were not kept: {why}{_commits(data)}")
        if refused:
            notes.append(f"written to .git and dropped: {join_names(refused)}")
        if refused or vital:
            self._discard()
        else:
            self._copied = inside
            with open_folder(self._folder) as root:
                self._real = scan(root)[0]
        self._unfinished.clear()
        return notes

    def close(self) -> list[str]:
        """Remove the copies; return notes about unfinished work that is lost with them."""
        notes = [
            *self._notes,
            *(f"the state of an unfinished {name} was not kept" for name in sorted(self._unfinished)),
        ]
        self._discard()
        return notes

    def _can_go_on(self, root: int) -> bool:
        """Return whether the copy stays: it holds unfinished work, and no git process outside has made a change
        that matters.
        """
        if not self._unfinished:
            return False
        if not (changed := self._changed_outside(root)):
            return True
        names = " and ".join(sorted(self._unfinished))
        self._notes.append(f"the unfinished {names} was dropped: another git process changed {join_names(changed)}")
        return False

    def _renew(self, root: int) -> None:
        self._discard()
        for _ in range(3):  # another git may be active, and a copy of a mixed state is useless
            before, strange = scan(root)
            self._shown = self._not_copied(root, before, strange)
            self._count += 1
            self._copy = f"{self._place}/git-{self._count}"
            Path(self._copy).mkdir(mode=0o700)
            self._fill(root, before)
            if {path for path, _ in scan(root)[0].items() ^ before.items()} <= {"index"}:
                break  # git replaces the index as a whole, so a rewritten one is consistent
            remove_tree(self._copy)
        else:
            self._copy = ""
            raise GitFolderNotCopied("another git process keeps changing it")
        self._real = before
        with open_folder(self._copy) as copy:
            self._copied = scan(copy)[0]

    def _not_copied(self, root: int, files: Mapping[str, Stamp], strange: Sequence[str]) -> dict[str, str]:
        """Return how each entry that is not copied is shown: "folder", "file" or "link".

        Raises:
            GitFolderNotCopied: the folder has a layout that is not copied.
        """
        shown: dict[str, str] = {}
        names = [name for name in os.listdir(root) if not name.endswith(".lock")]
        for name in names:
            mode = os.stat(name, dir_fd=root, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) and name not in ("objects", *COPIED_FOLDERS):
                shown[name] = "folder"
            elif stat.S_ISREG(mode) and name in READ_ONLY_FILES:
                shown[name] = "file"
            elif stat.S_ISLNK(mode) and name not in ("objects", "HEAD", "index", "packed-refs", *COPIED_FOLDERS):
                shown[name] = "link"
            elif name in ("commondir", "reftable") or stat.S_ISLNK(mode):
                raise GitFolderNotCopied(f"{name} in it is {'a link' if stat.S_ISLNK(mode) else 'not supported'}")
            elif name in strange and not stat.S_ISDIR(mode):
                shown[name] = "link"  # a socket of git's file system monitor: not shown to commands
        if "reftable" in shown:
            raise GitFolderNotCopied("it keeps its refs in a reftable")
        nested = [path for path in strange if "/" in path]
        if nested or "HEAD" not in files or not {"objects", "refs"} <= set(names):
            raise GitFolderNotCopied(f"{join_names(nested)} in it is a link" if nested else "it is incomplete")
        if sum(stamp.size for stamp in files.values()) > _MOST_COPIED_BYTES:
            raise GitFolderNotCopied(f"it holds more than {_MOST_COPIED_BYTES // 1024**2} MiB besides its objects")
        return shown

    def _fill(self, root: int, files: Mapping[str, Stamp]) -> None:
        made: set[str] = set()
        for folder in ("refs/heads", "refs/tags", "objects"):
            self._make_folder(folder, made)
        for path, stamp in files.items():
            content = read_file(root, path)
            if content is None:
                continue  # it has just disappeared: the second scan notices that
            self._make_folder(path.rpartition("/")[0], made)
            file = os.open(f"{self._copy}/{path}", NEW, 0o600)
            try:
                write_all(file, content)
                if self._owner is not None:
                    os.fchown(file, *self._owner)
                os.utime(file, ns=(stamp.modified_ns, stamp.modified_ns))  # git compares the index's time with others
            finally:
                os.close(file)
            if path == "index":
                Path(self._place, "index-before").write_bytes(content)
        for name, kind in self._shown.items():  # a mount needs a mount point
            place = Path(self._copy, name)
            if kind == "folder":
                place.mkdir(mode=0o700)
            elif kind == "file":
                place.touch(mode=0o600)
            elif stat.S_ISLNK(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode):
                place.symlink_to(os.readlink(name, dir_fd=root))
        if self._owner is not None:
            os.chown(self._copy, *self._owner)

    def _make_folder(self, path: str, made: set[str]) -> None:
        if not path or path in made:
            return
        self._make_folder(path.rpartition("/")[0], made)
        folder = Path(self._copy, path)
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._owner is not None:
            os.chown(folder, *self._owner)
        made.add(path)

    def _postpone(self, begun: Sequence[str]) -> list[str]:
        new = sorted(set(begun) - self._unfinished)
        self._unfinished.update(begun)
        return [
            f"a {name} is unfinished: later commands of this run can continue it; until then .git stays as it was"
            for name in new
        ]

    def _write(self, data: Mapping[str, bytes | None], index_modified_ns: int | None) -> None:
        """Write ``data`` to the real folder as git would, by renaming lock files; None removes a file.

        Raises:
            GitFolderBusy: another git process changed the folder, or holds a lock.
            OSError: a file cannot be written.
        """
        with open_folder(self._folder) as root, ExitStack() as stack:
            locks = GitLocks(root)
            stack.callback(locks.release)
            refs = [path for path in data if path in ("HEAD", "packed-refs") or path.startswith("refs/")]
            for path in ("index", *refs):
                locks.acquire(path)
            if changed := self._changed_outside(root):
                raise GitFolderBusy(f"another git process changed {join_names(changed)} meanwhile")
            for path in sorted(data, key=lambda path: (_ORDER.get(path, 2 if data[path] is None else 3), path)):
                content = data[path]
                if content is None:
                    locks.remove(path)
                else:
                    locks.write(path, content, index_modified_ns if path == "index" else None)
                    if path == "index":
                        Path(self._place, "index-before").write_bytes(content)

    def _changed_outside(self, root: int) -> list[str]:
        """Return the relevant files that another git process has changed since the copy was made."""
        now = scan(root)[0]
        other = sorted(path for path in {*now, *self._real} if now.get(path) != self._real.get(path))
        changed = [path for path in other if path in _VITAL or path.startswith("refs/")]
        if not changed and "index" in other:
            try:  # `git status` rewrites the index with the same entries
                before = Path(self._place, "index-before").read_bytes()
                same = index_entries(read_file(root, "index") or b"") == index_entries(before)
            except (ValueError, OSError):
                same = False
            changed = [] if same else ["index"]
        return changed

    def _restore_objects(self) -> list[str]:
        """Undo redirections of git's objects: links, and a list of other repositories."""
        undone = []
        with open_folder(f"{self._folder}/objects") as objects:
            with os.scandir(objects) as entries:
                links = [entry.name for entry in entries if entry.is_symlink()]
            for name in links:
                os.unlink(name, dir_fd=objects)
                undone.append(name)
        with open_folder(self._folder) as root:
            for name, content in self._alternates.items():
                if read_file(root, path := f"objects/info/{name}") == content:
                    continue
                undone.append(f"info/{name}")
                if content is None:
                    GitLocks(root).remove(path)
                else:
                    GitLocks(root).write(path, content)
        return [f"undone in .git/objects: {join_names(undone)}"] if undone else []

    def _discard(self) -> None:
        if self._copy:
            remove_tree(self._copy)
        self._copy = ""
        self._unfinished.clear()


_ALTERNATES = ("alternates", "http-alternates")
NEVER_REMOVED = frozenset({"HEAD", "index", "packed-refs"})
_VITAL = frozenset({"HEAD", "packed-refs", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"})
_ORDER = {"packed-refs": 1, "HEAD": 4, "index": 5}  # so that a ref that is being moved is always found
_OPERATIONS = {"rebase-merge": "rebase", "rebase-apply": "rebase or am", "sequencer": "cherry-pick or revert"}


def unfinished_operations(changed: Collection[str], inside: Collection[str]) -> list[str]:
    """Return the operations of git that a command started or continued, and did not finish.

    Their state decides what git runs next (``exec`` in a todo list), so it does not leave the copy.
    """
    touched = {path.partition("/")[0] for path in changed} & {path.partition("/")[0] for path in inside}
    found = [word for name, word in _OPERATIONS.items() if name in touched]
    return found + (["bisect"] if any(name.startswith("BISECT_") for name in touched) else [])


def join_names(names: Sequence[str]) -> str:
    """Return the first names, with the number of the others."""
    shown = ", ".join(name[:80] for name in sorted(names)[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _commits(data: Mapping[str, bytes | None]) -> str:
    """Return the commits that refs would have named, each with the command that merges it."""
    found = [
        (path, content.decode("ascii", "replace").strip())
        for path, content in data.items()
        if content and path.startswith(("refs/heads/", "refs/stash")) and not content.startswith(b"ref:")
    ]
    return "".join(f"; the commit for {path} exists: git merge {commit}" for path, commit in found[:3])
