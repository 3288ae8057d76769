"""Find bubblewrap, and test its sandbox before it is trusted.

``find_bwrap``, ``options_of`` and ``hint_for`` find out whether a sandbox is possible here and, if not, what to do.
``place_decoys`` and ``find_leak`` test from inside what must fail and what must work.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import SandboxUnavailable, ToolError
from agentctl.core.system_folders import is_beneath, is_container
from agentctl.sandbox.mount_plan import SandboxConfig, exposed_paths
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
# No options for the engine here: those that allow bubblewrap also disable the container's own seccomp filter, AppArmor
# profile and masked paths, for everything that runs in it.
IN_CONTAINER = "run agentctl outside the container, or start the container with user namespaces allowed"
_NAMESPACES = ("user", "pid", "net", "mnt", "ipc", "uts")
_OUTSIDE = ("/", "/etc", "/usr", "/var")
_ENGINES = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock")
_MOST_PROCESSES = 12
_ASK = """
name=$1 gone=$2 && shift 2
ls -l /proc/self/ns/ 2>/dev/null
while read -r key value _; do case $key in CapEff:|NoNewPrivs:) echo "$key $value";; esac; done </proc/self/status
while read -r face _; do echo "route $face"; done </proc/net/route
ls -d /proc/[0-9]* | while read -r _; do echo process; done
while [ "$gone" -gt 0 ]; do [ -e "$1" ] && echo "seen $1"; shift; gone=$((gone - 1)); done
for place; do (: >"$place/$name") 2>/dev/null && echo "written $place"; done
(: >"$name") 2>/dev/null && rm -f "./$name" && echo inside
echo end
"""


def find_bwrap(workspace: str) -> str:
    """Return the first bubblewrap on the PATH that is not in the workspace, where a model can write.

    Raises:
        SandboxUnavailable: bubblewrap is not installed, or this is not Linux.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable("sandboxing requires Linux", hint="run it on Linux")
    for folder in os.get_exec_path():
        program = os.path.join(folder, "bwrap")  # noqa: PTH118
        real = os.path.realpath(program)
        if folder.startswith("/") and os.access(real, os.X_OK) and not is_beneath(real, workspace):
            return program
    raise SandboxUnavailable("bubblewrap (bwrap) is not installed", hint=_how_to_install())


async def options_of(program: str) -> frozenset[str]:
    """Return the options that this bubblewrap supports.

    Raises:
        SandboxUnavailable: it does not run, or is too old.
    """
    hint = _how_to_install()
    try:
        answer = await run_process([program, "--help"], timeout=10, env={"LANG": "C"})
    except ToolError as error:
        raise SandboxUnavailable(error.message, hint=hint) from error
    if answer.exit_code != 0:
        said = (answer.stderr or answer.stdout).strip().splitlines() or ["it printed nothing"]
        raise SandboxUnavailable(f"{program} does not run: {said[-1][:200]}", hint=hint)
    known = frozenset(word for word in answer.stdout.split() if word.startswith("--"))
    if not known >= _NEEDED:
        lacks = ", ".join(sorted(_NEEDED - known))
        raise SandboxUnavailable(f"{program} is too old: it does not support {lacks}", hint=hint)
    return known


def hint_for(message: str, root: Path = Path("/")) -> str:
    """Return the hint for an installed bubblewrap that fails with ``message``: one command if there is one.

    ``root`` is the folder that contains ``proc/sys`` and the files that mark a container.
    """
    # Check for a container first: a kernel switch belongs to the host, and sysctl fails here.
    if is_container(root):
        return IN_CONTAINER
    for name, forbids, allows in _SWITCHES:
        try:
            value = (root / "proc/sys" / name.replace(".", "/")).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if value == forbids:
            return f"sudo sysctl -w {name}={allows}"
    # A container without these files masks parts of /proc, so a new procfs cannot be mounted in it.
    return f"in a container, {IN_CONTAINER}" if "proc" in message else "allow unprivileged user namespaces"


def _how_to_install() -> str:
    for installer, line in _INSTALLERS:
        if any(os.access(os.path.join(folder, installer), os.X_OK) for folder in ("/usr/bin", "/sbin", "/bin")):  # noqa: PTH118
            return line
    return "install bubblewrap with your system's package manager"


class Decoys(NamedTuple):
    """The decoys of a probe: its name for new files, paths that must be hidden, places that must not be writable."""

    name: str
    gone: tuple[str, ...]
    outside: tuple[str, ...]

    @property
    def command(self) -> str:
        """The probe, a script for a shell inside the sandbox."""
        words = shlex.join([self.name, str(len(self.gone)), *self.gone, *self.outside])
        return f"set -- {words}\n{_ASK}"


@contextmanager
def place_decoys(config: SandboxConfig) -> Iterator[Decoys]:
    """Place a secret file and a listening socket where everyone outside can reach them; remove them afterwards.

    Raises:
        OSError: the folder for them cannot be made.
    """
    _sweep(Path(_shared(config)))
    folder = tempfile.mkdtemp(prefix=f"agentctl-probe-{os.getpid()}-", dir=_shared(config))
    name = f".{os.path.basename(folder)}"  # noqa: PTH119
    Path(folder).chmod(0o755)  # nothing but the sandbox may hide it
    secret, called = Path(folder, "secret"), Path(folder, "socket")
    ear = socket.socket(socket.AF_UNIX)
    try:
        secret.write_text("not for you", encoding="utf-8")
        ear.bind(str(called))
        ear.listen()
        gone = (str(secret), str(called), *_ENGINES, *_samples(config))
        around = os.path.dirname(config.workspace)  # noqa: PTH120
        outside = dict.fromkeys((*_OUTSIDE, around, folder))
        yield Decoys(name, gone, tuple(outside))
    finally:
        ear.close()
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            Path(config.workspace, name).unlink()


def find_leak(said: str, decoys: Decoys, config: SandboxConfig) -> str | None:
    """Return the evidence of a leak in a probe's output, or None; check for traces outside, too."""
    lines = said.splitlines()
    if "end" not in lines:
        return "commands do not complete in it"
    facts = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    for kind in _NAMESPACES:
        inside = re.search(rf"{kind}:\[\d+\]", said)
        shared = kind == "net" and config.network
        if inside is None or (inside[0] == os.readlink(f"/proc/self/ns/{kind}")) is not shared:  # noqa: PTH115
            return f"the {kind} namespace is {'not ' if shared else ''}the one outside"
    if int(facts.get("CapEff:", "1"), 16) or facts.get("NoNewPrivs:") != "1":
        return "a command has privileges in it"
    if lines.count("process") > _MOST_PROCESSES:
        return "processes outside are visible from it"
    if not config.network and any(line.startswith("route ") and line != "route Iface" for line in lines):
        return "the network is reachable from it"
    for line in lines:
        if line.startswith("seen "):
            return f"{line[5:]} is visible from it"
    return _wrote(lines, decoys, config)


def _wrote(lines: Sequence[str], decoys: Decoys, config: SandboxConfig) -> str | None:
    for place in decoys.outside:
        trace = Path(place, decoys.name)
        if os.path.lexists(trace):
            with suppress(OSError):
                trace.unlink()
            return f"{place} is writable from it"
    writable = not config.read_only and _writable(config.workspace)
    if ("inside" in lines) is not writable:
        return f"the workspace {config.workspace} is {'not ' if writable else ''}writable from it"
    return None


def _sweep(shared: Path) -> None:
    """Remove the files of a probe that was killed."""
    for folder in shared.glob("agentctl-probe-*-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists() and folder.lstat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)


def _writable(workspace: str) -> bool:
    """Return whether commands should be able to write there: inside, root owns files but has no privileges."""
    if os.geteuid() == 0:
        return bool(os.stat(workspace).st_mode & stat.S_IWUSR)  # noqa: PTH116
    return os.access(workspace, os.W_OK)


def _shared(config: SandboxConfig) -> str:
    """Return a folder that is empty inside and writable outside."""
    places = ("/tmp", "/var/tmp", *config.hidden)  # noqa: S108 - the folder made in it is new and private
    return next((place for place in places if os.path.isdir(place) and os.access(place, os.W_OK)), places[0])  # noqa: PTH112


def _samples(config: SandboxConfig) -> Iterator[str]:
    """Yield an existing path in each hidden place that is not on the way to the workspace."""
    ways = exposed_paths(config)
    for place in map(os.path.realpath, (*config.homes, *config.hidden)):
        if not os.path.isdir(place):  # noqa: PTH112
            continue
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                on_the_way = any(is_beneath(way, entry.path) for way in ways) or is_beneath(
                    entry.path, config.workspace
                )
                if not on_the_way and "\n" not in entry.path:
                    yield entry.path
                    break
