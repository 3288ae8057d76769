"""Delegated runs on the wire: all of them together spend at most the limit of the run that delegates."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.nests import scopes
from tests.support.bill.parts import KEY, PENNY, TASK, assert_accounted, assert_within, reaching
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, WireRequest, WireServer

Cli = Callable[..., Ended]
LEAD = 'instructions = "You lead."\ntools = ["delegate"]\n'
FOUR = tuple(Call("delegate", {"agent": "system", "task": f"Look at part {n}.", "max_cost": 9}) for n in range(4))


def leads(asked: WireRequest) -> bool:
    return asked.messages[0].text == "You lead."


def mind(asked: WireRequest, *, stall: bool = False) -> Answer:
    """Delegate four tasks at once, each of which looks for ever (``stall``: hangs in its first answer), then answer."""
    if not leads(asked):
        return PENNY.busy(asked, stall=stall)
    if any(said.role == "tool" for said in asked.messages):
        return PENNY.answer("It is fine.")
    return PENNY.answer("", FOUR)


def test_four_delegated_runs_at_once_share_the_limit_of_the_run_above(
    cli: Cli, state: Path, wire: OpenWire, tmp_path: Path
) -> None:
    server = wire(mind, rates=PENNY.rates, keys=[KEY])
    file = tmp_path / "lead.toml"
    file.write_text(LEAD)
    words = ("--json", "--agent-file", str(file), "--max-cost", "0.30", "--budget-wait", "2s", "--max-tokens", "none")
    ended = cli(server, "run", TASK, *words, paid=PENNY)
    document, book = ended.document, book_of(state)
    assert_accounted(server.books, book)
    assert_within(server.books, book, 300_000_000)
    children = [one["run_id"] for one in document["delegated"]]
    assert scopes(state) == {document["run_id"]: None, **dict.fromkeys(children, document["run_id"])}
    assert len(children) == 4
    assert {one["status"] for one in document["delegated"]} <= {"budget", "failed"}
    costs = [one["cost"]["nano_usd"] for one in document["delegated"]]
    assert document["cost"]["nano_usd"] + sum(costs) == server.books.billed_nano
    assert round(document["limits"]["max_cost_per_task"]["used"] * 10**9) == server.books.billed_nano
    shown = cli(server, "runs", "show", document["run_id"], "--json").document
    assert {one["run_id"] for one in shown["tree"]} == {document["run_id"], *children}


def test_a_delegated_run_has_the_model_of_its_agent_else_that_of_the_run_above(
    cli: Cli, state: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.environ["AGENTCTL_CONFIG_DIR"]) / "agents"
    folder.mkdir(parents=True)
    (folder / "lead.toml").write_text(LEAD + 'model = "openai/gpt-4o"\n')
    (folder / "small.toml").write_text('instructions = "You look."\ntools = []\nmodel = "openai/gpt-4-turbo"\n')
    (folder / "plain.toml").write_text('instructions = "You look."\ntools = []\n')
    two = tuple(Call("delegate", {"agent": agent, "task": "Look."}) for agent in ("small", "plain"))
    models: list[str] = []

    def answers(asked: WireRequest) -> Answer:
        models.append(asked.model)
        if leads(asked) and not any(said.role == "tool" for said in asked.messages):
            return PENNY.answer("", two)
        return PENNY.answer("It is fine.", model=asked.model)

    server = wire(answers, keys=[KEY])
    for name, value in reaching(server, "openai").items():
        monkeypatch.setenv(name, value)
    for name in ("LLM_MODEL", "AGENTCTL_AGENT"):
        monkeypatch.delenv(name)
    from agentctl.cli.app import main

    assert main(("run", "--agent", "lead", TASK)) == 0
    assert (models[0], sorted(models[1:3]), models[3]) == ("gpt-4o", ["gpt-4-turbo", "gpt-4o"], "gpt-4o")
    with closing(sqlite3.connect(state / "ledger.db")) as db:
        asked = dict(db.execute("SELECT s.agent, a.model FROM attempts AS a JOIN scopes AS s ON s.id = a.run_id"))
    assert asked == {"lead": "gpt-4o", "small": "gpt-4-turbo", "plain": "gpt-4o"}


@pytest.fixture
def stalled(shell: Commands, wire: OpenWire, tmp_path: Path) -> tuple[WireServer, subprocess.Popen[bytes]]:
    """A process whose run waits for two delegated ones, each in the middle of its first answer."""
    server = wire(partial(mind, stall=True), rates=PENNY.rates, keys=[KEY])
    file = tmp_path / "lead.toml"
    file.write_text(LEAD)
    environ = reaching(server, "openai") | {"LLM_MODEL": PENNY.model}
    del environ["AGENTCTL_AGENT"]
    process = shell.start("run", TASK, "--json", "--agent-file", str(file), env=environ)
    assert server.books.wait(lambda books: len(books.entries) == 5, 50), process.poll()
    return server, process


def test_kill_9_ends_the_delegated_runs_too_and_what_they_had_sent_is_in_doubt(
    cli: Cli, state: Path, stalled: tuple[WireServer, subprocess.Popen[bytes]]
) -> None:
    server, process = stalled
    process.kill()
    process.communicate()
    assert server.books.wait(lambda books: len(books.hung_up) == 4)
    server.play([PENNY.answer("Well.")])
    cli(server, "run", TASK, paid=PENNY)  # the next run finds out that the process is dead
    book = book_of(state)
    assert len(server.books.entries) == 6, "nothing more was sent for the dead"
    assert book.phases == ["settled", "doubt", "doubt", "doubt", "doubt", "settled"]
    assert_accounted(server.books, book)
    assert_within(server.books, book, 500_000_000)
    first = next(iter(scopes(state)))
    tree = cli(server, "runs", "show", first, "--json").document["tree"]
    assert [one["status"] for one in tree] == ["unfinished"] * 5

    server.play(mind)
    resumed = cli(server, "runs", "resume", first, "--json", "--max-cost", "2", paid=PENNY)
    assert (resumed.code, resumed.document["answer"]) == (0, "It is fine."), resumed.err
    asked = server.books.chat_requests[-1].asked
    assert asked is not None
    told = [said.text for said in asked.messages if said.role == "tool"]
    assert [text.startswith("error: unknown whether it ran") for text in told] == [True] * 4
    assert len(server.books.entries) == 7, "no task is handed out a second time"


def test_ctrl_c_ends_the_delegated_runs_with_their_holds_kept(
    state: Path, stalled: tuple[WireServer, subprocess.Popen[bytes]]
) -> None:
    server, process = stalled
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    document, book = json.loads(out), book_of(state)
    assert (process.returncode, document["status"]) == (130, "interrupted")
    assert [one["status"] for one in document["delegated"]] == ["interrupted"] * 4
    assert book.phases == ["settled", "doubt", "doubt", "doubt", "doubt"]
    assert_accounted(server.books, book)
    assert_within(server.books, book, 500_000_000)
    assert b"Traceback" not in err
