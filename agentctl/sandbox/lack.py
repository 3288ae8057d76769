"""Why there is no boundary here, and the line to paste that brings one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agentctl.errors import SandboxUnavailable, ToolError
from agentctl.sandbox.cover import beneath
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
_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
IN_DOCKER = (
    "start the container with: docker run --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
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
        if folder.startswith("/") and os.access(real, os.X_OK) and not beneath(real, workspace):
            return program
    raise SandboxUnavailable("bubblewrap (bwrap) is not installed", hint=_how_to_install())


async def options_of(program: str) -> frozenset[str]:
    """Return the options that this bubblewrap knows.

    Raises:
        SandboxUnavailable: it does not run, or is too old.
    """
    cure = _how_to_install()
    try:
        told = await run_process([program, "--help"], timeout=10, env={"LANG": "C"})
    except ToolError as error:
        raise SandboxUnavailable(error.message, hint=cure) from error
    if told.exit_code != 0:
        said = (told.stderr or told.stdout).strip().splitlines() or ["it said nothing"]
        raise SandboxUnavailable(f"{program} does not run: {said[-1][:200]}", hint=cure)
    known = frozenset(word for word in told.stdout.split() if word.startswith("--"))
    if not known >= _NEEDED:
        lacks = ", ".join(sorted(_NEEDED - known))
        raise SandboxUnavailable(f"{program} is too old: it lacks {lacks}", hint=cure)
    return known


def cure_of(message: str) -> str:
    """Return what to do where bubblewrap is here and cannot do its work."""
    for switch, off, on in _SWITCHES:
        try:
            if Path("/proc/sys", *switch.split(".")).read_text(encoding="ascii").strip() == off:
                return f"sudo sysctl -w {switch}={on}"
        except OSError:
            continue
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):
        return IN_DOCKER
    if "proc" in message:
        return f"in a container, {IN_DOCKER}"
    return f"allow unprivileged user namespaces; in a container, {IN_DOCKER}"


def _how_to_install() -> str:
    for installer, line in _INSTALLERS:
        if any(os.access(os.path.join(folder, installer), os.X_OK) for folder in ("/usr/bin", "/sbin", "/bin")):  # noqa: PTH118
            return line
    return "install bubblewrap by your system's packages"
