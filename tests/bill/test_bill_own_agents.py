"""An agent of the user's own on the wire: its instructions, its limit, and the run that goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, TASK, assert_accounted, assert_within
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import WireRequest
from tests.support.wire.server import Answer

Cli = Callable[..., Ended]
WIRED = PAID["openai"]


def looks_three_times(asked: WireRequest) -> Answer:
    looked = sum(said.role == "tool" for said in asked.messages)
    return WIRED.answer("Half of it is used.") if looked >= 3 else WIRED.busy(asked)


def test_an_agent_of_a_file_holds_its_limit_and_its_change_is_announced(
    cli: Cli, state: Path, wire: OpenWire, tmp_path: Path
) -> None:
    server = wire(looks_three_times, rates=WIRED.rates, keys=[KEY])
    file = tmp_path / "mine.toml"
    text = 'instructions = "You look at {{what}}."\ntools = ["list_files"]\n'
    file.write_text(text + "[limits]\nmax_cost_per_task = 0.11\n")
    words = ("--json", "--agent-file", str(file), "--param", "what={{it}}", "--max-cost", "3")
    stopped = cli(server, "run", TASK, *words)
    document = stopped.document
    assert (stopped.code, document["agent"]) == (3, "mine"), stopped.err
    assert document["breaker"]["ceiling"] == 0.11
    assert str(file) in stopped.err, "the file that lowered the limit is named"
    asked = server.books.chat_requests[0].asked
    assert asked is not None
    assert asked.messages[0].text == "You look at {{it}}."
    assert_accounted(server.books, book_of(state))
    assert_within(server.books, book_of(state), 110_000_000)

    file.write_text(text.replace("look", "stare"))
    more = ("--resume", document["run_id"], "--json", "--max-cost", "1", "And now?")
    changed = cli(server, "run", *more)
    assert (changed.code, "the agent has changed" in changed.err) == (2, True), changed.err
    file.write_text(text)
    server.play([WIRED.answer("It is fine.")])
    again = cli(server, "run", *more, "--accept-changes")
    assert (again.code, again.document["agent"]) == (0, "mine"), again.err
    file.unlink()
    gone = cli(server, "run", *more)
    assert (gone.code, "mine.toml is missing" in gone.err) == (2, True), gone.err


def test_notes_are_sent_once_and_their_change_is_announced(cli: Cli, wire: OpenWire, tmp_path: Path) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    file = tmp_path / "notes.md"
    file.write_text("Use tabs.")
    run_id = cli(server, "run", TASK, "--json", "--notes", str(file)).document["run_id"]
    again = cli(server, "run", "--resume", run_id, "--json", "And now?")
    assert again.code == 0, again.err
    asked = server.books.chat_requests[-1].asked
    assert asked is not None
    assert [said.text.count("Use tabs.") for said in asked.messages if said.role == "user"] == [1, 0]
    file.write_text("Use blanks.")
    changed = cli(server, "run", "--resume", run_id, "--json", "And then?")
    assert (changed.code, "the notes or skills of the project have changed" in changed.err) == (2, True), changed.err
    file.unlink()
    gone = cli(server, "run", "--resume", run_id, "--json", "And then?")
    assert (gone.code, "notes.md is missing" in gone.err) == (2, True), gone.err
