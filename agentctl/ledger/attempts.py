"""The rows of the book, inside a transaction: an attempt entered, ended, doubted, buried; each step leaves an entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

from agentctl.budget.breaker import pricier_substitute
from agentctl.budget.conclusions import Charge, Doubt, Settlement
from agentctl.budget.rules import AnswerReserve, Ask, LimitState, WorstCase, worst_case
from agentctl.core.errors import InternalError
from agentctl.core.limits import WINDOWS
from agentctl.core.pricing import MOST_AMOUNT
from agentctl.ledger.clock import HOUR_US
from agentctl.ledger.database import Transaction
from agentctl.ledger.locks import is_dead, liveness, owner_ids

UNFINISHED = "unfinished"  # how a run ended whose process died


def plain(text: str) -> str:
    """Return text that SQLite can store: a lone surrogate, which providers' JSON can carry, becomes ``?``."""
    return text.encode("utf-8", "replace").decode()


class AttemptRow(NamedTuple):
    """What a deed needs to know of a row; amounts in nano-dollars (None: unknown) and tokens."""

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
        """Whether it is settled by usage: that is believed over a provider's export, and both over a person's word."""
        return self.phase == "settled" and self.settled_by not in ("export", "hand")

    def is_exceeded_by(self, charge: Charge) -> bool:
        """Return whether a charge is above the hold, or breaks what the hold assumed."""
        in_money = charge.nano is not None and self.hold_nano is not None and charge.nano > self.hold_nano
        return charge.breaks_hold or in_money or charge.usage.total_tokens > self.hold_tokens


def attempt(tx: Transaction, attempt_id: str) -> AttemptRow:
    """Return the row.

    Raises:
        InternalError: there is none.
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
    """Return the run of an attempt, "" where there is no such attempt."""
    row = tx.db.execute("SELECT run_id FROM attempts WHERE id = ?", (attempt_id,)).fetchone()
    return "" if row is None else str(row[0])


def enter(
    tx: Transaction, attempt_id: str, phase: str, nano: int | None, tokens: int, reason: str | None = None
) -> None:
    """Add one line to the history that is never changed."""
    tx.db.execute(
        "INSERT INTO entries (attempt_id, at_us, wall_us, phase, nano, tokens, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (attempt_id, tx.now_us, tx.wall_us, phase, nano, tokens, None if reason is None else plain(reason)),
    )


def record_overrun(tx: Transaction, attempt_id: str, row: AttemptRow, charge: Charge | None = None) -> None:
    """Remember that a provider and model broke their clamp, until the user clears it, and the most that they reported.

    ``charge`` is what was reported; None: nothing above the model's own ceilings. Where only the price of another model
    put it above its hold, nothing was broken: that price is held from then on.
    """
    bounds = {"input_bound": row.input_bound, "granted_output": row.granted_output}
    if charge is not None and pricier_substitute(charge, **bounds) is not None:
        return
    seen = (0, 0, 0) if charge is None else (charge.usage.input_tokens, charge.usage.output_tokens, charge.nano or 0)
    tx.db.execute(
        "INSERT INTO overruns (attempt_id, provider, model, at_us, input_tokens, output_tokens, nano)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt_id) DO UPDATE SET"
        " input_tokens = max(input_tokens, excluded.input_tokens),"
        " output_tokens = max(output_tokens, excluded.output_tokens), nano = max(nano, excluded.nano)",
        (attempt_id, row.provider, row.model or "", tx.now_us, *seen),
    )


def has_overrun(tx: Transaction, attempt_id: str, row: AttemptRow) -> bool:
    """Return whether an attempt was found above its hold."""
    if row.nano is not None and row.hold_nano is not None and row.nano > row.hold_nano:
        return True
    return tx.db.execute("SELECT 1 FROM overruns WHERE attempt_id = ?", (attempt_id,)).fetchone() is not None


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
    """Enter a new hold with the limits it was admitted under, and what stood against each."""
    facts, price = ask.facts, ask.facts.price
    ceiling = worst_case(ask, worst.output, at_ceiling=True)
    values = {
        "id": ask.attempt_id,
        "run_id": ask.run_id,
        "owner_id": owner_id,
        "purpose": ask.purpose,
        "phase": phase,
        "provider": plain(facts.provider),
        "model": None if facts.model is None else plain(facts.model),
        "base_url": plain(facts.base_url),
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
        "admitted": _admitted(limits),
        "held_us": tx.now_us,
        "deadline_us": deadline_us,
    }
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    tx.db.execute(f"INSERT INTO attempts ({columns}) VALUES ({marks})", values)  # noqa: S608 - our own names
    enter(tx, ask.attempt_id, phase, worst.nano, worst.tokens)


def resize(
    tx: Transaction, attempt_id: str, keep: AnswerReserve, worst: WorstCase, limits: tuple[LimitState, ...]
) -> None:
    """Give a kept row another size, with the limits that it was admitted under now."""
    tx.db.execute(
        "UPDATE attempts SET input_bound = ?, granted_output = ?, hold_nano = ?, hold_tokens = ?, nano = ?, tokens = ?,"
        " admitted = ? WHERE id = ? AND phase = 'kept'",
        (
            *(keep.input_bound, keep.output, worst.nano, worst.tokens, worst.nano, worst.tokens),
            _admitted(limits),
            attempt_id,
        ),
    )
    enter(tx, attempt_id, "kept", worst.nano, worst.tokens)


def _admitted(limits: tuple[LimitState, ...]) -> str:
    """Write the limits of an admission: ``limit@run`` or, over everyone, ``limit``; each its ceiling and sum before."""
    return json.dumps(
        {
            room.limit if room.limit in WINDOWS else f"{room.limit}@{room.run_id}": [room.ceiling, room.amounts.total]
            for room in limits
        }
    )


def end(
    tx: Transaction,
    attempt_id: str,
    phase: str,
    nano: int | None,
    tokens: int,
    reason: str | None = None,
    *,
    leaves_us: int,
) -> None:
    """Conclude an attempt; its amount leaves the hour at ``leaves_us``."""
    tx.db.execute(
        "UPDATE attempts SET phase = ?, nano = ?, tokens = ?, reason = coalesce(?, reason), ended_us = ?,"
        " leaves_hour_us = ? WHERE id = ?",
        (phase, nano, tokens, None if reason is None else plain(reason), tx.now_us, leaves_us, attempt_id),
    )
    enter(tx, attempt_id, phase, nano, tokens, reason)


def settle(tx: Transaction, attempt_id: str, row: AttemptRow, charge: Charge) -> Settlement:
    """Conclude an attempt with what its usage cost; a charge above the hold is an overrun."""
    tokens, reason = min(charge.usage.total_tokens, MOST_AMOUNT), None
    if charge.capped:
        reason = "more was reported than the ledger can store; the most that it can is recorded"
    end(tx, attempt_id, "settled", charge.nano, tokens, reason, leaves_us=tx.now_us + HOUR_US)
    record_charge(tx, attempt_id, charge)
    overrun = row.is_exceeded_by(charge)
    if overrun:
        record_overrun(tx, attempt_id, row, charge)
    return Settlement("settled", charge.nano, tokens, overrun=overrun)


def record_charge(
    tx: Transaction, attempt_id: str, charge: Charge, *, settled_by: Literal["usage"] | None = "usage"
) -> None:
    """Write what a usage report was charged at: with it, the amount can be recomputed from the row alone.

    ``settled_by`` None: it stays in doubt, and this is what is known of it.
    """
    used, at = charge.usage, charge.price
    values = {
        "answered_model": None if charge.model is None else plain(charge.model),
        "input_tokens": used.input_tokens,
        "cached_input_tokens": used.cached_input_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "output_tokens": used.output_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "hour_write_tokens": charge.hour_writes,
        "billed_nano": charge.billed_nano,
        "charged_by": charge.by,
        "charged_model": None if charge.priced_model is None else plain(charge.priced_model),
        "charged_tier": plain(charge.tier) or None,
        "charged_prices": None if at is None else json.dumps(at.as_row()),
        "charged_dearest": int(charge.dearest_class),
        "charged_source": None if at is None else at.source,
        "charged_version": None if at is None else at.version,
        "charged_digest": None if at is None else at.digest,
        "provider_fault": 0,
        "settled_by": settled_by,
    }
    written = ", ".join(f"{name} = :{name}" for name in values)
    sql = f"UPDATE attempts SET {written} WHERE id = :id"  # noqa: S608 - our own names
    tx.db.execute(sql, values | {"id": attempt_id})


def void(tx: Transaction, attempt_id: str, reason: str) -> None:
    """Conclude an attempt that cost nothing."""
    end(tx, attempt_id, "void", 0, 0, reason, leaves_us=0)


def correct(
    tx: Transaction, attempt_id: str, nano: int, tokens: int, *, by: Literal["export", "hand"], reason: str
) -> None:
    """Settle what no usage tells; it counts in the hour as a charge of now, and says nothing of the provider."""
    end(tx, attempt_id, "settled", nano, tokens, reason, leaves_us=tx.now_us + HOUR_US)
    tx.db.execute("UPDATE attempts SET provider_fault = 0, settled_by = ? WHERE id = ?", (by, attempt_id))


def doubt(
    tx: Transaction, attempt_id: str, nano: int | None, tokens: int, reason: str, *, provider_fault: bool
) -> None:
    """Leave an attempt in doubt: it counts in the hour until 3600 s after its deadline, and in its run for good."""
    (deadline,) = tx.db.execute("SELECT deadline_us FROM attempts WHERE id = ?", (attempt_id,)).fetchone()
    end(tx, attempt_id, "doubt", nano, tokens, reason, leaves_us=max(deadline, tx.now_us) + HOUR_US)
    tx.db.execute("UPDATE attempts SET provider_fault = ? WHERE id = ?", (int(provider_fault), attempt_id))


_BURIED = "its process ended"


def is_buried(tx: Transaction, attempt_id: str) -> bool:
    """Whether an attempt is in doubt only because its process was found dead, or taken for dead."""
    found = tx.db.execute("SELECT 1 FROM attempts WHERE id = ? AND reason = ?", (attempt_id, _BURIED)).fetchone()
    return found is not None


def leave_in_doubt(tx: Transaction, attempt_id: str, row: AttemptRow, doubted: Doubt) -> Settlement:
    """Leave an attempt in doubt at its hold, at its model's ceiling if it broke its clamp, or at more if that is known.

    Above the hold, what was reported is an overrun, and so is the price of another model that answered.
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


def bury(tx: Transaction, owner_id: str) -> None:
    """Void what a dead owner held; what it had sent is in doubt, at the worst case. Its runs have ended."""
    left = tx.db.execute(
        "SELECT id, phase, nano, tokens FROM attempts WHERE leaves_hour_us IS NULL AND owner_id = ?", (owner_id,)
    ).fetchall()
    for attempt_id, phase, nano, tokens in left:
        if phase == "sent":
            doubt(tx, attempt_id, nano, tokens, _BURIED, provider_fault=False)
        else:
            void(tx, attempt_id, "its process ended before sending")
    tx.db.execute("DELETE FROM waiters WHERE owner_id = ?", (owner_id,))
    open_runs = "SELECT id FROM scopes WHERE opened_by = ? AND closed_us IS NULL"
    for (run_id,) in tx.db.execute(open_runs, (owner_id,)).fetchall():
        close(tx, run_id, UNFINISHED)
    tx.db.execute("UPDATE owners SET ended_us = ? WHERE id = ? AND ended_us IS NULL", (tx.now_us, owner_id))


def close(tx: Transaction, run_id: str, status: str) -> None:
    """End a run: what it and the runs below it only hold is void, and they leave the queue.

    ``UNFINISHED``: its process is taken for dead. Should it live all the same, it goes on, but nothing below it does.
    """
    tx.db.execute(
        "UPDATE scopes SET closed_us = ?, status = ? WHERE id = ? AND (closed_us IS NULL OR status = ?)",
        (tx.now_us, status, run_id, UNFINISHED),
    )
    least_depth = int(status == UNFINISHED)
    below = f"run_id IN (SELECT scope_id FROM scope_paths WHERE above_id = ? AND depth >= {least_depth})"  # noqa: S608
    void_held(tx, below, run_id, reason="its run ended before sending", kept=True)
    tx.db.execute(f"DELETE FROM waiters WHERE {below}", (run_id,))  # noqa: S608 - our own words


def sweep(tx: Transaction, owners: Path, *, but: str) -> None:
    """Bury every owner of something open whose lock nobody holds; void whoever's hold can never be sent any more."""
    found = tx.db.execute(
        "SELECT owner_id FROM attempts WHERE leaves_hour_us IS NULL AND owner_id <> ?1"
        " UNION SELECT owner_id FROM waiters WHERE owner_id <> ?1"
        " UNION SELECT opened_by FROM scopes WHERE closed_us IS NULL AND opened_by <> ?1",
        (but,),
    ).fetchall()
    for (owner_id,) in found:
        if is_dead(owners, owner_id):
            bury(tx, owner_id)
        elif liveness(owners, owner_id) is None:
            conclude_overdue(tx, owner_id)
    void_held(tx, "deadline_us <= ?", tx.now_us, reason="not sent before its deadline")


def conclude_overdue(tx: Transaction, owner_id: str) -> None:
    """Conclude what an owner of whom nobody can tell whether it lives has left open too long.

    What it sent is in doubt once its deadline is over, what it kept is void after an hour: else both would count for
    ever. That does no harm to one that lives: its usage settles a row in doubt, and it can keep anew.
    """
    left = tx.db.execute(
        "SELECT id, phase, nano, tokens FROM attempts WHERE leaves_hour_us IS NULL AND owner_id = ?"
        " AND (phase = 'sent' AND deadline_us <= ? OR phase = 'kept' AND held_us <= ?)",
        (owner_id, tx.now_us, tx.now_us - HOUR_US),
    ).fetchall()
    for attempt_id, phase, nano, tokens in left:
        if phase == "sent":
            doubt(tx, attempt_id, nano, tokens, "its process may have ended", provider_fault=False)
        else:
            void(tx, attempt_id, "its process may have ended")


def void_held(tx: Transaction, condition: str, value: object, *, reason: str, kept: bool = False) -> None:
    """Void the holds that ``condition`` (of our own words) names and that were never sent; ``kept``: those, too."""
    phases = "('held', 'kept')" if kept else "('held')"
    still_open = f"SELECT id FROM attempts WHERE leaves_hour_us IS NULL AND phase IN {phases}"  # noqa: S608 - our own
    found = tx.db.execute(f"{still_open} AND {condition}", (value,)).fetchall()
    for (attempt_id,) in found:
        void(tx, attempt_id, reason)


def remove_traces(tx: Transaction, owners: Path, *, but: str) -> None:
    """Remove the lock files of the dead that left nothing open."""
    for owner_id in owner_ids(owners):
        if owner_id != but and is_dead(owners, owner_id):
            bury(tx, owner_id)
