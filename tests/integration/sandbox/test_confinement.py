"""The filter of system calls: its verdict on each call, the result of a call inside, and everyday programs."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentctl.sandbox.bwrap import Bwrap
from agentctl.sandbox.confinement import NO_FILTER, NO_KEYRING, Launcher
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.self_test import find_bwrap, options_of
from agentctl.sandbox.system_calls import MACHINES, MAKING, seccomp_filter
from tests.integration.sandbox.conftest import REPOSITORY, Inside

ATTEMPTS = Path(__file__).with_name("attempts.py")
SPECIAL = {"socket", "socketpair", "ioctl"}
CLONES = {"clone", "clone3", "unshare"}
OPENAT2, FCHMODAT2 = 437, (452, 2)
MODES = {
    "x86_64": ((90, 1), (91, 1), (268, 2), FCHMODAT2),
    "aarch64": ((52, 1), (53, 2), FCHMODAT2),
}  # chmod, fchmod, …
URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}


def verdict(code: bytes, machine: int, number: int, *arguments: int) -> str:
    """Run a classic BPF program as the kernel does."""
    data = struct.pack("<IIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", code))
    accumulator, at = 0, 0
    while True:
        operation, then, otherwise, constant = instructions[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x15:
                at += then if accumulator == constant else otherwise
            case 0x45:
                at += then if accumulator & constant else otherwise
            case 0x35:
                at += then if accumulator >= constant else otherwise
            case 0x06:
                action, value = constant & 0xFFFF_0000, constant & 0xFFFF
                names = {0x8000_0000: "kill", 0x7FFF_0000: "allow", 0x0005_0000: errno.errorcode.get(value, "?")}
                return names[action]
            case _:
                raise AssertionError(f"an instruction that was not expected: {operation:#x}")


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("network", [False, True], ids=["without network", "with network"])
def test_the_filter_judges_every_number_of_a_machine(name: str, network: bool) -> None:
    machine, code = MACHINES[name], seccomp_filter(name, network=network)
    told = {number: verdict(code, machine.audit, number) for number in range(1024)}
    by_name = {number: name for name, number in machine.numbers.items()}
    expected = {
        number: "ENOSYS" if number == OPENAT2
        else "allow" if (called := by_name.get(number)) is None or called in {"ioctl", *CLONES}
        else "ENOSYS" if called in URING
        else "EAFNOSUPPORT" if called in SPECIAL
        else "EPERM"
        for number in range(1024)
    }  # fmt: skip
    assert told == expected
    assert verdict(code, machine.audit, 0x4000_0000) == verdict(code, machine.audit, 0xFFFF_FFFF) == "ENOSYS"
    others = {other.audit for other in MACHINES.values()} - {machine.audit}
    assert {verdict(code, audit, 39) for audit in (*others, 0x4000_0003, 0x4000_0028, 0)} == {"kill"}


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_knows_a_socket_by_the_word_that_the_kernel_reads(name: str) -> None:
    machine = MACHINES[name]
    for network in (False, True):
        code = seccomp_filter(name, network=network)
        allowed = {socket.AF_UNIX, *((socket.AF_INET, socket.AF_INET6) if network else ())}
        for family in range(64):
            for high in (0, 1 << 32, 0xFFFF_FFFF << 32):
                expected = "allow" if family in allowed else "EAFNOSUPPORT"
                if family != socket.AF_NETLINK:
                    assert verdict(code, machine.audit, machine.numbers["socket"], family | high, 1, 0) == expected
                pair = "allow" if family == socket.AF_UNIX else "EAFNOSUPPORT"
                assert verdict(code, machine.audit, machine.numbers["socketpair"], family | high, 1, 0) == pair


@pytest.mark.parametrize("name", MACHINES)
def test_filter_forbids_setuid_files_and_allows_setgid_for_a_change(name: str) -> None:
    audit, code = MACHINES[name].audit, seccomp_filter(name, network=False)

    def judged(number: int, arguments: dict[int, int]) -> str:
        return verdict(code, audit, number, *(arguments.get(place, 0) for place in range(6)))

    modes = {0o755: "allow", 0o1777: "allow", 0o2775: "EPERM", 0o4755: "EPERM", 0o106755: "EPERM"}
    modes[0o4755 | 1 << 32] = "EPERM"
    for number, flags, place in MAKING[name].values():
        for creates in (0o101, 0o2020_0102):  # O_CREAT, O_TMPFILE
            assert {mode: judged(number, {flags or 5: creates, place: mode}) for mode in modes} == modes
        if flags is not None:
            assert judged(number, {flags: os.O_RDWR, place: 0o4755}) == "allow"
    changes = {**modes, 0o2775: "allow"}
    for number, place in MODES[name]:
        assert {mode: judged(number, {place: mode}) for mode in changes} == changes


@pytest.mark.needs("sandbox")
def test_no_command_leaves_a_program_with_its_owners_rights(own: Inside) -> None:
    shutil.copy(ATTEMPTS, own.workspace)
    (answer,) = own(
        "/usr/bin/python3 -c 'import attempts; attempts.make_setuid()'; mkdir -m 2775 shared; ls -ld shared"
    )
    assert answer["stderr"] == ""
    *told, folder = answer["stdout"].splitlines()
    assert set(told) == {"EPERM", "ENOSYS"}
    assert folder.startswith("drwxrwsr-x")
    assert [path.name for path in own.workspace.iterdir() if path.stat().st_mode & 0o4000] == []


@pytest.mark.parametrize("name", MACHINES)
def test_filter_forbids_user_namespaces_without_bubblewraps_own_switch(name: str) -> None:
    machine, code = MACHINES[name], seccomp_filter(name, network=False, user_namespaces=False)
    new_user, new_all = 0x1000_0000, 0x7E02_0000
    flags = {0: "allow", 0x3D0F00: "allow", new_user: "EPERM", new_all: "EPERM", new_user | 1 << 32: "EPERM"}
    for called in ("clone", "unshare"):
        assert {flag: verdict(code, machine.audit, machine.numbers[called], flag) for flag in flags} == flags
    assert verdict(code, machine.audit, machine.numbers["clone3"]) == "ENOSYS"


@pytest.mark.needs("sandbox")
async def test_an_older_bubblewrap_gives_no_user_namespace_either(tmp_path: Path) -> None:
    bwrap = find_bwrap(str(tmp_path))
    known = await options_of(bwrap) - {"--disable-userns"}
    inside = Bwrap(bwrap, known, SandboxConfig(str(tmp_path), str(tmp_path)))
    threads = "import threading; threading.Thread(target=print, args=['thread']).start()"
    result = await inside.run(
        f"unshare -U true; echo $?; /usr/bin/python3 -c \"{threads}\"; sh -c 'echo child'", timeout=20
    )
    assert (result.stdout, "Operation not permitted" in result.stderr) == ("1\nthread\nchild\n", True)


def expected_inside(*, network: bool) -> dict[str, Any]:
    named = MACHINES[platform.machine()].numbers
    internet = [socket.AF_INET, *([socket.AF_INET6] if socket.has_ipv6 else [])] if network else []
    return {
        "calls": {name: "ENOSYS" if name in URING else "EPERM" for name in named if name not in SPECIAL | CLONES},
        "families": {str(family): "ok" for family in (socket.AF_UNIX, *internet)} | {"16": "ESOCKTNOSUPPORT"},
        "families as datagrams": sorted([socket.AF_UNIX, *internet, socket.AF_NETLINK]),
        "families with a high word": [socket.AF_UNIX, *internet],
        "packets by AF_INET": "EAFNOSUPPORT",
        "packets by AF_INET, without exec": "EAFNOSUPPORT",
        "netlink": [0],
        "netlink with a high word": [0],
        "pairs": [socket.AF_UNIX],
        "pairs with a high word": [socket.AF_UNIX],
        "typing for a terminal": ["EPERM"] * 4,
        "another ioctl": "ENOTTY",
        "32 bits": "SIGSYS",
        "x32": "ENOSYS",
        "x32 keyctl": "ENOSYS",
        "tracing a child": "ok",
        "interfaces": ["lo"],
    }


@pytest.mark.parametrize("network", [False, True], ids=["without network", "with network"])
def test_only_system_calls_of_ordinary_programs_work_inside(own: Inside, network: bool) -> None:
    shutil.copy(ATTEMPTS, own.workspace)
    numbers = json.dumps(dict(MACHINES[platform.machine()].numbers))
    (answer,) = own(f"/usr/bin/python3 attempts.py '{numbers}'", network=network)
    assert answer["stderr"] == ""
    assert json.loads(answer["stdout"]) == expected_inside(network=network)


def test_a_machine_without_a_filter_is_named_in_the_notes_of_the_first_command(own: Inside) -> None:
    """``setarch`` gives the machine another name; nothing else of it changes."""
    done = subprocess.run(
        ["setarch", "linux32", *own.argv("true", "true")], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert [answer["notes"] for answer in json.loads(done.stdout)] == [[NO_FILTER, NO_KEYRING], []]
    doctor = [sys.executable, "-m", "agentctl", "doctor", "--offline"]
    done = subprocess.run(
        ["setarch", "linux32", *doctor], cwd=own.workspace, capture_output=True, text=True, check=False
    )
    assert NO_FILTER in " ".join(done.stdout.split())


def test_a_program_of_32_bits_is_ended_with_a_note(own: Inside) -> None:
    shutil.copy(ATTEMPTS, own.workspace)
    seccomp_filter = "import attempts; attempts.in_a_child = lambda call: call(); attempts.by_the_old_entrance()"
    (answer,) = own(f"exec /usr/bin/python3 -c '{seccomp_filter}'")
    expected = ["the sandbox killed it for a system call: 32-bit programs do not run in it"]
    assert (answer["exit_code"], answer["notes"]) == (128 + signal.SIGSYS, expected)


KEYCTL, ADD_KEY = (MACHINES[platform.machine()].numbers[name] for name in ("keyctl", "add_key"))
SEARCH, SESSION = 10, -3
READ_A_KEY = f"""
import ctypes
key = ctypes.CDLL(None).syscall({KEYCTL}, {SEARCH}, {SESSION}, b"user", b"agentctl-test", 0)
print("found" if key > 0 else "none")
"""


def test_a_key_of_the_users_session_is_not_in_the_session_of_a_command(own: Inside) -> None:
    """The first launcher stands for the user's session, so that no test adds a key to a real one."""
    read = ["/usr/bin/python3", "-c", READ_A_KEY]

    def attempt() -> tuple[str, str, str]:
        kernel = ctypes.CDLL(None, use_errno=True)
        assert kernel.syscall(ADD_KEY, b"user", b"agentctl-test", b"secret", 6, SESSION) > 0
        direct = subprocess.run(read, capture_output=True, text=True, check=True).stdout
        with Launcher("/bin/sh") as launcher:
            confined = launcher.start(lambda: subprocess.run(read, capture_output=True, text=True, check=True)).stdout
            assert launcher.missing == ()
        (own.workspace / "read.py").write_text(READ_A_KEY)
        return direct, confined, own("/usr/bin/python3 read.py")[0]["stdout"]

    with Launcher("/bin/sh") as session:
        assert session.start(attempt) == ("found\n", "none\n", "none\n")


CALL = "import socket, sys; socket.socket(socket.AF_UNIX).connect(chr(0) + sys.argv[1]); print('reached')"


def test_abstract_sockets_outside_cannot_be_reached_with_the_network(own: Inside) -> None:
    name = f"agentctl-test-{own.workspace.parent.name}"
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind("\0" + name)
        ear.listen()
        told = subprocess.run(["/usr/bin/python3", "-c", CALL, name], capture_output=True, text=True, check=True)
        assert told.stdout == "reached\n"
        (answer,) = own(f'/usr/bin/python3 -c "{CALL}" {name}', network=True)
    assert answer["stdout"] == ""
    assert "Operation not permitted" in answer["stderr"]


PROGRAMS = {
    "node": 'node -e \'const fs = require("fs"), os = require("os"); fs.readFile("a.txt", "utf8", (e, t) =>'
    " { console.log(t.trim(), Object.keys(os.networkInterfaces())); new Worker });"
    ' class Worker { constructor() { new (require("worker_threads").Worker)("console.log(1)", {eval: true}) } }\'',
    "python": "/usr/bin/python3 -c 'import asyncio, concurrent.futures as f, multiprocessing as m, socket;"
    " print(socket.if_nameindex(), sum(m.Pool(2).map(abs, [-1, -2])));"
    ' asyncio.run(asyncio.create_subprocess_exec("true"))\'',
    "go": "go run main.go",
    "git": "git init -q repo && cd repo && git -c user.name=n -c user.email=e commit -q --allow-empty -m kept"
    " && git log --format=%s && git gc -q && git fsck",
    "npm": "cd package && npm run --silent hello && npm pack --silent && npm install --offline --silent"
    " --no-audit ./other && node -e 'console.log(require(\"other\"))'",
    "pytest": "cd checks && PYTHONPATH=$PWD/../lib /usr/bin/python3 -m pytest -q -p no:cacheprovider",
    "pty": "/usr/bin/python3 -c 'import pty; pty.spawn([\"tty\"])'",
}
SLOW = ("go", "npm")  # with --full: a compiler, and many starts of node
GO = """package main
import ("fmt"; "net"; "os/exec"; "sync")
func main() {
    faces, err := net.Interfaces()
    fmt.Println(faces[0].Name, err)
    var all sync.WaitGroup
    for i := 0; i < 100; i++ { all.Add(1); go func() { defer all.Done(); exec.Command("true").Run() }() }
    all.Wait()
    _, err = net.Dial("tcp", "127.0.0.1:1")
    fmt.Println(err != nil)
}
"""


def equip(workspace: Path) -> None:
    """Lay out a small project for each program; pytest comes along, as its folder may be hidden."""
    (workspace / "a.txt").write_text("hello\n")
    (workspace / "main.go").write_text(GO)
    scripts = {"hello": "node -e 'console.log(40 + 2)'"}
    for folder, manifest in {
        "package": {"name": "one", "version": "1.0.0", "scripts": scripts},
        "package/other": {"name": "other", "version": "1.0.0"},
    }.items():
        (workspace / folder).mkdir()
        (workspace / folder / "package.json").write_text(json.dumps(manifest))
    (workspace / "package/other/index.js").write_text("module.exports = 'other'\n")
    (workspace / "checks").mkdir()
    (workspace / "checks/test_one.py").write_text("def test_one(tmp_path):\n    (tmp_path / 'x').write_text('x')\n")
    for name in ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        if origin.stem == "__init__":
            shutil.copytree(origin.parent, workspace / "lib" / name)
        else:
            shutil.copy(origin, workspace / "lib")


def test_everyday_programs_run_under_the_filter(own: Inside, is_full: bool) -> None:
    equip(own.workspace)
    programs = {name: command for name, command in PROGRAMS.items() if is_full or name not in SLOW}
    answers = dict(zip(programs, own(*programs.values(), timeout=120), strict=True))
    assert {name: (answer["exit_code"], answer["stderr"][-600:]) for name, answer in answers.items()} == dict.fromkeys(
        programs, (0, "")
    )
    said = {"node": ["hello", "[", "'lo'", "]", "1"], "go": ["lo", "<nil>", "true"], "git": ["kept"]}
    assert {name: answers[name]["stdout"].split() for name in said if name in answers} == {
        name: words for name, words in said.items() if name in programs
    }
    assert "1 passed" in answers["pytest"]["stdout"]
