"""Hooks in whole runs: what they are told, what they deny, and that no money is held while one of them runs."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentctl.cli.app import main
from agentctl.cli.doctor.checks import check_hooks
from agentctl.settings import load_settings
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, TASK, reaching
from tests.support.command_line import Ended
from tests.support.output_schemas import validate
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer, WireServer

Cli = Callable[..., Ended]
WIRED = PAID["openai"]
#: Writes what it reads to seen.N, counted from 0, and the ledger beside it.
WATCH = (
    """n=$(ls "$1" | grep -c '^seen'); cat > "$1/seen.$n"; mkdir "$1/ledger.$n"; cp "$2"/ledger.db* "$1/ledger.$n"; """
)


class Hooks:
    """The user's hooks of a test, in the user's configuration; ``seen`` are the documents that they have read."""

    def __init__(self, folder: Path, config: Path, state: Path) -> None:
        folder.mkdir()
        config.parent.mkdir(parents=True, exist_ok=True)
        self._folder, self._config, self._state = folder, config, state
        config.write_text("")

    def add(self, on: str, script: str, match: str = "", timeout: str = "20s") -> None:
        words = ["/bin/sh", "-c", WATCH + script, "hook", str(self._folder), str(self._state)]
        rule = f"match = {json.dumps(match)}\n" if match else ""
        table = f'[[hook]]\non = "{on}"\n{rule}command = {json.dumps(words)}\ntimeout = "{timeout}"\n'
        self._config.write_text(self._config.read_text() + table)

    @property
    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self._folder.glob("seen.*"))]

    @property
    def phases(self) -> list[set[str]]:
        """The phases of all amounts in the ledger, as each hook saw it."""
        found = []
        for path in sorted(self._folder.glob("ledger.*/ledger.db")):
            with closing(sqlite3.connect(path)) as book:
                found.append({row[0] for row in book.execute("SELECT phase FROM attempts")})
        return found


@pytest.fixture
def hooks(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Hooks:
    monkeypatch.setenv("AGENTCTL_CONFIG_DIR", str(tmp_path / "config"))
    return Hooks(tmp_path / "hooks", tmp_path / "config/config.toml", state)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run any command line in this process, for a user of ``server``."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(server: WireServer, *words: str) -> Ended:
        for name, value in (reaching(server, WIRED.format) | {"LLM_MODEL": WIRED.model}).items():
            monkeypatch.setenv(name, value)
        code = main(words)
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def told(server: WireServer) -> list[str]:
    """Return the last message of each request."""
    return [one.asked.messages[-1].text for one in server.books.chat_requests if one.asked is not None]


def writes(asked: WireRequest) -> Answer:
    """Write a file that asks for approval, then say so."""
    last = asked.messages[-1]
    if last.role == "tool":
        return WIRED.answer("I was not allowed to." if last.text.startswith("denied") else "It is written.")
    return WIRED.answer("I write it.", (Call("write_file", {"path": "./sub/../.envrc", "text": "x=1\n"}),))


WRITE = ("--agent", "system", "--tools", "write_file,read_file", "--json")


def test_a_denial_is_told_to_the_model_and_is_in_the_document_and_the_events(
    cli: Cli, hooks: Hooks, state: Path, wire: OpenWire
) -> None:
    hooks.add("pre_tool", "echo 'not on a Friday' >&2; exit 2", "write_file")
    server = wire(writes, keys=[KEY])
    ended = cli(server, "run", "Write .envrc", *WRITE, "--yes")
    reason = "write_file is denied by the hook /bin/sh: not on a Friday"
    (denied,) = ended.document["denied_calls"]
    assert (ended.code, denied["reason"], denied["hook"]) == (5, reason, "/bin/sh"), ended.err
    assert told(server)[1] == f"denied: {reason}"
    assert not Path(".envrc").exists()
    journal = (state / "runs" / f"{ended.document['run_id']}.jsonl").read_text().splitlines()
    (event,) = [one for one in map(json.loads, journal) if one["event"] == "tool_denied"]
    assert (event["reason"], event["hook"]) == (reason, "/bin/sh")
    validate(event)

    (seen,) = hooks.seen
    validate(seen)
    assert (seen["event"], seen["schema"]) == ("pre_tool", "agentctl.pre-tool/1")
    assert (seen["run_id"], seen["workdir"], seen["effect"]) == (ended.document["run_id"], str(Path.cwd()), "write")
    assert seen["call"]["arguments"]["path"] == "./sub/../.envrc"
    assert seen["arguments"]["path"] == ".envrc", "as it would be used"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 1", 5), ("kill -9 $$", 5), ("sleep 60", 5)])
def test_only_exit_0_lets_a_call_run(cli: Cli, hooks: Hooks, wire: OpenWire, script: str, code: int) -> None:
    hooks.add("pre_tool", script, "*", timeout="0.5s" if "sleep" in script else "20s")
    ended = cli(wire(WIRED.brief, keys=[KEY]), "run", TASK, "--json")
    assert ended.code == code, ended.err
    assert ("the hook before it failed" in ended.err) == (code == 5)


def test_all_hooks_that_match_run_in_order_until_one_denies(cli: Cli, hooks: Hooks, wire: OpenWire) -> None:
    hooks.add("pre_tool", "exit 0", "system_*")
    hooks.add("pre_tool", "exit 2", "docker_*")
    hooks.add("pre_tool", "echo second >&2; exit 2", "system_load")
    hooks.add("pre_tool", "echo third >&2; exit 2", "*")
    ended = cli(wire(WIRED.brief, keys=[KEY]), "run", TASK, "--json")
    assert ended.document["denied_calls"][0]["reason"].endswith("second")
    assert len(hooks.seen) == 2


def test_no_request_is_on_its_way_while_a_hook_runs(cli: Cli, hooks: Hooks, wire: OpenWire) -> None:
    hooks.add("pre_tool", "exit 0", "*")
    hooks.add("run_finished", "exit 0")
    assert cli(wire(WIRED.busy, keys=[KEY]), "run", TASK, "--json", "--max-cost", "0.20").code == 3
    *before, last = hooks.phases
    assert len(before) > 1
    assert not any({"held", "sent"} & phases for phases in before), "what a last answer needs may be kept, as for tools"
    assert not {"held", "sent", "kept"} & last


def test_the_end_of_a_run_is_told_with_its_code_cost_and_id_after_a_trip(
    cli: Cli, hooks: Hooks, state: Path, wire: OpenWire
) -> None:
    hooks.add("run_finished", "exit 0")
    ended = cli(wire(WIRED.busy, keys=[KEY]), "run", TASK, "--json", "--max-cost", "0.11")
    (seen,) = hooks.seen
    validate(seen)
    assert seen["event"] == "run_finished"
    assert {name: value for name, value in seen.items() if name not in ("event", "seq", "at")} == ended.document
    assert (seen["exit_code"], seen["cost"]["nano_usd"]) == (3, book_of(state).counted_nano)


def test_a_hook_at_the_end_that_fails_warns_and_changes_nothing_else(cli: Cli, hooks: Hooks, wire: OpenWire) -> None:
    hooks.add("run_finished", "echo full >&2; exit 2")
    hooks.add("run_finished", "sleep 60", timeout="0.5s")
    ended = cli(wire(WIRED.brief, keys=[KEY]), "run", TASK, "--json")
    assert (ended.code, ended.document["status"]) == (0, "done")
    assert ended.document["warnings"] == [
        "the hook /bin/sh objects to the run, which has ended: full",
        "a hook at the end of the run failed: /bin/sh took longer than 0.5 s and was ended",
    ]
    assert ended.err.count("warning: ") == 2


def test_a_hook_at_the_end_with_a_rule_runs_only_after_such_a_call(cli: Cli, hooks: Hooks, wire: OpenWire) -> None:
    hooks.add("run_finished", "exit 0", "system_load")
    hooks.add("run_finished", "exit 0", "docker_*")
    cli(wire(WIRED.brief, keys=[KEY]), "run", TASK, "--json")
    assert len(hooks.seen) == 1


def test_a_deferred_call_passes_the_hook_when_it_stops_and_again_when_it_runs(
    cli: Cli, hooks: Hooks, wire: OpenWire
) -> None:
    hooks.add("pre_tool", "exit 0", "write_file")
    server = wire(writes, keys=[KEY])
    deferred = cli(server, "run", "Write .envrc", *WRITE, "--approve", "defer")
    assert deferred.document["error"]["kind"] == "deferred", deferred.err
    run_id = deferred.document["run_id"]
    done = cli(server, "runs", "resume", run_id, "--json", "--allow", "write_file(path=.envrc)")
    assert (done.code, Path(".envrc").read_text(), len(hooks.seen)) == (0, "x=1\n", 2), done.err

    hooks.add("pre_tool", "exit 2", "write_file")
    again = cli(server, "run", "Write .envrc", *WRITE, "--approve", "defer")
    assert (again.code, again.document["error"]["kind"], again.document["pending"]) == (5, "denied", [])


def test_a_call_that_an_earlier_part_has_finished_meets_no_hook_again(cli: Cli, hooks: Hooks, wire: OpenWire) -> None:
    hooks.add("pre_tool", "exit 0", "*")
    server = wire([WIRED.brief, WIRED.brief, WIRED.answer("Since noon.")], keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    assert cli(server, "runs", "resume", run_id, "And since when?", "--json").code == 0
    assert len(hooks.seen) == 1


def test_keys_reach_a_hook_neither_by_its_environment_nor_by_its_document(
    cli: Cli, hooks: Hooks, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "planted-0123456789")
    hooks.add("pre_tool", 'env > "$1/env"; exit 0', "write_file")
    call = (Call("write_file", {"path": "a.txt", "text": f"{KEY} planted-0123456789"}),)
    server = wire([WIRED.answer("", call), WIRED.answer("Done.")], keys=[KEY])
    cli(server, "run", "Write it", *WRITE, "--yes")
    text = "".join(path.read_text() for path in hooks._folder.glob("[es]*") if path.is_file())
    assert "PATH=" in text
    assert KEY not in text
    assert "planted-0123456789" not in text


def test_policy_check_doctor_and_config_check_name_the_hooks(
    cli: Cli, hooks: Hooks, wire: OpenWire, tmp_path: Path
) -> None:
    hooks.add("pre_tool", "exit 2", "system_load")
    server = wire([], keys=[KEY])
    document = cli(server, "policy", "check", "--json", "system_load()").document
    assert (document["outcome"], len(document["hooks"]), hooks.seen) == ("runs", 1, [])
    assert "hook     /bin/sh" in cli(server, "policy", "check", "system_load()").out
    assert cli(server, "policy", "check", "--json", "system_info()").document["hooks"] == []

    config = Path(os.environ["AGENTCTL_CONFIG_DIR"], "config.toml")
    config.write_text(f'[[hook]]\non = "run_finished"\ncommand = ["{tmp_path}/gone"]\n')
    findings = cli(server, "doctor", "--offline", "--json").document["checks"]
    assert [one["state"] for one in findings if one["about"] == "hook 1"] == ["lack"]
    (tmp_path / "gone").touch(mode=0o777)
    (tmp_path / "gone").chmod(0o777)
    assert check_hooks(load_settings(flags={}, needs=("policy",)).settings)[0].hint == f"chmod go-w {tmp_path}/gone"
    config.write_text(f'[[hook]]\non = "run_finished"\ncommand = ["{tmp_path}/work/mine"]\n')
    checked = cli(server, "config", "check")
    assert checked.code == 2
    assert "is in a folder that commands of a model can change" in checked.err


READS = ("--agent", "system", "--tools", "read_file,list_files", "--json")


def reads(asked: WireRequest) -> Answer:
    """Read a file, then answer."""
    if any(said.role == "tool" for said in asked.messages):
        return WIRED.answer("It is fine.")
    return WIRED.answer("I look.", (Call("read_file", {"path": "a.txt"}),))


@pytest.mark.parametrize("last", ["message_added", "tool_started"])
def test_a_read_that_is_made_again_meets_its_hook_again(
    cli: Cli, hooks: Hooks, state: Path, wire: OpenWire, last: str
) -> None:
    Path("a.txt").write_text("fine")
    hooks.add("pre_tool", 'test ! -e "$1/closed" || { echo "closed by now" >&2; exit 2; }', "read_file")
    server = wire(reads, keys=[KEY])
    first = cli(server, "run", "Read a.txt", *READS)
    assert (first.code, len(hooks.seen)) == (0, 1)
    path = state / "runs" / f"{first.document['run_id']}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    begun = next(place for place, line in enumerate(lines) if json.loads(line)["event"] == "tool_started")
    path.write_text("".join(lines[: begun + (last == "tool_started")]))
    (hooks._folder / "closed").touch()
    ended = cli(server, "runs", "resume", first.document["run_id"], "--json")
    assert (ended.code, ended.document["denied"]) == (5, ["read_file"]), ended.err
    assert len(hooks.seen) == 2
    assert "closed by now" in ended.document["error"]["message"]
    assert len(server.books.chat_requests) == 3


def test_a_hook_changes_nothing_in_the_ledger_and_starts_no_run(
    cli: Cli, hooks: Hooks, state: Path, wire: OpenWire, tmp_path: Path
) -> None:
    server = wire(WIRED.brief, keys=[KEY])
    earlier = cli(server, "run", TASK, "--json").document["run_id"]
    said = tmp_path / "said"
    tool = f"AGENTCTL_STATE_DIR={state} {sys.executable} -m agentctl"
    for words in (f"ledger reconcile --run {earlier} --actual 0 --yes", f"runs resume {earlier} And now?"):
        hooks.add("run_finished", f"{tool} {words} >>{said} 2>&1; echo exit $? >>{said}")
    before = book_of(state).counted_nano
    assert cli(server, "run", TASK, "--json").code == 0
    assert "the ledger cannot be changed from inside a run" in said.read_text()
    assert said.read_text().count("exit 5") == 2, said.read_text()
    assert book_of(state).counted_nano == 2 * before
