"""The real command, stopped (SIGSTOP) during a call: the call counts for all, and is settled when it goes on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.bill.book import book_of
from tests.support.bill.parts import FOUR_CENTS, KEY, PAID, TASK, priced, reaching
from tests.support.command_line import Commands
from tests.support.ledger.scripted_process import puppet
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, WireRequest

PATIENCE_S = 60.0


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL], ids=["it goes on", "it is killed"])
def test_a_command_that_is_stopped_while_its_answer_comes(
    shell: Commands, state: Path, wire: OpenWire, end: signal.Signals
) -> None:
    paid, asked, stopped = PAID["anthropic"], threading.Event(), threading.Event()

    def then(request: WireRequest) -> Answer:
        asked.set()
        assert stopped.wait(PATIENCE_S)
        return paid.answer("Half of it is used.")

    server = wire(then, rates=paid.rates, keys=[KEY])
    words = ("run", TASK, "--json", "--llm-timeout", "5m", "--config", str(priced(shell.folder)))
    with shell.start(*words, env=reaching(server, "anthropic")) as process:
        assert asked.wait(PATIENCE_S)
        fork_server.stop(process.pid)
        (sent,) = book_of(state).attempts
        stopped.set()
        assert server.books.wait(lambda books: books.billed_nano == FOUR_CENTS, PATIENCE_S)
        with puppet(state / "ledger.db") as other:
            other.do("open", "other")
            assert other.do("spend", "other")[3] == sent.hold_nano
            assert other.do("hold", "b", 1000, {"run": "other", "hour": "1"}) == "wait", "for what may be billed"
            os.kill(process.pid, end)
            process.communicate(timeout=PATIENCE_S)
            assert other.do("hold", "c", 1, {"run": "other"}) == "held"
            found = book_of(state).attempts[0]
    if end == signal.SIGCONT:
        assert (process.returncode, found.phase, found.nano) == (0, "settled", FOUR_CENTS)
    else:
        assert (process.returncode, found.phase, found.nano) == (-signal.SIGKILL, "doubt", sent.hold_nano)
        assert found.nano >= server.books.billed_nano
    assert len(server.books.chat_requests) == 1
