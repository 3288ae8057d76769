"""The real command on a disk that fails: nothing is sent, one error with a hint, exit 74, nothing lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from agentctl.core.events import CallHeld, Event, ModelAnswered, Record, RunStarted
from agentctl.core.limits import CostLimit
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.schema import MIGRATIONS
from tests.support.bill.book import book_of
from tests.support.bill.parts import FOUR_CENTS, KEY, PAID, TASK, Here, assert_accounted, reaching
from tests.support.command_line import Commands, Ended
from tests.support.disks import small_disk
from tests.support.ledger.fuse_mount import served
from tests.support.ledger.parts import ask, read_only
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, WireRequest, WireServer

MONEY = PAID["openai"]
Broken = Callable[[Path], None]
pytestmark = pytest.mark.usefixtures("litellm_is_loaded")  # else a run that is refused ends in the midst of loading it
root_only = pytest.mark.needs("root", "mounts")


@pytest.fixture
def server(wire: OpenWire) -> WireServer:
    """Give a provider that would answer and bill."""
    return wire(MONEY.busy, rates=MONEY.rates, keys=[KEY])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small disk at a folder: ``disk(folder, "size=1m")``."""
    with ExitStack() as mounted:
        yield lambda folder, options: mounted.enter_context(small_disk(folder, f"{options},mode=700"))


def fill(disk: Path) -> None:
    """Leave no block free."""
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(b"x" * (free.f_bavail * free.f_frsize))


def used(path: Path) -> None:
    """Write a ledger in which a tenth of a dollar is in doubt."""
    book = LedgerSession(Database(path), owner_id="earlier", pid=os.getpid())
    book.open_run("run", CostLimit(), task="", agent="", labels={})
    book.reserve(ask("a", tokens=100))
    book.mark_sent("a")
    book.close()


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)


def damage_page(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'clock'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def cut(path: Path) -> None:
    os.truncate(path, 4096 * 5)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def changed(sql: str) -> Broken:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(sql)

    return change


def another_programs(path: Path) -> None:
    path.unlink()
    changed("CREATE TABLE theirs (x); PRAGMA user_version = 1;")(path)


def rebuilt(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        dump = "\n".join(db.iterdump())
    path.unlink()
    changed(dump)(path)


DAMAGES: dict[str, tuple[Broken, str, str]] = {
    "header": (damage_header, "file is not a database", "mv "),
    "page": (damage_page, "malformed", "mv "),
    "cut": (cut, "malformed", "mv "),
    "emptied": (emptied, "is empty, but it has been used", "mv "),
    "foreign": (another_programs, "database of another program", "AGENTCTL_STATE_DIR="),
    "rebuilt": (rebuilt, "was rebuilt from an SQL dump", "sqlite3 "),
    "newer": (changed("PRAGMA user_version = 99"), "newer agentctl (schema 99", "upgrade agentctl"),
    "no tables": (changed("DROP TABLE clock; DROP TABLE scopes;"), "no such table", "mv "),
}


def assert_refused(ended: Ended, server: WireServer, said: str, cure: str) -> None:
    """Check the form of a refusal: exit 74, one error, one hint, nothing sent."""
    assert ended.code == 74, ended.err
    assert (server.books.connections, ended.out) == (0, "")
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    hints = [line for line in ended.err.splitlines() if line.startswith("hint: ")]
    assert (len(errors), len(hints)) == (1, 1), ended.err
    assert said in errors[0]
    assert cure in hints[0]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("damage", DAMAGES)
def test_ledger_that_cannot_be_trusted_stops_the_run_and_stays_as_it_is(
    command: Callable[..., Ended], server: WireServer, state: Path, damage: str
) -> None:
    break_it, said, cure = DAMAGES[damage]
    used(state / "ledger.db")
    break_it(state / "ledger.db")
    before = (state / "ledger.db").read_bytes()
    assert_refused(command(env=reaching(server, "openai")), server, said, cure)
    assert (state / "ledger.db").read_bytes() == before


def test_hint_for_a_damaged_ledger_keeps_it_and_the_next_run_works(
    command: Callable[..., Ended], wire: OpenWire, state: Path
) -> None:
    server = wire(MONEY.brief, rates=MONEY.rates, keys=[KEY])
    used(state / "ledger.db")
    damage_header(state / "ledger.db")
    before = (state / "ledger.db").read_bytes()
    ended = command(env=reaching(server, "openai"))
    (hint,) = [line for line in ended.err.splitlines() if line.startswith("hint: ")]
    subprocess.run(hint.rpartition(": ")[2], shell=True, check=True)  # noqa: S602 - what a person would paste
    assert command(env=reaching(server, "openai")).code == 0
    assert (state / "ledger.db.damaged").read_bytes() == before


@root_only
@pytest.mark.parametrize(
    ("options", "said", "cure"),
    [("size=64k", "full", "free some space"), ("size=1m,nr_inodes=4", "", "inodes")],
    ids=["no space", "no inodes"],
)
def test_a_disk_with_no_room_from_the_start_stops_the_run(
    command: Callable[..., Ended],
    server: WireServer,
    state: Path,
    disk: Callable[..., Path],
    options: str,
    said: str,
    cure: str,
) -> None:
    disk(state, options)
    assert_refused(command(env=reaching(server, "openai")), server, said, cure)


@root_only
def test_read_only_disk_refuses_a_run_and_costs_are_read(
    command: Callable[..., Ended], server: WireServer, state: Path, shell: Commands, disk: Callable[..., Path]
) -> None:
    disk(state, "size=1m")
    used(state / "ledger.db")
    subprocess.run(["mount", "-o", "remount,ro", state], check=True)
    assert_refused(command(env=reaching(server, "openai")), server, "its disk is read-only", "make it writable")
    costs = shell("costs", "--last-hour", "--json")
    assert (costs.code, costs.document["total"]["in_doubt_usd"]) == (0, 0.1)


@root_only
def test_a_state_folder_on_a_read_only_disk_stops_the_run(
    command: Callable[..., Ended], server: WireServer, state: Path, disk: Callable[..., Path]
) -> None:
    disk(state, "size=1m,ro")
    assert_refused(command(env=reaching(server, "openai")), server, "read-only file system", "make it writable")


def test_a_network_file_system_stops_the_run_and_nothing_is_made_there(
    command: Callable[..., Ended], server: WireServer, tmp_path: Path
) -> None:
    with served(tmp_path / "remote") as point:
        environ = reaching(server, "openai") | {"AGENTCTL_STATE_DIR": str(point)}
        ended = command(env=environ)
        assert_refused(ended, server, "network file system (fuse.sshfs)", "AGENTCTL_STATE_DIR=/a/local/folder")


async def test_run_whose_ledger_is_migrated_meanwhile_ends_with_74_and_sends_no_more(
    user: Here, wire: OpenWire
) -> None:
    def meanwhile(asked: WireRequest) -> Answer:
        sql = f"PRAGMA user_version={len(MIGRATIONS) + 1}"
        subprocess.run(["sqlite3", user.state / "ledger.db", sql], check=True)
        return MONEY.busy(asked)

    server = wire([meanwhile, MONEY.brief, MONEY.brief], rates=MONEY.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], len(server.books.chat_requests)) == (74, 1)
    assert (document["answer"], document["complete"]) == ("Step 1: looking.", False), "it is paid for"
    assert f"changed from schema {len(MIGRATIONS)} to {len(MIGRATIONS) + 1}" in document["error"]["message"]
    assert "start the run again" in document["error"]["hint"]


# --- after it was sent ----------------------------------------------------------------------------------------------


@root_only
async def test_a_charge_that_a_full_disk_refuses_is_settled_by_the_next_run(
    user: Here, wire: OpenWire, disk: Callable[..., Path]
) -> None:
    folder = disk(user.folder, "size=2m")

    def then_full(asked: WireRequest) -> Answer:
        fill(folder)
        return MONEY.busy(asked)

    server = wire([then_full, MONEY.brief, MONEY.brief], rates=MONEY.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    (held,) = user.book.attempts
    assert (document["exit_code"], held.phase, len(server.books.chat_requests)) == (74, "sent", 1)
    assert "the last call cost $0.04; the next run settles it" in document["error"]["message"]
    assert "free some space" in document["error"]["hint"]
    assert (document["answer"], document["complete"]) == ("Step 1: looking.", False), "it is paid for"
    assert document["cost"]["nano_usd"] == FOUR_CENTS

    (folder / "filler").unlink()
    again = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    first, *_ = user.book.attempts
    assert (again["exit_code"], first.phase, first.nano) == (0, "settled", FOUR_CENTS)
    assert not list((user.state / "ledger.unsettled").iterdir())
    assert_accounted(server.books, user.book)


@root_only
async def test_a_charge_that_a_read_only_disk_refuses_stays_held_and_its_hint_settles_it(
    user: Here, wire: OpenWire, shell: Commands
) -> None:
    with ExitStack() as mounted:

        def then_read_only(asked: WireRequest) -> Answer:
            mounted.enter_context(read_only(user.state))
            return MONEY.busy(asked)

        server = wire(then_read_only, rates=MONEY.rates, keys=[KEY])
        document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    (held,) = user.book.attempts
    assert (document["exit_code"], held.phase, len(server.books.chat_requests)) == (74, "sent", 1)
    assert (document["answer"], document["complete"]) == ("Step 1: looking.", False)
    assert "the last call cost $0.04, and its hold of $0.1" in document["error"]["message"]
    assert document["error"]["message"].endswith("remains")

    _, _, line = document["error"]["hint"].partition("; then: agentctl ")
    ended = shell(*line.split(), AGENTCTL_STATE_DIR=str(user.state))
    (settled,) = user.book.attempts
    assert (ended.code, settled.phase, settled.nano) == (0, "settled", FOUR_CENTS), ended.err


@root_only
async def test_a_call_in_doubt_that_a_full_disk_refuses_is_in_doubt_from_the_next_run_on(
    user: Here, wire: OpenWire, disk: Callable[..., Path]
) -> None:
    folder = disk(user.folder, "size=2m")

    def full_and_cut(asked: WireRequest) -> Answer:
        fill(folder)
        return MONEY.busy(asked, cut_at="middle")

    server = wire([full_and_cut, MONEY.brief], rates=MONEY.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], user.book.phases, len(server.books.chat_requests)) == (74, ["sent"], 1)
    assert "its hold of" in document["error"]["message"]
    (folder / "filler").unlink()
    server.play(MONEY.brief)
    await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    first, *_ = user.book.attempts
    assert (first.phase, first.nano) == ("doubt", first.hold_nano)
    assert "cut" in (first.reason or ""), "its own reason, not the death of its process"


@root_only
async def test_run_whose_journal_fails_ends_and_its_spending_is_in_the_ledger(
    user: Here, wire: OpenWire, disk: Callable[..., Path]
) -> None:
    runs = disk(user.state / "runs", "size=64k")

    def then_full(asked: WireRequest) -> Answer:
        fill(runs)
        return MONEY.busy(asked)

    server = wire(then_full, rates=MONEY.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert document["exit_code"] == 74
    assert "journal" in document["error"]["message"]
    assert "free some space" in document["error"]["hint"]
    assert set(user.book.phases) <= {"settled", "void"}
    assert user.book.nano("settled") == server.books.billed_nano > 0
    assert_accounted(server.books, user.book)


@root_only
def test_command_says_in_one_sentence_what_a_call_cost_and_what_stays_held(
    shell: Commands, state: Path, wire: OpenWire, disk: Callable[..., Path]
) -> None:
    disk(state, "size=2m")

    def then_full(asked: WireRequest) -> Answer:
        fill(state)
        return MONEY.busy(asked)

    server = wire(then_full, rates=MONEY.rates, keys=[KEY])
    ended = shell("run", TASK, "--json", **reaching(server, "openai"))
    (attempt,) = book_of(state).attempts
    assert (ended.code, json.loads(ended.out)["exit_code"], attempt.phase) == (74, 74, "sent")
    (error,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert "the last call cost $0.04; the next run settles it, and until then its hold of $0.1" in error
    assert error.endswith("remains")
    assert "Traceback" not in ended.err


class Filler:
    """Fills a disk at the first event of a kind."""

    def __init__(self, kind: type[Event], disk: Path) -> None:
        self._kind, self._disk = kind, disk

    async def observe(self, record: Record) -> None:
        if isinstance(record.event, self._kind) and not (self._disk / "filler").exists():
            fill(self._disk)


@root_only
@pytest.mark.parametrize(
    ("kind", "left"), [(RunStarted, []), (CallHeld, ["held"])], ids=["before the hold", "before sending"]
)
async def test_a_disk_that_fills_before_a_call_is_sent_stops_it(
    user: Here, server: WireServer, disk: Callable[..., Path], kind: type[Event], left: list[str]
) -> None:
    """The hold stays until the next run finds its owner dead; it was never sent, so it costs nothing."""
    disk(user.state, "size=1m")
    disk(user.state / "runs", "size=1m")  # the journal has room, and does not end the run before
    watched = replace(user, observers=(Filler(kind, user.state),))
    document = await watched.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], server.books.chat_requests, user.book.phases) == (74, (), left)
    assert "full" in document["error"]["message"]
    assert "free some space" in document["error"]["hint"]

    (user.state / "filler").unlink()
    server.play(MONEY.brief)
    assert (await user.run(reaching(server, "openai"), max_cost_per_task="0.50"))["exit_code"] == 0
    assert user.book.phases == [*("void" for _ in left), "settled", "settled"]


async def test_ledger_removed_during_a_call_ends_the_run_and_the_error_says_its_cost(
    user: Here, wire: OpenWire
) -> None:
    path = user.state / "ledger.db"

    def then_gone(asked: WireRequest) -> Answer:
        for ending in ("", "-wal", "-shm"):
            path.with_name(f"ledger.db{ending}").rename(user.folder / f"ledger.db{ending}")
        return MONEY.busy(asked)

    server = wire(then_gone, rates=MONEY.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], len(server.books.chat_requests)) == (74, 1)
    said = document["error"]["message"]
    assert "was moved, deleted or replaced while it was in use" in said
    assert "the last call cost $0.04, and no ledger counts it now" in said
    assert "its hold of" not in said
    assert (book_of(user.folder).phases, path.exists()) == (["sent"], False)

    for ending in ("", "-wal", "-shm"):
        moved = user.folder / f"ledger.db{ending}"
        if moved.exists():
            moved.rename(path.with_name(moved.name))
    server.play(MONEY.brief)
    await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    first, *_ = user.book.attempts
    assert (first.phase, first.nano) == ("settled", FOUR_CENTS), "it was kept until the ledger was back"


@root_only
async def test_a_disk_that_fills_after_the_answer_was_charged_takes_nothing_from_the_run(
    user: Here, wire: OpenWire, disk: Callable[..., Path]
) -> None:
    disk(user.state, "size=1m")
    disk(user.state / "runs", "size=1m")
    server = wire(MONEY.answer("Half of it is used."), rates=MONEY.rates, keys=[KEY])
    watched = replace(user, observers=(Filler(ModelAnswered, user.state),))
    document = await watched.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], document["answer"], document["error"]) == (0, "Half of it is used.", None)
    (journal,) = (user.state / "runs").glob("*.jsonl")
    assert "the end of the run could not be recorded in the ledger" in journal.read_text()
    assert (document["cost"]["nano_usd"], user.book.nano("settled")) == (FOUR_CENTS, FOUR_CENTS)
