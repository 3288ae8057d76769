"""Offer the Landlock tier where it works, and test it by what must fail in it."""

from __future__ import annotations

import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import SandboxUnavailable, ToolError
from agentctl.sandbox.denied_paths import DeniedPaths
from agentctl.sandbox.import_path import import_folders, is_importable
from agentctl.sandbox.landlock import SCOPES_SINCE, find_abi
from agentctl.sandbox.landlock_paths import temporary_above
from agentctl.sandbox.landlock_sandbox import Landlock
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.private_files import PrivateFiles
from agentctl.sandbox.process_guard import has_subreaper
from agentctl.sandbox.system_calls import machine_here
from agentctl.sandbox.workspace_undo import WorkspaceUndo

_OUTSIDE = ("/", "/etc", "/usr", "/var", "/tmp", "/dev/shm")  # noqa: S108 - what must not be writable
_PROGRAMS = ("/etc", "/usr/local")
_ASK = """
name=$1 secret=$2 ours=$3 signal=$4 && shift 4
while read -r key value _; do
    case $key in CapEff:|NoNewPrivs:|Seccomp:) echo "$key $value";; esac
done </proc/self/status
(read -r line <"$secret") 2>/dev/null && echo "read $secret"
(: >>"$secret") 2>/dev/null && echo "written $secret"
chmod 0777 "$secret" 2>/dev/null
touch -d 2001-01-01 "$secret" 2>/dev/null
(read -r line <"/proc/$ours/environ") 2>/dev/null && echo "read the environment of agentctl"
[ -z "$signal" ] || { kill -0 "$ours" 2>/dev/null && echo "signal agentctl"; }
for place; do (: >"$place/$name") 2>/dev/null && echo "written $place"; done
(: >"$name" && chmod 0700 "$name" && stat -c %a "./$name" | grep -q ^7) 2>/dev/null && rm -f "./$name" && echo inside
(: >"$TMPDIR/$name" && : >"$HOME/$name") 2>/dev/null && echo home
if command -v git >/dev/null; then
    (cd "$TMPDIR" && git init -q probe && cd probe && git -c user.name=n -c user.email=e commit -q --allow-empty -m m) \
        2>/dev/null || echo "git fails"
fi
echo end
"""
_NO_PROGRAM = "agentctl's Python cannot be started by this user"


class Probe(NamedTuple):
    """A secret outside, and a command that tries what must fail."""

    name: str
    secret: Path
    modified_ns: int
    config: SandboxConfig
    abi: int

    @property
    def command(self) -> str:
        """The probe, a script for a shell inside the sandbox."""
        around = os.path.dirname(self.config.workspace)  # noqa: PTH120
        outside = dict.fromkeys((*_OUTSIDE, around, str(self.secret.parent)))
        signals = "y" if self.abi >= SCOPES_SINCE else ""
        words = shlex.join([self.name, str(self.secret), str(os.getpid()), signals, *outside])
        return f"set -- {words}\n{_ASK}"

    def find_leak(self, said: str) -> str | None:
        """Return the evidence of a leak in the probe's output, or None; check for traces outside, too."""
        lines = said.splitlines()
        if "end" not in lines:
            return "commands do not complete in it"
        facts = {key: value for key, _, value in (line.partition(" ") for line in lines)}
        if int(facts.get("CapEff:", "1"), 16) or facts.get("NoNewPrivs:") != "1" or facts.get("Seccomp:") != "2":
            return "a command has privileges in it"
        status = self.secret.stat()
        if stat.S_IMODE(status.st_mode) != 0o644 or status.st_mtime_ns != self.modified_ns:
            return "the attributes of a file outside can be changed from it"
        for line in lines:
            for sign, fact in (("read ", "is readable"), ("written ", "is writable"), ("signal ", "can be ended")):
                if line.startswith(sign):
                    return f"{line.removeprefix(sign)} {fact} from it"
        if "home" not in lines:
            return "a command cannot write to its own home"
        if "git fails" in lines:
            return "git does not work in it"
        writable = not self.config.read_only and os.access(self.config.workspace, os.W_OK)
        if ("inside" in lines) is not writable:
            return f"the workspace {self.config.workspace} is {'not ' if writable else ''}writable from it"
        return None


@contextmanager
def place_probe(config: SandboxConfig, abi: int) -> Iterator[Probe]:
    """Place a secret where everyone outside can read and its owner write it; remove it afterwards.

    Raises:
        OSError: the folder for it cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="agentctl-probe-", dir=temporary_above(config)) as folder:
        secret = Path(folder, "secret")
        secret.write_text("not for you\n", encoding="utf-8")
        for place, mode in ((folder, 0o755), (secret, 0o644)):
            os.chmod(place, mode)  # noqa: PTH101 - nothing but the sandbox may hide it
            if config.user is not None:
                os.chown(place, *config.user)  # its user could change it
        probe = Probe(f".{os.path.basename(folder)}", secret, secret.stat().st_mtime_ns, config, abi)  # noqa: PTH119
        try:
            yield probe
        finally:
            for place in (config.workspace, *_OUTSIDE):
                with suppress(OSError):
                    Path(place, probe.name).unlink()


def find_machine() -> tuple[str, int]:
    """Return this machine's name for filters and the version of its Landlock.

    Raises:
        SandboxUnavailable: the tier is impossible here.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable("sandboxing requires Linux", hint="run it on Linux")
    abi = find_abi()
    machine = machine_here()
    if machine is None:
        raise SandboxUnavailable(
            f"Landlock alone does not bar sockets, and there is no seccomp filter for {os.uname().machine}",
            hint="use an x86_64 or aarch64 machine, or bubblewrap",
        )
    if not has_subreaper():
        raise SandboxUnavailable(_NO_PROGRAM, hint="install agentctl where its user may read and execute it")
    return machine, abi


async def test_landlock(config: SandboxConfig, machine: str, abi: int) -> tuple[str, ...]:
    """Try what must fail; return the protections that are missing on this machine.

    Raises:
        SandboxUnavailable: something succeeded that must fail, or the reverse.
    """
    try:
        with place_probe(config, abi) as probe:
            tried = Landlock(config, machine, abi)
            try:
                answer = await tried.run(probe.command, timeout=20)
            finally:
                tried.close()
            found = probe.find_leak(answer.stdout)
    except ToolError as error:
        raise SandboxUnavailable(error.message, hint="run agentctl where it may use Landlock and seccomp") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SandboxUnavailable(f"the sandbox cannot be tested: {reason}", hint="make /tmp writable") from error
    if found is not None:
        raise SandboxUnavailable(f"the sandbox failed its check: {found}", hint="run agentctl as another user")
    return tried.missing


def build_landlock(
    config: SandboxConfig, machine: str, abi: int, *, files: Path | None = None, denied: DeniedPaths | None = None
) -> Landlock:
    """Return the sandbox of a run."""
    is_root = os.geteuid() == 0 and config.user is None
    private: Sequence[str] = (*_PROGRAMS, *config.readable)
    find_private = PrivateFiles(config.workspace, only=private).places if is_root else tuple
    folders = import_folders(config.workspace)
    imports = partial(is_importable, folders=folders) if folders else lambda _: False
    guarded = not config.read_only or config.why_read_only
    undo = WorkspaceUndo(config, files, imports=imports) if guarded else None
    return Landlock(config, machine, abi, find_private=find_private, undo=undo, denied=denied)


__all__ = ["build_landlock", "find_machine", "place_probe", "test_landlock"]
