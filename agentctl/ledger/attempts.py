"""Write the rows of attempts, inside a transaction: held, resized, settled, void, in doubt; each step adds an entry."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

from agentctl.budget.breaker import pricier_substitute
from agentctl.budget.conclusions import Charge, Doubt, Settlement
from agentctl.budget.rules import AnswerReserve, Ask, LimitState, WorstCase, worst_case
from agentctl.core.errors import InternalError
from agentctl.core.limits import WINDOWS
from agentctl.core.pricing import MOST_AMOUNT
from agentctl.ledger.clock import HOUR_US
from agentctl.ledger.transaction import Transaction


def storable(text: str) -> str:
    """Return text that SQLite can store: a lone surrogate, which providers' JSON can carry, becomes ``?``."""
    return text.encode("utf-8", "replace").decode()


class AttemptRow(NamedTuple):
    """The columns of an attempt that a transaction judges by; amounts in nano-dollars (None: unknown) and tokens."""

    phase: Literal["kept", "held", "sent", "settled", "void", "doubt"]
    nano: int | None
    tokens: int
    hold_nano: int | None
    hold_tokens: int
    provider: str
    model: str | None
    settled_by: Literal["usage", "export", "hand"] | None = None
    input_bound: int = 0
    granted_output: int = 0

    @property
    def is_final(self) -> bool:
        """Whether usage has settled it; usage overrides a provider's export, which overrides a manual amount."""
        return self.phase == "settled" and self.settled_by not in ("export", "hand")

    def is_exceeded_by(self, charge: Charge) -> bool:
        """Return whether a charge is above the hold, or breaks an assumption of the hold."""
        in_money = charge.nano is not None and self.hold_nano is not None and charge.nano > self.hold_nano
        return charge.breaks_hold or in_money or charge.usage.total_tokens > self.hold_tokens


def read(tx: Transaction, attempt_id: str) -> AttemptRow:
    """Return the row of an attempt.

    Raises:
        InternalError: there is no such attempt.
    """
    row = tx.db.execute(
        "SELECT phase, nano, tokens, hold_nano, hold_tokens, provider, model, settled_by, input_bound, granted_output"
        " FROM attempts WHERE id = ?",
        (attempt_id,),
    ).fetchone()
    if row is None:
        raise InternalError(f"attempt {attempt_id} is not in the ledger")
    return AttemptRow(*row)


def run_of(tx: Transaction, attempt_id: str) -> str:
    """Return the run of an attempt, "" if there is no such attempt."""
    row = tx.db.execute("SELECT run_id FROM attempts WHERE id = ?", (attempt_id,)).fetchone()
    return "" if row is None else str(row[0])


def append_entry(
    tx: Transaction, attempt_id: str, phase: str, nano: int | None, tokens: int, reason: str | None = None
) -> None:
    """Append an entry to the history; entries never change."""
    tx.db.execute(
        "INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (attempt_id, tx.now_us, tx.wall_us, phase, nano, tokens, None if reason is None else storable(reason)),
    )


def record_overrun(tx: Transaction, attempt_id: str, row: AttemptRow, charge: Charge | None = None) -> None:
    """Record that a provider and model exceeded the clamp, with their highest report, until the user clears it.

    ``charge`` is the report; None: nothing above the model's own ceilings. If only the price of another model put it
    above the hold, the clamp was not exceeded, and nothing is recorded: later holds use that price.
    """
    bounds = {"input_bound": row.input_bound, "granted_output": row.granted_output}
    if charge is not None and pricier_substitute(charge, **bounds) is not None:
        return
    seen = (0, 0, 0) if charge is None else (charge.usage.input_tokens, charge.usage.output_tokens, charge.nano or 0)
    tx.db.execute(
        "INSERT INTO overruns (attempt_id, provider, model, at_us, input_tokens, output_tokens, nano)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt_id) DO UPDATE SET"
        " input_tokens = max(overruns.input_tokens, excluded.input_tokens),"
        " output_tokens = max(overruns.output_tokens, excluded.output_tokens),"
        " nano = max(overruns.nano, excluded.nano)",
        (attempt_id, row.provider, row.model or "", tx.now_us, *seen),
    )


def has_overrun(tx: Transaction, attempt_id: str, row: AttemptRow) -> bool:
    """Return whether an attempt ended above its hold."""
    if row.nano is not None and row.hold_nano is not None and row.nano > row.hold_nano:
        return True
    return tx.db.execute("SELECT 1 FROM overruns WHERE attempt_id = ?", (attempt_id,)).fetchone() is not None


def new_columns(ask: Ask, worst: WorstCase, *, owner_id: str) -> dict[str, object]:
    """Return the columns of a new hold that do not depend on what is in the ledger."""
    facts, price = ask.facts, ask.facts.price
    ceiling = worst_case(ask, worst.output, at_ceiling=True)
    return {
        "id": ask.attempt_id,
        "run_id": ask.run_id,
        "owner_id": owner_id,
        "purpose": ask.purpose,
        "provider": storable(facts.provider),
        "model": None if facts.model is None else storable(facts.model),
        "base_url": storable(facts.base_url),
        "prices": None if price is None else json.dumps(price.as_row()),
        "price_source": None if price is None else price.source,
        "price_version": None if price is None else price.version,
        "price_digest": None if price is None else price.digest,
        "input_bound": ask.input_bound,
        "counted": int(ask.is_counted),
        "granted_output": worst.output,
        "hold_nano": worst.nano,
        "hold_tokens": worst.tokens,
        "ceiling_nano": ceiling.nano,
        "ceiling_tokens": ceiling.tokens,
        "nano": worst.nano,
        "tokens": worst.tokens,
    }


def insert(
    tx: Transaction,
    ask: Ask,
    worst: WorstCase,
    limits: tuple[LimitState, ...],
    *,
    owner_id: str,
    deadline_us: int,
    phase: Literal["held", "kept"] = "held",
) -> None:
    """Insert a hold with the limits under which it was admitted, and the amount that counted in each before."""
    values = {
        **new_columns(ask, worst, owner_id=owner_id),
        "phase": phase,
        "admitted": _admitted(limits),
        "held_us": tx.now_us,
        "deadline_us": deadline_us,
    }
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    tx.db.execute(f"INSERT INTO attempts ({columns}) VALUES ({marks})", values)  # noqa: S608 - our own names
    append_entry(tx, ask.attempt_id, phase, worst.nano, worst.tokens)


def resize(
    tx: Transaction, attempt_id: str, keep: AnswerReserve, worst: WorstCase, limits: tuple[LimitState, ...]
) -> None:
    """Resize a reserve, with the limits under which it is admitted now."""
    tx.db.execute(
        "UPDATE attempts SET input_bound = ?, granted_output = ?, hold_nano = ?, hold_tokens = ?, nano = ?, tokens = ?,"
        " admitted = ? WHERE id = ? AND phase = 'kept'",
        (
            *(keep.input_bound, keep.output, worst.nano, worst.tokens, worst.nano, worst.tokens),
            _admitted(limits),
            attempt_id,
        ),
    )
    append_entry(tx, attempt_id, "kept", worst.nano, worst.tokens)


def _admitted(limits: tuple[LimitState, ...]) -> str:
    """Return an admission's limits as JSON: ``limit@run``, ``limit`` for all runs; each with ceiling and sum before."""
    return json.dumps(
        {
            room.limit if room.limit in WINDOWS else f"{room.limit}@{room.run_id}": [room.ceiling, room.amounts.total]
            for room in limits
        }
    )


def conclude(
    tx: Transaction,
    attempt_id: str,
    phase: str,
    nano: int | None,
    tokens: int,
    reason: str | None = None,
    *,
    leaves_us: int,
) -> None:
    """Conclude an attempt; its amount leaves the hour's window at ``leaves_us``."""
    tx.db.execute(
        "UPDATE attempts SET phase = ?, nano = ?, tokens = ?, reason = coalesce(?, reason), ended_us = ?,"
        " leaves_hour_us = ? WHERE id = ?",
        (phase, nano, tokens, None if reason is None else storable(reason), tx.now_us, leaves_us, attempt_id),
    )
    append_entry(tx, attempt_id, phase, nano, tokens, reason)


def settle(tx: Transaction, attempt_id: str, row: AttemptRow, charge: Charge) -> Settlement:
    """Settle an attempt at the cost of its usage; a charge above the hold is an overrun."""
    tokens, reason = min(charge.usage.total_tokens, MOST_AMOUNT), None
    if charge.capped:
        reason = "more was reported than the ledger can store; the most that it can is recorded"
    conclude(tx, attempt_id, "settled", charge.nano, tokens, reason, leaves_us=tx.now_us + HOUR_US)
    record_charge(tx, attempt_id, charge)
    overrun = row.is_exceeded_by(charge)
    if overrun:
        record_overrun(tx, attempt_id, row, charge)
    return Settlement("settled", charge.nano, tokens, overrun=overrun)


def charge_columns(charge: Charge, *, settled_by: Literal["usage"] | None = "usage") -> dict[str, object]:
    """Return the columns of an attempt that a usage report fills."""
    used, at = charge.usage, charge.price
    return {
        "answered_model": None if charge.model is None else storable(charge.model),
        "input_tokens": used.input_tokens,
        "cached_input_tokens": used.cached_input_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "output_tokens": used.output_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "hour_write_tokens": charge.hour_writes,
        "billed_nano": charge.billed_nano,
        "charged_by": charge.by,
        "charged_model": None if charge.priced_model is None else storable(charge.priced_model),
        "charged_tier": storable(charge.tier) or None,
        "charged_prices": None if at is None else json.dumps(at.as_row()),
        "charged_dearest": int(charge.dearest_class),
        "charged_source": None if at is None else at.source,
        "charged_version": None if at is None else at.version,
        "charged_digest": None if at is None else at.digest,
        "provider_fault": 0,
        "settled_by": settled_by,
    }


def record_charge(
    tx: Transaction, attempt_id: str, charge: Charge, *, settled_by: Literal["usage"] | None = "usage"
) -> None:
    """Record the charge of a usage report with its prices, so that it can be recomputed from the row alone.

    ``settled_by`` None: the attempt stays in doubt, and the report is its minimum cost.
    """
    values = charge_columns(charge, settled_by=settled_by)
    written = ", ".join(f"{name} = :{name}" for name in values)
    sql = f"UPDATE attempts SET {written} WHERE id = :id"  # noqa: S608 - our own names
    tx.db.execute(sql, values | {"id": attempt_id})


def void(tx: Transaction, attempt_id: str, reason: str) -> None:
    """Void an attempt: it cost nothing."""
    conclude(tx, attempt_id, "void", 0, 0, reason, leaves_us=0)


def correct(
    tx: Transaction, attempt_id: str, nano: int, tokens: int, *, by: Literal["export", "hand"], reason: str
) -> None:
    """Settle an attempt without usage; it counts in the hour as a charge made now, and not as a fault of the
    provider.
    """
    conclude(tx, attempt_id, "settled", nano, tokens, reason, leaves_us=tx.now_us + HOUR_US)
    tx.db.execute("UPDATE attempts SET provider_fault = 0, settled_by = ? WHERE id = ?", (by, attempt_id))


def doubt(
    tx: Transaction, attempt_id: str, nano: int | None, tokens: int, reason: str, *, provider_fault: bool
) -> None:
    """Leave an attempt in doubt: it counts in the hour until 3600 s after its deadline, and in its run for good."""
    (deadline,) = tx.db.execute("SELECT deadline_us FROM attempts WHERE id = ?", (attempt_id,)).fetchone()
    conclude(tx, attempt_id, "doubt", nano, tokens, reason, leaves_us=max(deadline, tx.now_us) + HOUR_US)
    tx.db.execute("UPDATE attempts SET provider_fault = ? WHERE id = ?", (int(provider_fault), attempt_id))


def leave_in_doubt(tx: Transaction, attempt_id: str, row: AttemptRow, doubted: Doubt) -> Settlement:
    """Leave an attempt in doubt at its hold, or more: the model's ceiling if it exceeded the clamp, or a higher known
    amount.

    A report above the hold is an overrun, and so is a higher price of another model that answered.
    """
    nano, tokens, least = row.nano, row.tokens, doubted.least
    if doubted.ceiling:
        nano, tokens = tx.db.execute(
            "SELECT ceiling_nano, ceiling_tokens FROM attempts WHERE id = ?", (attempt_id,)
        ).fetchone()
        record_overrun(tx, attempt_id, row)
    overrun = least is not None and row.is_exceeded_by(least)
    if least is not None:
        tokens = max(tokens, min(least.usage.total_tokens, MOST_AMOUNT))
        nano = None if nano is None else max(nano, least.nano or 0)
    if overrun:
        record_overrun(tx, attempt_id, row, least)
    if doubted.substitute is not None:
        nano = doubted.substitute.worst_nano(nano, row.input_bound, row.granted_output)
        dearest = doubted.substitute.worst_nano(row.hold_nano, row.input_bound, row.granted_output)
        overrun = overrun or dearest != row.hold_nano
    if row.phase != "doubt" or (nano, tokens) != (row.nano, row.tokens):
        doubt(tx, attempt_id, nano, tokens, doubted.reason, provider_fault=doubted.provider_fault)
    return Settlement("doubt", nano, tokens, overrun=overrun)
