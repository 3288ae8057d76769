"""What a command cannot do in the Landlock tier, as root, for a workspace of another user, and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentctl.sandbox.resource_limits import NO_MEMORY_GROUP, NO_PROCESS_GROUP
from agentctl.sandbox.system_calls import MACHINES
from tests.integration.sandbox.conftest import NOBODY, REPOSITORY
from tests.support import fork_server, machine

BREACHES = Path(__file__).with_name("breaches.py")
#: Those that the filter itself does not name.
CALLS = {
    "x86_64": {"ptrace": 101, "shmget": 29, "mq_open": 240},
    "aarch64": {"ptrace": 117, "shmget": 194, "mq_open": 180},
}
NEW_CALLS = {"clone3": 435, "openat2": 437, "fchmodat2": 452, "file_setattr": 469, "next": 470}
SIGNALS = ("signal", "signal by a descriptor", "signal its guard")
#: "owner": agentctl is root, and the workspace belongs to another user.
USERS = ("self", "owner", "nobody") if os.geteuid() == 0 else ("self",)


@dataclass(slots=True)
class Tier:
    """Runs commands in the tier around ``workspace``, in a process of its own, which is of the user ``uid``."""

    workspace: Path
    uid: int
    owner: int | None = None
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> int:
        """Who the commands are."""
        return self.uid if self.owner is None else self.owner

    def __call__(self, *commands: str, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        asked = {"uid": self.uid, "workspace": str(self.workspace), "commands": commands, **options}
        asked |= {} if self.owner is None else {"owner": (self.owner, self.owner)}
        argv = [sys.executable, "-m", "tests.integration.sandbox.landlock_worker", json.dumps(asked)]
        environ = {**os.environ, **fork_server.ENVIRON, **self.environ}
        if fork_server.can_fork(argv[1:], environ):
            done = fork_server.run(argv[1:], cwd=REPOSITORY, env=environ, text=True, timeout=120)
        else:
            done = subprocess.run(argv, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers


def make_tier(config: Path, who: str) -> Tier:
    machine.need("landlock for others" if who == "nobody" else "landlock")
    workspace = config / "work"
    workspace.mkdir()
    tier = Tier(workspace, NOBODY if who == "nobody" else os.geteuid(), NOBODY if who == "owner" else None)
    os.chown(workspace, tier.user, tier.user)
    return tier


@pytest.fixture(params=USERS)
def tier(request: pytest.FixtureRequest, config: Path) -> Tier:
    return make_tier(config, request.param)


@pytest.fixture
def mine(config: Path) -> Tier:
    """As the one who runs the tests only: where it makes no difference who it is."""
    return make_tier(config, "self")


@pytest.fixture
def outside(tier: Tier, config: Path) -> Path:
    """A folder of the commands' own user, which nothing but the sandbox protects."""
    folder = config / "outside"
    (folder / "folder").mkdir(parents=True)
    (folder / "file").write_text("secret")
    shutil.copy("/bin/true", folder / "program")
    for place in (folder, *folder.iterdir()):
        os.chown(place, tier.user, tier.user)
        place.chmod(0o644 if place.name == "file" else 0o755)
    return folder


def state_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that a command could change, but for the time of the last access."""
    found = {}
    for place in (folder, *sorted(folder.rglob("*"))):
        status = place.lstat()
        content = place.read_bytes() if place.is_file() else b""
        found[str(place)] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink, content)
    return found


@pytest.fixture
def listeners(tier: Tier, outside: Path) -> Iterator[dict[str, Any]]:
    """Sockets that everyone outside can reach: by a path, an abstract name, TCP and UDP; none may be called."""
    with (
        closing(socket.socket(socket.AF_UNIX)) as named,
        closing(socket.socket(socket.AF_UNIX)) as abstract,
        closing(socket.create_server(("127.0.0.1", 0))) as tcp,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp,
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as datagrams,
    ):
        datagrams.bind(str(outside / "datagrams"))
        (outside / "datagrams").chmod(0o777)
        named.bind(str(outside / "socket"))
        (outside / "socket").chmod(0o777)
        name = f"agentctl-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        udp.bind(tcp.getsockname())
        for ear in (named, abstract):
            ear.listen()
        yield {"abstract": name, "port": tcp.getsockname()[1]}
        for ear in (named, abstract, tcp):
            ear.setblocking(False)
            with pytest.raises(BlockingIOError):
                ear.accept()
        for ear in (udp, datagrams):
            ear.setblocking(False)
            with pytest.raises(BlockingIOError):
                ear.recv(1)


def break_out(tier: Tier, outside: Path, listeners: dict[str, Any], **options: Any) -> dict[str, Any]:  # noqa: ANN401
    name = os.uname().machine
    numbers = {**MACHINES[name].numbers, **CALLS[name], **NEW_CALLS}
    facts = json.dumps({"outside": str(outside), "agentctl": "@AGENTCTL@", "numbers": numbers, **listeners})
    (tier.workspace / "breaches.py").write_text(BREACHES.read_text())
    (answer,) = tier(f"/usr/bin/python3 breaches.py '{facts}'", **options)
    assert (answer["exit_code"], answer["stderr"]) == (0, "")
    found: dict[str, Any] = json.loads(answer["stdout"])
    return found


@pytest.mark.parametrize("abi", [None, 2], ids=["this kernel", "Linux 5.19"])
def test_no_attempt_to_break_out_succeeds(
    tier: Tier, outside: Path, listeners: dict[str, Any], abi: int | None
) -> None:
    before = state_of(outside)
    found = break_out(tier, outside, listeners, abi=abi)
    succeeded = [name for name, answer in found["breaches"].items() if answer == "ok"]
    expected = [] if abi is None else list(SIGNALS)
    assert [name for name in succeeded if name not in expected] == []
    assert state_of(outside) == before
    truncated = "ok" if abi is None else "EPERM"
    work = {"everyday work": "ok", "chmod of a missing file": "ENOENT", "truncate by name": truncated}
    assert found["work"] == work


def test_command_has_no_privileges_and_an_environment_of_its_own(tier: Tier) -> None:
    tier.environ = {"OPENAI_API_KEY": "sk-not-for-children", "DOCKER_HOST": "unix:///x"}
    (answer,) = tier(
        "grep -E 'Cap(Eff|Prm|Bnd|Inh|Amb)|NoNewPrivs|Seccomp:' /proc/self/status; id -u; id -G;"
        " ls /proc/self/fd | wc -l; env; cat /proc/[0-9]*/environ | tr '\\0' ' '"
    )
    lines = answer["stdout"].splitlines()
    has_all = os.geteuid() == 0 and tier.uid == 0  # an ordinary user's bounding set is of no use to it
    sets = [line.split()[1] for line in lines[:5]]
    assert [sets[at] for at in range(5) if has_all or at != 3] == ["0" * 16] * (5 if has_all else 4)
    assert [line.split()[1] for line in lines[5:7]] == ["1", "2"]
    assert lines[7:10] == [str(tier.user), " ".join(map(str, groups_of(tier))), "4"]
    home, temporary = (next(line for line in lines if line.startswith(name)) for name in ("HOME=", "TMPDIR="))
    assert (home.split("/")[-1], temporary.split("/")[-1]) == ("home", "temporary")
    assert not Path(home.partition("=")[2]).parent.exists()
    assert [word for word in ("sk-not", "API_KEY", "DOCKER_HOST") if word in answer["stdout"]] == []


def groups_of(tier: Tier) -> list[int]:
    return [tier.user] if tier.uid == 0 or tier.uid != os.geteuid() else sorted({os.getegid(), *os.getgroups()})


@pytest.mark.needs("root")
def test_root_reads_no_more_than_others_may(mine: Tier) -> None:
    key = Path("/etc", f"key-{os.getpid()}")
    try:
        key.touch(mode=0o600)
        key.write_text("secret")
        (answer,) = mine(f"cat /etc/shadow /etc/gshadow {key}; cat /etc/ssh/ssh_host_*_key /proc/kcore; cat /etc/hosts")
    finally:
        key.unlink()
    assert answer["stdout"] == Path("/etc/hosts").read_text()


def test_network_is_absent_unless_it_is_given_and_unix_sockets_always(tier: Tier, outside: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, closing(socket.socket(socket.AF_UNIX)) as named:
        named.bind(str(outside / "socket"))
        (outside / "socket").chmod(0o777)
        named.listen()
        port = server.getsockname()[1]
        tcp = f'python3 -c \'import socket; socket.create_connection(("127.0.0.1", {port}), 5); print("reached")\''
        call = f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{outside}/socket\"); print(1)'"
        assert tier(tcp)[0]["stdout"] == ""
        given, *others = tier(tcp, call, "cat /etc/resolv.conf >/dev/null && echo readable", network=True)
    assert [answer["stdout"] for answer in (given, *others)] == ["reached\n", "", "readable\n"]


def test_hidden_files_and_what_deny_rules_name_cannot_be_read(tier: Tier, config: Path) -> None:
    state = tier.workspace / "state"
    state.mkdir()
    for place in (state / "ledger", tier.workspace / "keys", tier.workspace / "sub.key", tier.workspace / "other"):
        place.write_text("secret" if place.name != "other" else "mine")
        os.chown(place, tier.user, tier.user)
    os.chown(state, tier.user, tier.user)
    options = {"hidden": [str(state), str(tier.workspace / "keys")], "deny": ["read_file(path=*.key)"]}
    (answer,) = tier(
        "ls state; cat state/ledger keys sub.key other; mv state moved; cat moved/ledger; ln keys linked; cat linked;"
        " echo x >keys; echo x >other && cat other",
        **options,
    )
    assert answer["stdout"] == "minex\n"
    assert [(tier.workspace / name).read_text() for name in ("keys", "state/ledger")] == ["secret", "secret"]


def test_a_read_only_run_changes_nothing_but_its_own_folders(mine: Tier) -> None:
    (mine.workspace / "old").write_text("old")
    before = state_of(mine.workspace)
    command = (
        "echo new > new; rm -f old; echo x > old; chmod 777 old; touch old; echo x >$TMPDIR/x && cat old $TMPDIR/x"
    )
    (answer,) = mine(command, read_only=True)
    assert (answer["stdout"], state_of(mine.workspace)) == ("oldx\n", before)


def test_a_folder_that_the_settings_name_is_readable_and_no_more(tier: Tier, outside: Path) -> None:
    command = f"cat {outside}/file; echo x >{outside}/file; touch {outside}/file; chmod 777 {outside}/file"
    before = state_of(outside)
    assert tier(command)[0]["stdout"] == ""
    assert tier(command, readable=[str(outside)])[0]["stdout"] == "secret"
    assert state_of(outside) == before


def test_copies_and_homes_are_never_in_a_folder_that_commands_can_write_to(mine: Tier) -> None:
    inner = mine.workspace / "tmp"
    inner.mkdir()
    mine.environ = {"TMPDIR": str(inner)}
    answers = mine("echo $TMPDIR", "ls tmp")
    assert str(inner) not in answers[0]["stdout"]
    assert answers[1]["stdout"] == ""


def test_nothing_is_left_of_a_tier_that_was_tested_and_used(tier: Tier, config: Path) -> None:
    place = config / "temporary"
    place.mkdir()
    os.chown(place, tier.uid, tier.uid)
    place.chmod(0o755)
    tier.environ = {"TMPDIR": str(place)}
    (answer,) = tier(probe=True)
    assert {*answer["missing"]} <= {NO_MEMORY_GROUP, NO_PROCESS_GROUP}
    (used,) = tier("echo $TMPDIR; mkdir -p $HOME/a/b; chmod 0 $HOME/a; echo x >$TMPDIR/x")
    assert used["stdout"].startswith(str(place))
    assert [*place.iterdir(), *tier.workspace.iterdir()] == []
