"""A Hypothesis strategy for the states of a run's limits: ceilings, and what is spent, held and movable under each."""

from __future__ import annotations

from hypothesis import strategies as st

from agentctl.budget.rules import Amounts, LimitState

amounts = st.builds(Amounts, *[st.integers(0, 60_000_000)] * 3)
ceilings = st.none() | st.integers(0, 200_000_000)


@st.composite
def limit_states(draw: st.DrawFn) -> tuple[LimitState, ...]:
    """Draw the states of both dollar limits and of the token limit."""
    made = []
    for limit, unit in (("max_cost_per_task", "nano_usd"), ("max_cost_per_hour", "nano_usd")):
        stands = draw(amounts)
        moves = draw(st.integers(0, stands.held))
        made.append(LimitState(limit, unit, draw(ceilings), stands, moves, draw(st.integers(0, 10**6))))  # type: ignore[arg-type]
    tokens = draw(st.builds(Amounts, *[st.integers(0, 5_000)] * 3))
    made.append(LimitState("max_tokens_per_task", "tokens", draw(st.none() | st.integers(0, 20_000)), tokens))
    return tuple(made)
