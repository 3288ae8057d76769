"""Where a ledger may be: mounts as Linux reports them, and a file system served by a program."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.ledger.database import file_system, find_kind, is_networked

ROOT = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


def line(point: str, kind: str) -> str:
    """Write a mount as the kernel does."""
    for sign in "\\ \t\n":
        point = point.replace(sign, f"\\{ord(sign):03o}")
    return f"30 22 0:40 / {point} rw,nosuid shared:7 master:2 - {kind} server:/export rw,vers=4.2"


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "virtiofs", "vboxsf", "drvfs", "fakeowner"),
        *("fuse", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.grpcfuse", "fuse.osxfs"),
    ],
)
def test_file_system_of_another_machine_is_networked(kind: str) -> None:
    assert is_networked(kind)


@pytest.mark.parametrize(
    "kind",
    [
        *("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs", "bcachefs", "rootfs", "apfs", "ramfs", "fuseblk"),
        *("fuse.fuse-overlayfs", "fuse.gocryptfs", "", "a-kind-of-tomorrow", "nfsd"),
    ],
)
def test_a_local_or_an_unknown_kind_passes(kind: str) -> None:
    assert not is_networked(kind)


def test_the_deepest_and_last_mount_counts() -> None:
    mounts = "\n".join([ROOT, line("/home", "xfs"), line("/home/me/a b", "ext4"), line("/home/me/a b", "nfs4"), "junk"])
    assert find_kind(mounts, Path("/home/me/a b/state")) == "nfs4"
    assert find_kind(mounts, Path("/home/me/a")) == "xfs"
    assert find_kind(mounts, Path("/homestead")) == "ext4"
    assert find_kind("", Path("/home")) == ""


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, max_size=3), NAMES)
def test_mount_of_any_name_is_found_from_below_and_not_from_beside(
    above: list[str], below: list[str], other: str
) -> None:
    point = "/" + "/".join(above)
    mounts = f"{ROOT}\n{line(point, 'nfs4')}"
    assert find_kind(mounts, Path(point, *below)) == "nfs4"
    assert find_kind(mounts, Path(point + other, *below)) == "ext4"


@given(st.text())
def test_mount_table_of_any_text_is_read(text: str) -> None:
    assert isinstance(find_kind(text, Path("/a/b")), str)


@pytest.mark.needs("Linux")
def test_the_file_system_of_a_folder_is_read_off_this_machines_mounts(tmp_path: Path) -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(tmp_path) not in ("", "proc")
    assert file_system(tmp_path, mounts=tmp_path / "none") == ""
    (tmp_path / "here").symlink_to(tmp_path / "there")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(line(str((tmp_path / "there").resolve()), "cifs"))
    assert file_system(tmp_path / "here" / "state", mounts=mounts) == "cifs", "a link is followed to where it leads"
