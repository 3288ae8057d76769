"""A run's model calls on a ledger of its own: a scripted model, what it costs, and the events of the calls."""

from __future__ import annotations

import random
from decimal import Decimal

from agentctl.budget.rules import Spend
from agentctl.core.events import Event
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, Usage
from agentctl.core.pricing import ModelFacts, Price, charge_nano
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.model_calls import ModelCalls

PRICE = Price(Decimal(1), Decimal(10))
FACTS = ModelFacts("p", "m", PRICE, context_window=128_000, output_ceiling=16_384)
HELLO = (Message("user", "hello"),)
ANSWER = Completion("hi", usage=Usage(100, 20), model="m")
COST = charge_nano(PRICE, Usage(100, 20))


class Desk:
    """One run on a ledger of its own, a scripted model, and what was emitted."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.events: list[Event] = []
        self.provider = ScriptedProvider([])

    async def emit(self, event: Event) -> None:
        self.events.append(event)

    def names(self, *but: type) -> list[str]:
        return [type(e).__name__ for e in self.events if not isinstance(e, but)]

    async def calls(
        self,
        *script: Step,
        facts: ModelFacts = FACTS,
        limits: CostLimit | None = None,
        parent: Lease | None = None,
        **more: object,
    ) -> ModelCalls:
        self.provider = ScriptedProvider(script, facts=facts)
        limits, run = limits or CostLimit(), f"run-{random.getrandbits(64):x}"
        await self.ledger.open_run(run, limits, task="t", agent="a", labels={}, parent=parent)
        self.run = run
        settings: dict[str, object] = {"first_pause_s": 0.001, **more}
        return ModelCalls(
            provider=self.provider,
            ledger=self.ledger,
            run_id=run,
            limits=limits,
            emit=self.emit,
            parent=parent,
            **settings,  # type: ignore[arg-type]
        )

    async def spend(self) -> Spend:
        return await self.ledger.spend(self.run)
