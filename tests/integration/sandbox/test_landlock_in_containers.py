"""Where user namespaces are forbidden, commands run in the Landlock tier: in a container, and by the kernel's limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.sandbox.conftest import NOBODY, REPOSITORY
from tests.support.machine import need

COMMAND = (
    "cat /etc/shadow; echo x >/var/x; chmod 700 /tmp; git init -q new && ls && rm -r new; echo mine >made; cat made"
)
FORBID = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
DOCTOR = ("-m", "agentctl", "doctor", "--offline", "--json")


def asked(workspace: Path, uid: int) -> str:
    given = {"wanted": "auto", "network": False, "read_only": False, "hidden": [], "timeout": 60, "own_walk": True}
    return json.dumps({**given, "uid": uid, "workspace": str(workspace), "commands": [COMMAND]})


def environ(folder: Path, workspace: Path) -> dict[str, str]:
    """Return an environment in which agentctl's own files are in ``folder``."""
    own = {f"AGENTCTL_{kind}_DIR": str(folder / kind) for kind in ("STATE", "CONFIG", "CACHE")}
    return {
        **own,
        "AGENTCTL_WORKDIR": str(workspace),
        "HOME": str(folder / "home"),
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def check(inside: Callable[..., subprocess.CompletedProcess[str]], workspace: Path, uid: int) -> None:
    """Check that a command runs in the tier, and that ``doctor`` says that it would."""
    worker = inside(sys.executable, "-m", "tests.integration.sandbox.worker", asked(workspace, uid))
    assert worker.returncode == 0, worker.stderr
    (answer,) = json.loads(worker.stdout)
    assert (answer["tier"], answer["stdout"]) == ("landlock", "new\nmine\n")
    assert (workspace / "made").read_text() == "mine\n"
    said = ""
    for _ in range(10):
        doctor = json.loads(inside(sys.executable, *DOCTOR).stdout)
        (said,) = (row["said"] for row in doctor["checks"] if row["about"] == "sandbox")
        if "took longer than" not in said:  # on a loaded machine
            break
    assert said.startswith("landlock works; ")
    assert "not bwrap: " in said


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "ordinary user"])
def test_commands_run_in_landlock_inside_an_unprivileged_container(docker_host: str, config: Path, uid: int) -> None:
    need("landlock")
    workspace, own = config / "work", config / "own"
    for folder in (workspace, own):
        folder.mkdir()
        os.chown(folder, uid, uid)
    shown = {"/usr": "/usr", "/usr/bin": "/bin", "/usr/lib": "/lib", "/etc": "/etc"}
    shown |= {"/usr/lib64": "/lib64"} if Path("/usr/lib64").exists() else {}
    shown |= {place: place for place in map(str, (REPOSITORY, sys.prefix, os.path.realpath(sys.base_prefix)))}
    shown |= {place: place for place in sys.path if Path(place).is_dir() and not place.startswith(str(REPOSITORY))}
    words = [word for there, here in shown.items() for word in ("-v", f"{there}:{here}:ro")]
    words += ["-v", f"{config}:{config}", "-w", str(REPOSITORY)]
    words += [word for name, value in environ(own, workspace).items() for word in ("-e", f"{name}={value}")]
    run = ["docker", "run", "--rm", "--network", "none", "--user", str(uid), *words, "busybox:local"]

    def inside(*argv: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": docker_host}
        return subprocess.run([*run, *argv], env=environment, capture_output=True, text=True, check=False)

    assert "namespace" in inside("bwrap", "--unshare-user", "--ro-bind", "/", "/", "true").stderr
    check(inside, workspace, uid)


@pytest.mark.needs("landlock", "user namespaces", "bwrap")
def test_commands_run_in_landlock_where_the_kernel_allows_no_user_namespaces(config: Path) -> None:
    workspace = config / "work"
    workspace.mkdir()

    def inside(*argv: str) -> subprocess.CompletedProcess[str]:
        run = ["unshare", "--user", "--map-root-user", "sh", "-c", FORBID, "sh", *argv]
        environment = environ(config / "own", workspace)
        return subprocess.run(run, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)

    check(inside, workspace, 0)
