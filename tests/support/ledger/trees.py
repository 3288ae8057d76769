"""Random trees of runs on the real ledger, each run a process of its own that can die, and an oracle beside them.

The oracle knows what happened and adds up every path anew: nothing of agentctl decides in it. ``audit`` does the same
from the file alone, by SQL: each admission against every run above it, each request against every end above it.
"""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Ask, Hold, Wait
from agentctl.core.errors import ActionDenied, Verdict
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.check import check
from tests.support.ledger.oracle import HOUR_US, INPUT_NANO, OUTPUT_NANO, SECOND_US, cost
from tests.support.ledger.process import IN_MEMORY, Process, TickingClock

DEEPEST, WIDEST, MOST_RUNS = 5, 5, 20
MINUTE_US = 60 * SECOND_US
FACTS = ModelFacts("p", "m", Price(Decimal(1), Decimal(1_000)), context_window=100_000, output_ceiling=10_000)
DEADLINE_S = 600.0


class Ceiling(NamedTuple):
    """One limit on a path: whose it is, and how much."""

    run: str
    limit: str
    most: int


@dataclass
class Node:
    """A run: its limits (nano-dollars, tokens, calls), its process, and whether it is open."""

    name: str
    parent: str
    depth: int
    limits: dict[str, int]
    process: Process
    children: int = 0
    open: bool = True


@dataclass
class Item:
    """One attempt as it stands. Times are the ledger's."""

    run: str
    phase: str
    nano: int
    tokens: int
    granted: int
    deadline_us: int
    sent_us: int | None = None
    leaves_us: int | None = None  # None: open


@dataclass
class Oracle:
    """The history of a tree, summed up by loops alone."""

    parents: dict[str, str] = field(default_factory=dict)
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)

    def path(self, run: str) -> Iterator[str]:
        """Yield a run and those above it."""
        while run:
            yield run
            run = self.parents[run]

    def ceilings(self, run: str) -> list[Ceiling]:
        """Return every limit that binds a run."""
        return [Ceiling(one, limit, most) for one in self.path(run) for limit, most in self.limits[one].items()]

    def sums(self, ceiling: Ceiling, now_us: int, but: str = "") -> tuple[int, int, int]:
        """Return what is spent, in doubt and held under a limit."""
        found = {"spent": 0, "in_doubt": 0, "held": 0}
        for name, item in self.items.items():
            kind = {"settled": "spent", "doubt": "in_doubt", "held": "held", "sent": "held"}.get(item.phase)
            if name == but:
                continue
            if ceiling.limit == "max_calls_per_minute":
                if ceiling.run in self.path(item.run):
                    found["spent"] += item.sent_us is not None and item.sent_us > now_us - MINUTE_US
                    found["held"] += item.phase == "held"
            elif ceiling.limit == "max_cost_per_hour":
                if kind is not None and (item.leaves_us is None or item.leaves_us > now_us):
                    found[kind] += item.nano
            elif kind is not None and ceiling.run in self.path(item.run):
                found[kind] += item.tokens if "tokens" in ceiling.limit else item.nano
        return found["spent"], found["in_doubt"], found["held"]

    @staticmethod
    def takes(ceiling: Ceiling, nano: int, tokens: int) -> int:
        """Return what a call takes of a limit."""
        return 1 if "calls" in ceiling.limit else tokens if "tokens" in ceiling.limit else nano


class Expected(NamedTuple):
    """The right answer to an ask: so many output tokens, or to wait, or one of these limits refuses."""

    kind: str
    output: int = 0
    because: tuple[Ceiling, ...] = ()


def expected(oracle: Oracle, asked: Ask, now_us: int) -> Expected:
    """Return the only right answer, where nobody else waits."""
    ceilings = oracle.ceilings(asked.run_id)
    sums = {one: oracle.sums(one, now_us) for one in ceilings}
    own = [one for one in ceilings if one.limit in ("max_cost_per_task", "max_tokens_per_task", "max_calls_per_minute")]
    doubtful = tuple(one for one in own if one.most and 2 * sums[one][1] >= one.most)
    if doubtful:
        return Expected("refused", because=doubtful)
    outputs, bound = [asked.most], asked.input_bound
    least = {one: oracle.takes(one, cost(bound, asked.least), bound + asked.least) for one in ceilings}
    for one in ceilings:
        left = one.most - sum(sums[one])
        if "tokens" in one.limit:
            outputs.append(left - bound)
        elif "calls" in one.limit:
            outputs += [] if left > 0 else [-1]
        else:
            outputs.append((left - bound * INPUT_NANO) // OUTPUT_NANO)
    if min(outputs) >= asked.least:
        return Expected("held", min(outputs))
    lasting = tuple(one for one in ceilings if sum(sums[one][:2]) + least[one] > one.most)
    calls = tuple(one for one in ceilings if "calls" in one.limit and sum(sums[one]) >= one.most)
    if lasting or calls:
        return Expected("refused", because=(*lasting, *calls))
    return Expected("wait")


class Tree:
    """One random tree; ``wrong`` has a sentence for each difference from the oracle.

    ``most_runs`` is how many runs on a path each run allows; None: as many as the ledger takes.
    """

    most_runs: int | None = None

    def __init__(self, folder: Path, seed: int) -> None:
        self.path, self.seed = folder / "ledger.db", seed
        self.dice = random.Random(seed)
        self.clock = TickingClock()
        self.nodes: dict[str, Node] = {}
        self.oracle = Oracle()
        self.asks = self.held = self.refused = self.denied = 0
        self.wrong: list[str] = []

    def use(self, steps: int) -> None:
        """Do ``steps`` random things, then end every process and read the file."""
        self.open_below("")
        acts = [(self.grow, 6.0), (self.ask, 12.0), (self.send, 8.0), (self.conclude, 8.0), (self.pass_time, 2.0)]
        acts += [(self.close, 0.5), (self.kill, 0.5)]
        for _ in range(steps):
            act = self.dice.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
            act()
        for node in self.nodes.values():
            node.process.kill()
        self.wrong += audit(self.path)
        self.wrong += check(self.path).wrong
        self.wrong = [f"tree {self.seed}: {one}" for one in self.wrong]

    @property
    def now_us(self) -> int:
        assert self.clock.taken is not None
        return self.clock.taken.wall_us  # both clocks run alike here, and so does the ledger's own

    def ended_above(self, run: str) -> bool:
        return any(not self.nodes[one].open for one in self.oracle.path(self.nodes[run].parent))

    def living(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.open]

    # --- what can happen ------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """Open a run below any that there is or was."""
        below = self.dice.choice(list(self.nodes.values()))
        if len(self.nodes) < MOST_RUNS and below.depth < DEEPEST and below.children < WIDEST:
            self.open_below(below.name)

    def limits_below(self, parent: str) -> dict[str, int]:
        """Return the limits of a new run."""
        dice, limits = self.dice, dict[str, int]()
        for limit, values in (
            ("max_cost_per_task", [150_000_000, 600_000_000, 2_000_000_000]),
            ("max_tokens_per_task", [400, 2_500]),
            ("max_cost_per_hour", [500_000_000, 2_000_000_000]),
            ("max_calls_per_minute", [4, 9]),
        ):
            if dice.random() < (0.8 if limit == "max_cost_per_task" else 0.2):
                limits[limit] = dice.choice(values)
        return limits

    def is_too_deep(self, parent: str) -> bool:
        """Whether a run below ``parent`` would be one too many on its path."""
        return self.most_runs is not None and self.nodes[parent].depth >= self.most_runs

    def open_below(self, parent: str) -> None:
        name, limits = f"run{len(self.nodes)}", self.limits_below(parent)
        process = Process(self.path, self.clock, limits.get("max_cost_per_hour"))
        none = dict.fromkeys(("max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task"))
        dollars = {name: Decimal(most) / 10**9 if "cost" in name else most for name, most in limits.items()}
        shown = Parent(parent, f"secret of {parent}", self.most_runs) if parent else None
        may = not parent or not (self.ended_above(parent) or not self.nodes[parent].open or self.is_too_deep(parent))
        try:
            process.session.open_run(
                name,
                CostLimit(**{**none, **dollars}),  # type: ignore[arg-type]
                task="t",
                agent="a",
                labels={},
                parent=shown,
                capability=f"secret of {name}",
            )
        except ActionDenied:
            self.denied += 1
            self.expect(not may, f"{name} was refused below {parent}")
            process.kill()
            return
        self.expect(may, f"{name} was opened below {parent}, which is too deep, has ended or has an end above it")
        self.oracle.parents[name], self.oracle.limits[name] = parent, limits
        depth = self.nodes[parent].depth + 1 if parent else 1
        self.nodes[name] = Node(name, parent, depth, limits, process)
        if parent:
            self.nodes[parent].children += 1

    def ask(self) -> None:
        if not (living := self.living()):
            return
        node, dice = self.dice.choice(living), self.dice
        self.asks += 1
        least = dice.choice([1, 10, 50, 100])
        calls = node.limits.get("max_calls_per_minute")
        asked = Ask(
            f"a{self.asks:04d}",
            node.name,
            FACTS,
            dice.choice([0, 50]),
            least=least,
            most=least + dice.choice([0, 20, 200]),
            hour_limit_nano=node.limits.get("max_cost_per_hour"),
            deadline_s=DEADLINE_S,
            further={} if calls is None else {"max_calls_per_minute": calls},
        )
        try:
            answer = node.process.session.reserve(asked)
        except ActionDenied:
            self.denied += 1
            self.expect(self.ended_above(node.name), f"{asked.attempt_id} was denied, and all above it goes on")
            return
        self.expect(not self.ended_above(node.name), f"{asked.attempt_id} was answered below a run that has ended")
        self.void_the_late()
        due = expected(self.oracle, asked, self.now_us)
        match answer:
            case Hold():
                self.held += 1
                self.expect(due.kind == "held", f"{asked.attempt_id} was granted, and had to be {due}")
                self.expect(answer.granted_output == due.output, f"{asked.attempt_id}: {answer} where {due} is right")
                self.oracle.items[answer.id] = Item(
                    node.name,
                    "held",
                    answer.nano or 0,
                    answer.tokens,
                    answer.granted_output,
                    self.now_us + round(DEADLINE_S * SECOND_US),
                )
            case Wait():
                self.expect(due.kind == "wait", f"{asked.attempt_id} was made to wait, and had to be {due}")
                node.process.session.leave_queue(asked.attempt_id)
            case Verdict():
                self.refused += 1
                named = [one for one in due.because if one.limit == answer.limit and one.most == answer.ceiling]
                whose = {"", *(one.run for one in named)}
                right = due.kind == "refused" and named and answer.run_id in whose
                self.expect(bool(right), f"{asked.attempt_id}: {answer} where {due} is right")

    def send(self) -> None:
        if (name := self.one_of("held")) is None:
            return
        item = self.oracle.items[name]
        marked = self.nodes[item.run].process.session.mark_sent(name)
        may = not self.ended_above(item.run) and item.deadline_us > self.now_us
        self.expect(marked == may, f"{name} was{'' if marked else ' not'} sent, and {may} is right")
        if marked:
            item.phase, item.sent_us = "sent", self.now_us

    def conclude(self) -> None:
        """Settle, lose or void a call, whether or not anything above it has ended."""
        if (name := self.one_of("sent")) is None:
            return
        item, dice = self.oracle.items[name], self.dice
        session = self.nodes[item.run].process.session
        match dice.choice(["settled", "settled", "settled", "doubt", "void"]):
            case "settled":
                used = Usage(dice.randint(0, item.tokens - item.granted), dice.randint(0, item.granted))
                nano = cost(used.input_tokens, used.output_tokens)
                session.settle(name, Charge(used, nano, "m"))
                self.end(name, "settled", nano, used.total_tokens)
            case "doubt":
                session.doubt(name, "cut", ceiling=False, provider_fault=False)
                self.end(name, "doubt", item.nano, item.tokens)
            case _:
                session.void(name, "refused")
                self.end(name, "void", 0, 0)

    def pass_time(self) -> None:
        self.clock.pass_by(self.dice.choice([0.5, 0.5, 20.0, 61.0, 601.0, 3601.0]))

    def close(self) -> None:
        """End a run well; now and then even the outermost."""
        if (node := self.any_but_the_first()) is not None:
            node.process.session.close_run(node.name, "done")
            node.open = False
            self.void_below(node.name)

    def kill(self) -> None:
        """End a process as kill -9 does: nobody writes anything, others find out."""
        if (node := self.any_but_the_first()) is not None:
            node.process.kill()
            node.open = False
            for item in self.oracle.items.values():
                if item.run == node.name and item.phase == "sent":
                    item.phase = "lost"
            self.void_below(node.name)

    # --- what that means for the oracle ---------------------------------------------------------------------------

    def any_but_the_first(self) -> Node | None:
        living = self.living()
        spared = living[1:] if self.dice.random() < 0.9 else living
        return self.dice.choice(spared) if spared else None

    def one_of(self, phase: str) -> str | None:
        """Return an attempt in a phase whose process still runs."""
        found = [name for name, item in self.oracle.items.items() if item.phase == phase and self.nodes[item.run].open]
        return self.dice.choice(found) if found else None

    def void_the_late(self) -> None:
        """Do what a hold does first: conclude dead owners, and void holds not sent in time."""
        for name, item in self.oracle.items.items():
            if item.phase == "held" and item.deadline_us <= self.now_us:
                self.end(name, "void", 0, 0)
            if item.phase == "lost":
                self.end(name, "doubt", item.nano, item.tokens)

    def void_below(self, run: str) -> None:
        """What a run and those below it hold can never be sent any more."""
        for name, item in self.oracle.items.items():
            if item.phase == "held" and run in self.oracle.path(item.run):
                self.end(name, "void", 0, 0)

    def end(self, name: str, phase: str, nano: int, tokens: int) -> None:
        item = self.oracle.items[name]
        late = max(item.deadline_us, self.now_us) if phase == "doubt" else self.now_us
        item.phase, item.nano, item.tokens, item.leaves_us = phase, nano, tokens, late + HOUR_US

    def expect(self, fine: bool, wrong: str) -> None:
        if not fine:
            self.wrong.append(wrong)


def grown(seed: int, steps: int = 60) -> Tree:
    """Grow a tree and use it."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        tree = Tree(Path(folder), seed)
        tree.use(steps)
        return tree


class DelegatedTree(Tree):
    """A tree of runs that delegate: two levels, each run with at most what the one above it has left."""

    most_runs = 3

    def limits_below(self, parent: str) -> dict[str, int]:
        """Return the limits that a delegated run has: the least of what was asked for and what is left."""
        if not parent:
            return {"max_cost_per_task": self.dice.choice([300_000_000, 1_000_000_000]), "max_tokens_per_task": 2_500}
        limits = dict(self.nodes[parent].limits)
        for limit, most in limits.items():
            spent, in_doubt, _ = self.oracle.sums(Ceiling(parent, limit, most), self.now_us)
            limits[limit] = max(0, most - spent - in_doubt)
        asked = self.dice.choice([0, 100_000_000, 400_000_000, 9_000_000_000])
        return limits | {"max_cost_per_task": min(asked, limits["max_cost_per_task"])}

    def grow(self) -> None:
        """Delegate a task from any run that there is, unless as many work below it as may; one too deep is refused."""
        above = self.dice.choice(list(self.nodes.values()))
        at_work = sum(node.open and self.oracle.parents[node.name] == above.name for node in self.nodes.values())
        if at_work < (4 if above.depth == 1 else 1):
            self.open_below(above.name)

    def passed(self) -> list[str]:
        """Return each limit of a run that what it and those below it spent and have in doubt is above."""
        ceilings = [one for run in self.nodes for one in self.oracle.ceilings(run)]
        sums = {one: sum(self.oracle.sums(one, self.now_us)[:2]) for one in ceilings}
        return [f"tree {self.seed}: {one} is at {total}" for one, total in sums.items() if total > one.most]


def delegated(seed: int, steps: int = 40) -> DelegatedTree:
    """Grow a tree of delegated runs and use it."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        tree = DelegatedTree(Path(folder), seed)
        tree.use(steps)
        tree.wrong += tree.passed()
        return tree


def audit(path: Path) -> list[str]:
    """Return each admission in the file that passed a limit of any run above it, and each request below an end.

    Only ``scopes.parent_id`` is believed of what the ledger knows of its paths.
    """
    wrong: list[str] = []
    oracle, ends = Oracle(), dict[str, tuple[int, str]]()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for run, parent, nano, tokens, limits, closed_us, status in db.execute(
            "SELECT id, parent_id, limit_nano, limit_tokens, limits, closed_us, status FROM scopes"
        ):
            known = {"max_cost_per_task": nano, "max_tokens_per_task": tokens, **json.loads(limits)}
            oracle.parents[run] = parent or ""
            oracle.limits[run] = {name: most for name, most in known.items() if most is not None}
            if closed_us is not None:
                ends[run] = (closed_us, status)
        attempts = {
            name: rest for name, *rest in db.execute("SELECT id, run_id, granted_output, deadline_us FROM attempts")
        }
        entries = db.execute("SELECT attempt_id, at_us, phase, nano, tokens FROM entries ORDER BY id").fetchall()
    for name, at_us, phase, nano, tokens in entries:
        run, granted, deadline_us = attempts[name]
        if phase == "held":
            for ceiling in oracle.ceilings(run):
                before = sum(oracle.sums(ceiling, at_us))
                if before + oracle.takes(ceiling, nano, tokens) > ceiling.most:
                    wrong.append(f"{name} of {run} passed {ceiling} at {before}")
            oracle.items[name] = Item(run, phase, nano, tokens, granted, deadline_us)
            continue
        item = oracle.items[name]
        item.phase, item.nano, item.tokens = phase, nano, tokens
        if phase == "sent":
            item.sent_us = at_us
            wrong += [
                f"{name} of {run} was sent at {at_us}, and {one} had ended at {ends[one][0]}"
                for one in oracle.path(run)
                if one in ends and ends[one][0] <= at_us and (one != run or ends[one][1] != "unfinished")
            ]
        else:
            item.leaves_us = HOUR_US + (max(deadline_us, at_us) if phase == "doubt" else at_us)
    return wrong
