"""``agentctl runs watch``: a run is followed from its journal to its end, and one that died is recognised."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agentctl.cli.runs.watch import exit_code_of, follow_journal
from agentctl.cli.runs.watch_screen import WatchScreen
from agentctl.cli.ui.format import painter
from agentctl.core.errors import StateError
from agentctl.core.results import ErrorInfo
from agentctl.journal.tail import JournalTail
from tests.support.command_line import Here
from tests.support.journal_files import JournalFile

PLAIN = painter("never", terminal=False)


class Lock:
    """The lock of a journal, as the process of its run holds it."""

    def __init__(self, journal: JournalFile) -> None:
        self._file = os.open(journal.path, os.O_RDONLY)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


@pytest.fixture
def live(state: Path) -> Iterator[tuple[JournalFile, Lock]]:
    """A run in its first turn, whose process lives."""
    journal = JournalFile(state).start().turn("system_memory")
    lock = Lock(journal)
    yield journal, lock
    lock.release()


def watched(journal: JournalFile, *steps: Callable[[], object]) -> tuple[list[str], list[str]]:
    """Follow a journal; each wait takes one step, and the last one gives up. Return the events, and what was warned."""
    left, warned, found = list(steps), list[str](), list[str]()

    def wait() -> bool:
        if not left:
            return False
        left.pop(0)()
        return True

    with JournalTail(journal.path, warn=warned.append) as tail:
        found += [str(one["event"]) for one in follow_journal(tail, wait=wait) if one is not None]
    return found, warned


# --- which run --------------------------------------------------------------------------------------------------


def test_without_an_id_the_one_that_runs_is_watched(here: Here, state: Path) -> None:
    JournalFile(state, "aaa1").start().turn(text="x").end()
    refused = here("runs", "watch")
    assert (refused.code, refused.err) == (
        2,
        "error: no run is running\nhint: agentctl runs watch --last   shows the last run\n",
    )


def test_several_that_run_are_named(here: Here, state: Path) -> None:
    locks = [Lock(JournalFile(state, name).start()) for name in ("aaa1", "bbb2")]
    refused = here("runs", "watch")
    for lock in locks:
        lock.release()
    assert (refused.code, refused.out) == (2, "")
    assert "2 runs are running: " in refused.err
    assert "aaa1" in refused.err
    assert "bbb2" in refused.err
    assert "\nhint: agentctl runs watch " in refused.err


@pytest.mark.parametrize("words", [("nosuch",), ("aaa1", "--last"), ("--last", "-o", "json")])
def test_a_run_that_cannot_be_chosen_is_a_usage_error(here: Here, state: Path, words: Sequence[str]) -> None:
    JournalFile(state, "aaa1").start()
    assert here("runs", "watch", *words).code == 2


# --- a run that has ended, or died ------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("aaa1",), ("--last",)])
def test_a_run_that_has_ended_is_shown_with_how_it_ended(here: Here, state: Path, words: Sequence[str]) -> None:
    JournalFile(state).start().turn("system_memory", text="I look.").turn(text="All is well.").end()
    ended = here("runs", "watch", *words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "scripted/priced · flag",
        "I look.",
        "turn 1 · system_memory() · $0.013",
        "turn 2 · answer · $0.026",
        "",
        "All is well.",
        "",
        "done · 2 turns · $0.026 of $0.50 · 4.2 s · run aaa1",
    ]


def test_verbose_shows_tools_and_holds(here: Here, state: Path) -> None:
    JournalFile(state).start().turn("system_memory").turn(text="x").end()
    out = here("runs", "watch", "aaa1", "-v").out
    assert "\n  held $0.13\n" in out
    assert "\n  system_memory() · 0.2 s · 1 line\n" in out


def test_a_run_that_failed_ends_with_its_error_what_to_do_and_its_exit_code(here: Here, state: Path) -> None:
    error = ErrorInfo("provider", "no answer", "try again later")
    JournalFile(state).start().turn("system_memory").end("unavailable", "Half.", error=error)
    ended = here("runs", "watch", "aaa1")
    assert ended.code == 0, "the exit code is that of watching"
    assert ended.out.splitlines()[-7:] == [
        "so far:",
        "Half.",
        "",
        "error: no answer",
        "hint: try again later",
        "hint: go on where it stopped: agentctl runs resume aaa1",
        "unavailable · 1 turn · $0.013 of $0.50 · 4.2 s · run aaa1 · exit 4",
    ]


@pytest.mark.parametrize("torn", [b"", b'{"event": "run_fin'])
def test_a_run_whose_process_died_is_said_to_be_killed(here: Here, state: Path, torn: bytes) -> None:
    JournalFile(state).start().turn("system_memory").tear(torn)
    ended = here("runs", "watch", "aaa1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-2:] == [
        "killed · run aaa1 · its process is gone, and its journal has no end",
        "hint: go on where it stopped: agentctl runs resume aaa1",
    ]
    lines = here("runs", "watch", "aaa1", "-o", "jsonl")
    assert lines.lines[-1]["event"] == "message_added"
    assert lines.err == "killed · run aaa1 · its process is gone, and its journal has no end\n"


@pytest.mark.parametrize("form", ["text", "jsonl"])
@pytest.mark.parametrize(
    ("status", "code"),
    [("done", 0), ("budget", 3), ("timeout", 124), ("terminated", 143), ("of a later version", 70), (None, 1)],
)
def test_exit_status_is_that_of_the_run(here: Here, state: Path, status: str | None, code: int, form: str) -> None:
    journal = JournalFile(state).start().turn("system_memory").end("failed").resume("go on").turn(text="x")
    if status is not None:
        journal.end(status)
    assert here("runs", "watch", "aaa1", "-o", form, "--exit-status").code == code
    assert here("runs", "watch", "aaa1", "-o", form).code == 0


def test_exit_status_is_no_success_while_the_end_is_unknown(state: Path) -> None:
    (record,) = JournalFile(state).start(prompt=None).path.read_text().splitlines()
    assert exit_code_of(json.loads(record), is_live=True) == 141, "the reader of stdout went away"


def test_a_resumed_run_is_shown_to_its_last_end(here: Here, state: Path) -> None:
    JournalFile(state).start().turn("system_memory").end("budget").resume("go on").turn(text="x").end()
    lines = here("runs", "watch", "aaa1").out.splitlines()
    assert [line for line in lines if line.startswith(("budget", "going on", "done"))] == [
        "budget · 1 turn · $0.013 of $0.50 · 4.2 s · run aaa1 · exit 3",
        "going on with run aaa1 after 1 turn, $0.013 of $1 is spent",
        "done · 2 turns · $0.026 of $0.50 · 4.2 s · run aaa1",
    ]


def test_jsonl_has_each_record_of_the_journal_on_a_line(here: Here, state: Path) -> None:
    run = JournalFile(state).start().turn("system_memory").turn(text="x").end()
    assert here("runs", "watch", "aaa1", "-o", "jsonl").lines == [
        json.loads(line) for line in run.path.read_text().splitlines()
    ]


def test_text_of_a_run_moves_no_cursor(here: Here, state: Path) -> None:
    run = JournalFile(state).start("t", model="\x1b[2J").turn(("x\x1b]0;t\x07", {"\x1b[1m": "\x1b"}), text="\x1b[3A")
    run.turn(text="x").end(answer="\u202eright\x1b[2J")
    assert not {"\x1b", "\x07", "\u202e"} & set(here("runs", "watch", "aaa1", "-v").out)


# --- a run that lives -------------------------------------------------------------------------------------------


def test_records_are_shown_as_they_are_written_until_the_lock_is_free(live: tuple[JournalFile, Lock]) -> None:
    run, lock = live
    before = run.seq
    found, warned = watched(run, lambda: run.turn(text="x"), lambda: run.end(), lock.release, lambda: run.start())
    assert (len(found), found[-1], warned) == (before + 9, "run_finished", [])


def test_half_a_line_is_read_once_it_is_whole(live: tuple[JournalFile, Lock]) -> None:
    run, lock = live
    late = '{"event": "noted", "text": "é"}\n'.encode()
    steps = [lambda at=at: run.tear(late[at : at + 1]) for at in range(len(late))]
    found, warned = watched(run, *steps, lock.release)
    assert (found[-1], found.count("noted"), warned) == ("noted", 1, [])


def test_half_a_line_that_a_resumed_run_cuts_off_is_never_shown(live: tuple[JournalFile, Lock]) -> None:
    run, lock = live

    def go_on() -> None:
        os.truncate(run.path, size)
        run.resume("go on").turn(text="x").end()

    size = run.path.stat().st_size
    found, warned = watched(run, lambda: run.tear(b'{"event": "no'), go_on, lock.release)
    assert (found.count("run_resumed"), found[-1], warned) == (1, "run_finished", [])


def test_the_end_of_a_part_is_not_the_end_while_a_process_holds_the_lock(live: tuple[JournalFile, Lock]) -> None:
    run, lock = live
    run.end("budget")
    found, _ = watched(run, lambda: None, lambda: run.resume("go on"), lambda: run.turn(text="x").end(), lock.release)
    assert found.count("run_finished") == 2


def test_a_journal_that_is_removed_meanwhile_is_told_once_and_read_to_its_end(live: tuple[JournalFile, Lock]) -> None:
    run, lock = live
    kept = run.path.with_name("kept.txt")
    os.link(run.path, kept)

    def remove() -> None:
        run.path.unlink()
        run.path = kept
        kept_file = kept.open("a")
        kept.unlink()
        with kept_file:
            kept_file.write('{"event": "noted"}\n')

    found, warned = watched(run, remove, lambda: None, lock.release)
    assert found[-1] == "noted"
    assert len(warned) == 1
    assert warned[0].endswith("was removed; what is still written to it is shown")


def test_a_broken_line_is_told_and_the_rest_is_shown(live: tuple[JournalFile, Lock]) -> None:
    run, lock = live
    number = run.seq + 1
    found, warned = watched(run, lambda: run.tear(b"{]\n"), lambda: run.turn(text="x"), lambda: run.end(), lock.release)
    assert found[-1] == "run_finished"
    assert warned == [f"line {number} of {run.path} is broken and was left out"]


def test_a_journal_that_is_cut_ends_the_watching(live: tuple[JournalFile, Lock]) -> None:
    run, _ = live
    with pytest.raises(StateError, match="was cut while it was read"):
        watched(run, lambda: os.truncate(run.path, 10))


def test_a_journal_of_a_run_that_is_about_to_lock_it_is_not_taken_for_dead(state: Path) -> None:
    run = JournalFile(state).tear(b"")
    locks: list[Lock] = []
    steps = (lambda: None, lambda: locks.append(Lock(run)), lambda: run.start(), lambda: locks[0].release())
    found, _ = watched(run, *steps)
    assert found[0] == "run_started"


def test_watching_leaves_the_lock_free(here: Here, state: Path) -> None:
    run = JournalFile(state).start().turn("system_memory")
    with JournalTail(run.path, warn=print) as tail:
        assert tail.is_live is False
        Lock(run).release()  # as the process that resumes the run takes it


def test_a_line_longer_than_a_block_is_read_whole(state: Path) -> None:
    run = JournalFile(state).start("t" * 700_000).turn(text="x").end()
    found, warned = watched(run)
    assert (len(found), found[0], found[-1], warned) == (run.seq, "run_started", "run_finished", [])


def test_records_of_a_later_version_are_skipped(state: Path) -> None:
    out = io.StringIO()
    screen = WatchScreen("aaa1", out, paint=PLAIN, styles=False, verbose=True)
    screen.show({"event": "moon_landed", "run_id": "aaa1", "seq": 1, "at": "2026-11-30T00:00:00Z"})
    screen.show({"event": "run_started", "run_id": "aaa1", "seq": 1, "at": "yesterday", "task": 7})
    screen.show({"event": "run_finished", "run_id": "aaa1", "seq": 2, "at": "2026-11-30T00:00:00Z", "result": {}})
    assert (out.getvalue(), screen.is_over) == ("", True)
