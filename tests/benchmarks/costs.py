"""How long ``costs --last-hour`` takes with a long ledger, against an empty one, as a ratio within one run.

``python tests/benchmarks/costs.py [ROUNDS] [--rows N] [--folder DIR]``; DIR keeps the ledger for the next time. Run it
with an interpreter that has what agentctl needs, with byte code on disk. No test asserts a time.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agentctl.ledger.store import Store

ROOT = Path(__file__).parents[2]
RUN_OF = 5  # calls in a run
SPACING_S = 60  # between calls: a million of them are two years
ROWS = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows)
INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, model, input_bound, granted_output, hold_nano,
    hold_tokens, ceiling_nano, ceiling_tokens, nano, tokens, admitted, held_us, sent_us, deadline_us, ended_us,
    leaves_hour_us, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, settled_by)
SELECT printf('%032x', n), printf('%012x', n / :run_of), 'owner', 'turn', iif(n % 997, 'settled', 'doubt'), 'openai',
    iif(n % 3, 'gpt-4o', 'gpt-4o-mini'), 4000, 4096, 90000000, 8096, 90000000, 8096, 1000000 + n % 5000000, 4200, '{}',
    :last - n * :gap - 2000000, :last - n * :gap - 1000000, :last - n * :gap + 600000000, :last - n * :gap,
    :last - n * :gap + 3600000000, 4000, 1000, 200, 0, 'usage' FROM numbers ORDER BY n DESC
"""
RUNS = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :runs)
INSERT INTO scopes (id, kind, task, agent, labels, opened_us, closed_us, status)
SELECT printf('%012x', n), 'run', 'a task', iif(n % 2, 'docker', 'system'),
    json_object('team', printf('team %d', n % 10), 'job', 'build'), 0, 1, 'done' FROM numbers
"""


def fill(path: Path, rows: int) -> None:
    """Make a ledger with ``rows`` calls, the last of them a moment ago."""
    Store(path).close()
    values = {"rows": rows, "run_of": RUN_OF, "last": time.time_ns() // 1000, "gap": SPACING_S * 1_000_000}
    db = sqlite3.connect(path)
    db.execute("PRAGMA synchronous=OFF")
    with db:
        db.execute("INSERT INTO owners (id, pid, host, boot_id, started_us) VALUES ('owner', 1, 'host', 'boot', 0)")
        db.execute(RUNS, {"runs": -(-rows // RUN_OF)})
        db.execute(ROWS, values)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


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
        fill(full / "ledger.db", rows)
        (full / "done").touch()
        print(f"made {rows:,} rows in {time.perf_counter() - began:.0f} s")
    empty.mkdir(exist_ok=True)
    if not (empty / "ledger.db").exists():
        Store(empty / "ledger.db").close()
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
