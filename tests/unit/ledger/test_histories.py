"""Mixed histories, then checked: reserves, every window, overruns, doubt, deaths and reconciling."""

from __future__ import annotations

import random
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import AnswerReserve, Ask, Hold
from agentctl.core.errors import AgentctlError, LimitName
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.ledger.check import check
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.reconcile import reconcile
from tests.support.ledger.corrections import change, dies, opened
from tests.support.ledger.parts import DOLLAR, HandClock

MODELS = (
    ModelFacts("p", "m", Price(Decimal(1), Decimal(1_000)), context_window=600, output_ceiling=900),
    ModelFacts("q", "free", FREE, context_window=600, output_ceiling=900),
    ModelFacts("r", "unpriced", None, context_window=600, output_ceiling=900),
    ModelFacts("builtin", None, FREE, metered=False),
)
LIMITS = (
    CostLimit(max_cost_per_task=Decimal(1), max_tokens_per_task=4_000),
    CostLimit(max_cost_per_task=Decimal("0.4"), max_tokens_per_task=None),
    CostLimit(max_cost_per_task=None, max_tokens_per_task=2_000),
    CostLimit(max_cost_per_task=Decimal(0), max_tokens_per_task=0),
    *[CostLimit(max_cost_per_task=None, max_tokens_per_task=None)] * 3,
)
WINDOWS: tuple[dict[LimitName, int], ...] = (
    {},
    {"max_cost_per_minute": DOLLAR // 2, "max_calls_per_minute": 3},
    {"max_cost_per_day": 2 * DOLLAR},
    {"max_cost_per_month": 4 * DOLLAR, "max_cost_per_day": DOLLAR},
    {"max_cost_per_minute": 0, "max_calls_per_minute": 0},
)
PASSING = (0.0, 0.5, 7.0, 59.0, 61.0, 599.0, 601.0, 3_599.0, 3_601.0, 90_000.0, 29 * 86_400.0)


class History:
    """Three owners at work on one ledger, each with runs, models and limits of its own."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.clock, self.dice = path, HandClock(), random.Random(seed)
        self.count = 0
        self.owners: dict[str, LedgerSession] = {}
        self.runs: dict[str, tuple[str, ModelFacts, dict[LimitName, int], int | None]] = {}
        self.holds: dict[str, tuple[str, Hold, ModelFacts]] = {}
        self.sent: dict[str, tuple[str, Hold, ModelFacts]] = {}

    def name(self) -> str:
        self.count += 1
        return f"{self.count:05}"

    def begin(self) -> None:
        if len(self.owners) < 3:
            owner = f"owner{self.name()}"
            self.owners[owner] = opened(self.path, self.clock, owner=owner)
        owner, run = self.dice.choice(list(self.owners)), f"run{self.name()}"
        facts, limits = self.dice.choice((*MODELS, MODELS[0], MODELS[0])), self.dice.choice(LIMITS)
        if facts.price is None:
            limits = CostLimit(max_cost_per_task=None, max_tokens_per_task=limits.max_tokens_per_task)
        further = {} if facts.price is None else self.dice.choice(WINDOWS)
        hour = None if facts.price is None else self.dice.choice((None, DOLLAR // 2, DOLLAR))
        self.owners[owner].open_run(run, limits, task="", agent="", labels={})
        self.runs[run] = (owner, facts, further, hour)

    def ask(self) -> None:
        if not self.runs:
            return
        run = self.dice.choice(list(self.runs))
        owner, facts, further, hour = self.runs[run]
        least = self.dice.choice((1, 50, 150))
        most = least + self.dice.choice((0, 100))
        asked = Ask(self.name(), run, facts, self.dice.choice((10, 300)), least, most, hour)
        if not facts.metered:
            asked = asked._replace(input_bound=0)
        elif self.dice.random() < 0.7:
            asked = asked._replace(keep=AnswerReserve(self.dice.choice((10, 200)), self.dice.choice((0, 60, 120, 250))))
            if asked.keep is not None and asked.keep.output and self.dice.random() < 0.2:
                asked = asked._replace(purpose="answer", least=asked.keep.output, most=asked.keep.output)
        asked = asked._replace(further=further, deadline_s=self.dice.choice((30.0, 600.0)))
        found = self.owners[owner].reserve(asked)
        if isinstance(found, Hold):
            self.holds[found.id] = (owner, found, facts)
            if self.dice.random() < 0.7:
                self.send(found.id)

    def send(self, name: str = "") -> None:
        if not self.holds:
            return
        name = name or self.dice.choice(list(self.holds))
        owner, hold, facts = self.holds.pop(name)
        if self.owners[owner].mark_sent(name):
            self.sent[name] = (owner, hold, facts)
            if self.dice.random() < 0.6:
                self.settle(name)

    def settle(self, name: str = "") -> None:
        if not self.sent:
            return
        name = name or self.dice.choice(list(self.sent))
        owner, hold, facts = self.sent[name]
        how = self.dice.random()
        session = self.owners.get(owner)
        if session is None and self.owners:  # it comes late, and from somebody else
            session = self.dice.choice(list(self.owners.values()))
        if session is None:
            return
        if how < 0.15:
            session.doubt(name, "cut", ceiling=how < 0.03, provider_fault=how < 0.1)
        elif how < 0.25:
            session.void(name, "refused")
        elif facts.metered:
            used = Usage(1 + hold.input_bound // 2, max(1, hold.granted_output // 2))
            if how > 0.97:
                used = Usage(hold.input_bound + 10, hold.granted_output + 10)
            nano = None if hold.nano is None else used.output_tokens * 1_000_000 + used.input_tokens * 1_000
            session.settle(name, Charge(used, 0 if facts.price is FREE else nano))
            del self.sent[name]
        else:
            session.settle(name, Charge(Usage(), 0))
            del self.sent[name]

    def end(self) -> None:
        if not self.runs:
            return
        run = self.dice.choice(list(self.runs))
        owner = self.runs.pop(run)[0]
        self.owners[owner].close_run(run, "done")

    def die(self) -> None:
        if not self.owners:
            return
        owner = self.dice.choice(list(self.owners))
        session = self.owners.pop(owner)
        self.runs = {run: told for run, told in self.runs.items() if told[0] != owner}
        self.holds = {name: told for name, told in self.holds.items() if told[0] != owner}
        if self.dice.random() < 0.5 or not (self.path.with_suffix(".owners") / owner).exists():
            session.close()
        else:
            dies(session, self.path, owner)
            session._database.close()

    def correct(self) -> None:
        name = self.dice.choice(list(self.sent)) if self.sent and self.dice.random() < 0.5 else None
        with suppress(AgentctlError):  # usage has settled it, or its process lives
            if name is None:
                reconcile(self.path, "provider", "p", actual_nano=0, who="me", clock=self.clock)
            else:
                nano = self.dice.choice((0, DOLLAR // 10))
                reconcile(self.path, "attempt", name, actual_nano=nano, who="me", clock=self.clock)

    def clear(self) -> None:
        change(self.path, "UPDATE overruns SET cleared_us = 1")

    def go(self, steps: int) -> None:
        deeds = [self.ask] * 12 + [self.settle] * 4 + [self.send, self.begin] * 2 + [self.end, self.correct, self.clear]
        deeds += [self.die] if self.dice.random() < 0.7 else []
        self.begin()
        for _ in range(steps):
            self.clock.pass_by(self.dice.choice(PASSING[: self.dice.choice((2, 3, 3, 5, 9, 11))]))
            self.dice.choice(deeds)()


@pytest.mark.parametrize("seed", range(6))
def test_history_of_all_steps_together_passes_the_check_and_leaves_nothing_open(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "ledger.db"
    history = History(path, seed)
    history.go(250)
    found = check(path, clock=history.clock)
    assert not found.wrong, found.wrong
    assert found.proved
    for session in history.owners.values():
        session.close()
    history.owners.clear()
    history.runs.clear()
    history.begin()  # whoever comes next buries those that were killed
    history.ask()
    for session in history.owners.values():
        session.close()
    found = check(path, clock=history.clock)
    assert not found.wrong, found.wrong
    assert not found.open
