"""How the ledger fares on a disk whose every sync takes long: ``python -m tests.benchmarks.slow_disk``.

Many processes hold, mark, settle at once; the kernel lets each sync wait (Linux). Nothing may be refused by the queue's
patience or a hold's deadline.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.fsync_faults import Syncs
from tests.support.ledger.parts import ask


def work(path: Path, number: int, calls: int, sync_s: float) -> dict[str, Any]:
    """Make so many calls; return how long each deed took, in seconds."""
    syncs = Syncs()
    syncs.delay_s = sync_s
    took: dict[str, list[float]] = {"open": [], "begin": [], "hold": [], "mark": [], "settle": []}

    def timed(deed: str, do: Callable[[], Any]) -> Any:  # noqa: ANN401
        began = time.monotonic()
        found = do()
        took[deed].append(time.monotonic() - began)
        return found

    book = timed("open", lambda: LedgerSession(Database(path), owner_id=os.urandom(8).hex(), pid=os.getpid()))
    no_limit = CostLimit(max_cost_per_task=None, max_tokens_per_task=None)
    timed("begin", lambda: book.open_run(f"run-{number}", no_limit, task="", agent="", labels={}))
    lost = 0
    for at in range(calls):
        name = f"{number}-{at}"
        held = timed("hold", lambda name=name: book.reserve(ask(name, f"run-{number}", tokens=1)))  # type: ignore[misc]
        assert isinstance(held, Hold)
        if not timed("mark", lambda name=name: book.mark_sent(name)):  # type: ignore[misc]
            lost += 1
            continue
        timed("settle", lambda name=name: book.settle(name, Charge(Usage(1, 1), 1_000_000, "m")))  # type: ignore[misc]
    book.close()
    return {"lost": lost, "took": took}


def main() -> int:
    """Run the processes and print what each deed took."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--processes", type=int, default=16)
    words.add_argument("--calls", type=int, default=5)
    words.add_argument("--sync", type=float, default=0.1, help="seconds that each sync takes")
    words.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    told = words.parse_args()
    if told.work is not None:
        print(json.dumps(work(Path(told.work[0]), int(told.work[1]), told.calls, told.sync)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder, "ledger.db"), time.monotonic()
        line = [
            sys.executable,
            "-m",
            "tests.benchmarks.slow_disk",
            "--calls",
            str(told.calls),
            "--sync",
            str(told.sync),
        ]
        started = [
            subprocess.Popen([*line, "--work", str(path), str(number)], stdout=subprocess.PIPE, text=True)
            for number in range(told.processes)
        ]
        ended = [process.communicate()[0] for process in started]
        elapsed = time.monotonic() - began
    refused = sum(process.returncode != 0 for process in started)
    found = [json.loads(text) for text in ended if text]
    print(f"{told.processes} processes, {told.calls} calls each, a sync takes {told.sync:g} s: {elapsed:.1f} s in all")
    print(f"refused: {refused}, holds lost: {sum(one['lost'] for one in found)}")
    for deed in ("open", "begin", "hold", "mark", "settle"):
        took = sorted(seconds for one in found for seconds in one["took"][deed])
        print(f"{deed:>7}: median {statistics.median(took):6.2f} s, most {took[-1]:6.2f} s")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
