"""What a model is told of its budget: at half of a limit and at four fifths, behind a tool's answer. Pure.

It counts spent + in doubt, as the warnings for people do. It stands behind an answer that is new anyway: what was sent
before stays as it was, and a provider's prompt cache with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentctl.budget.breaker import format_amount
from agentctl.budget.last_answer import NOTICE
from agentctl.core.results import LimitUse

_LEVELS = (
    (80, "Come to an end now: answer with what you have, unless one more call decides it."),
    (50, "Plan for what is left of it."),
)


class BudgetNotices:
    """Says what is left of each limit, once for each level that is reached; a limit of calls is not the model's."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def notice(self, uses: Sequence[LimitUse]) -> str:
        """Return what to tell now, a line a limit; empty where nothing is new."""
        lines: list[str] = []
        for use in uses:
            if not use.ceiling or use.unit == "calls":
                continue
            share = 100 * use.used // use.ceiling
            level, advice = next(((at, said) for at, said in _LEVELS if share >= at), (0, ""))
            if level <= self._told.get(use.name, 0):
                continue
            self._told[use.name] = level
            used, of = format_amount(use.used, use.unit), format_amount(use.ceiling, use.unit)
            left = format_amount(max(0, use.ceiling - use.used), use.unit)
            lines.append(f"{NOTICE}{share} % of {use.name} is used, {used} of {of}; {left} left. {advice}]")
        return "\n".join(lines)
