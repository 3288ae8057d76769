"""Cassettes and the machine: an empty network namespace, a full disk, Ctrl-C, and two at the same file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.bill.parts import KEY, PAID, reaching
from tests.support.command_line import ROOT, Commands, Here
from tests.support.disks import fill_disk, small_disk
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, Call, WireRequest
from tests.support.wire.server import WireServer

LOOK = Answer(calls=(Call("read_file", {"path": "notes.txt"}),))
SAID = Answer("It says: all is well.")
TASK = "What does notes.txt say?"
FILE = "run.cassette"
#: Counts what a process does with the network, besides the sockets of its own event loop.
COUNTED = """
import sys
seen = []
sys.addaudithook(lambda name, given: seen.append(name) if name in WATCHED else None)
from agentctl.cli.app import main
code = main(sys.argv[1:])
print("network:", seen, file=sys.stderr)
sys.exit(code)
"""
#: Not "socket.bind": a library of litellm's finds out so whether this machine has IPv6.
WATCHED = (
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
)


@pytest.fixture
def server(wire: OpenWire, tmp_path: Path) -> WireServer:
    (tmp_path / "notes.txt").write_text("all is well\n")
    found: WireServer = wire([LOOK, SAID], rates=PAID["openai"].rates)
    return found


def environ(server: WireServer) -> dict[str, str]:
    return reaching(server, "openai")


@pytest.mark.needs("root", "unshare")
@pytest.mark.parametrize("client", ["lean", "litellm"])
def test_a_replay_uses_no_network_in_a_namespace_that_has_none(
    shell: Commands, server: WireServer, tmp_path: Path, client: str
) -> None:
    words = ("--json", "--via", client, "-i", "none")
    recorded = shell("run", *words, "--record", FILE, TASK, **environ(server))
    assert recorded.code == 0, recorded.err
    server.close()
    program = COUNTED.replace("WATCHED", repr(WATCHED))
    argv = ["unshare", "-n", sys.executable, "-c", program, "run", *words, "--replay", FILE, TASK]
    plain = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    done = subprocess.run(
        argv, cwd=tmp_path, env=plain | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["answer"], document["replayed"], document["client"]) == (SAID.text, True, client)
    assert done.stderr.splitlines()[-1] == "network: []"


def test_ctrl_c_leaves_a_cassette_that_is_valid_up_to_there(
    shell: Commands, here: Here, wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("all is well\n")
    server = wire([LOOK, Answer("It says that", stall=True, cut_at="middle")], rates=PAID["openai"].rates)
    process = shell.start("run", "--record", FILE, TASK, env=environ(server))
    assert server.books.wait(lambda books: len(books.entries) == 2, 50), process.poll()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=50)
    assert process.returncode == 130
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [line["end"] for line in lines if line["kind"] == "attempt"] == ["complete", "closed"]
    assert (lines[-1]["kind"], lines[-1]["status"]) == ("end", "interrupted")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ended = here("run", "--json", "--agent", "system", "--replay", FILE, TASK)
    assert (ended.code, ended.document["error"]["kind"]) == (4, "cassette")
    assert ended.document["error"]["message"] == "recording 2 was interrupted in its answer"


@pytest.mark.needs("root", "mounts")
def test_a_full_disk_ends_the_recording_with_one_warning_and_keeps_the_answer(
    here: Here, wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("all is well\n")
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        file = disk / FILE

        def fills(_: object) -> Answer:
            if not (disk / "filler").exists():
                with (disk / "filler").open("wb") as filler:
                    free = os.statvfs(disk)
                    filler.write(b"x" * (free.f_bavail * free.f_frsize))
                return LOOK
            return SAID

        server = wire(fills, rates=PAID["openai"].rates)
        set_all(monkeypatch, environ(server))
        ended = here("run", "--json", "--record", str(file), TASK)
        assert (ended.code, ended.document["answer"]) == (0, SAID.text)
        assert ended.document["warnings"] == [f"the cassette {file} is incomplete: No space left on device"]
        text = file.read_text()
        assert text.endswith("\n"), "half a line is not left"
        assert here("cassette", "check", str(file)).code == 4
        asked = len(server.books.chat_requests)
        with fill_disk(disk):
            refused = here("run", "--json", "--record", str(disk / "another"), TASK)
        assert (refused.code, (disk / "another").exists()) == (74, False)
        assert "cannot be written: No space left on device" in refused.document["error"]["message"]
        assert len(server.books.chat_requests) == asked


def set_all(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_of_two_that_record_to_one_file_the_second_is_refused_unsent(
    here: Here, wire: OpenWire, tmp_path: Path, shell: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("all is well\n")
    first = wire([Answer("Well.", stall=True)], rates=PAID["openai"].rates)
    process = shell.start("run", "--record", FILE, TASK, env=environ(first))
    assert first.books.wait(lambda books: len(books.entries) == 1, 50), process.poll()
    second = wire([SAID], rates=PAID["openai"].rates, keys=[KEY])
    set_all(monkeypatch, environ(second))
    ended = here("run", "--json", "--record", FILE, TASK)
    process.terminate()
    process.communicate(timeout=50)
    assert (ended.code, "exists, and is not overwritten" in ended.document["error"]["message"]) == (2, True)
    assert second.books.chat_requests == ()


def test_a_run_that_a_command_starts_is_not_recorded_and_none_starts_below_a_replay(
    here: Here, wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f". ./keys; {sys.executable} -m agentctl run -q --agent system 'the inner task'"

    def answers(asked: WireRequest) -> Answer:
        if any("the inner task" in said.text for said in asked.messages if said.role == "user"):
            return Answer("From within.")
        results = [said.text for said in asked.messages if said.role == "tool"]
        return Answer(results[-1]) if results else Answer(calls=(Call("run_shell", {"command": command}),))

    server = wire(answers, rates=PAID["openai"].rates)
    keys = {**environ(server), "PYTHONPATH": str(ROOT)}
    (tmp_path / "keys").write_text("".join(f"export {name}='{value}'\n" for name, value in keys.items()))
    set_all(monkeypatch, environ(server) | {"AGENTCTL_SANDBOX": "none"})
    words = ("--json", "--tools", "run_shell", "-y", "The outer task")
    recorded = here("run", "--record", FILE, *words).document
    assert "From within." in recorded["answer"]
    (warning,) = [said for said in recorded["warnings"] if "cassette" in said]
    assert "started runs with calls of their own, which are not in the cassette" in warning
    asked = len(server.books.chat_requests)
    assert here("run", "--replay", FILE, "--replay-tools", *words).document["answer"] == recorded["answer"]
    missed = here("run", "--replay", FILE, *words).document
    assert missed["error"]["kind"] == "cassette"
    assert "which this run belongs to, is not in the ledger" in missed["answer"]
    assert len(server.books.chat_requests) == asked
