"""Journals whose writer was killed in the midst of a record: they are what they were before it, and go on there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.core.events import Record, RunResumed
from agentctl.journal.lock import lock_journal
from agentctl.journal.past_run import PastRun
from agentctl.journal.reader import list_runs, read_run
from agentctl.journal.replay import read_past
from agentctl.journal.writer import Journal
from tests.support.journal_files import AT, JournalFile, limits


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    """The records of a run that tripped, was resumed with words, and ended."""
    run = JournalFile(tmp_path).start().turn("system_memory", ("read_file", {"path": "grün"})).end("budget", "So far.")
    run.resume("Be brief", usd=1.0).turn("system_load", text="I look again.").turn(text="All is well.").end()
    return run.path.read_bytes().splitlines(keepends=True)


def past_of(path: Path) -> PastRun | str:
    """Return the past, or why there is none."""
    try:
        return read_past(path)
    except UsageError as error:
        return error.message


async def go_on(path: Path, seq: int) -> None:
    """Begin the next part of a run, as resuming it does."""
    resumed = RunResumed("aaa1", seq, 2, 0, "And now?", limits())
    async with Journal(path.parent, path.stem, locked=lock_journal(path)) as journal:
        await journal.observe(Record("aaa1", seq + 1, AT, resumed))


async def test_a_run_goes_on_as_if_a_torn_record_had_never_begun(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "runs" / "aaa1.jsonl"
    for number in range(1, len(lines)):
        whole, last = b"".join(lines[:number]), lines[number]
        path.write_bytes(whole)
        wanted, listed = past_of(path), list_runs(path.parent)
        for size in {1, 2, len(last) // 2, len(last) - 2, len(last) - 1}:
            path.write_bytes(whole + last[:size])
            assert past_of(path) == wanted, (number, size)
            assert list_runs(path.parent) == listed, (number, size)
        await go_on(path, number)
        assert path.read_bytes().startswith(whole)
        assert [one["seq"] for one in read_run(path)] == list(range(1, number + 2))


def test_no_byte_of_a_torn_end_is_read(tmp_path: Path, lines: list[bytes], pytestconfig: pytest.Config) -> None:
    path = tmp_path / "runs" / "aaa1.jsonl"
    whole, last = b"".join(lines[:-1]), lines[-1]
    path.write_bytes(whole)
    wanted = read_past(path)
    assert wanted.status is None
    for size in range(1, len(last), 1 if pytestconfig.getoption("full") else 41):
        path.write_bytes(whole + last[:size])
        assert read_past(path) == wanted, size
    path.write_bytes(whole + last)
    assert read_past(path).status == "done"


@pytest.mark.parametrize("rest", [b"\0" * 4096, b"\xff\xfe", b'{"event": "run_finished"', b" " * 70_000])
async def test_what_a_power_cut_leaves_behind_the_last_line_is_cut_off(
    tmp_path: Path, lines: list[bytes], rest: bytes
) -> None:
    path = tmp_path / "runs" / "aaa1.jsonl"
    path.write_bytes(b"".join(lines[:-1]) + rest)
    assert read_past(path).status is None
    await go_on(path, len(lines) - 1)
    assert [json.loads(line)["seq"] for line in path.read_bytes().splitlines()] == list(range(1, len(lines) + 1))
