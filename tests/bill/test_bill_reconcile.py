"""After an outage that billed nothing, the line that the breaker prints frees the next run."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from agentctl.ledger.check import check
from tests.support import fork_server
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, TASK, reaching
from tests.support.command_line import Commands, Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer

COMMAND = "agentctl ledger reconcile "


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with ``agentctl`` in it, as a shell finds it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "agentctl").write_text(f'#!/bin/sh\nexec {fork_server.command()} "$@"\n')
    (folder / "agentctl").chmod(0o755)
    return folder


def pasted(line: str, program: Path) -> subprocess.CompletedProcess[str]:
    """Run a printed line in a shell, unchanged."""
    environ = {**os.environ, "PATH": f"{program}:{os.environ['PATH']}"}
    return subprocess.run(
        ["/bin/sh", "-c", line], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def printed(ended: Ended) -> str:
    """Return the command in the hint, up to the end of its line."""
    (hint,) = [line for line in ended.err.splitlines() if COMMAND in line]
    return hint[hint.index(COMMAND) :]


def test_the_printed_line_frees_the_next_run_after_an_outage(
    shell: Commands, state: Path, wire: OpenWire, program: Path
) -> None:
    paid = PAID["openai"]
    server: WireServer = wire([partial(paid.brief, cut_at="middle", bill_nano=0)] * 8, rates=paid.rates, keys=[KEY])
    words = ("run", TASK, "--max-cost", "1.00", "--max-cost-per-hour", "0.20")
    environ = reaching(server, "openai")
    outage = shell(*words, **environ)
    book = book_of(state)
    run_id = book.sent[0].run_id
    assert (outage.code, {one.phase for one in book.sent}) == (4, {"doubt"}), outage.err
    assert printed(outage) == f"agentctl ledger reconcile --run {run_id} --actual 0"
    server.play([paid.brief] * 8)
    refused = shell(*words, **environ)
    assert (refused.code, printed(refused)) == (4, "agentctl ledger reconcile --provider openai --actual 0")
    assert "agentctl ledger check   lists what other runs have in doubt" in refused.err
    freed = pasted(printed(outage), program)
    assert (freed.returncode, freed.stderr) == (0, ""), freed
    works = shell(*words, **environ)
    assert (works.code, works.out) == (0, "Half of it is used.\n"), works.err
    found = check(state / "ledger.db")
    assert (found.doubts, found.open, found.wrong) == ((), (), ())


def test_the_line_after_an_overrun_lets_the_usual_worst_case_be_held_again(
    shell: Commands, state: Path, wire: OpenWire, program: Path
) -> None:
    paid = PAID["openai"]
    server: WireServer = wire([partial(paid.brief, obeys=False, output_tokens=4500)] * 2, rates=paid.rates, keys=[KEY])
    environ = reaching(server, "openai") | {"AGENTCTL_MAX_OUTPUT_TOKENS": "300"}
    overran = shell("run", TASK, **environ)
    assert (overran.code, "provider_overrun" in overran.err) == (3, True), overran.err
    line = printed(overran)
    assert line == "agentctl ledger reconcile --clear-overrun openai/gpt-4-turbo"
    server.play([paid.brief] * 8)
    assert pasted(line, program).returncode == 0
    assert shell("run", TASK, **environ).code == 0
    assert book_of(state).sent[-1].hold_nano < 100_000_000
