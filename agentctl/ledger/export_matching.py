"""What is in doubt, settled by a provider's export: matched and written in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agentctl.budget.rules import Charge
from agentctl.core.messages import Usage
from agentctl.core.pricing import Price, charge_nano
from agentctl.ledger import attempts as rows
from agentctl.ledger.clock import ReadClock
from agentctl.ledger.database import Transaction
from agentctl.ledger.matching import SentAttempt, match
from agentctl.ledger.reconcile import Correction, LeftInDoubt, Reconciled, opened, reasons_to_wait
from agentctl.ledger.usage_export import ExportRow

_AROUND_US = 2 * 86_400 * 1_000_000  # the ledger's time and the wall clock's may differ

_SENT = """
SELECT id, run_id, owner_id, phase, provider, coalesce(model, ''), nano, max(tokens, hold_tokens), hold_nano, prices,
    coalesce((SELECT wall_us FROM entries WHERE attempt_id = a.id AND phase = 'sent' LIMIT 1), sent_us),
    max(0, deadline_us - sent_us), deadline_us, input_tokens, output_tokens, coalesce(settled_by, '') = 'hand'
FROM attempts AS a WHERE sent_us IS NOT NULL AND phase <> 'void'
    AND (phase IN ('doubt', 'sent') OR settled_by = 'hand' OR held_us BETWEEN ? AND ?) ORDER BY sent_us
"""


class _Sent(NamedTuple):
    id: str
    run_id: str
    owner_id: str
    phase: str
    provider: str
    model: str
    nano: int | None
    tokens: int  # at worst
    hold_nano: int | None
    prices: str | None
    sent_us: int  # by the wall clock
    length_us: int
    deadline_us: int
    input: int | None
    output: int | None
    by_hand: bool


def reconcile_export(
    path: Path,
    export: Sequence[ExportRow],
    *,
    who: str,
    dry_run: bool = False,
    only: Collection[str] | None = None,
    clock: ReadClock | None = None,
) -> Reconciled:
    """Settle what is in doubt, or was settled by hand, by the lines of an export that can be no other call's.

    An attempt that the export covers in time and does not have was not billed; what it does not cover stays in doubt.
    Usage is believed over it. ``only`` these attempts are touched.

    Raises:
        StateError: the ledger cannot be used.
    """
    with opened(path, clock=clock, dry_run=dry_run) as tx:
        if tx is None:
            return Reconciled(unused=len(export))
        sent = _sent(tx, export)
        open_now = {one.id: one for one in sent.values() if one.phase in ("doubt", "sent") or one.by_hand}
        deadlines = ((one.id, one.owner_id, one.deadline_us) for one in open_now.values())
        waiting = reasons_to_wait(tx, path, deadlines)
        tried = [_tried(one, uncertain=one.id in open_now and one.id not in waiting) for one in sent.values()]
        matched = match(export, tried)
        done: list[Correction] = []
        left = [LeftInDoubt(one.id, one.run_id, waiting[one.id]) for one in open_now.values() if one.id in waiting]
        left += [
            LeftInDoubt(name, sent[name].run_id, why) for name, why in matched.left.items() if not sent[name].by_hand
        ]
        for attempt_id, line in matched.found.items():
            one = sent[attempt_id]
            nano = 0 if line is None else _cost(line, one.prices)
            if nano is None:
                left.append(
                    LeftInDoubt(one.id, one.run_id, f"line {line.line if line else 0} has no cost to be believed")
                )
            elif only is None or one.id in only:
                above = one.hold_nano is not None and nano > one.hold_nano
                done.append(Correction(one.id, one.run_id, one.provider, one.model, one.nano, nano, above))
                if not dry_run:
                    _write(tx, one, line, nano, who=who)
        return Reconciled(tuple(done), tuple(left), matched.unused)


def _sent(tx: Transaction, export: Sequence[ExportRow]) -> Mapping[str, _Sent]:
    """Return the attempts that the export can be about, and the others beside them in time."""
    times = [at for row in export for at in (row.since_us, row.until_us) if at is not None]
    span = (min(times, default=0) - _AROUND_US, max(times, default=0) + _AROUND_US)
    providers, named = {row.provider for row in export}, {row.attempt_id for row in export}
    found = map(_Sent._make, tx.db.execute(_SENT, span))
    return {one.id: one for one in found if one.provider in providers or one.id in named}


def _tried(one: _Sent, *, uncertain: bool) -> SentAttempt:
    until_us = one.sent_us + one.length_us
    return SentAttempt(
        one.id, one.provider, one.model, one.sent_us, until_us, uncertain, one.input, one.output, one.hold_nano
    )


def _write(tx: Transaction, one: _Sent, line: ExportRow | None, nano: int, *, who: str) -> None:
    if line is None:
        rows.correct(tx, one.id, nano, 0, by="export", reason=f"not in the provider's export: {who}")
        return
    known = line.input is not None and line.output is not None
    tokens = (line.input or 0) + (line.output or 0) if known else one.tokens
    rows.correct(tx, one.id, nano, tokens, by="export", reason=f"line {line.line} of the provider's export: {who}")
    if known:
        tx.db.execute(
            "UPDATE attempts SET input_tokens = ?, cached_input_tokens = ?, cache_write_tokens = ?, output_tokens = ?,"
            " reasoning_tokens = ? WHERE id = ?",
            (line.input, line.cached, line.cache_write, line.output, line.reasoning, one.id),
        )
    row = rows.attempt(tx, one.id)
    charge = Charge(Usage(line.input or 0, line.output or 0) if known else Usage(tokens), nano)
    if row.is_exceeded_by(charge):
        rows.record_overrun(tx, one.id, row, charge)


def _cost(line: ExportRow, prices: str | None) -> int | None:
    """Return what a line says, or else what its tokens cost at the prices that the attempt was held with."""
    if line.nano is not None or prices is None or line.input is None or line.output is None:
        return line.nano
    if line.cached + line.cache_write > line.input or line.reasoning > line.output:
        return None
    usage = Usage(line.input, line.output, line.cached, line.cache_write, line.reasoning)
    return charge_nano(Price.from_row(json.loads(prices)), usage)
