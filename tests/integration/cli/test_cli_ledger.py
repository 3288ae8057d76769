"""``agentctl ledger``: output, exit codes, questions and refusals of check and reconcile."""

from __future__ import annotations

import os
import select
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.core.messages import Usage
from agentctl.sandbox.process import child_environment, run_process
from agentctl.sandbox.process_tree import MARKER
from agentctl.settings.names import CHILD_MARK
from tests.support.command_line import ROOT, Commands, Ended
from tests.support.command_line import Here as InThisProcess
from tests.support.ledger.corrections import CALL, begin, change, left_in_doubt, opened, rows, send
from tests.support.ledger.parts import read_only
from tests.support.terminal import at_a_terminal

pytestmark = pytest.mark.anyio


@pytest.fixture
def path() -> Path:
    return Path(os.environ["AGENTCTL_STATE_DIR"]) / "ledger.db"


def doubts(path: Path) -> list[tuple[Any, ...]]:
    return rows(path, "SELECT id FROM attempts WHERE phase = 'doubt' ORDER BY id")


def test_check_without_a_ledger_says_so_and_makes_none(here: InThisProcess, path: Path) -> None:
    ended = here("ledger", "check")
    assert (ended.code, ended.out) == (0, f"no ledger yet; the first run creates {path}\n")
    document = here("ledger", "check", "--json").document
    assert (document["schema"], document["ok"], document["exists"]) == ("agentctl.ledger-check/1", True, False)
    assert not path.exists()


@pytest.mark.parametrize("words", [("--run", "7f3a"), ("7f3a",), ("--provider", "openai")])
def test_reconcile_without_a_ledger_knows_no_name(here: InThisProcess, path: Path, words: tuple[str, ...]) -> None:
    ended = here("ledger", "reconcile", *words, "--actual", "0")
    assert (ended.code, ended.out, words[-1] in ended.err, str(path) in ended.err) == (2, "", True, True)
    assert not path.exists()


def test_check_shows_what_is_held_and_in_doubt_with_the_line_that_gives_it_back(
    here: InThisProcess, path: Path
) -> None:
    left_in_doubt(path, "a", "b", run="cut")
    book = opened(path)
    begin(book, "alive")
    send(book, "c", "alive")
    ended = here("ledger", "check")
    assert (ended.code, ended.err) == (0, "")
    assert "the file is intact; rows and admissions are consistent\n3 attempts: 3 replayed, admitted" in ended.out
    assert any(f" {os.getpid()} on " in line and line.endswith(", living") for line in ended.out.splitlines())
    (line,) = [line for line in ended.out.splitlines() if line.startswith("run cut")]
    assert line.endswith("agentctl ledger reconcile --run cut --actual 0")
    document = here("ledger", "check", "-o", "json").document
    assert [(one["attempt_id"], one["held_usd"], one["owner"]["living"]) for one in document["open"]] == [
        ("c", 0.256, True)
    ]
    assert [(one["run_id"], one["attempts"], one["usd"], one["hint"]) for one in document["in_doubt"]] == [
        ("cut", 2, 0.512, "agentctl ledger reconcile --run cut --actual 0")
    ]
    book.close()


def test_check_of_a_changed_ledger_ends_with_74_and_one_sentence_with_a_hint(here: InThisProcess, path: Path) -> None:
    left_in_doubt(path, "a")
    change(path, "UPDATE attempts SET nano = 1")
    ended = here("ledger", "check")
    assert (ended.code, "wrong: attempt a: its row says doubt at 1 nano-dollars" in ended.out) == (74, True)
    assert "is damaged: attempt a" in ended.err
    assert f"hint: keep the file, move it aside and start a new ledger: mv {path} {path}.damaged" in ended.err
    document = here("ledger", "check", "--format", "json")
    assert (document.code, document.document["ok"], document.document["error"]["kind"]) == (74, False, "state")


@pytest.mark.parametrize("words", [("check",), ("reconcile", "--run", "run", "--actual", "0")])
def test_damaged_file_ends_check_and_reconcile_with_74_and_a_hint(
    here: InThisProcess, path: Path, words: tuple[str, ...]
) -> None:
    left_in_doubt(path, "a")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])
    ended = here("ledger", *words)
    assert (ended.code, f"mv {path} {path}.damaged" in ended.err, ended.out) == (74, True, "")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("PRAGMA application_id=0; PRAGMA user_version=0", "was rebuilt from an SQL dump"),
        ("PRAGMA user_version=99", "was written by a newer agentctl"),
    ],
)
def test_every_command_says_the_same_of_a_ledger_that_it_cannot_read(
    here: InThisProcess, path: Path, sql: str, said: str
) -> None:
    left_in_doubt(path, "a")
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)
    task, messages = "How much disk is free?", set()
    for words in (
        ("costs",),
        ("ledger", "check"),
        ("ledger", "reconcile", "--run", "run", "--actual", "0"),
        ("ledger", "reconcile", "--run", "run", "--actual", "0", "--dry-run"),
        ("run", "--provider", "builtin", task),
        ("run", "--provider", "builtin", "--estimate", task),
    ):
        ended = here(*words)
        assert (ended.code, ended.out) == (74, ""), words
        messages.add(tuple(line for line in ended.err.splitlines() if line.startswith(("error: ", "hint: "))))
    ((error, hint),) = messages
    assert said in error
    checks = here("doctor", "--offline", "--json").document["checks"]
    assert [(one["said"], one["cure"]) for one in checks if one["about"] == "ledger"] == [
        (error.removeprefix("error: "), hint.removeprefix("hint: "))
    ]


def test_a_read_only_ledger_can_be_checked_and_not_reconciled(here: InThisProcess, path: Path) -> None:
    left_in_doubt(path, "a")
    with read_only(path.parent):
        assert here("ledger", "check").code == 0
        ended = here("ledger", "reconcile", "--run", "run", "--actual", "0")
    assert (ended.code, "writable" in ended.err) == (74, True)


def test_the_line_as_it_is_printed_gives_back_without_a_terminal_and_costs_shows_it(
    here: InThisProcess, path: Path
) -> None:
    left_in_doubt(path, "a", "b")
    would = here("ledger", "reconcile", "--run", "run", "--actual", "0", "--dry-run")
    assert would.out.endswith("\n2 attempts would be settled, $0.512 released\n")
    assert len(doubts(path)) == 2
    ended = here("ledger", "reconcile", "--run", "run", "--actual", "0")
    assert ended.out == "a  run run  $0.256 → $0\nb  run run  $0.256 → $0\n2 attempts settled, $0.512 released\n"
    assert here("ledger", "reconcile", "--run", "run", "--actual", "0").out == "no attempt of these is in doubt\n"
    corrected = here("ledger", "reconcile", "a", "--actual", "0.0100000001", "--json").document
    assert corrected["reconciled"] == [
        {
            "attempt_id": "a", "run_id": "run", "provider": "p", "model": "m",
            "in_doubt_usd": 0.0, "usd": 0.010000001, "above_hold": False,
        }
    ]  # fmt: skip
    assert here("costs", "--json").document["total"]["nano_usd"] == 10_000_001


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "takes exactly one of"),
        (("a", "--run", "run", "--actual", "0"), "takes exactly one of"),
        (("--run", "run", "--from", "x.csv"), "takes exactly one of"),
        (("--run", "run"), "--actual is missing"),
        (("--run", "run", "--actual", "-1"), "is not an amount in dollars"),
        (("--run", "run", "--actual", "nan"), "is not an amount in dollars"),
        (("--run", "run", "--actual", "free"), "is not an amount in dollars"),
        (("--run", "run", "--actual", "1"), "an amount is for one attempt"),
        (("--clear-overrun", "p/m", "--actual", "0"), "--actual is only allowed with"),
        (("--from", "no.csv"), "cannot be read"),
        (("--clear-overrun", "p/m"), "never cost more"),
        (("--clear-miscount", "p/m"), "never reported more than its counted bound"),
        (("--clear-miscount", "p/m", "--clear-overrun", "p/m"), "takes exactly one of"),
        (("--clear-miscount", "p/m", "--actual", "0"), "--actual is only allowed with"),
    ],
)
def test_unclear_reconcile_request_changes_nothing(
    here: InThisProcess, path: Path, words: tuple[str, ...], said: str
) -> None:
    left_in_doubt(path, "a", "b")
    ended = here("ledger", "reconcile", *words)
    assert (ended.code, said in ended.err, ended.out) == (2, True, ""), ended.err
    assert len(doubts(path)) == 2


def test_a_living_owner_is_refused_with_5(here: InThisProcess, path: Path) -> None:
    book = opened(path)
    begin(book, "run")
    send(book, "a")
    book.doubt("a", "cut off", ceiling=False, provider_fault=True)
    ended = here("ledger", "reconcile", "--run", "run", "--actual", "0")
    assert (ended.code, "belongs to a live process" in ended.err, len(doubts(path))) == (5, True, 1)
    book.close()


async def test_a_command_of_a_run_reads_the_ledger_and_cannot_change_it(path: Path, tmp_path: Path) -> None:
    left_in_doubt(path, "a")
    env = {**child_environment(), "PYTHONPATH": str(ROOT), "AGENTCTL_STATE_DIR": str(path.parent)}
    argv = [sys.executable, "-m", "agentctl", "ledger"]
    for words in (
        ("reconcile", "--run", "run", "--actual", "0", "--yes"),
        ("reconcile", "--clear-overrun", "p/m"),
        ("reconcile", "--clear-miscount", "p/m"),
        ("reconcile", "--clock"),
    ):
        inside = await run_process([*argv, *words], timeout=60, env=env, cwd=tmp_path)
        assert (inside.exit_code, "cannot be changed from inside a run" in inside.stderr) == (5, True), inside
    inside = await run_process([*argv, "check"], timeout=60, env=env, cwd=tmp_path)
    assert (inside.exit_code, inside.stderr, len(doubts(path))) == (0, "", 1)
    assert MARKER == CHILD_MARK


@pytest.mark.parametrize(("typed", "code", "left"), [("y\n", 0, 0), ("\n", 5, 2), ("n\n", 5, 2)])
def test_reconcile_at_a_terminal_asks_once_before_it_gives_back(
    agentctl: Commands, path: Path, typed: str, code: int, left: int
) -> None:
    left_in_doubt(path, "a", "b")
    with at_a_terminal(agentctl, "ledger", "reconcile", "--run", "run", "--actual", "0") as person:
        assert b"Give back $0.512 of 2 attempts? [y/N] " in person.shown_until(b"[y/N] ")
        person.types(typed)
        ended, out, shown = person.ended()
    assert (ended, len(doubts(path))) == (code, left), shown
    assert b"2 attempts settled" in out if not code else "nothing was released" in shown


@pytest.mark.parametrize("words", [("--yes",), ("--dry-run",)])
def test_reconcile_asks_nothing_where_the_answer_is_given_or_nothing_changes(
    agentctl: Commands, path: Path, words: tuple[str, ...]
) -> None:
    left_in_doubt(path, "a")
    with at_a_terminal(agentctl, "ledger", "reconcile", "--run", "run", "--actual", "0", *words) as person:
        ended, out, shown = person.ended()
    assert (ended, shown, b"$0.256 released" in out) == (0, "", True)


def test_export_is_read_from_a_file_or_stdin_and_unmatched_lines_are_reported(
    agentctl: Commands, here: InThisProcess, path: Path, tmp_path: Path
) -> None:
    left_in_doubt(path, "a", "b")
    text = "attempt_id,cost_usd\na,0.02\nzzz,1\n"
    (tmp_path / "usage.csv").write_text(text)
    would = here("ledger", "reconcile", "--from", "usage.csv", "--dry-run")
    assert would.out == (
        "a  run run  $0.256 → $0.02\n1 attempt would be settled, $0.236 released\n"
        "1 line of the export without a matching call in doubt\n"
    )
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as pipe:
        process = agentctl.start("ledger", "reconcile", "--from", "-", "--json", stdin=pipe)
        for part in (text[:25], text[25:]):
            os.write(writing, part.encode())
            while select.select([reading], [], [], 0)[0]:
                time.sleep(0.01)
        os.close(writing)
        out, _ = process.communicate(timeout=60)
    done = Ended(process.returncode, out.decode(), "")
    assert (done.code, done.document["given_back_usd"], done.document["unused_lines"]) == (0, 0.236, 1)
    assert doubts(path) == [("b",)]
    ended = here("ledger", "reconcile", "--from", "usage.csv", "--provider", "p", "--json")
    assert (ended.code, ended.document["reconciled"]) == (0, [])
    (tmp_path / "usage.csv").write_text(
        "attempt_id\tcost_usd\nb\t0.03\n", encoding="utf-16"
    )  # as a spreadsheet saves it
    assert here("ledger", "reconcile", "--from", "usage.csv").out.startswith("b  run run  $0.256 → $0.03\n")


def test_an_overrun_is_listed_with_the_line_that_clears_it(here: InThisProcess, path: Path) -> None:
    book = opened(path)
    begin(book, "run")
    send(book, "a")
    assert book.settle("a", Charge(Usage(10, 300), CALL * 2, "m")).overrun
    book.close()
    said = here("ledger", "check").out
    line = said.splitlines()[-1].strip()
    assert line == "agentctl ledger reconcile --clear-overrun p/m"
    done = here(*line.split()[1:])
    assert (done.code, done.out) == (0, "p/m: its hold is reset to the usual worst case\n")
    assert here(*line.split()[1:]).out == "p/m: nothing to clear\n"
    assert here("ledger", "check", "--json").document["overruns"] == []


def test_a_miscount_is_listed_and_cleared_by_the_line_that_is_shown(here: InThisProcess, path: Path) -> None:
    left_in_doubt(path, "a")
    change(path, "UPDATE attempts SET counted = 1, input_tokens = input_bound + ?", 1)
    *_, said, line = here("ledger", "check").out.splitlines()
    assert said == "p/m reported more input than counted: calls are bound by bytes until you run"
    assert line.strip() == "agentctl ledger reconcile --clear-miscount p/m"
    (listed,) = here("ledger", "check", "--json").document["miscounts"]
    assert (listed["provider"], listed["base_url"], listed["model"], listed["attempts"]) == ("p", None, "m", 1)
    assert listed["hint"] == line.strip()
    would = here(*line.split()[1:], "--dry-run", "--json").document
    assert (would["cleared_miscount"], would["dry_run"]) == ("p/m", True)
    assert here(*line.split()[1:]).out == "p/m: its input is counted in tokens again\n"
    assert here(*line.split()[1:]).out == "p/m: nothing to clear\n"
    assert here("ledger", "check", "--json").document["miscounts"] == []


def clock_ahead(path: Path, hours: int) -> None:
    """Let the ledger have seen a wall clock that was ahead."""
    left_in_doubt(path, "a")
    change(path, "UPDATE clock SET highest_wall_us = wall_us + ?", hours * 3_600_000_000)


def test_check_offers_the_line_for_a_clock_that_was_ahead_and_the_line_works(here: InThisProcess, path: Path) -> None:
    clock_ahead(path, 24)
    said = here("ledger", "check").out
    line = said.splitlines()[-1].strip()
    assert line == "agentctl ledger reconcile --clock"
    assert here("ledger", "check", "--json").document["clock"]["hint"] == line
    would = here(*line.split()[1:], "--dry-run", "--json").document
    done = here(*line.split()[1:], "--json").document
    assert (would["dry_run"], done["dry_run"]) == (True, False)
    assert would["clock"]["was"][:10] == done["clock"]["was"][:10] > done["clock"]["now"][:10]
    assert line not in here("ledger", "check").out
    assert here("ledger", "check", "--json").document["clock"]["hint"] is None
    again = here(*line.split()[1:])
    assert (again.code, "is not behind: nothing to reset" in again.out) == (0, True)


@pytest.mark.parametrize("words", [("--actual", "0"), ("--run", "run"), ("--provider", "p"), ("a",)])
def test_reset_clock_cannot_be_combined(here: InThisProcess, path: Path, words: tuple[str, ...]) -> None:
    clock_ahead(path, 24)
    before = rows(path, "SELECT * FROM clock")
    assert here("ledger", "reconcile", "--clock", *words).code == 2
    assert rows(path, "SELECT * FROM clock") == before


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("\n", 5)])
def test_reset_clock_at_a_terminal_asks_for_the_time_first(
    agentctl: Commands, path: Path, typed: str, code: int
) -> None:
    clock_ahead(path, 24)
    with at_a_terminal(agentctl, "ledger", "reconcile", "--clock") as person:
        assert b"Is it 20" in person.shown_until(b" now? [y/N] ")
        person.types(typed)
        ended, _, shown = person.ended()
    assert (ended, "nothing was reset" in shown) == (code, bool(code))
    ((ahead,),) = rows(path, "SELECT highest_wall_us > wall_us FROM clock")
    assert bool(ahead) is bool(code)


def test_lone_word_reconcile_is_not_a_task(here: InThisProcess) -> None:
    for words in (("run", "ledger", "check"), ("run", "reconcile")):
        ended = here(*words)
        assert (ended.code, "did you mean" in ended.err) == (2, True)
