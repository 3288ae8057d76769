"""Calls of every shape of price and usage, settled in a ledger as a run settles them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge, dearest_charge
from agentctl.budget.rules import Hold
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.provider_health import is_unpriced
from tests.support.ledger.parts import ask
from tests.support.price_strategies import PriceTable, price_tables, usages

PROVIDER = "p"


@dataclass(frozen=True)
class Call:
    """What is asked of the model ``asked``, and what comes back; ``table`` has prices by model and service tier.

    ``dearest_class``: more is reported than the model can come to, so its classes are not trusted.
    """

    table: Mapping[tuple[str, str], Price]
    usage: Usage
    answer: Completion
    dearest_class: bool = False

    @property
    def charge(self) -> Charge | None:
        """What a run settles it at; None: it leaves it in doubt."""
        return dearest_charge(self.usage, self.answer, self.facts, self.price_of, dearest_class=self.dearest_class)

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(PROVIDER, "asked", self.table.get(("asked", "")), 10**9, 10**9)

    def price_of(self, model: str, /, *, tier: str = "") -> Price | None:
        return self.table.get((model, tier))


@st.composite
def calls(draw: st.DrawFn, table: PriceTable | None = None) -> Call:
    """Draw a call; with ``table``, at its prices."""
    usage = draw(usages())
    times = draw(st.sampled_from((1, 1, 1, 2**45)))  # beyond what 64 bits can store, too
    usage = Usage(*(getattr(usage, name) * times for name in Usage.__slots__))
    answer = Completion(
        model=draw(st.sampled_from((None, "asked", "answered"))),
        tier=draw(st.sampled_from(("", "priority"))),
        hour_writes=draw(st.integers(0, usage.cache_write_tokens)),
        billed_nano=draw(st.none() | st.integers(0, 10**12)),
    )
    return Call(MappingProxyType(draw(price_tables) if table is None else table), usage, answer, draw(st.booleans()))


def settle(session: LedgerSession, name: str, call: Call, run: str = "run") -> Charge | None:
    """Hold, send and conclude a call at an address of its own; return its charge, None where it was left in doubt.

    The address keeps substitutes apart: the answering model of one call does not change the price of another.
    """
    asked = ask(name, run, facts=replace(call.facts, base_url=name))._replace(least=1, most=1)
    hold = session.reserve(asked)
    assert isinstance(hold, Hold), hold
    assert session.mark_sent(name)
    charge = call.charge
    if charge is None:
        session.doubt(name, "served in a tier without a price", ceiling=False, provider_fault=False)
    elif session.settle(name, charge).phase == "doubt":
        assert is_unpriced(charge)
        return None
    return charge._replace(nano=None) if charge is not None and is_unpriced(charge) else charge
