"""Why there is no boundary here, and the line to paste that brings one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agentctl.core.errors import SandboxUnavailable, ToolError
from agentctl.sandbox.mount_plan import is_beneath
from agentctl.sandbox.process import run_process

_NEEDED = frozenset(
    {"--as-pid-1", "--json-status-fd", "--unshare-user", "--tmpfs", "--symlink", "--cap-drop", "--seccomp"}
)
_INSTALLERS = (
    ("apt-get", "sudo apt-get install bubblewrap"),
    ("dnf", "sudo dnf install bubblewrap"),
    ("apk", "sudo apk add bubblewrap"),
    ("pacman", "sudo pacman -S bubblewrap"),
    ("zypper", "sudo zypper install bubblewrap"),
)
_SWITCHES = (  # name, the value that forbids user namespaces, the value that allows them
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv", "run/systemd/container")
# No options for the engine here: those that let bubblewrap through take down the container's own seccomp filter,
# AppArmor profile and masked paths, for everything that runs in it.
IN_CONTAINER = (
    "run agentctl outside of the container, or start the container with user namespaces allowed if that is your"
    " decision. Without a sandbox there is no run_shell; typed reads of the machine and of the container engine work"
)


def find_bwrap(workspace: str) -> str:
    """Return bubblewrap's path: the first on the PATH that does not lie in the workspace, where a model writes.

    Raises:
        SandboxUnavailable: there is none.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable("this system has no boundary for commands: it needs Linux", hint="run it on Linux")
    for folder in os.get_exec_path():
        program = os.path.join(folder, "bwrap")  # noqa: PTH118
        real = os.path.realpath(program)
        if folder.startswith("/") and os.access(real, os.X_OK) and not is_beneath(real, workspace):
            return program
    raise SandboxUnavailable("bubblewrap (bwrap) is not installed", hint=_how_to_install())


async def options_of(program: str) -> frozenset[str]:
    """Return the options that this bubblewrap knows.

    Raises:
        SandboxUnavailable: it does not run, or is too old.
    """
    hint = _how_to_install()
    try:
        answer = await run_process([program, "--help"], timeout=10, env={"LANG": "C"})
    except ToolError as error:
        raise SandboxUnavailable(error.message, hint=hint) from error
    if answer.exit_code != 0:
        said = (answer.stderr or answer.stdout).strip().splitlines() or ["it said nothing"]
        raise SandboxUnavailable(f"{program} does not run: {said[-1][:200]}", hint=hint)
    known = frozenset(word for word in answer.stdout.split() if word.startswith("--"))
    if not known >= _NEEDED:
        lacks = ", ".join(sorted(_NEEDED - known))
        raise SandboxUnavailable(f"{program} is too old: it lacks {lacks}", hint=hint)
    return known


def hint_for(message: str, root: Path = Path("/")) -> str:
    """Return the hint for a bubblewrap that is installed and fails with ``message``: one command where there is one.

    ``root`` is the folder that holds ``proc/sys`` and the marks of a container.
    """
    # In a container first: a switch of the kernel is the host's, and sysctl fails here.
    if any((root / mark).exists() for mark in _CONTAINER_MARKS):
        return IN_CONTAINER
    for name, forbids, allows in _SWITCHES:
        try:
            value = (root / "proc/sys" / name.replace(".", "/")).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if value == forbids:
            return f"sudo sysctl -w {name}={allows}"
    # A container that has none of the marks masks parts of /proc, and a new procfs cannot be mounted in it.
    return f"in a container, {IN_CONTAINER}" if "proc" in message else "allow unprivileged user namespaces"


def _how_to_install() -> str:
    for installer, line in _INSTALLERS:
        if any(os.access(os.path.join(folder, installer), os.X_OK) for folder in ("/usr/bin", "/sbin", "/bin")):  # noqa: PTH118
            return line
    return "install bubblewrap by your system's packages"
