"""The folders of a Linux machine that are not a user's project: of the system, of the kernel, of all users.

And whether that machine is a container.
"""

from __future__ import annotations

from pathlib import Path

#: Folders of the system: commands in a sandbox read them, and never write there.
SYSTEM_FOLDERS = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
#: Folders that hold users' own files, sockets and temporary files: hidden from commands in a sandbox.
HIDDEN_FOLDERS = ("/home", "/root", "/run", "/var/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - to be covered
#: File systems that the kernel generates.
KERNEL_FOLDERS = ("/proc", "/sys", "/dev")


def is_beneath(place: str, folder: str) -> bool:
    """Return whether the path is ``folder`` or lies in it."""
    return place == folder or place.startswith(folder.rstrip("/") + "/")


def is_container(root: Path = Path("/")) -> bool:
    """Return whether an engine, or the image, has marked ``root`` as a container's."""
    return any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv", "run/systemd/container"))
