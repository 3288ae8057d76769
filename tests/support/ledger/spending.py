"""A ledger in which calls of known prices ended at known times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.core.limits import CostLimit, Initiator
from agentctl.core.messages import Usage
from tests.support.ledger.engines import clock_at, ledger_at
from tests.support.ledger.parts import FACTS, ask

NO_LIMIT = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)


class Spender:
    """Writes calls at non-decreasing wall times; close it so that its owner counts as dead."""

    def __init__(self, path: Path, first: datetime, *, user_name: str = "", ci_run: str = "") -> None:
        self.clock = clock_at(path, first.timestamp())
        self.path = path
        self.ledger = ledger_at(path, clock=self.clock, initiator=Initiator(user_name, ci_run))
        self._ci_run, self._calls = ci_run, 0

    def at(self, when: datetime) -> None:
        """Let time pass until ``when``."""
        self.clock.pass_by(when.timestamp() - self.clock.wall_s)

    async def run(
        self,
        run_id: str,
        *,
        agent: str = "docker",
        labels: Mapping[str, str] | None = None,
        limits: CostLimit = NO_LIMIT,
    ) -> None:
        """Enter a run."""
        await self.ledger.open_run(run_id, limits, task="t", agent=agent, labels=labels or {})

    async def call(
        self,
        run_id: str,
        tokens: int,
        *,
        model: str = "m",
        end: Literal["settled", "doubt", "sent"] = "settled",
        priced: bool = True,
        cached: int = 0,
    ) -> None:
        """Enter a call with ``tokens`` of output, each for a thousandth of a dollar."""
        self._calls += 1
        name = f"{run_id}-{self._ci_run}{self._calls}"
        facts = replace(FACTS, model=model, price=FACTS.price if priced else None)
        assert isinstance(await self.ledger.reserve(ask(name, run_id, tokens=tokens, facts=facts)), Hold)
        assert await self.ledger.mark_sent(name)
        if end == "settled":
            usage = Usage(input_tokens=10, output_tokens=tokens, cached_input_tokens=cached)
            await self.ledger.settle(name, Charge(usage, tokens * 1_000_000 if priced else None, model))
        elif end == "doubt":
            await self.ledger.doubt(name, "cut", provider_fault=False)
