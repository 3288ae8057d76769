"""What a command cannot do in the sandbox: each of these works outside of it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.sandbox.conftest import USERS, Inside, names

ROOT = pytest.mark.needs("root")
CALL = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print(\"reached\")' {}"


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(str(path))
        path.chmod(0o777)
        ear.listen()
        ear.setblocking(False)
        try:
            yield ear
        finally:
            path.unlink()


def reached(ear: socket.socket) -> bool:
    try:
        ear.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_only_the_workspace_can_be_written(inside: Inside, config: Path) -> None:
    places = ["/", "/etc", "/usr/bin", "/var/lib", "/var/tmp", "/tmp", "/run", "/dev/shm", str(config), "~"]
    script = "; ".join(f"echo x > {place}/made-inside" for place in places)
    (answer,) = inside(f"{script}; echo mine > here; cat here")
    assert answer["stdout"] == "mine\n"
    outside = [Path(place, "made-inside").expanduser() for place in places]
    assert [path for path in outside if path.exists()] == []
    assert (inside.workspace / "here").stat().st_uid == inside.uid
    assert names(inside.workspace) == ["here"]


def test_a_read_only_run_changes_nothing(own: Inside) -> None:
    (own.workspace / "old").write_text("old")
    (answer,) = own("echo new > new; rm -f old; echo x > old; cat old", read_only=True)
    assert answer["stdout"] == "old"
    assert names(own.workspace) == ["old"]


def test_hidden_folders_and_files_are_empty(inside: Inside, config: Path) -> None:
    for place in (config / "state", inside.workspace / "state"):
        place.mkdir()
        (place / "ledger").write_text("secret")
    (inside.workspace / "keys").write_text("secret")
    hidden = [config / "state", inside.workspace / "state", inside.workspace / "keys"]
    places = " ".join(map(str, hidden))
    (answer,) = inside(f"ls -A {places}; cat keys state/ledger; echo x > state/ledger", hidden=hidden)
    assert "secret" not in answer["stdout"]
    assert "ledger" not in answer["stdout"]
    assert [(place / "ledger").read_text() for place in hidden[:2]] == ["secret", "secret"]


def test_no_home_can_be_seen(inside: Inside) -> None:
    home = Path(os.environ["HOME"])
    (home / "mine").write_text("secret")
    home.chmod(0o777)
    (answer,) = inside(f"ls -A {home} /home /root /run/user; cat {home}/mine; echo ~; touch ~/x && ls ~")
    assert "mine" not in answer["stdout"]
    assert answer["stdout"].endswith("/run/home\nx\n")


@pytest.mark.parametrize(
    ("inside", "place"),
    [("self", "tmp"), ("self", "workspace"), *((user, "outside") for user in USERS)],
    indirect=["inside"],
)
def test_no_socket_can_be_called_whether_it_was_named_or_not(inside: Inside, config: Path, place: str) -> None:
    """A read-only mount does not stop connect(): the engine's socket, an ssh agent, a bus."""
    outside = Path("/opt") if os.geteuid() == 0 else config
    path = {"tmp": config, "outside": outside, "workspace": inside.workspace}[place] / f"{os.getpid()}.sock"
    for hidden in ([path], []):
        with listening(path) as ear:
            told = subprocess.run(["sh", "-c", CALL.format(path)], capture_output=True, check=True)
            assert told.stdout == b"reached\n"
            assert reached(ear)
            (answer,) = inside(CALL.format(path), hidden=hidden)
            assert ("reached" in answer["stdout"], reached(ear)) == (False, False)


def test_engines_socket_is_hidden_also_without_a_listener_here(own: Inside, config: Path) -> None:
    """An engine of another network namespace stands in no list of this one: DOCKER_HOST names it."""
    path = own.workspace / "engine.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        (answer,) = own(f"test -S {path} && echo there", hidden=[path])
        assert answer["stdout"] == ""


def test_network_is_absent_unless_it_is_given(own: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        call = f'python3 -c \'import socket; socket.create_connection(("127.0.0.1", {port}), 5); print("reached")\''
        assert own(call)[0]["stdout"] == ""
        assert own(call, network=True)[0]["stdout"] == "reached\n"


def test_no_process_outside_can_be_seen_or_ended(inside: Inside) -> None:
    with subprocess.Popen(["sleep", "3217"]) as sleeper:
        (answer,) = inside(
            f"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; kill -9 {sleeper.pid}; ls -d /proc/[0-9]* | wc -l"
        )
        assert sleeper.poll() is None
        sleeper.kill()
    assert "3217" not in answer["stdout"]
    assert int(answer["stdout"].splitlines()[-1]) < 10


def test_no_key_is_in_any_environment_that_can_be_read(inside: Inside) -> None:
    inside.environ = {"OPENAI_API_KEY": "sk-not-for-children", "LD_PRELOAD": "", "DOCKER_HOST": "unix:///x"}
    (answer,) = inside(f"env; cat /proc/[0-9]*/environ /proc/{os.getpid()}/environ | tr '\\0' ' '")
    assert "HOME=/run/home\n" in answer["stdout"]
    for secret in ("sk-not", "API_KEY", "DOCKER_HOST", "LD_PRELOAD", "AGENTCTL_STATE"):
        assert secret not in answer["stdout"]


def test_command_has_no_privileges_and_cannot_gain_any(inside: Inside) -> None:
    (answer,) = inside(
        "grep -E 'Cap(Eff|Prm|Bnd|Inh|Amb)|NoNewPrivs' /proc/self/status; unshare -U true || echo no namespace;"
        " mount -t tmpfs x /tmp || echo no mount; chroot / true || echo no chroot; ls /proc/self/fd | wc -l"
    )
    lines = answer["stdout"].splitlines()
    assert [line.split()[1] for line in lines[:6]] == ["0" * 16] * 5 + ["1"]
    assert lines[6:] == ["no namespace", "no mount", "no chroot", "4"]


@ROOT
@pytest.mark.own_walk
def test_root_reads_no_more_than_others_may(own: Inside, config: Path) -> None:
    folder = Path("/opt", f"only-root-{os.getpid()}")
    folder.mkdir(mode=0o700)
    key = Path("/etc", f"key-{os.getpid()}")
    try:
        (folder / "secret").write_text("secret")
        key.touch(mode=0o600)
        key.write_text("secret")
        (answer,) = own(f"cat /etc/shadow /etc/gshadow {folder}/secret {key}; cat /etc/ssh/ssh_host_*_key /proc/kcore")
    finally:
        (folder / "secret").unlink()
        folder.rmdir()
        key.unlink()
    assert answer["stdout"] == ""
    assert "Permission denied" in answer["stderr"]


def test_files_that_git_and_agentctl_obey_cannot_be_changed_from_inside(inside: Inside) -> None:
    place = inside.workspace
    subprocess.run(["git", "init", "-q", place], check=True)
    (place / ".env").write_text("KEY=1\n")
    subprocess.run(["chown", "-R", str(inside.uid), place], check=True)
    hook = ".git/hooks/pre-commit"
    (answer,) = inside(
        f"echo evil > {hook}; echo evil >> .git/config; echo evil >> .env; mv .git away; mv .git/hooks away; rm .env;"
        " git -c user.name=n -c user.email=e commit -q --allow-empty -m kept && git log --format=%s"
    )
    assert answer["stdout"] == "kept\n"
    assert not (place / hook).exists()
    assert "evil" not in (place / ".git/config").read_text() + (place / ".env").read_text()


def test_a_worktree_sees_its_repository_and_a_forged_one_sees_nothing(own: Inside) -> None:
    home = Path(os.environ["HOME"])
    run = ["git", "-C", str(home), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*run, "init", "-q", "main"], check=True)
    subprocess.run([*run, "-C", "main", "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run([*run, "-C", "main", "worktree", "add", "-q", str(own.workspace / "tree")], check=True)
    tree = own.workspace / "tree"
    assert own("git log --format=%s", workspace=tree)[0]["stdout"] == "first\n"
    forged = own.workspace / "forged"
    forged.mkdir()
    (forged / ".git").write_bytes((tree / ".git").read_bytes())
    assert own(f"git log --format=%s; ls {home}", workspace=forged)[0]["stdout"] == ""
