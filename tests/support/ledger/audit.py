"""An audit of a ledger against the provider's record: every bill, admission, refusal and window."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ledger.oracle import HOUR_US, Item, Oracle, Sums, admission_passes, reasons_to_refuse


@dataclass
class History(Oracle):
    """The oracle for a long history, read once from start to end."""

    by_run: dict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    recent: dict[str, Item] = field(default_factory=dict)

    def add(self, name: str, item: Item) -> None:
        """Enter a new hold."""
        self.items[name] = self.recent[name] = item
        self.by_run[item.run].append(item)

    def of_run(self, run: str, *, tokens: bool) -> Sums:
        return self._sum(self.by_run[run], tokens=tokens)

    def of_hour(self, now_us: int) -> Sums:
        self.recent = {name: item for name, item in self.recent.items() if item.counts_in_the_hour(now_us)}
        return self._sum(list(self.recent.values()), tokens=False)


@dataclass(frozen=True)
class Bill:
    """One bill of the provider, and its time."""

    nano: int
    tokens: int
    at_us: int


def bills_of(folder: Path) -> dict[str, Bill]:
    """Return the provider's ledgers; an attempt that is billed twice would be the worker's own fault."""
    path = folder / "bills"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    bills = {name: Bill(int(nano), int(tokens), int(at)) for name, nano, tokens, at in lines}
    assert len(bills) == len(lines)
    return bills


def lines_of(path: Path) -> list[dict[str, object]]:
    """Return the lines that the processes recorded."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def compare(folder: Path) -> list[str]:
    """Return what is wrong between the ledger and the bills, while others go on: spent <= billed <= spent + open.

    The bills are read before and after the ledger: what is settled was billed before, what was billed is in the ledger.
    """
    before = bills_of(folder)
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as db:
        rows = {
            name: (phase, nano, tokens)
            for name, phase, nano, tokens in db.execute("SELECT id, phase, nano, tokens FROM attempts")
        }
    after = bills_of(folder)
    wrong = [f"billed and not in the book: {name}" for name in before if name not in rows]
    for name, (phase, nano, tokens) in rows.items():
        bill, was = after.get(name), before.get(name)
        if phase == "settled" and (bill is None or (bill.nano, bill.tokens) != (nano, tokens)):
            wrong.append(f"settled at {nano}, {tokens} but billed {bill}: {name}")
        if was is not None and (phase in ("held", "void") or was.nano > nano or was.tokens > tokens):
            wrong.append(f"billed {was} but {phase} at {nano}, {tokens}: {name}")
    return wrong


def replay(folder: Path) -> list[str]:
    """Return every admission that passed a limit, and every refusal that was not necessary, from the entries alone."""
    wrong: list[str] = []
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as db:
        if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            wrong.append("the file is damaged")
        history = History(
            limits={
                run: (nano, tokens)
                for run, nano, tokens in db.execute("SELECT id, limit_nano, limit_tokens FROM scopes")
            }
        )
        attempts = {
            name: rest
            for name, *rest in db.execute("SELECT id, run_id, owner_id, provider, admitted, deadline_us FROM attempts")
        }
        entries = db.execute(
            "SELECT attempt_id, at_us, wall_us, phase, nano, tokens FROM entries ORDER BY id"
        ).fetchall()
    refusals = sorted(lines_of(folder / "refusals"), key=lambda told: -int(str(told["at_us"])))
    last = 0
    for name, at_us, wall_us, phase, nano, tokens in entries:
        while refusals and int(str(refusals[-1]["at_us"])) < wall_us:
            wrong += _needless(history, refusals.pop())
        if at_us < last:
            wrong.append(f"time ran back to {at_us}")
        last = at_us
        if phase == "held":
            run, owner, provider, admitted, deadline_us = attempts[name]
            stored = json.loads(admitted)
            hour = stored["max_cost_per_hour"][0]
            against = history.against(run, hour, at_us)
            wrong += [f"admitted over {limit}: {name}" for limit in admission_passes(against, nano, tokens)]
            if stored != {a.named(run): [a.ceiling, sum(a.sums)] for a in against}:
                wrong.append(f"admitted under {stored}, but there was {against}")
            history.add(name, Item(run, owner, provider, phase, nano, tokens, nano, tokens, deadline_us))
            continue
        item = history.items[name]
        lawful = {"held": ("sent", "void"), "sent": ("settled", "doubt", "void"), "doubt": ("settled",)}
        if phase not in lawful.get(item.phase, ()):
            wrong.append(f"{item.phase} became {phase}: {name}")
        item.phase, item.nano, item.tokens, item.ended_us = phase, nano, tokens, at_us
    for told in reversed(refusals):
        wrong += _needless(history, told)
    return wrong


def _needless(history: History, told: dict[str, object]) -> list[str]:
    hour = None if told["hour"] is None else int(str(told["hour"]))
    against = history.against(str(told["run"]), hour, int(str(told["at_us"])))
    reasons = reasons_to_refuse(against, int(str(told["nano"])), int(str(told["tokens"])))
    if told["limit"] in reasons and told["spent"] == {a.limit: a.sums.spent for a in against}[str(told["limit"])]:
        return []
    return [f"refused without need: {told}, but there was {against}"]


def dearest_window(bills: list[Bill]) -> int:
    """Return the most nano-dollars that were billed within any 3600 s."""
    times = sorted(bills, key=lambda bill: bill.at_us)
    first = taken = most = 0
    for bill in times:
        taken += bill.nano
        while times[first].at_us <= bill.at_us - HOUR_US:
            taken -= times[first].nano
            first += 1
        most = max(most, taken)
    return most


def still_open(folder: Path) -> int:
    """Return how many attempts nobody has concluded."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        return int(db.execute("SELECT count(*) FROM attempts WHERE phase IN ('kept', 'held', 'sent')").fetchone()[0])


def phases(folder: Path) -> dict[str, tuple[int, int]]:
    """Return how many attempts ended how, and at how many nano-dollars."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        found = db.execute("SELECT phase, count(*), sum(nano) FROM attempts GROUP BY phase").fetchall()
    return {phase: (count, nano) for phase, count, nano in found}
