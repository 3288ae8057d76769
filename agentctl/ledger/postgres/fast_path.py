"""Reserve, mark and settle in one round trip where nothing is tight: the usual case of a fleet below its limits.

While a transaction holds the hour's row, everybody else waits. So what is usual is one call of a function that locks,
adds up and writes (``fast_path_ddl``), sent together with its COMMIT. It never refuses: what it cannot do, it leaves
undone, and ``LedgerSession`` judges.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Ask, Hold, WorstCase, worst_case
from agentctl.core.errors import LimitName
from agentctl.core.limits import WINDOWS
from agentctl.core.pricing import MOST_AMOUNT
from agentctl.ledger import attempts, grants
from agentctl.ledger.clock import HOUR_US, as_datetime
from agentctl.ledger.postgres.dialect import storable_values

if TYPE_CHECKING:
    from agentctl.ledger.postgres.fleet_database import FleetDatabase

_RESERVE = "SELECT reserve_whole(%(asked)s::jsonb)"
_MARK = "SELECT mark_held(%(hold)s, %(owner)s)"
_SETTLE = "SELECT settle_within(%(hold)s, %(charged)s::jsonb)"


class FastPath:
    """The usual operations of one owner; each method returns None, or False, where it has changed nothing.

    ``is_tight``: requests do not get all that they wish, so this path would be tried in vain.
    """

    def __init__(self, database: FleetDatabase, owner_id: str) -> None:
        self._database, self._owner_id = database, owner_id
        self.is_tight = False

    def note(self, ask: Ask, answer: object) -> None:
        """Note the answer that a request got without this path."""
        self.is_tight = not (isinstance(answer, Hold) and answer.granted_output >= ask.most and not answer.probe)

    def reserve(self, ask: Ask) -> tuple[Hold, WorstCase, int] | None:
        """Hold all that a request wishes; return the hold, its worst case, and its deadline in ledger time."""
        facts = ask.facts
        if self.is_tight or not facts.metered or facts.price is None or facts.unbounded is not None:
            return None
        if ask.purpose != "turn" or ask.further.keys() - WINDOWS.keys():
            return None
        worst, deadline_in_us = worst_case(ask, ask.most), int(ask.deadline_s * 1_000_000)
        ceilings: dict[LimitName, int | None] = {"max_cost_per_hour": ask.hour_limit_nano, **ask.further}
        asked = {
            "hold": storable_values(attempts.new_columns(ask, worst, owner_id=self._owner_id)),
            "keep": self._reserve_row(ask),
            "drops_reserve": ask.keep is not None and not ask.keep.output,
            "windows": [(name, most, WINDOWS[name] * 1_000_000 - HOUR_US) for name, most in ceilings.items()],
            "deadline_in_us": deadline_in_us,
        }
        state = self._database.call(_RESERVE, {"asked": json.dumps(asked)}, run_id=ask.run_id)
        if state is None:
            return None
        deadline_us = state.now_us + deadline_in_us
        deadline_at = as_datetime(deadline_us)
        hold = Hold(ask.attempt_id, ask.run_id, ask.input_bound, worst.output, worst.nano, worst.tokens, deadline_at)
        return hold, worst, deadline_us

    def _reserve_row(self, ask: Ask) -> Mapping[str, object] | None:
        """Return the row of the reserve that is held together with a request, under a new id."""
        if ask.keep is None or not ask.keep.output:
            return None
        asked, worst = grants.ask_for_reserve(ask, ask.keep, os.urandom(16).hex())
        return storable_values(attempts.new_columns(asked, worst, owner_id=self._owner_id))

    def mark_sent(self, hold_id: str) -> bool:
        """Mark a hold as sent if this owner may send it."""
        values = {"hold": hold_id, "owner": self._owner_id}
        return self._database.call(_MARK, values, spends=True) is not None

    def settle(self, hold_id: str, charge: Charge) -> Settlement | None:
        """Settle a sent attempt at a charge within its hold, by the model that was asked."""
        if charge.substitute is not None or charge.breaks_hold or charge.capped:
            return None
        if charge.usage.total_tokens > MOST_AMOUNT:
            return None
        tokens = charge.usage.total_tokens
        columns = {**attempts.charge_columns(charge), "nano": charge.nano, "tokens": tokens}
        values = {"hold": hold_id, "charged": json.dumps(storable_values(columns))}
        if self._database.call(_SETTLE, values) is None:
            return None
        return Settlement("settled", charge.nano, tokens)
