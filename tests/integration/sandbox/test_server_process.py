"""A server that talks over stdin and stdout: its pipes, its end in each way, and what it reaches."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from agentctl.core.errors import ToolError
from agentctl.core.tool_rules import parse_rule
from agentctl.protocols import Sandbox
from agentctl.sandbox import process_tree, server_process
from agentctl.sandbox.denied_paths import DeniedPaths
from agentctl.sandbox.select import open_sandbox
from agentctl.sandbox.server_process import ServerProcess, start_server
from tests.integration.sandbox.conftest import REPOSITORY
from tests.integration.sandbox.matrix import NEEDS, TIERS
from tests.integration.sandbox.parts import wait_until
from tests.support import fork_server, machine
from tests.support.processes import Trace

EACH_TIER = pytest.mark.parametrize(
    "tier", [pytest.param(tier, marks=pytest.mark.needs(*NEEDS[tier][0])) for tier in TIERS]
)
#: Landlock takes half a second to be tested, and starts servers by the same guard as none.
TWO_TIERS = pytest.mark.parametrize("tier", [pytest.param("bwrap", marks=pytest.mark.needs("sandbox")), "none"])
#: Forks a daemon that ignores SIGTERM and has lost its parent and its session, and behaves like cat.
DAEMON = """trap '' TERM; (setsid sh -c 'trap "" TERM; sleep $N & sleep $N' >/dev/null 2>&1 <&- &); echo ready; cat"""
PLAIN = "echo ready; exec cat"
BEHAVIOURS = {"plain": PLAIN, "daemon": DAEMON}


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for servers that do not end."""
    monkeypatch.setattr(server_process, "_GRACE_S", 0.3)
    monkeypatch.setattr(server_process, "_SHORT_GRACE_S", 0.1)
    monkeypatch.setattr(process_tree, "_TERM_S", 0.3)


@pytest.fixture
def workspace(config: Path) -> Path:
    (config / "work").mkdir()
    return config / "work"


@pytest.fixture
async def sandbox(tier: str, workspace: Path) -> Sandbox:
    return await opened(tier, workspace)


async def opened(tier: str, workspace: Path, **options: object) -> Sandbox:
    given = {"network": False, "read_only": False, **options}
    return await open_sandbox(tier, workspace=workspace, **given)  # type: ignore[arg-type]


async def whole(server: ServerProcess) -> str:
    """Return all that it writes."""
    pieces = []
    while piece := await server.receive():
        pieces.append(piece)
    return b"".join(pieces).decode()


async def said(sandbox: Sandbox, workspace: Path, script: str, *write: str, network: bool = False) -> list[str]:
    """Return the lines that a server writes which runs ``script``."""
    async with start_server(
        *(["sh", "-c", script],),
        env={},
        workspace=workspace,
        sandbox=sandbox,
        write=[Path(place) for place in write],
        network=network,
    ) as server:
        return (await whole(server)).splitlines()


# Its pipes.


@pytest.mark.parametrize(("anyio_backend", "tier"), [*(("asyncio", tier) for tier in TIERS), ("trio", "none")])
async def test_servers_and_commands_of_a_run_work_side_by_side(tier: str, workspace: Path) -> None:
    machine.need(*NEEDS[tier][0])
    sandbox = await opened(tier, workspace)
    heard: dict[int, bytes] = {}

    async def talk(number: int, others: anyio.Event) -> None:
        async with start_server(["cat"], env={}, workspace=workspace, sandbox=sandbox) as server:
            await server.send(b"%d\n" % number)
            heard[number] = await server.receive()
            await others.wait()
        assert (server.exit_code, server.tier) == (0, sandbox.tier)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            done = anyio.Event()
            for number in range(3):
                tasks.start_soon(talk, number, done)
            result = await sandbox.run("echo beside", timeout=30)
            while len(heard) < 3:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            done.set()
    assert (result.stdout, heard) == ("beside\n", {number: b"%d\n" % number for number in range(3)})
    sandbox.close()


@TWO_TIERS
async def test_how_a_server_ended_is_known_when_its_output_ends(sandbox: Sandbox, workspace: Path) -> None:
    async with start_server(
        ["sh", "-c", "head -c 100000 /dev/zero >&2; echo >&2; echo why >&2; echo last; exit 3"],
        env={},
        workspace=workspace,
        sandbox=sandbox,
    ) as server:
        assert await whole(server) == "last\n"
        assert (server.exit_code, server.why_ended) == (3, "ended with exit code 3: why")
        assert len(server.stderr_tail) <= 4 * 4096, "each NUL is written with four characters"
        with pytest.raises(anyio.BrokenResourceError):
            await server.send(b"x" * 1_000_000)
    async with start_server(["no-such-program"], env={}, workspace=workspace, sandbox=sandbox) as server:
        assert await server.receive() == b""
        assert "no-such-program: not found" in server.why_ended
    sandbox.close()


def resident_kb() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


async def test_a_flood_waits_in_the_pipe_and_fills_no_memory(workspace: Path) -> None:
    sandbox = await opened("none", workspace)
    before, read = resident_kb(), 0
    flood = "yes >&2 & head -c 1G /dev/zero"
    async with start_server(["sh", "-c", flood], env={}, workspace=workspace, sandbox=sandbox) as server:
        while read < 16 * 1024**2:
            read += len(piece := await server.receive())
            assert 0 < len(piece) <= 65536
        await anyio.sleep(0.1)  # nobody reads
        assert resident_kb() - before < 30_000
    sandbox.close()


async def test_a_message_that_was_cancelled_half_sent_goes_out_whole_before_the_next(workspace: Path) -> None:
    sandbox = await opened("none", workspace)
    script = "until [ -e go ]; do sleep 0.01; done; exec cat"
    async with start_server(["sh", "-c", script], env={}, workspace=workspace, sandbox=sandbox) as server:
        for message, limit_s in ((b"a" * 200_000, 0.1), (b"never begun", 0.1)):
            with anyio.move_on_after(limit_s) as scope:
                await server.send(message)
            assert scope.cancelled_caught, "it reads nothing, so the pipe is full"
        (workspace / "go").touch()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.send, b"b")
            heard = b""
            while not heard.endswith(b"b"):
                heard += await server.receive()
    assert heard == b"a" * 200_000 + b"b"


# Its end.


@pytest.mark.parametrize(("tier", "way"), [*product(TIERS, ["end", "cancel"]), ("none", "error")])
async def test_no_process_of_a_server_is_left(tier: str, way: str, trace: Trace, workspace: Path) -> None:
    machine.need(*NEEDS[tier][0])
    sandbox = await opened(tier, workspace)
    env = {**trace.env, "N": f"{trace.token}.5"}
    error = pytest.raises(LookupError) if way == "error" else nullcontext()
    with anyio.fail_after(60), anyio.CancelScope() as scope, error:
        async with start_server(["sh", "-c", DAEMON], env=env, workspace=workspace, sandbox=sandbox) as server:
            assert await server.receive() == b"ready\n"
            assert trace.alive() != []
            if way == "error":
                raise LookupError
            if way == "cancel":
                scope.cancel()
                await anyio.lowlevel.checkpoint()
    assert (trace.alive(), scope.cancelled_caught) == ([], way == "cancel")
    sandbox.close()


async def test_a_server_ends_by_itself_when_its_stdin_is_closed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes then is read, though by nobody: else it would not come to its end."""
    monkeypatch.setattr(server_process, "_GRACE_S", 20)
    sandbox = await opened("none", workspace)
    script = "cat; head -c 300000 /dev/zero; echo done >done"
    async with start_server(["sh", "-c", script], env={}, workspace=workspace, sandbox=sandbox) as server:
        pass
    assert (server.exit_code, (workspace / "done").read_text()) == (0, "done\n")


@TWO_TIERS
async def test_a_server_that_neither_reads_nor_ends_is_ended(tier: str, trace: Trace, workspace: Path) -> None:
    sandbox = await opened(tier, workspace)
    script = "trap '' TERM HUP PIPE; exec 0<&-; echo ready; while :; do sleep 60; done"
    with anyio.fail_after(60):
        async with start_server(["sh", "-c", script], env=trace.env, workspace=workspace, sandbox=sandbox) as server:
            assert await server.receive() == b"ready\n"
            with anyio.move_on_after(0.1):
                await server.send(b"x" * 1_000_000)
    assert trace.alive() == []
    sandbox.close()


SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
#: The others with --full.
TELLING = {("bwrap", "SIGKILL"), ("landlock", "SIGKILL"), ("none", "SIGKILL"), ("landlock", "Ctrl-C")}


@EACH_TIER
@pytest.mark.parametrize("way", SIGNALS)
def test_no_process_of_a_server_is_left_when_a_signal_ends_agentctl(
    tier: str, way: str, trace: Trace, workspace: Path, is_full: bool
) -> None:
    if not is_full and (tier, way) not in TELLING:
        pytest.skip("with --full")
    for script in BEHAVIOURS.values() if is_full else (DAEMON,):
        asked = {"tier": tier, "workspace": str(workspace), "script": script}
        asked |= {"env": {**trace.env, "N": f"{trace.token}.5"}}  # type: ignore[dict-item]
        words = ["-m", "tests.integration.sandbox.server_worker", json.dumps(asked)]
        environ = {**os.environ, **fork_server.ENVIRON}
        with fork_server.Forked(words, cwd=REPOSITORY, env=environ, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == f"{tier}\n"
            before = inside(trace)
            worker.send_signal(SIGNALS[way])
            code = worker.wait()
        wait_until(lambda: not inside(trace)) if way == "SIGKILL" else None
        assert (code, before != [], inside(trace)) == (-signal.SIGKILL if way == "SIGKILL" else 0, True, [])


def inside(trace: Trace) -> list[str]:
    """Return what lives of a server; the worker has the token among its arguments."""
    return [line for line in trace.alive() if "server_worker" not in line and "fork_server" not in line]


# What it reaches.


@contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_network_is_absent_unless_the_server_has_it(wanted: str, workspace: Path) -> None:
    for of_commands in (False, True):
        sandbox = await opened(wanted, workspace, network=of_commands)
        with listener() as port:
            script = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected' 2>/dev/null"
            assert await said(sandbox, workspace, script) == []
            assert await said(sandbox, workspace, script, network=True) == ["connected"]
        sandbox.close()


async def test_the_workspace_is_read_only_but_for_what_is_named(wanted: str, workspace: Path, config: Path) -> None:
    outside = config / "outside"
    for folder in (outside, workspace / "out", workspace / "src"):
        folder.mkdir()
    (workspace / "file").touch()
    sandbox = await opened(wanted, workspace, writable=[str(outside)])
    places = ("out/new", "src/new", "new", "file", f"{outside}/new", "/etc/new", "/usr/new")
    script = " ".join(f"(: >>{place}) 2>/dev/null && echo {place};" for place in places)
    assert await said(sandbox, workspace, script) == []
    assert await said(sandbox, workspace, script, "out", "file") == ["out/new", "file"]
    assert await said(sandbox, workspace, script, str(outside)) == [f"{outside}/new"], "not as commands may"
    assert (await said(sandbox, workspace, script, "."))[:4] == ["out/new", "src/new", "new", "file"]
    assert await said(sandbox, workspace, "cat file; ls -d src; : >$HOME/x && : >/$TMPDIR/x && echo own") == [
        "src",
        "own",
    ]
    assert (await sandbox.run(f": >src/command && : >{outside}/command", timeout=30)).exit_code == 0
    sandbox.close()


async def test_a_read_only_run_is_read_only_to_servers_and_says_so(wanted: str, workspace: Path) -> None:
    sandbox = await opened(wanted, workspace, read_only=True)
    async with start_server(
        ["sh", "-c", ": >new"], env={}, workspace=workspace, sandbox=sandbox, write=[Path()]
    ) as server:
        await whole(server)
    assert (server.exit_code != 0, server.notes) == (True, (". is read-only to it: so is the whole run",))
    sandbox.close()


PROTECTED = (".git/config", ".git/hooks/pre-commit", ".envrc", "sub/.env", "sub/.vscode/tasks.json")


async def test_what_other_programs_obey_stays_and_what_is_new_is_moved(wanted: str, workspace: Path) -> None:
    for path in PROTECTED:
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_text("before")
    (workspace / "sub/deep").mkdir()
    sandbox = await opened(wanted, workspace, files=workspace.parent / "files")
    script = [f"(echo changed >{path}) 2>/dev/null && echo {path}; rm -rf {path} 2>/dev/null" for path in PROTECTED]
    renamed = "python3 -c 'import os, sys; os.rename(*sys.argv[1:])' {} moved 2>/dev/null && echo moved {}"
    script += [renamed.format(path, path) for path in ("sub", "sub/.vscode", ".git")]
    script += [f"ln {path} sub/deep/name{n} 2>/dev/null && echo a new name {path}" for n, path in enumerate(PROTECTED)]
    script += ["echo x >sub/deep/.envrc; echo x >sub/deep/plain; git init -q sub/deep/repository 2>/dev/null"]
    assert await said(sandbox, workspace, "; ".join(script), ".") == []
    assert [(workspace / path).read_text() for path in PROTECTED] == ["before"] * len(PROTECTED)
    assert [path.name for path in (workspace / "sub/deep").iterdir() if path.is_file()] == ["plain"]
    assert not (workspace / "sub/deep/repository/.git").exists()
    moved = {notice.path for notice in sandbox.unreported()}
    assert moved == {"sub/deep/.envrc", "sub/deep/repository/.git"}
    sandbox.close()


@pytest.mark.needs("landlock")
async def test_landlock_says_where_nothing_new_can_be_made(workspace: Path) -> None:
    for path in ("sub/.envrc", "free/file"):
        (workspace / path).parent.mkdir(parents=True)
        (workspace / path).touch()
    sandbox = await opened("landlock", workspace)
    script = "(true >new; true >sub/new; true >free/new; echo x >>free/file) 2>/dev/null; cat"
    async with start_server(
        ["sh", "-c", script], env={}, workspace=workspace, sandbox=sandbox, write=[Path()]
    ) as server:
        said_first = server.notes
    new = "no new file can be made directly in {}: something in it is hidden or protected"
    assert said_first == server.notes == (new.format(workspace), new.format(workspace / "sub"))
    made = sorted(str(path.relative_to(workspace)) for path in workspace.rglob("new"))
    assert (made, (workspace / "free/file").read_text()) == (["free/new"], "x\n")
    sandbox.close()


async def test_a_git_folder_that_a_server_makes_is_not_seen_outside(workspace: Path) -> None:
    sandbox = await opened("bwrap", workspace, files=workspace.parent / "files")
    script = "git init -q . && echo made; cat"
    async with start_server(
        ["sh", "-c", script], env={}, workspace=workspace, sandbox=sandbox, write=[Path()]
    ) as server:
        assert await server.receive() == b"made\n"
        assert list((workspace / ".git").iterdir()) == []
    assert list(workspace.iterdir()) == []
    assert [notice.path for notice in sandbox.unreported()] == [".git"]
    sandbox.close()


async def test_a_server_sees_neither_denied_files_nor_agentctls_own(wanted: str, workspace: Path) -> None:
    own = workspace.parent / "state"
    for path in (own / "key", workspace / "out/secret.pem", workspace / "shown"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    denied = DeniedPaths(workspace, [parse_rule("read_file(path=**/*.pem)")])
    sandbox = await opened(wanted, workspace, hidden=[own], denied=denied)
    script = f"cat {own}/key out/secret.pem 2>/dev/null; cat shown; echo x 2>/dev/null >out/secret.pem"
    assert await said(sandbox, workspace, script, "out") == ["shown"]
    assert (workspace / "out/secret.pem").read_text() == "secret.pem"
    sandbox.close()


@EACH_TIER
async def test_a_server_has_its_own_variables_and_no_other(
    tier: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OTEL_EXPORTER_OTLP_HEADERS", "AGENTCTL_PARENT_CAPABILITY", "PASSED"):
        monkeypatch.setenv(name, "planted")
    sandbox = await opened(
        tier, workspace, passed_on={"PASSED": "planted"}, environment={"AGENTCTL_PARENT_RUN": "planted"}
    )
    env = {"OWN": "new\nline", "PATH": "/usr/bin:/bin", "AGENTCTL_PARENT_RUN": "planted", "AGENTCTL_CHILD": "planted"}
    env |= {"LD_PRELOAD": "/nowhere.so"}
    async with start_server(
        ["sh", "-c", "env -0; cat /proc/1/environ 2>/dev/null"], env=env, workspace=workspace, sandbox=sandbox
    ) as server:
        seen = await whole(server)
    assert "planted" not in seen
    assert {"OWN=new\nline", "PATH=/usr/bin:/bin", "LD_PRELOAD=/nowhere.so"} <= set(seen.split("\0"))
    programs = 2  # its sh and its env: neither what makes the sandbox nor the shell that sets its limits
    assert server.stderr_tail.count("/nowhere.so") == programs, server.stderr_tail
    sandbox.close()


REFUSED = {
    "missing": "it does not exist",
    ".git": ".git is run or obeyed by other programs (git)",
    ".git/hooks": ".git is run or obeyed by other programs (git)",
    "sub/.env": "sub/.env is run or obeyed by other programs",
    "link": "link is a link, which a command could change",
    "..": "it contains the workspace",
    "/": "it contains the workspace",
    "/usr/local": "in /usr, a folder of the system",
    "../state": "state belongs to agentctl",
    "../state/inner": "state belongs to agentctl",
}


async def test_a_path_that_no_server_may_write_is_refused_with_the_reason(workspace: Path) -> None:
    for folder in (".git/hooks", "sub", "../state/inner", "../other"):
        (workspace / folder).mkdir(parents=True)
    (workspace / "sub/.env").touch()
    (workspace / "link").symlink_to("../other")
    sandbox = await opened("bwrap", workspace, hidden=[workspace.parent / "state"])
    for path, why in REFUSED.items():
        with pytest.raises(ToolError) as caught:
            await said(sandbox, workspace, ":", path)
        assert why in caught.value.message, path
    sandbox.close()


async def test_what_cannot_be_started_is_refused(workspace: Path) -> None:
    cases: Sequence[tuple[list[str], dict[str, str], str]] = (
        (["a\0b"], {}, "has a NUL character"),
        (["cat"], {"A=B": ""}, "A=B is no name of an environment variable"),
        (["cat"], {"": ""}, "an empty name is no name"),
    )
    sandbox = await opened("none", workspace)
    for argv, env, why in cases:
        with pytest.raises(ToolError, match=re.escape(why)):
            async with start_server(argv, env=env, workspace=workspace, sandbox=sandbox):
                pass
    with pytest.raises(ToolError, match="there is no sandbox"):
        async with start_server(["cat"], env={}, workspace=workspace, sandbox=None):
            pass
    async with start_server(["cat"], env={}, workspace=workspace, sandbox=None, tier="none") as server:
        assert (server.tier, len(server.notes)) == ("none", 1)
