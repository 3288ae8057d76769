"""Runs that go on while another process resumes or removes them, on a full disk, without a price, by another clock."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agentctl.journal.replay import read_past
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, TASK, assert_accounted, reaching
from tests.support.command_line import Commands, Ended
from tests.support.disks import fill_disk, small_disk
from tests.support.ledger.parts import read_only
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer

Cli = Callable[..., Ended]
WIRED = PAID["openai"]
root_only = pytest.mark.needs("root", "mounts")


def journal_of(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{run_id}.jsonl"


def cut(path: Path, *, last: str) -> None:
    """Leave of a journal what a process that was killed behind its last record ``last`` left."""
    lines = path.read_text().splitlines(keepends=True)
    end = max(place for place, line in enumerate(lines) if json.loads(line)["event"] == last)
    path.write_text("".join(lines[: end + 1]))


def test_of_two_processes_that_resume_a_run_one_does(shell: Commands, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    env = reaching(server, "openai")
    run_id = shell("run", TASK, "--json", "--max-cost", "0.11", **env).document["run_id"]
    asked = len(server.books.chat_requests)
    server.play(lambda asked: WIRED.brief(asked, pause_s=2.0))
    words = ("runs", "resume", run_id, "--json", "--max-cost", "1")
    both = [shell.start(*words, env=env) for _ in range(2)]
    while all(one.poll() is None for one in both):
        time.sleep(0.01)
    removed = [shell("runs", "rm", run_id, "--json"), shell("runs", "prune", "--older", "0s")]
    ended = [one.communicate(timeout=60) for one in both]
    (loser,) = [place for place, one in enumerate(both) if one.returncode == 2]
    assert both[1 - loser].returncode == 0, ended
    assert f"still running, in process {both[1 - loser].pid}" in ended[loser][1].decode()
    assert [one.code for one in removed] == [2, 0], removed
    assert read_past(journal_of(state, run_id)).status == "done"
    assert len(server.books.chat_requests) == asked + 1
    assert_accounted(server.books, book_of(state))


@root_only
@pytest.mark.parametrize("full", ["at once", "while it is answered"])
def test_a_full_disk_stops_a_resumed_run_and_loses_nothing(cli: Cli, state: Path, wire: OpenWire, full: str) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    with small_disk(state / "runs", "size=256k,mode=700"):
        run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
        path, asked = journal_of(state, run_id), len(server.books.chat_requests)
        before = path.read_bytes()
        filling = fill_disk(state / "runs")

        def answer(asked: WireRequest) -> Answer:
            filling.__enter__()
            return WIRED.brief(asked)

        if full == "at once":
            filling.__enter__()
        server.play([WIRED.brief if full == "at once" else answer, WIRED.answer("Half.")])
        ended = cli(server, "runs", "resume", run_id, "--json", "--max-cost", "1")
        assert ended.code == 74, ended.err
        assert "free some space" in ended.err
        assert path.read_bytes().startswith(before)
        assert path.read_bytes().endswith(b"\n")
        assert (len(server.books.chat_requests) - asked) == int(full != "at once")
        assert book_of(state).nano("settled") == server.books.billed_nano
        with pytest.raises(StopIteration):
            next(filling.gen)
        again = cli(server, "runs", "resume", run_id, "--json", "--max-cost", "1")
        assert again.code == 0, again.err
        assert again.document["cost"]["nano_usd"] == server.books.billed_nano
    assert_accounted(server.books, book_of(state))


@root_only
def test_a_journal_that_cannot_be_written_is_a_state_error(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
    asked = len(server.books.chat_requests)
    with read_only(state / "runs"):
        ended = cli(server, "runs", "resume", run_id, "--json", "--max-cost", "1")
    assert (ended.code, len(server.books.chat_requests)) == (74, asked)
    assert "hint: make its disk writable" in ended.err
    assert ended.document["cost"]["nano_usd"] == server.books.billed_nano


def test_a_model_whose_price_is_gone_stops_the_resumed_run(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    prices, priced = Path("prices.toml"), '[prices]\n"openai/mine" = { input = 10, output = 30 }\n'
    prices.write_text(priced)
    words = ("--json", "--max-cost", "1", "--config", str(prices), "-m", "openai/mine")
    run_id = cli(server, "run", TASK, *words).document["run_id"]
    cut(journal_of(state, run_id), last="tool_finished")
    asked = len(server.books.chat_requests)
    prices.write_text("")
    for more in ((), ("--accept-changes",)):
        refused = cli(server, "runs", "resume", run_id, "--json", *more)
        assert (refused.code, len(server.books.chat_requests)) == (2, asked), refused.err
    prices.write_text(priced)
    again = cli(server, "runs", "resume", run_id, "--json")
    assert (again.code, len(server.books.chat_requests)) == (0, asked + 1), again.err


def test_a_clock_that_was_set_back_changes_no_sum_and_no_limit(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    tripped = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document
    path = journal_of(state, tripped["run_id"])
    path.write_text(re.sub(r'"at":"2026', '"at":"2031', path.read_text()))
    with closing(sqlite3.connect(state / "ledger.db")) as book:
        book.execute(
            "UPDATE clock SET now_us = now_us + :us, wall_us = wall_us + :us", {"us": 5 * 365 * 86_400_000_000}
        )
        book.commit()
    server.play(WIRED.brief)
    again = cli(server, "runs", "resume", tripped["run_id"], "--json", "--max-cost", "1")
    assert again.code == 0, again.err
    assert again.document["duration_s"] >= 0
    assert again.document["cost"]["nano_usd"] == server.books.billed_nano
    for words in (
        ("runs", "show", "--json"),
        ("runs", "list", "--json"),
        ("runs", "export", "--last", "--format", "json"),
        ("runs", "watch", "--last"),
    ):
        assert cli(server, *words).code == 0, words


def writes(asked: WireRequest) -> Answer:
    last = asked.messages[-1]
    if last.role == "tool":
        return WIRED.answer("It is written.")
    return WIRED.answer("I write it.", (Call("write_file", {"path": ".envrc", "text": "x=1\n"}),))


def test_a_rule_that_does_not_match_leaves_a_deferred_call_pending(cli: Cli, wire: OpenWire) -> None:
    server = wire(writes, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "write_file,read_file", "--approve", "defer")
    deferred = cli(server, "run", "Write .envrc", "--json", *words).document
    for rule in ("write_file(path=.env)", "read_file", "write_file(path=.envrc/x)"):
        again = cli(server, "runs", "resume", deferred["run_id"], "--json", "--allow", rule)
        assert (again.code, again.document["pending"]) == (5, deferred["pending"]), again.err
    assert len(server.books.chat_requests) == 1
    assert not Path(".envrc").exists()
    done = cli(
        server, "runs", "resume", deferred["run_id"], "--json", "--allow", deferred["pending"][0]["rule_to_allow"]
    )
    assert (done.code, done.document["tools"]) == (0, [{"name": "write_file", "calls": 1, "failed": 0}]), done.err
