"""Thirty processes in one tree of runs, killed at random: ``python -m tests.support.ledger.tree_processes NAME``.

Each spends below its parent until a limit refuses it, then closes its run, whatever its children are doing; others are
killed. The provider's own books, the file's entries and the times of the kills say whether all was as promised.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from agentctl.core.errors import ActionDenied
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.pricing import to_usd
from agentctl.ledger.check import check
from tests.support.ledger.audit import bills_of, compare, lines_of, phases, still_open
from tests.support.ledger.crowd import WORST, Crowd
from tests.support.ledger.spender import Plan, RunningClock, Spender, append
from tests.support.ledger.trees import DEEPEST, WIDEST, audit

PROCESSES = 30
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Branch(Plan):
    """What one process of the tree does: ``parent`` is the run that it opens its own below."""

    parent: str = ""


class Grower(Spender):
    """Spends below its parent until it has made its calls, is refused, or denied because a run above has ended."""

    def open_a_run(self) -> None:
        """Open the run as soon as its parent is there."""
        assert isinstance(self.plan, Branch)
        limit = None if self.plan.run_nano is None else to_usd(self.plan.run_nano)
        limits = CostLimit(max_cost_per_task=limit, max_cost_per_hour=None, max_tokens_per_task=None)
        parent = Parent(self.plan.parent, f"secret of {self.plan.parent}") if self.plan.parent else None
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.session.open_run(
                    self.run, limits, task="", agent="", labels={}, parent=parent, capability=f"secret of {self.run}"
                )
            except ActionDenied as error:
                if "is not in the ledger" not in error.message or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def follow(self) -> None:
        ended = ""
        try:
            self.open_a_run()
            while self.made < self.plan.calls and not ended:
                ended = self.call()
            self.session.close_run(self.run, "done")
        except ActionDenied as error:
            ended = error.message
        self.session.close()
        append(self.folder / "outcomes", json.dumps({"run": self.run, "made": self.made, "ended": ended}))

    def call(self) -> str:
        """Make one call; what is under way when a run above ends may be settled all the same."""
        refused = super().call()
        time.sleep(self.dice.uniform(0, 0.02))
        return refused


def shape(dice: random.Random, calls: int) -> list[Branch]:
    """Return the runs of a tree, each behind its parent; the limit of the outermost is good for so many calls."""
    branches = [Branch("run-00", 10**9, run_nano=calls * WORST, answer_s=0.01)]
    depth, children = {"run-00": 1}, {"run-00": 0}
    for number in range(1, PROCESSES):
        name = f"run-{number:02d}"
        parent = dice.choice([one for one in depth if depth[one] < DEEPEST and children[one] < WIDEST])
        children[parent] += 1
        depth[name], children[name] = depth[parent] + 1, 0
        limit = dice.choice([None, 8 * WORST, 20 * WORST, 60 * WORST])
        branches.append(Branch(name, 10**9, run_nano=limit, answer_s=dice.uniform(0, 0.02), parent=parent))
    return branches


def tree(calls: int, kills: int, seed: int) -> dict[str, object]:
    """Let a tree of processes spend, kill some of them at any moment, and return what is wrong in the end."""
    dice, deaths, clock = random.Random(seed), dict[str, int](), RunningClock(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crowd = Crowd(folder, Grower)
        branches = shape(dice, calls)
        for branch in branches:
            crowd.start(branch)
        crowd.open_the_gate()
        until_all_are_open(folder / "ledger.db")
        wrong: list[str] = []
        for _ in range(kills):
            time.sleep(dice.uniform(0.02, 0.15))
            spared = next((pid for pid, plan in crowd.living.items() if plan.run == "run-00"), 0)
            victim = dice.choice([pid for pid in crowd.living if pid != spared])
            run = crowd.living[victim].run
            crowd.kill(victim)
            deaths[run] = clock.now_us() + 10**15
            wrong += compare(folder)
        codes = crowd.await_all()
        bills = bills_of(folder)
        crowd.start(Branch("survivor", 1))
        codes += crowd.await_all()
        wrong += [*compare(folder), *audit(folder / "ledger.db"), *check(folder / "ledger.db").wrong]
        wrong += below_the_dead(folder / "ledger.db", deaths) + above_a_limit(folder)
        if open_ones := still_open(folder):
            wrong.append(f"{open_ones} attempts are still open")
        outcomes = lines_of(folder / "outcomes")
        return {
            "wrong": wrong,
            "failed": sum(code != 0 for code in codes),
            "kills": len(deaths),
            "calls": len(bills),
            "billed": sum(bill.nano for bill in bills.values()),
            "phases": phases(folder),
            "refused": sum(str(one["ended"]).startswith("max_") for one in outcomes),
            "denied": sum("has ended" in str(one["ended"]) for one in outcomes),
            "given up": len(lines_of(folder / "given-up")),
        }


def until_all_are_open(path: Path) -> None:
    """Wait until every run is opened: no run can open below one that is killed before."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        time.sleep(0.02)
        if path.exists() and path.stat().st_size:
            with closing(sqlite3.connect(path)) as db, suppress(sqlite3.OperationalError):  # it is just being made
                if db.execute("SELECT count(*) FROM scopes").fetchone() == (PROCESSES,):
                    return
    raise TimeoutError("not every process has opened its run")


def below_the_dead(path: Path, deaths: dict[str, int]) -> list[str]:
    """Return each request that was marked as sent below a process that had been dead for some time."""
    with closing(sqlite3.connect(path)) as db:
        parents = dict(db.execute("SELECT id, parent_id FROM scopes"))
        sent = db.execute(
            "SELECT a.run_id, e.wall_us FROM entries AS e JOIN attempts AS a ON a.id = e.attempt_id"
            " WHERE e.phase = 'sent'"
        ).fetchall()
    wrong = []
    for run, at_us in sent:
        above = parents[run]
        while above is not None:
            if deaths.get(above, at_us) < at_us:
                wrong.append(f"{run} sent at {at_us}, below {above}, which was killed at {deaths[above]}")
            above = parents[above]
    return wrong


def above_a_limit(folder: Path) -> list[str]:
    """Return each run below which the provider billed more than its limit."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        parents = dict(db.execute("SELECT id, parent_id FROM scopes"))
        limits = dict(db.execute("SELECT id, limit_nano FROM scopes WHERE limit_nano IS NOT NULL"))
        runs = dict(db.execute("SELECT id, run_id FROM attempts"))
    billed = dict.fromkeys(parents, 0)
    for attempt, bill in bills_of(folder).items():
        run = runs[attempt]
        while run is not None:
            billed[run] += bill.nano
            run = parents[run]
    return [f"{run} was billed {billed[run]} under {most}" for run, most in limits.items() if billed[run] > most]


QUICK: dict[str, Callable[[], dict[str, object]]] = {"tree": lambda: tree(100, 8, 1)}
FULL: dict[str, Callable[[], dict[str, object]]] = {
    f"tree {seed}": lambda seed=seed: tree(400, 18, seed)  # type: ignore[misc]
    for seed in range(5)
}

if __name__ == "__main__":
    print(json.dumps(QUICK[sys.argv[1]]()))
