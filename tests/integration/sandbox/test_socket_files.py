"""Sockets by a path whose listeners are elsewhere: in another network or mount namespace, or named in another way."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from agentctl.sandbox.socket_files import MountEntry, SocketFiles, is_bound, translate_path
from tests.integration.sandbox.conftest import REPOSITORY, USERS, Inside
from tests.integration.sandbox.parts import wait_until

LISTEN = """
import os, socket, sys
kind = socket.SOCK_DGRAM if sys.argv[2] == "datagrams" else socket.SOCK_STREAM
ear = socket.socket(socket.AF_UNIX, kind)
ear.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
if kind == socket.SOCK_STREAM:
    ear.listen()
print("ready", flush=True)
while True:
    print("called" if kind == socket.SOCK_STREAM and ear.accept() else ear.recv(10), flush=True)
"""
CALL = """
import socket, sys
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    try:
        asking = socket.socket(socket.AF_UNIX, kind)
        asking.connect(sys.argv[1])
        print("reached")
    except OSError:
        pass
"""
NEW_NETWORK = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
ELSEWHERE = {
    "this namespace, a relative name": ([], "run/x.sock", "streams"),
    "another network namespace": (NEW_NETWORK, "{work}/run/x.sock", "streams"),
    "another network namespace, datagrams": (NEW_NETWORK, "{work}/run/x.sock", "datagrams"),
    "another network namespace, a relative name": (NEW_NETWORK, "run/x.sock", "streams"),
    "another mount namespace": (["unshare", "--mount"], "/mnt/x.sock", "streams"),
    "other network and mount namespaces": ([*NEW_NETWORK, "--mount"], "/mnt/x.sock", "streams"),
}


#: Root may read every place that lists sockets, so one place is enough as root.
TRIED = [(user, where) for user in USERS for where in (list(ELSEWHERE)[-1:] if user != USERS[-1] else ELSEWHERE)]


@pytest.mark.parametrize(("inside", "where"), TRIED, indirect=["inside"])
def test_a_socket_whose_listener_is_elsewhere_cannot_be_called(inside: Inside, where: str) -> None:
    """The socket appears while the first command runs, so that a search before it finds nothing."""
    entered, name, kind = ELSEWHERE[where]
    folder = inside.workspace / "run"
    folder.mkdir()
    folder.chmod(0o777)
    (inside.workspace / "call.py").write_text(CALL)
    listen = """
    test "$1" != /mnt/x.sock || mount --bind "$3" /mnt
    until test -e go; do sleep 0.02; done
    exec /usr/bin/python3 -c "$0" "$1" "$2"
    """
    command = [*entered, "sh", "-c", listen, LISTEN, name.format(work=inside.workspace), kind, str(folder)]
    with subprocess.Popen(command, cwd=inside.workspace, stdout=subprocess.DEVNULL) as listener:
        try:
            call = "/usr/bin/python3 call.py run/x.sock"
            wait = "touch go; until test -S run/x.sock; do sleep 0.02; done; sleep 0.2"
            answers = inside(wait, f"{call}; ls run")
            told = subprocess.run(call.split(), cwd=inside.workspace, capture_output=True, text=True, check=True)
        finally:
            listener.kill()
    assert told.stdout == "reached\n"
    assert answers[1]["stdout"] == "x.sock\n"


ON_A_LINE = {
    "an old process enters a new network": """read -r x; exec unshare --net /usr/bin/python3 -c "$0" "$1" streams""",
    "the first process of a network ends": """/usr/bin/python3 -c "$0" "$1" streams & read -r x""",
}


@pytest.mark.needs("root", "unshare")
@pytest.mark.parametrize("change", ON_A_LINE)
def test_change_of_networks_between_two_commands_hides_no_socket(config: Path, change: str) -> None:
    """The process has been there for longer than a second; one that has ended is not reaped."""
    place, begins_apart = str(config / "x.sock"), change.startswith("the first")
    find = SocketFiles(str(REPOSITORY / "tests/unit/ledger")).find
    argv = [*(NEW_NETWORK if begins_apart else []), "sh", "-c", ON_A_LINE[change], LISTEN, place]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, text=True, start_new_session=True, stdin=pipe, stdout=pipe) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        try:
            assert not begins_apart or first.stdout.readline() == "ready\n"
            assert (place in find()) == begins_apart
            time.sleep(1.1)
            assert (place in find()) == begins_apart
            first.stdin.write("\n")
            first.stdin.flush()
            if begins_apart:
                wait_until(lambda: " Z " in Path(f"/proc/{first.pid}/stat").read_text())
            else:
                assert first.stdout.readline() == "ready\n"
            assert place in find()
        finally:
            os.killpg(first.pid, signal.SIGKILL)


def test_socket_in_the_repository_of_a_worktree_cannot_be_called(own: Inside) -> None:
    """The repository lies in the home folder and is shown all the same, like the socket of git's file watcher in it."""
    main, tree = Path(os.environ["HOME"], "main"), own.workspace / "tree"
    run = ["git", "-C", str(main), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "init", "-q", str(main)], check=True)
    subprocess.run([*run, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run([*run, "worktree", "add", "-q", str(tree)], check=True)
    (tree / "call.py").write_text(CALL)
    place = main / ".git/x.sock"
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(str(place))
        ear.listen()
        (answer,) = own(f"/usr/bin/python3 call.py {place}; git log --format=%s", workspace=tree)
    assert answer["stdout"] == "first\n"


@pytest.mark.needs("root")
@pytest.mark.own_walk
def test_a_socket_that_no_list_shows_is_found_by_a_walk(own: Inside) -> None:
    """The listener has a process namespace above ours: /proc shows nothing of it."""
    deep = own.workspace / "a/b/c"
    deep.mkdir(parents=True)
    (own.workspace / "call.py").write_text(CALL)
    listener = ["unshare", "--net", "/usr/bin/python3", "-c", LISTEN, str(deep / "x.sock"), "streams"]
    with subprocess.Popen(listener, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            below = ["unshare", "--pid", "--fork", "--mount-proc", *own.argv("/usr/bin/python3 call.py a/b/c/x.sock")]
            done = subprocess.run(below, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        finally:
            process.kill()
    assert done.returncode == 0, done.stderr
    assert '"stdout": ""' in done.stdout


def test_check_for_a_bound_socket_does_not_disturb_its_listener(config: Path) -> None:
    path, other = str(config / "x"), str(config / "y")
    answers = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as bound:
            bound.bind(path)
            if kind != socket.SOCK_DGRAM:
                bound.listen()
            bound.setblocking(False)
            answers.append(is_bound(path))
            with pytest.raises(BlockingIOError):
                bound.recv(1) if kind == socket.SOCK_DGRAM else bound.accept()
        answers.append(is_bound(path))
        Path(path).unlink()
    assert answers == [True, False] * 3
    assert not is_bound(other)


def test_socket_of_a_killed_program_does_not_block_a_command(own: Inside) -> None:
    bind = "import socket; socket.socket(socket.AF_UNIX).bind('x.sock')"
    first, second = own(f'/usr/bin/python3 -c "{bind}"', f'rm x.sock && /usr/bin/python3 -c "{bind}"')
    assert (first["exit_code"], second["exit_code"], second["stderr"]) == (0, 0, "")


STORM = """
import itertools, os, socket
for number in itertools.count():
    folder = f"/opt/agentctl-storm-{number % 7}"
    os.mkdir(folder, 0o700)
    for name in (folder + ".sock", folder + "/x.sock"):
        with socket.socket(socket.AF_UNIX) as ear:
            ear.bind(name)
            ear.listen()
            if number == 0:
                print("ready", flush=True)
        os.unlink(name)
    os.rmdir(folder)
"""


@pytest.mark.needs("root")
@pytest.mark.own_walk
def test_sockets_that_come_and_go_do_not_stop_a_command(own: Inside) -> None:
    with subprocess.Popen(["/usr/bin/python3", "-c", STORM], stdout=subprocess.PIPE, text=True) as storm:
        try:
            assert storm.stdout is not None
            assert storm.stdout.readline() == "ready\n"
            answers = own(*["echo ran"] * 8)
        finally:
            storm.kill()
            storm.wait()
            for left in Path("/opt").glob("agentctl-storm-*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert [answer.get("stdout", answer) for answer in answers] == ["ran\n"] * 8


def test_a_name_of_another_mount_namespace_is_translated() -> None:
    theirs = (
        MountEntry("8:1", "/", "/"),
        MountEntry("8:1", "/srv/data", "/data"),
        MountEntry("0:50", "/", "/data/tmp"),
    )
    ours = (MountEntry("8:1", "/", "/"), MountEntry("8:1", "/srv", "/mnt/srv"), MountEntry("0:51", "/", "/tmp"))
    told = {name: sorted(translate_path(name, theirs, ours)) for name in ("/data/x", "/x", "/data/tmp/x", "/data")}
    assert told == {
        "/data/x": ["/mnt/srv/data/x", "/srv/data/x"],
        "/x": ["/x"],
        "/data/tmp/x": [],
        "/data": ["/mnt/srv/data", "/srv/data"],
    }
    assert list(translate_path("/x", (), ours)) == []
