"""Any run can be found and read again, also one whose writer died."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentctl.core.errors import StateError, UsageError
from agentctl.core.events import Noted, Record, RunFinished, RunStarted
from agentctl.core.messages import Usage
from agentctl.core.results import RunResult
from agentctl.journal.reader import RunSummary, find_journal, list_runs, read_run
from agentctl.journal.writer import Journal, encode_record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(seconds=4.5)


def started(task: str = "say hi") -> RunStarted:
    return RunStarted(task, "system", "flag", "scripted", "flag", "m1", False, "/w", ())


def finished(run_id: str = "r1", answer: str = "hi") -> RunFinished:
    result = RunResult(
        run_id=run_id, status="budget", answer=answer, complete=False, task="say hi", agent="system",
        provider="scripted", provider_chosen_by="flag", model="m1", models=("m1",), turns=3, started_at=NOON,
        finished_at=LATER, duration_s=4.5, usage=Usage(10, 5), cost_nano=12_300, in_doubt_nano=0, price_source="test",
        limits=(),
    )  # fmt: skip
    return RunFinished(result)


def write(folder: Path, run_id: str, *events: RunStarted | Noted | RunFinished, at: datetime = NOON) -> Path:
    path = folder / f"{run_id}.jsonl"
    lines = (json.dumps(encode_record(Record(run_id, seq, at, event))) for seq, event in enumerate(events, start=1))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


SUMMARY = RunSummary("r1", "budget", NOON, "say hi", "system", "scripted", "m1", 12_300, 3, 4.5)


def test_a_finished_run_is_summed_up_from_its_head_and_its_tail(tmp_path: Path) -> None:
    write(tmp_path, "r1", started(), Noted("x" * 50_000), finished())
    assert list_runs(tmp_path) == [SUMMARY]


def test_long_task_and_long_answer_are_read(tmp_path: Path) -> None:
    write(tmp_path, "r1", started("t" * 100_000), finished(answer="a" * 300_000))
    assert list_runs(tmp_path) == [SUMMARY]


def test_a_run_that_died_is_unfinished_and_its_end_unknown(tmp_path: Path) -> None:
    write(tmp_path, "r1", started(), Noted("x"))
    assert list_runs(tmp_path) == [RunSummary("r1", "unfinished", NOON, "say hi", "system", "scripted", "m1")]


async def test_a_run_whose_writer_lives_is_running(tmp_path: Path) -> None:
    async with Journal(tmp_path, "r1") as journal:
        await journal.observe(Record("r1", 1, NOON, started()))
        assert [run.status for run in list_runs(tmp_path)] == ["running"]
        await journal.observe(Record("r1", 2, LATER, finished()))
        assert list_runs(tmp_path) == [SUMMARY]


async def test_a_reader_at_the_wrong_moment_does_not_stop_the_writer(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    async with Journal(tmp_path, "r1") as journal:
        await journal.observe(Record("r1", 1, NOON, started()))
        list_runs(tmp_path)
        await journal.observe(Record("r1", 2, NOON, finished()))
    os.close(folder)
    assert list_runs(tmp_path) == [SUMMARY]


def test_the_newest_comes_first(tmp_path: Path) -> None:
    for minute in (5, 1, 9, 3):
        write(tmp_path, f"run{minute}", started(), at=NOON + timedelta(minutes=minute))
    assert [run.run_id for run in list_runs(tmp_path)] == ["run9", "run5", "run3", "run1"]
    assert find_journal(tmp_path).name == "run9.jsonl"


def test_no_folder_means_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []
    with pytest.raises(UsageError, match="there are no runs yet"):
        find_journal(tmp_path / "nowhere", "7f")


def test_unreadable_journal_is_listed(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "zeros.jsonl").write_bytes(b"\0" * 5000)
    (tmp_path / "headless.jsonl").write_bytes(b'broken\n{"event": "turn_started"}\n')
    (tmp_path / "link.jsonl").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "fifo.jsonl")
    (tmp_path / "note.txt").write_text("no journal")
    assert {run.run_id: run.status for run in list_runs(tmp_path)} == {
        "empty": "unfinished",
        "zeros": "unfinished",
        "headless": "unreadable",
        "link": "unreadable",
        "fifo": "unreadable",
    }


@pytest.mark.parametrize(("prefix", "found"), [("7f3a", "7f3a"), ("7f", "7f3a"), ("7F3", "7f3a"), ("ab", "ab")])
def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path, prefix: str, found: str) -> None:
    for run_id in ("7f3a", "ab", "abcd", "abce"):
        write(tmp_path, run_id, started())
    assert find_journal(tmp_path, prefix) == tmp_path / f"{found}.jsonl"


@pytest.mark.parametrize(
    ("prefix", "message", "hint"),
    [
        ("abc", "2 runs begin with 'abc': abcd, abce", "give a longer prefix of the id"),
        ("7f4a", "no run begins with '7f4a'", 'did you mean "7f3a"?'),
        ("zzz", "no run begins with 'zzz'", "agentctl runs list   shows the ids"),
        ("", "no run begins with ''", "agentctl runs list   shows the ids"),
        ("../7f3a", "no run begins with '../7f3a'", 'did you mean "7f3a"?'),
    ],
)
def test_ambiguous_id_raises_with_the_candidates(tmp_path: Path, prefix: str, message: str, hint: str) -> None:
    for run_id in ("7f3a", "abcd", "abce"):
        write(tmp_path, run_id, started())
    with pytest.raises(UsageError) as caught:
        find_journal(tmp_path, prefix)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0, 1, exclude_max=True), zeros=st.integers(0, 3))
def test_a_last_line_cut_anywhere_is_left_out(tmp_path: Path, kept: float, zeros: int) -> None:
    path = write(tmp_path, "r1", started(), Noted("x" * 50), finished())
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    last = whole[start:-1]
    path.write_bytes(whole[:start] + last[: int(kept * len(last))] + b"\0" * zeros)
    assert [line["event"] for line in read_run(path)] == ["run_started", "noted"]
    assert [run.status for run in list_runs(tmp_path)] == ["unfinished"]


@pytest.mark.parametrize("broken", [b"{", b"[]", b"", b"\xff\xfe", b"\0\0"])
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, broken: bytes) -> None:
    path = write(tmp_path, "r1", started(), Noted("x"), finished())
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], broken, lines[2], b""]))
    with pytest.raises(StateError, match=r"line 2 of .* is broken"):
        list(read_run(path))


def test_a_journal_that_is_gone_raises(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be read: no such file"):
        list(read_run(tmp_path / "r1.jsonl"))


def test_thousands_of_runs_are_read_at_head_and_tail_only(tmp_path: Path) -> None:
    first = write(tmp_path, "r0", started(), Noted("x" * 200_000), finished())
    for number in range(1, 2000):
        os.link(first, tmp_path / f"r{number}.jsonl")
    assert len(list_runs(tmp_path)) == 2000


def test_line_being_written_ends_the_reading_and_is_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "r1.jsonl"
    path.write_bytes(b'{"seq": 1}\n{"seq": ')
    lines = read_run(path)
    assert next(lines) == {"seq": 1}
    with path.open("ab") as writer:
        writer.write(b'2}\n{"seq": 3}\n')
    assert [line["seq"] for line in lines] in ([], [2, 3])
