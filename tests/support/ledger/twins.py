"""The same random history on two ledgers, a SQLite file and PostgreSQL: each answer and both books must be equal."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import AnswerReserve, Ask, Hold
from agentctl.core.errors import AgentctlError, LimitName
from agentctl.core.leases import Lease
from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage
from agentctl.core.pricing import Price
from agentctl.core.substitutes import Substitute
from agentctl.ledger.ledger_session import LedgerSession
from tests.support.ledger.corrections import dies
from tests.support.ledger.engines import FleetClock, database_at, session_at
from tests.support.ledger.parts import DOLLAR, FACTS, HandClock
from tests.support.postgres.server import Server

PASSING_S = (0.0, 0.25, 0.5, 7.0, 59.0, 61.0, 599.0, 601.0, 3_599.0, 3_601.0, 90_000.0)
LIMITS = (
    CostLimit(max_cost_per_task=None, max_tokens_per_task=2_000),
    CostLimit(max_cost_per_task=None, max_tokens_per_task=None),
    CostLimit(),
    CostLimit(max_cost_per_task=None, max_tokens_per_task=None, max_cost_per_hour=Decimal("0.4")),
    CostLimit(max_cost_per_task=None, max_tokens_per_task=None, max_cost_per_day=Decimal("0.9")),
)
#: Of $0.80, until an hour and a half after the clocks begin.
LEASES = tuple(Lease(f"a{number}-1", 800_000_000, 0, 1_800_005_400_000_000, f"digest {number}") for number in (1, 2))
DEAR = Substitute("dear", Price(Decimal(0), Decimal(1_700)))
FURTHER: tuple[dict[LimitName, int], ...] = (
    {},
    {},
    {"max_cost_per_minute": DOLLAR // 2, "max_calls_per_minute": 3},
    {"max_cost_per_day": 2 * DOLLAR},
)
_ATTEMPTS = """
SELECT id, run_id, owner_id, purpose, phase, provider, model, base_url, answered_model, prices, price_source,
    price_version, price_digest, input_bound, counted, granted_output, hold_nano, hold_tokens, ceiling_nano,
    ceiling_tokens, nano, tokens, admitted, held_us, sent_us, deadline_us, ended_us, leaves_hour_us, input_tokens,
    cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, hour_write_tokens, reason, provider_fault,
    settled_by, charged_by, charged_model, charged_tier, charged_prices, charged_dearest, charged_source,
    charged_version, charged_digest, billed_nano
FROM attempts ORDER BY id
"""
_RANDOM = 32
_DAY: tuple[LimitName, ...] = ("max_cost_per_day",)
_BOOK = (
    _ATTEMPTS,
    "SELECT attempt_id, at_us, phase, nano, tokens, reason FROM entries ORDER BY id",
    "SELECT id, parent_id, closed_us, status FROM scopes ORDER BY id",
    "SELECT attempt_id, input_tokens, output_tokens, nano FROM overruns ORDER BY attempt_id",
)


class Twins:
    """Two ledgers with clocks that stand together, and the same owners on each."""

    def __init__(self, file: Path, fleet: PostgresAddress, seed: int) -> None:
        self.dice, self.count, self.wrong, self.steps = random.Random(seed), 0, list[str](), list[str]()
        self._clock = FleetClock(fleet)
        self.ledgers: tuple[tuple[LedgerAddress, HandClock], ...] = ((file, HandClock()), (fleet, self._clock))
        self.owners: dict[str, tuple[LedgerSession, LedgerSession]] = {}
        self.runs: dict[str, str] = {}
        self.sent: dict[str, tuple[str, Hold]] = {}
        self.held: dict[str, tuple[str, Hold]] = {}

    def name(self) -> str:
        self.count += 1
        return f"{self.count:05}"

    def both(self, what: str, owner: str, deed: Callable[[LedgerSession], Any]) -> Any:  # noqa: ANN401 - any answer
        """Do the same on both ledgers and return the answer."""
        answers = []
        for session in self.owners[owner]:
            try:
                answers.append(deed(session))
            except AgentctlError as error:
                answers.append(f"{type(error).__name__}: {error.message}")
        self.steps.append(f"{what} by {owner}: {answers[0]}")
        if answers[0] != answers[1]:
            self.wrong.append(f"{what} by {owner}: SQLite {answers[0]}, PostgreSQL {answers[1]}")
        return answers[0]

    def pass_by(self, seconds: float) -> None:
        """Let both clocks run."""
        for _, clock in self.ledgers:
            clock.pass_by(seconds)

    def begin(self) -> None:
        if len(self.owners) < 3:
            owner = f"owner{self.name()}"
            self.owners[owner] = tuple(
                session_at(address, clock=clock, owner=owner, pause_s=2.0) for address, clock in self.ledgers
            )  # type: ignore[assignment]
        owner, run, limits = self.dice.choice(list(self.owners)), f"run{self.name()}", self.dice.choice(LIMITS)
        above: Parent | Lease | None = None
        if self.dice.random() < 0.15:
            above = self.dice.choice(LEASES)
        elif self.runs and self.dice.random() < 0.5:
            parent = self.dice.choice(list(self.runs))
            above = Parent(parent, f"secret of {parent}")
        secret = f"secret of {run}"
        opened = self.both(
            f"open {run}",
            owner,
            lambda one: one.open_run(run, limits, task="", agent="", labels={}, parent=above, capability=secret),
        )
        if opened is None:
            self.runs[run] = owner

    def ask(self) -> None:
        if not self.runs:
            return
        run, least = self.dice.choice(list(self.runs)), self.dice.choice((1, 50, 150))
        keep = (
            AnswerReserve(self.dice.choice((10, 200)), self.dice.choice((0, 60))) if self.dice.random() < 0.3 else None
        )
        asked = Ask(
            *(self.name(), run, FACTS, self.dice.choice((10, 300)), least, least + self.dice.choice((0, 100))),
            self.dice.choice((None, DOLLAR // 2, DOLLAR)),
            further=self.dice.choice(FURTHER),
            keep=keep,
            deadline_s=self.dice.choice((30.0, 600.0)),
        )
        try_fast_path(*self.owners[self.runs[run]])
        found = self.both(f"reserve {asked.attempt_id}", self.runs[run], lambda one: one.reserve(asked))
        if isinstance(found, Hold):
            self.held[found.id] = (self.runs[run], found)

    def send(self) -> None:
        if self.held:
            name = self.dice.choice(list(self.held))
            owner, hold = self.held.pop(name)
            if self.both(f"mark {name}", owner, lambda one: one.mark_sent(name)) is True:
                self.sent[name] = (owner, hold)

    def conclude(self) -> None:
        if not self.sent:
            return
        name = self.dice.choice(list(self.sent))
        owner, hold = self.sent[name]
        owner = owner if owner in self.owners else self.dice.choice(list(self.owners)) if self.owners else ""
        if not owner:
            return
        how = self.dice.random()
        if how < 0.2:
            self.both(
                f"doubt {name}",
                owner,
                lambda one: one.doubt(name, "cut", ceiling=how < 0.03, provider_fault=how < 0.1),
            )
        elif how < 0.3:
            self.both(f"void {name}", owner, lambda one: one.void(name, "refused"))
        else:
            over = 10 if how > 0.97 else 0
            most_in, written = 1 + hold.input_bound // 2, max(1, hold.granted_output // 2 + over * hold.granted_output)
            used = Usage(most_in, written, most_in // 2, most_in // 4, written // 3)
            charge = Charge(
                *(used, written * 1_000_000, "m", "asked", FACTS.price, "m", "priority"),
                hour_writes=most_in // 5,
                billed_nano=written * 900_000,
                dearest_class=how > 0.8,
            )
            if 0.5 < how < 0.52:
                charge = charge._replace(model=DEAR.model, substitute=DEAR)
            self.both(f"settle {name}", owner, lambda one: one.settle(name, charge))
            del self.sent[name]

    def end(self) -> None:
        if self.runs:
            run = self.dice.choice(list(self.runs))
            self.both(f"close {run}", self.runs.pop(run), lambda one: one.close_run(run, "done"))

    def die(self) -> None:
        """An owner ends, in an orderly way or not."""
        if not self.owners:
            return
        owner = self.dice.choice(list(self.owners))
        sessions = self.owners.pop(owner)
        self.runs = {run: whose for run, whose in self.runs.items() if whose != owner}
        self.held = {name: told for name, told in self.held.items() if told[0] != owner}
        is_killed = self.dice.random() < 0.5 and (self._file.with_suffix(".owners") / owner).exists()
        self.steps.append(f"{owner} {'is killed' if is_killed else 'ends'}")
        for session, (address, _) in zip(sessions, self.ledgers, strict=True):
            if is_killed:
                dies(session, address, owner)
                self._leave(session)
            else:
                session.close()

    @property
    def _file(self) -> Path:
        file = self.ledgers[0][0]
        assert isinstance(file, Path)
        return file

    @staticmethod
    def _leave(session: LedgerSession) -> None:
        """Drop what a killed process held open, without a word to the ledger."""
        session._is_registered = False
        session.close()

    def spend(self) -> None:
        if self.runs:
            run = self.dice.choice(list(self.runs))
            self.both(f"spend {run}", self.runs[run], lambda one: one.spend(run, _DAY))

    def go(self, steps: int) -> list[str]:
        """Go so many steps; return what differs."""
        deeds = [self.ask] * 8 + [self.send, self.conclude] * 4 + [self.begin] * 2 + [self.end, self.die, self.spend]
        self.begin()
        for _ in range(steps):
            self.pass_by(self.dice.choice(PASSING_S[: self.dice.choice((2, 3, 5, 11))]))
            self.dice.choice(deeds)()
            if self.wrong:
                break
        for sessions in self.owners.values():
            for session in sessions:
                session.close()
        self.owners.clear()
        self._compare()
        return self.wrong

    def _compare(self) -> None:
        for sql in _BOOK:
            books = []
            for address, _ in self.ledgers:
                with closing(database_at(address)) as db:
                    books.append(sorted(map(_named, db.execute(sql).fetchall()), key=repr))
            if books[0] != books[1]:
                differ = [pair for pair in zip(*books, strict=False) if pair[0] != pair[1]]
                self.wrong.append(f"{sql}: {len(books[0])} and {len(books[1])} rows, {differ[:1]}")


def try_fast_path(*sessions: LedgerSession) -> None:
    """Let a session on PostgreSQL try to hold in one round trip, also after it was in vain."""
    from agentctl.ledger.postgres.fleet_session import FleetSession

    for session in sessions:
        if isinstance(session, FleetSession):
            session._fast_path.is_tight = False


def _named(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with one name for all reserves of last answers: their ids are random."""
    return (row[0] if len(row[0]) < _RANDOM else "kept", *row[1:])


def compared(server: Server, template: str, folder: Path, seed: int, steps: int = 40) -> list[str]:
    """Run a history on two new ledgers; return what differs, and the steps that led there."""
    name = server.create_database(template=template)
    try:
        fleet = PostgresAddress(server.dsn(name), folder / f"state-{seed}")  # all copies have the id of the template
        twins = Twins(folder / f"{seed}-{os.getpid()}.db", fleet, seed)
        return [*wrong, *twins.steps] if (wrong := twins.go(steps)) else []
    finally:
        server.drop_database(name)
