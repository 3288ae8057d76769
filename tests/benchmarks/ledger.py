"""How quickly holds are made and settled, beside bare SQLite and beside themselves with a million rows.

``python tests/benchmarks/ledger.py [SECONDS]``: an operation is hold + sent + settled: three transactions, each on
disk. The bare script does three transactions of one insert and one update with the same pragmas, and polls while
another writes, as SQLite does by itself. Sixteen processes, saturated, and one; the two take turns. What is to be
reached: 99 % below 50 ms, none fails (DESIGN.md section 8).

``python tests/benchmarks/ledger.py --rows 1000000 [--folder /dev/shm/ledger]``: one process with all limits set, in a
ledger with so many calls in the last 30 days (a tenth of them in the last hour, a hundredth in the last minute, one in
twenty of the run itself, and none that says how the provider fares), against an almost empty one. What is to be
reached: hold + sent + settled <= 1.5. Where the folder lies in memory, no disk hides the difference. It also says how
long the migration of such a ledger takes, and how long ``costs`` and ``ledger check`` read it before and after.

Ratios within one run; no test asserts a time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.budget.conclusions import Charge  # noqa: E402 - the tests are no package of the path
from agentctl.budget.rules import AnswerReserve, Ask, Hold  # noqa: E402 - the tests are no package of the path
from agentctl.core.errors import LimitName, Verdict  # noqa: E402
from agentctl.core.limits import CostLimit  # noqa: E402
from agentctl.core.messages import Usage  # noqa: E402
from agentctl.ledger.check import check  # noqa: E402
from agentctl.ledger.database import Database  # noqa: E402
from agentctl.ledger.ledger_session import LedgerSession  # noqa: E402
from agentctl.ledger.report import costs_window  # noqa: E402
from tests.support.ledger.many_rows import BIG, fill  # noqa: E402
from tests.support.ledger.spender import FACTS  # noqa: E402

CROWD = 16
KEEPERS = 8  # other runs that keep something for a last answer
ROUNDS = 300
A_LOT = 10**15
LIMITS: dict[LimitName, int] = {
    "max_cost_per_minute": A_LOT,
    "max_cost_per_day": A_LOT,
    "max_cost_per_month": A_LOT,
    "max_calls_per_minute": 10**9,
}
Step = Callable[[], None]
T = TypeVar("T")


def of_the_book(folder: Path) -> tuple[Step, ...]:
    """Return hold, sent and settled, each a transaction of the ledger."""
    book = LedgerSession(Database(folder / "ledger.db", patience_s=120), owner_id=os.urandom(8).hex(), pid=os.getpid())
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


class Long:
    """A ledger with many rows, other runs that keep something in it, and a run under all limits."""

    def __init__(self, path: Path) -> None:
        self.others = [self._opened(path) for _ in range(KEEPERS)]
        for number, other in enumerate(self.others):
            name = f"{os.getpid()}-{number}"
            other.open_run(name, CostLimit(), task="", agent="", labels={})
            other.reserve(Ask(f"{name}-hold", name, FACTS, 100, 20, 100, A_LOT, keep=AnswerReserve(100, 20)))
            other.void(f"{name}-hold", "refused")
        self.book = self._opened(path)
        self.taken: dict[str, list[float]] = {}

    @staticmethod
    def _opened(path: Path) -> LedgerSession:
        return LedgerSession(Database(path), owner_id=os.urandom(8).hex(), pid=os.getpid())

    def deeds(self) -> None:
        """Do each deed once, and note how long it took."""
        name = os.urandom(16).hex()
        month: LimitName = "max_cost_per_month"
        ask = Ask(name, BIG, FACTS, 100, 20, 100, A_LOT, further=LIMITS)
        assert isinstance(self._timed("hold", lambda: self.book.reserve(ask)), Hold)
        assert self._timed("sent", lambda: self.book.mark_sent(name))
        self._timed("settled", lambda: self.book.settle(name, Charge(Usage(10, 10), 10_010_000, "m")))
        counted = self._timed("sums", lambda: self.book.spend(BIG, tuple(LIMITS))).further[month]
        low = ask._replace(attempt_id=f"{name}-", further={**LIMITS, month: counted.spent // 2})
        assert isinstance(self._timed("refused", lambda: self.book.reserve(low)), Verdict)

    def _timed(self, what: str, deed: Callable[[], T]) -> T:
        began = time.perf_counter()
        done = deed()
        self.taken.setdefault(what, []).append(time.perf_counter() - began)
        return done

    def close(self) -> None:
        """End all of them."""
        for book in (self.book, *self.others):
            book.close()


def with_many_rows(rows: int, folder: Path) -> None:
    """Print what each deed takes with few rows and with many, and what the first schema takes."""
    few, many, old = folder / "few" / "ledger.db", folder / f"{rows}" / "ledger.db", folder / "old" / "ledger.db"
    provider, model = FACTS.provider, FACTS.model or ""
    fill(old, rows, schema=1)
    _read("first schema", old)
    began = time.perf_counter()
    Database(old).close()
    print(f"migration of {rows:,} rows: {time.perf_counter() - began:.1f} s")
    _read("migrated", old)
    ledgers = {}
    for path, amount in ((few, 20), (many, rows)):
        fill(path, amount, provider=provider, model=model, settled_by="export", history=False)
        ledgers[path] = Long(path)
    for _ in range(ROUNDS):  # in turns, so that a machine that changes its speed changes it for both
        for ledger in ledgers.values():
            ledger.deeds()
    each = {path: {what: median(times) for what, times in ledger.taken.items()} for path, ledger in ledgers.items()}
    for path in ledgers:
        each[path]["hold + sent + settled"] = sum(each[path][what] for what in ("hold", "sent", "settled"))
    for what, time_s in each[few].items():
        long_s = each[many][what]
        print(f"{what:<22} few {1000 * time_s:6.2f} ms  {rows:,} {1000 * long_s:6.2f} ms  ratio {long_s / time_s:.2f}")
    for ledger in ledgers.values():
        ledger.close()


def _read(what: str, path: Path) -> None:
    for name, look in (("costs", lambda: costs_window(path, seconds=3600)), ("ledger check", lambda: check(path))):
        began = time.perf_counter()
        look()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{what}, {name}: {time.perf_counter() - began:.1f} s, at most {most} MB of memory so far")


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
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", nargs="?", type=float, default=5.0)
    parser.add_argument("--rows", type=int, default=None, help="measure one process in a ledger with so many calls")
    parser.add_argument("--folder", type=Path, default=None, help="where to put the ledgers; else a temporary folder")
    given = parser.parse_args()
    if given.rows is None:
        main(given.seconds)
    else:
        with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
            with_many_rows(given.rows, Path(temporary))
