"""Hints where the sandbox is missing: a line that runs as printed, and never one that weakens a container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentctl.sandbox.self_test import IN_CONTAINER, hint_for

SWITCHES = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
}
SUDO = '#!/bin/sh\nexec "$@"\n'
SYSCTL = """#!/bin/sh
[ $# = 2 ] && [ "$1" = -w ] || exit 64
case $2 in *=*=*|*' '*) exit 65;; *=*) ;; *) exit 66;; esac
file=$ROOT/proc/sys/$(printf %s "${2%%=*}" | tr . /)
[ -f "$file" ] || { echo "sysctl: cannot stat $file" >&2; exit 1; }
printf '%s\\n' "${2#*=}" >"$file"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with the switches of a kernel, all of which allow user namespaces."""
    for name, (_, allows) in SWITCHES.items():
        file = tmp_path / "machine/proc/sys" / name.replace(".", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{allows}\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    for program, text in (("sudo", SUDO), ("sysctl", SYSCTL)):
        (programs / program).write_text(text)
        (programs / program).chmod(0o755)
    return tmp_path / "machine"


@pytest.mark.parametrize("name", SWITCHES)
def test_the_line_for_each_switch_runs_and_turns_the_switch(name: str, machine: Path) -> None:
    forbids, allows = SWITCHES[name]
    switch = machine / "proc/sys" / name.replace(".", "/")
    switch.write_text(f"{forbids}\n")
    hint = hint_for("setting up uid map: Permission denied", machine)
    assert hint == f"sudo sysctl -w {name}={allows}"
    env = {"PATH": f"{machine.parent / 'programs'}:/usr/bin:/bin", "ROOT": str(machine)}
    done = subprocess.run(["/bin/sh", "-c", hint], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr, switch.read_text()) == (0, "", f"{allows}\n")
    assert "sysctl" not in hint_for("setting up uid map: Permission denied", machine)


REAL = """
import subprocess, sys
from pathlib import Path
from agentctl.sandbox.self_test import hint_for

switch = Path("/proc/sys/user/max_user_namespaces")
switch.write_text("0")
refused = subprocess.run(["unshare", "-U", "true"], capture_output=True, text=True)
hint = hint_for(refused.stderr, Path(sys.argv[1]))
done = subprocess.run(["/bin/sh", "-c", hint], env={"PATH": sys.argv[2]}, capture_output=True, text=True)
again = subprocess.run(["unshare", "-U", "true"], capture_output=True)
print(refused.returncode != 0, done.returncode, switch.read_text().strip(), again.returncode)
"""


@pytest.mark.needs("user namespaces")
def test_the_line_turns_a_real_switch(machine: Path) -> None:
    """In a user namespace, which has a switch of its own; only sudo is a stand-in."""
    real = machine.parent / "real"
    real.mkdir()
    (real / "proc").symlink_to("/proc")
    (machine.parent / "programs/sysctl").unlink()
    path = f"{machine.parent / 'programs'}:/usr/sbin:/sbin:/usr/bin:/bin"
    argv = ["unshare", "-Ur", sys.executable, "-c", REAL, str(real), path]
    done = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True 0 15000 0\n", "")


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv", "run/systemd/container"])
def test_hint_in_a_container_disables_no_protection_of_the_container(mark: str, machine: Path) -> None:
    (machine / mark).parent.mkdir(parents=True, exist_ok=True)
    (machine / mark).touch()
    (machine / "proc/sys/user/max_user_namespaces").write_text("0\n")
    for message in ("No permissions to create new namespace", "Can't mount proc on /newroot/proc"):
        assert hint_for(message, machine) == IN_CONTAINER


def test_hints_of_the_package_disable_no_protection_of_a_container() -> None:
    package = Path(__file__).parents[3] / "agentctl"
    for file in {*package.rglob("*.py")} - {package / "tools/docker/dangers.py"}:  # it warns of them
        text = file.read_text()
        assert not [word for word in ("unconfined", "--privileged", "SYS_ADMIN") if word in text], file


def test_a_machine_without_the_switches_gets_no_command(tmp_path: Path) -> None:
    assert hint_for("No permissions to create new namespace", tmp_path) == "allow unprivileged user namespaces"
    assert hint_for("Can't mount proc on /newroot/proc", tmp_path) == f"in a container, {IN_CONTAINER}"
