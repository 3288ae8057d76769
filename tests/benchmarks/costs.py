"""How long ``costs --last-hour`` takes with a long ledger, against an empty one, as a ratio within one run.

``python tests/benchmarks/costs.py [ROUNDS] [--rows N] [--folder DIR]``; DIR keeps the ledger for the next time. Run it
with an interpreter that has what agentctl needs, with byte code on disk. No test asserts a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.ledger.database import Database  # noqa: E402 - the tests are no package of the path
from tests.support.ledger.many_rows import EVEN, fill  # noqa: E402


def seconds(words: list[str], state: Path) -> float:
    """Run a command to its end and return the wall time."""
    environment = {"HOME": str(state), "AGENTCTL_STATE_DIR": str(state), "PATH": os.environ.get("PATH", os.defpath)}
    began = time.perf_counter()
    command = [sys.executable, "-m", "agentctl", "costs", *words]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main(rounds: int, rows: int, folder: Path) -> None:
    """Print each command's median, and its ratio to the same with an empty ledger."""
    full, empty = folder / f"rows-{rows}", folder / "empty"
    if not (full / "done").exists():
        began = time.perf_counter()
        full.mkdir(parents=True, exist_ok=True)
        fill(full / "ledger.db", rows, at=EVEN, history=False)  # a million of them are two years
        (full / "done").touch()
        print(f"made {rows:,} rows in {time.perf_counter() - began:.0f} s")
    empty.mkdir(exist_ok=True)
    if not (empty / "ledger.db").exists():
        Database(empty / "ledger.db").close()
    asked = {"costs --last-hour": ["--last-hour"], "costs --today": ["--today"]}
    for name, words in asked.items():
        taken: dict[Path, list[float]] = {empty: [], full: []}
        for _ in range(rounds + 1):  # in turns, so that a machine that changes its speed changes it for both
            for state, times in taken.items():
                times.append(seconds(words, state))
        few, many = (statistics.median(times[1:]) for times in taken.values())
        print(f"{name:<18}  empty {1000 * few:5.0f} ms  {rows:,} rows {1000 * many:5.0f} ms  ratio {many / few:.2f}")
    for words in (["--this-month", "--by", "day"], ["--since", "8760h", "--by", "day,model"]):
        print(f"costs {' '.join(words)}: {seconds(words, full):.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to keep the ledger; else a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(given.rounds, given.rows, given.folder or Path(temporary))
