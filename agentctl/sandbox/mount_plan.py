"""Plan bubblewrap's mounts for a command: which places are empty inside, which stay visible, and the options for
that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.system_folders import HIDDEN_FOLDERS, KERNEL_FOLDERS, SYSTEM_FOLDERS, is_beneath
from agentctl.sandbox.import_path import own_program
from agentctl.sandbox.mount_table import kernel_mounts, read_lines

HOME = "/run/home"  # inside: new and empty for each command, like the rest of /run
#: The size of each folder in memory. A folder that only hides something needs room for the path to the workspace.
TEMPORARY_BYTES = {"/tmp": 512 * 1024**2, "/run": 512 * 1024**2, "/var/tmp": 128 * 1024**2, "/dev/shm": 256 * 1024**2}  # noqa: S108
COVER_BYTES = 1024**2
NO_SIZES = "bubblewrap is older than 0.5: temporary folders have no size limit"
_KERNEL = ("/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security")
_MOST_LINKS = 40


class SandboxConfig(NamedTuple):
    """The input of a sandbox. ``given`` leads to ``workspace``, which contains no links; both are absolute.

    ``hidden`` are files, folders and sockets that commands may not see, ``homes`` the user's own. ``user`` is set if
    agentctl runs as root: the owner and group of a workspace that is not root's; commands run as these.
    ``why_read_only``: why commands may not write to this workspace although that was requested. ``frozen`` are the real
    paths in the workspace that a deny rule protects from writing.

    ``parts`` are the real paths that alone may be changed in the workspace; None: all of it.

    ``readable`` and ``writable`` are real paths outside the workspace that commands may read, and change (only read if
    ``read_only``). What other programs run or obey is not protected there. ``environment`` is added to that of
    commands.
    """

    workspace: str
    given: str
    homes: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    read_only: bool = False
    network: bool = False
    user: tuple[int, int] | None = None
    why_read_only: str = ""
    frozen: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    parts: tuple[str, ...] | None = None

    @property
    def roots(self) -> tuple[str, ...]:
        """The paths that may be changed, with all that is in them."""
        if self.read_only:
            return ()
        return (*((self.workspace,) if self.parts is None else self.parts), *self.writable)


class MountPlan(NamedTuple):
    """The folders and files that are empty inside, before and after the workspace and ``shown`` are mounted, and links
    to the workspace.

    ``shown`` are readable exceptions, ``writable`` those that commands may change; ``guarded`` are paths of the
    workspace that commands may not change, because other programs obey them. ``pinned`` are the writable folders that
    hold covered files; commands cannot rename them.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    folders_within: tuple[str, ...]
    files_within: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    shown: tuple[str, ...]
    guarded: tuple[str, ...]
    pinned: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


def why_not_sandboxable(config: SandboxConfig) -> str | None:
    """Return why this workspace cannot have a sandbox, or None."""
    workspace = config.workspace
    places = {os.path.realpath(place) for place in (*HIDDEN_FOLDERS, *SYSTEM_FOLDERS, "/var", *config.homes)}
    if any(is_beneath(place, workspace) for place in places):
        what = "your home folder" if workspace in map(os.path.realpath, config.homes) else "a system folder"
        held = f"is {what}" if workspace in places else "contains your home folder and the system"
        return f"the workspace {workspace} {held}: nothing could be hidden from a command"
    if any(is_beneath(workspace, place) for place in KERNEL_FOLDERS):
        return f"the workspace {workspace} is in a file system of the kernel"
    for place in map(os.path.realpath, config.hidden):
        if is_beneath(workspace, place):
            return f"the workspace {workspace} is in {place}, which belongs to agentctl"
    return None


def plan_mounts(config: SandboxConfig, private: Collection[str] = (), sockets: Collection[str] = ()) -> MountPlan:
    """Return what to mount over the machine now: ``private`` is readable only by root, ``sockets`` have a listener."""
    workspace = config.workspace
    hidden = {os.path.realpath(place) for place in config.hidden}
    homes = {os.path.realpath(home) for home in config.homes}
    homes = {home for home in homes if home != "/" and not any(is_beneath(home, place) for place in SYSTEM_FOLDERS)}
    always = _real_places((*HIDDEN_FOLDERS, *_KERNEL))
    loose = {*hidden, *map(os.path.realpath, sockets), *kernel_mounts()}
    required = tuple(required_paths(config))
    visible = (workspace, *required, *config.readable, *config.writable)  # mounted after the rest is covered
    within = {place for place in loose if any(is_beneath(place, folder) for folder in visible)}
    kinds = [(place, _kind(place)) for place in sorted({*always, *homes, *loose, *private} - within)]
    folders = _outermost(place for place, kind in kinds if kind == "folder")
    inner = [(place, _kind(place)) for place in sorted(within)]
    folders_within = _outermost(place for place, kind in inner if kind == "folder")
    covered, covered_within, frozen = frozenset(folders), frozenset(folders_within), _frozen_paths(config)
    return MountPlan(
        folders=folders,
        files=tuple(place for place, kind in kinds if kind == "file" and not _under(place, covered)),
        folders_within=folders_within,
        files_within=tuple(place for place, kind in inner if kind == "file" and not _under(place, covered_within)),
        links=tuple((at, to) for at, to in links_along(config.given) if _under(at, covered)),
        shown=(*(place for place in required if _under(place, covered)), *_existing(config.readable)),
        writable=_existing(config.writable),
        guarded=tuple(place for place in (*_own_program(config), *frozen) if not _under(place, within)),
        pinned=_folders_to_pin(config.roots, (*within, *frozen)),
    )


def bwrap_options(
    config: SandboxConfig, plan: MountPlan, known: Collection[str], protected: Sequence[str] = ()
) -> list[str]:
    """Return bubblewrap's options; ``known`` are those that this bubblewrap supports.

    ``protected`` are options that protect files of the workspace: options that hide files come after them.
    """
    said = ["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    said += [option for option in ("--disable-userns",) if option in known]
    said += ["--share-net"] if config.network else []
    said += ["--ro-bind", "/", "/"]
    for file in plan.files:  # first: bubblewrap reads all mounts again after each bind, and there are few yet
        said += ["--ro-bind", "/dev/null", file]
    said += ["--dev", "/dev", *_tmpfs_options("/dev/shm", known)]  # noqa: S108
    said += ["--remount-ro", "/dev", "--proc", "/proc"]  # otherwise it is one more folder that a command can fill
    for folder in plan.folders:
        if folder != "/dev/shm":  # noqa: S108 - new with /dev
            said += _tmpfs_options(folder, known)
    said += ["--dir", HOME]
    for place in plan.shown:
        said += ["--ro-bind", place, place]
    for place in plan.writable:  # before the workspace: what is protected in it stays so
        said += ["--ro-bind" if config.read_only else "--bind", place, place]
    for file in (place for place in ("/proc/kcore", "/proc/keys") if os.path.exists(place)):  # noqa: PTH110
        said += ["--ro-bind", "/dev/null", file]
    is_whole = not config.read_only and config.parts is None
    said += ["--bind" if is_whole else "--ro-bind", config.workspace, config.workspace]
    for place in (*(config.parts or ()), *plan.pinned):
        said += ["--ro-bind" if config.read_only else "--bind", place, place]
    for place in plan.guarded:
        said += ["--ro-bind", place, place]
    said += protected
    for folder in plan.folders_within:
        said += [*_tmpfs_options(folder, known), "--remount-ro", folder]  # a command's writes there would be lost
    for file in plan.files_within:
        said += ["--ro-bind", "/dev/null", file]
    for at, to in plan.links:
        said += ["--symlink", to, at]
    return [*said, "--chdir", config.given]


def _frozen_paths(config: SandboxConfig) -> tuple[str, ...]:
    """Return the paths that a deny rule protects from writing; empty if the whole workspace is read-only."""
    return () if config.read_only else tuple(place for place in config.frozen if _kind(place) is not None)


def _existing(places: Iterable[str]) -> tuple[str, ...]:
    return tuple(place for place in places if _kind(place) is not None)


def _folders_to_pin(roots: Iterable[str], places: Iterable[str]) -> tuple[str, ...]:
    """Return the folders between the writable ``roots`` and the covered paths in them, the outermost first.

    A covered path cannot be moved, but a folder around it could be, and no rule would match its new name. A mount of
    its own keeps each folder in place.
    """
    found = set()
    for root, place in product(roots, places):
        above = os.path.dirname(place)  # noqa: PTH120
        while is_beneath(above, root) and above != root:
            found.add(above)
            above = os.path.dirname(above)  # noqa: PTH120
    return tuple(sorted(found))


def _tmpfs_options(folder: str, known: Collection[str]) -> list[str]:
    """Return the options for a new, empty folder in memory with a size limit."""
    size = ["--size", str(_sizes().get(folder, COVER_BYTES))] if "--size" in known else []
    return [*size, "--tmpfs", folder]


@cache
def _real_places(places: tuple[str, ...]) -> frozenset[str]:
    """Return the real paths of the system's own places, which no command can replace."""
    return frozenset(map(os.path.realpath, places))


@cache
def _sizes() -> dict[str, int]:
    return {os.path.realpath(place): size for place, size in TEMPORARY_BYTES.items()}


def exposed_paths(config: SandboxConfig) -> tuple[str, ...]:
    """Return the paths that are visible inside although the place around them is empty."""
    links = (at for at, _ in links_along(config.given))
    return config.workspace, config.given, *required_paths(config), *config.readable, *config.writable, *links


def _under(place: str, folders: Collection[str]) -> bool:
    """Return whether ``place`` is one of the folders or lies in one; a set is quickest."""
    while place:
        if place in folders:
            return True
        place = place.rpartition("/")[0]
    return "/" in folders


def _outermost(places: Iterable[str]) -> tuple[str, ...]:
    """Leave out paths that lie in another one; a folder comes before the paths in it."""
    kept: dict[str, None] = {}
    for place in sorted(places):
        if not _under(place, kept):
            kept[place] = None
    return tuple(kept)


def _kind(place: str) -> str | None:
    try:
        mode = os.lstat(place).st_mode
    except OSError:
        return None
    return "folder" if stat.S_ISDIR(mode) else None if stat.S_ISLNK(mode) else "file"


def links_along(path: str) -> Iterator[tuple[str, str]]:
    """Yield each link along ``path``: its place, without links before it, and its target."""
    done, left = "/", [part for part in reversed(path.split("/")) if part]
    for _ in range(_MOST_LINKS * 10):
        if not left:
            return
        part = left.pop()
        here = os.path.normpath(os.path.join(done, part))  # noqa: PTH118
        try:
            target = os.readlink(here)  # noqa: PTH115
        except OSError:
            done = here
            continue
        yield here, target
        left += [piece for piece in reversed(target.split("/")) if piece]
        done = "/" if target.startswith("/") else done


def required_paths(config: SandboxConfig) -> Iterator[str]:
    """Yield paths that are needed although the place around them may be empty inside: for name lookups, and for a
    worktree.
    """
    if config.network and _kind(real := os.path.realpath("/etc/resolv.conf")) == "file":
        yield real
    shared = _shared_repository(config.workspace)
    if shared is not None:
        yield shared


def _own_program(config: SandboxConfig) -> Iterator[str]:
    """Yield the folders of the workspace that agentctl is installed in: it would run what a command writes there."""
    if config.read_only:
        return
    yield from sorted(own_program(config.workspace))


def _shared_repository(workspace: str) -> str | None:
    """Return the repository that a git worktree belongs to, if the repository confirms it; else a worktree could expose
    any folder.
    """
    said = read_lines(f"{workspace}/.git") if _kind(f"{workspace}/.git") == "file" else []
    if not said or not said[0].startswith("gitdir: "):
        return None
    own = os.path.realpath(os.path.join(workspace, said[0][8:]))  # noqa: PTH118
    common = os.path.dirname(os.path.dirname(own))  # noqa: PTH120
    back = read_lines(f"{own}/gitdir")
    known = bool(back) and os.path.realpath(back[0]) == f"{workspace}/.git" and own.startswith(f"{common}/worktrees/")
    return common if known and _kind(f"{common}/objects") == "folder" and _kind(f"{common}/HEAD") == "file" else None
