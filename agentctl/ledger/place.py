"""Where the book may lie: on a disk of this machine, for a write-ahead log is shared by memory, not over a network."""

from __future__ import annotations

import re
from pathlib import Path

from agentctl.core.errors import StateError

MOVE = "AGENTCTL_STATE_DIR=/a/local/folder"
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORKED = frozenset({
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "9p", "afs", "coda", "ceph", "glusterfs", "lustre"),
    *("gfs2", "ocfs2", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs", "davfs"),
    *("virtiofs", "drvfs", "vboxsf", "vmhgfs", "prl_fs", "fakeowner"),  # a virtual machine's share of its host
})  # fmt: skip
_LOCAL_FUSE = frozenset({
    *("fuse-overlayfs", "mergerfs", "bindfs", "gocryptfs", "encfs", "cryfs", "securefs", "lxcfs", "portal"),
    *("ntfs-3g", "ntfs", "exfat", "zfs-fuse", "unionfs", "ext2", "fuse-ext2"),
})  # fmt: skip


def is_networked(kind: str) -> bool:
    """Whether this kind of file system can be another machine's, with which no memory is shared.

    What a program serves (FUSE) can be anything and is a network's unless it is known for a local one; all other
    unknown kinds are local.
    """
    name, _, served = kind.partition(".")
    return kind in _NETWORKED or (name == "fuse" and served not in _LOCAL_FUSE)


def find_kind(mounts: str, place: Path) -> str:
    """Return the kind of file system that ``place``, a real path, lies on; "" where ``mounts`` does not say.

    ``mounts`` is what Linux lists in ``/proc/self/mountinfo``; the deepest mount counts, of several the last.
    """
    best, kind = -1, ""
    for line in mounts.split("\n"):
        before, _, behind = line.partition(" - ")
        fields, after = before.split(" "), behind.split(" ")
        if len(fields) < 5 or not after[0]:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= best and (place == point or point in place.parents):
            best, kind = depth, after[0]
    return kind


def file_system(folder: Path, *, mounts: Path = _MOUNTS) -> str:
    """Return the kind of file system that ``folder`` lies on, or will; "" where nobody says."""
    try:
        return find_kind(mounts.read_text(errors="surrogateescape"), folder.resolve())
    except (OSError, RuntimeError):  # a circle of links: opening it says so
        return ""


def refuse_network_disk(path: Path) -> None:
    """Refuse a ledger where a write-ahead log does not work.

    Raises:
        StateError: the file lies, or would lie, on a network file system.
    """
    kind = file_system(path.parent)
    if is_networked(kind):
        raise StateError(
            f"the ledger {path} lies on a network file system ({kind}), where it may be damaged",
            hint=f"put it on a disk of this machine: {MOVE}",
        )
