"""How quickly holds are made and settled, beside bare SQLite: ``python tests/benchmarks/ledger.py [SECONDS]``.

An operation is hold + sent + settled: three transactions, each on disk. The bare script does three transactions of one
insert and one update with the same pragmas, and polls while another writes, as SQLite does by itself. Sixteen
processes, saturated, and one; the two take turns. What is to be reached: 99 % below 50 ms, none fails (DESIGN.md
section 8). Ratios within one run; no test asserts a time.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.budget import Ask, Charge, Hold  # noqa: E402 - the tests are no package of the path
from agentctl.ledger.book import Book  # noqa: E402
from agentctl.ledger.store import Store  # noqa: E402
from agentctl.limits import CostLimit  # noqa: E402
from agentctl.messages import Usage  # noqa: E402
from tests.ledger.spender import FACTS  # noqa: E402

CROWD = 16
Step = Callable[[], None]


def of_the_book(folder: Path) -> tuple[Step, ...]:
    """Return hold, sent and settled, each a transaction of the ledger."""
    book = Book(Store(folder / "ledger.db", patience_s=120), owner_id=os.urandom(8).hex(), pid=os.getpid())
    run = f"run-{os.getpid()}"
    free_hand = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
    book.open_run(run, free_hand, task="", agent="", labels={})
    held: list[str] = []

    def hold() -> None:
        answer = book.reserve(Ask(os.urandom(16).hex(), run, FACTS, 100, 20, 100, 10**15))
        assert isinstance(answer, Hold)
        held.append(answer.id)

    def sent() -> None:
        assert book.mark_sent(held[-1])

    def settle() -> None:
        book.settle(held.pop(), Charge(Usage(10, 10), 10_010_000, "m"))

    return hold, sent, settle


def of_bare_sqlite(folder: Path) -> tuple[Step, ...]:
    """Return the same transaction three times."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None, timeout=120)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, nano INTEGER)")

    def write() -> None:
        db.execute("BEGIN IMMEDIATE")
        made = db.execute("INSERT INTO entries (nano) VALUES (1)").lastrowid
        db.execute("UPDATE entries SET nano = 2 WHERE id = ?", (made,))
        db.execute("COMMIT")

    return write, write, write


def measured(make: Callable[[Path], tuple[Step, ...]], processes: int, seconds: float) -> tuple[list[float], int]:
    """Return the time of each transaction, in seconds, and how many processes failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if (pid := os.fork()) == 0:  # the file is made once, and not by all of them; nothing is open here while forking
            for step in make(folder):
                step()
            os._exit(0)
        os.waitpid(pid, 0)
        gate, children = os.pipe(), []
        for _ in range(processes):
            if (pid := os.fork()) == 0:
                os._exit(_saturate(make, folder, gate, seconds))
            children.append(pid)
        os.close(gate[1])
        failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
        os.close(gate[0])
        taken = [t for path in folder.glob("taken-*") for t in json.loads(path.read_text())]
    return taken, failed


def _saturate(make: Callable[[Path], tuple[Step, ...]], folder: Path, gate: tuple[int, int], seconds: float) -> int:
    try:
        steps, taken = make(folder), []
        os.close(gate[1])
        os.read(gate[0], 1)
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            for step in steps:
                began = time.perf_counter()
                step()
                taken.append(time.perf_counter() - began)
        (folder / f"taken-{os.getpid()}").write_text(json.dumps(taken))
    except Exception as error:  # noqa: BLE001 - counted as a failure, whatever it was
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def main(seconds: float) -> None:
    """Print each one's figures, and the ratios."""
    rates, tails = {}, {}
    for what, make, processes in (
        ("bare SQLite, 1", of_bare_sqlite, 1),
        ("ledger, 1", of_the_book, 1),
        (f"bare SQLite, {CROWD}", of_bare_sqlite, CROWD),
        (f"ledger, {CROWD}", of_the_book, CROWD),
    ):
        taken, failed = measured(make, processes, seconds)
        rates[what], tails[what] = len(taken) / 3 / seconds, quantiles(taken, n=100)[98]
        within = sum(t < 0.05 for t in taken) / len(taken)
        print(
            f"{what:<16} {rates[what]:6.0f} operations/s  p50 {1000 * median(taken):6.1f} ms"
            f"  p99 {1000 * tails[what]:7.1f} ms  longest {1000 * max(taken):6.0f} ms"
            f"  below 50 ms {100 * within:5.1f} %  failed {failed}"
        )
    alone, crowd, bare = "ledger, 1", f"ledger, {CROWD}", f"bare SQLite, {CROWD}"
    print(
        f"{CROWD} processes: rate ledger / bare {rates[crowd] / rates[bare]:.2f}   p99 ledger / bare"
        f" {tails[crowd] / tails[bare]:.2f}   rate {CROWD} / 1 {rates[crowd] / rates[alone]:.2f}"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
