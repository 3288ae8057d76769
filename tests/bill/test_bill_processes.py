"""Many processes under one hourly limit, one killed in mid-answer, one stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.bill.book import book_of
from tests.support.bill.parts import (
    FOUR_CENTS,
    KEY,
    PAID,
    PENNY,
    TASK,
    Paid,
    assert_accounted,
    assert_told,
    assert_within,
    priced,
    reaching,
)
from tests.support.command_line import ROOT, Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer

HOUR = 300_000_000


def start(shell: Commands, server: WireServer, paid: Paid, *words: str) -> subprocess.Popen[bytes]:
    environ = reaching(server, paid.format) | {"LLM_MODEL": paid.model}
    return shell.start("run", TASK, "--json", *words, env=environ)


@pytest.mark.both_clients
def test_eight_processes_at_once_stay_within_one_hours_limit(shell: Commands, state: Path, wire: OpenWire) -> None:
    server = wire(partial(PENNY.busy, gap_s=0.01), rates=PENNY.rates, keys=[KEY])
    words = ("--max-cost-per-hour", "0.30", "--budget-wait", "10s")
    processes = [start(shell, server, PENNY, *words) for _ in range(8)]
    ended = []
    for process in processes:
        out, err = process.communicate(timeout=100)
        ended.append(Ended(process.returncode, out.decode(), err.decode()))
    book = book_of(state)
    assert [one.err for one in ended if "Traceback" in one.err] == []
    assert {one.code for one in ended} <= {0, 3}
    assert 3 in {one.code for one in ended}
    assert server.books.most_at_once > 1
    assert_accounted(server.books, book)
    assert_within(server.books, book, HOUR)
    assert server.books.billed_nano >= HOUR * 8 // 10
    assert sum(one.document["cost"]["nano_usd"] for one in ended) == server.books.billed_nano
    assert len({attempt.run_id for attempt in book.sent}) == len({one.document["run_id"] for one in ended})


def test_batch_of_xargs_shares_one_hours_limit(shell: Commands, state: Path, wire: OpenWire) -> None:
    server = wire(partial(PENNY.busy, gap_s=0.01), rates=PENNY.rates, keys=[KEY])
    words = ("run", "--json", "--max-cost-per-hour", "0.20", "--budget-wait", "2s", "--")
    environ = os.environ | shell.environ | reaching(server, PENNY.format) | {"LLM_MODEL": PENNY.model}
    batch = subprocess.run(
        ["xargs", "-d", "\n", "-n", "1", "-P", "8", *shell.argv(words, None)],
        input="".join(f"{TASK} {number}\n" for number in range(10)),
        cwd=shell.folder,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    documents, place = [], 0
    while place < len(batch.stdout):
        document, place = json.JSONDecoder().raw_decode(batch.stdout, place)
        documents.append(document)
        place += 1  # the end of its last line
    book = book_of(state)
    assert (batch.returncode, "Traceback" in batch.stderr) == (123, False)
    assert sorted(document["task"] for document in documents) == [f"{TASK} {number}" for number in range(10)]
    assert {document["exit_code"] for document in documents} <= {0, 3}
    assert server.books.most_at_once > 1
    assert_accounted(server.books, book)
    assert_within(server.books, book, 200_000_000)
    assert sum(document["cost"]["nano_usd"] for document in documents) == server.books.billed_nano


@pytest.fixture
def stalled(shell: Commands, wire: OpenWire) -> Callable[..., tuple[WireServer, subprocess.Popen[bytes]]]:
    """Start a command and wait until it is in the middle of its second answer."""

    def begin(*words: str) -> tuple[WireServer, subprocess.Popen[bytes]]:
        paid = PAID["anthropic"]
        server = wire([paid.busy, partial(paid.busy, stall=True)], rates=paid.rates, keys=[KEY])
        process = start(shell, server, paid, *words)
        assert server.books.wait(lambda books: len(books.entries) == 2, 50), process.poll()
        return server, process

    return begin


def test_requests_of_a_killed_process_count_for_the_next_one(
    shell: Commands, state: Path, stalled: Callable[..., tuple[WireServer, subprocess.Popen[bytes]]]
) -> None:
    words = ("--max-cost-per-hour", "0.20", "--budget-wait", "1s")
    server, process = stalled(*words)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    assert book_of(state).phases == ["settled", "sent"]

    paid = PAID["anthropic"]
    server.play(paid.busy)
    with start(shell, server, paid, *words) as again:
        document = json.loads(again.communicate(timeout=50)[0])
    book = book_of(state)
    assert book.phases[:2] == ["settled", "doubt"]
    assert book.attempts[1].reason == "its process ended"
    assert_accounted(server.books, book)
    assert_within(server.books, book, 200_000_000)
    assert again.returncode in (3, 4)
    assert document["limits"]["max_cost_per_hour"]["used"] == book.counted_nano / 10**9
    assert list((state / "ledger.owners").iterdir()) == []


@pytest.mark.both_clients
def test_ctrl_c_in_mid_answer_hangs_up_and_leaves_the_hold_in_doubt(
    state: Path, stalled: Callable[..., tuple[WireServer, subprocess.Popen[bytes]]]
) -> None:
    server, process = stalled("--max-cost", "0.50")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    document, book = json.loads(out), book_of(state)
    assert (process.returncode, document["status"], document["exit_code"]) == (130, "interrupted", 130)
    assert document["complete"] is False
    last, before = "Step 2: looking.", "Step 1: looking."
    assert document["answer"] == before or last.startswith(document["answer"]), "what it had begun to say is not lost"
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    assert book.phases == ["settled", "doubt"]
    assert book.nano("doubt") >= FOUR_CENTS
    assert_accounted(server.books, book)
    assert_within(server.books, book, 500_000_000)
    assert_told(document, book)
    assert b"Traceback" not in err


def test_a_reader_that_takes_its_time_gets_every_line(shell: Commands, state: Path, wire: OpenWire) -> None:
    """The reader pauses longer than the silence timeout, which counts only the provider's silence."""
    paid, text = PAID["ollama"], "some more words of a long answer, " * 6000
    server = wire(paid.answer(text, output_tokens=1900), rates=paid.rates)
    words = ("run", TASK, "-o", "jsonl", "--llm-timeout", "1s", "--config", str(priced(shell.folder)))
    with shell.start(*words, env=reaching(server, "ollama")) as process:
        assert server.books.wait(lambda books: len(books.entries) == 1, 50)
        time.sleep(1.5)
        out, _ = process.communicate(timeout=50)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (process.returncode, lines[-1]["event"], lines[-1]["answer"]) == (0, "run_finished", text)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert_accounted(server.books, book_of(state))
