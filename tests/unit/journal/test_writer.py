"""The record of a run: whole lines, on disk, for its owner only, without secrets."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from agentctl.core.errors import StateError, UsageError
from agentctl.core.events import (
    AnswerStreamed,
    Event,
    MessageAdded,
    Noted,
    Record,
    RunStarted,
    ToolFinished,
    TurnStarted,
)
from agentctl.core.messages import Message, ToolCall
from agentctl.journal.reader import read_run
from agentctl.journal.writer import Journal, encode_record

REPOSITORY = Path(__file__).parents[3]
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STARTED = RunStarted("say hi", "system", "flag", "scripted", "flag", "m1", False, "/w", ())


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def record(seq: int, event: Event, run_id: str = "r1") -> Record:
    return Record(run_id, seq, NOON, event)


async def test_no_file_is_made_before_the_first_record(tmp_path: Path) -> None:
    async with Journal(tmp_path / "runs", "r1") as journal:
        await journal.observe(record(1, AnswerStreamed("a piece")))
    assert list(tmp_path.iterdir()) == []


async def test_each_record_is_one_line_on_disk_when_observe_returns(tmp_path: Path) -> None:
    events: list[Event] = [STARTED, TurnStarted(1), Noted("grün\n\x1b[2J")]
    records = [record(seq, event) for seq, event in enumerate(events, start=1)]
    async with Journal(tmp_path, "r1") as journal:
        for number, each in enumerate(records, start=1):
            await journal.observe(each)
            lines = (tmp_path / "r1.jsonl").read_bytes().splitlines(keepends=True)
            assert [json.loads(line) for line in lines] == [encode_record(each) for each in records[:number]]
            assert all(line.isascii() and line.endswith(b"\n") for line in lines)


async def test_pieces_of_an_answer_are_left_out(tmp_path: Path) -> None:
    async with Journal(tmp_path, "r1") as journal:
        await journal.observe(record(1, STARTED))
        await journal.observe(record(2, AnswerStreamed("a")))
        await journal.observe(record(3, TurnStarted(1)))
    assert [line["seq"] for line in read_run(tmp_path / "r1.jsonl")] == [1, 3]


async def test_folder_and_file_are_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with Journal(tmp_path / "state/runs", "r1") as journal:
            await journal.observe(record(1, STARTED))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state/runs", tmp_path / "state/runs/r1.jsonl")]
    assert modes == [0o700, 0o600]


SECRET = "sk-test-4f9a8b7c6d5e"  # noqa: S105 - nobody's


async def test_a_secret_never_reaches_the_file(tmp_path: Path) -> None:
    encoded = base64.b64encode(f"user:{SECRET}".encode()).decode()
    call = ToolCall("c", "read_file", {"path": f"/{SECRET}", SECRET: [SECRET, {"k": SECRET}]})
    async with Journal(tmp_path, "r1", secrets=[SECRET, ""]) as journal:
        await journal.observe(record(1, STARTED))
        await journal.observe(record(2, MessageAdded(Message("user", f"it is {SECRET}!\nBasic {encoded}", (call,)))))
        await journal.observe(record(3, ToolFinished(call, f"KEY={SECRET}\n-----BEGIN PRIVATE KEY-----\nabc", 0.1)))
    written = (tmp_path / "r1.jsonl").read_text()
    assert SECRET not in written
    assert encoded[8:-4] not in written
    assert "abc" not in written
    *_, last = read_run(tmp_path / "r1.jsonl")
    assert last["text"] == "KEY=[redacted]\n[redacted]"


async def test_two_runs_write_at_once_without_mixing(tmp_path: Path) -> None:
    async def write(run_id: str) -> None:
        async with Journal(tmp_path, run_id) as journal:
            for seq in range(1, 51):
                await journal.observe(record(seq, Noted(run_id * 2000), run_id))

    async with anyio.create_task_group() as tasks:
        for run_id in ("aa", "bb"):
            tasks.start_soon(write, run_id)
    for run_id in ("aa", "bb"):
        lines = list(read_run(tmp_path / f"{run_id}.jsonl"))
        assert [(line["run_id"], line["seq"]) for line in lines] == [(run_id, seq) for seq in range(1, 51)]


async def test_records_of_concurrent_tools_keep_their_order(tmp_path: Path) -> None:
    async with Journal(tmp_path, "r1") as journal, anyio.create_task_group() as tasks:
        for seq in range(1, 21):
            tasks.start_soon(journal.observe, record(seq, TurnStarted(seq)))
    assert sorted(str(line["seq"]) for line in read_run(journal.path)) == sorted(str(seq) for seq in range(1, 21))


async def test_a_record_begun_is_written_though_the_run_is_cancelled(tmp_path: Path) -> None:
    async with Journal(tmp_path, "r1") as journal:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.observe(record(1, STARTED))
    assert [line["seq"] for line in read_run(journal.path)] == [1]


async def test_a_run_has_one_journal(tmp_path: Path) -> None:
    async with Journal(tmp_path, "r1") as first, Journal(tmp_path, "r1") as second:
        await first.observe(record(1, STARTED))
        with pytest.raises(StateError, match="cannot be written: file exists"):
            await second.observe(record(1, STARTED))
    with pytest.raises(StateError, match="it is closed"):
        await first.observe(record(2, STARTED))


async def test_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "r1.jsonl").symlink_to(tmp_path / "elsewhere")
    async with Journal(tmp_path, "r1") as journal:
        with pytest.raises(StateError, match="file exists"):
            await journal.observe(record(1, STARTED))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".hidden", "a\0b"])
def test_run_id_must_be_a_plain_name(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="cannot be the id of a run"):
        Journal(tmp_path, run_id)


async def test_a_folder_that_cannot_be_made_raises_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with Journal(tmp_path / "file/runs", "r1") as journal:
        with pytest.raises(StateError, match="cannot be written: not a directory") as caught:
            await journal.observe(record(1, STARTED))
    assert caught.value.hint == "set AGENTCTL_STATE_DIR to a writable folder of yours"


WRITER = """
import sys, anyio, resource
from datetime import UTC, datetime
from pathlib import Path
from agentctl.core.errors import StateError
from agentctl.core.events import Noted, Record
from agentctl.journal.writer import Journal; from agentctl.journal.reader import list_runs, read_run

async def main():
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit,) * 2)
    async with Journal(folder, "r1") as journal:
        for seq in range(1, 100_000):
            try:
                await journal.observe(Record("r1", seq, datetime.now(UTC), Noted("x" * (seq * 997 % 30_000))))
            except StateError as error:
                print(error.message.rpartition(": ")[2], error.hint, sep="; ")
                break
    whole = [line["seq"] for line in read_run(journal.path)]
    print(whole == list(range(1, seq)), journal.path.read_bytes().endswith(b"\\n"))

anyio.run(main)
"""


def test_a_limit_on_file_sizes_raises_and_leaves_no_half_line(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(tmp_path), "100000"]
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "file too large; raise `ulimit -f`\nTrue True\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [("size=64k", "no space left on device; free some space"), ("ro", "read-only file system; set AGENTCTL_STATE_DIR")],
)
def test_a_full_or_read_only_disk_raises_with_a_hint(tmp_path: Path, options: str, told: str) -> None:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mounting a small disk needs root")
    script = 'mount -t tmpfs -o "$1" none "$2" && "$3" -c "$4" "$2" 0'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", options, str(tmp_path), sys.executable, WRITER],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("mounting is not allowed here")
    assert done.stdout.startswith(told)
