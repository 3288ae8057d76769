"""Settle amounts in doubt by a provider's export: match its lines with attempts, and write them in one transaction.

A line belongs to an attempt by its id, else by time and model, one to one, and only if no other match is possible.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from agentctl.budget.conclusions import Charge
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.messages import Usage
from agentctl.core.pricing import Price, charge_nano
from agentctl.ledger import attempts
from agentctl.ledger.clock import ReadClock, as_datetime
from agentctl.ledger.reconcile import Correction, LeftInDoubt, Reconciliation, open_for_correction, reasons_to_wait
from agentctl.ledger.transaction import Transaction
from agentctl.ledger.usage_export import ExportRow

_AROUND_US = 2 * 86_400 * 1_000_000  # the ledger's time and the wall clock's may differ

_SENT = """
SELECT id, run_id, owner_id, phase, provider, coalesce(model, ''), nano, max(tokens, hold_tokens), hold_nano, prices,
    coalesce((SELECT wall_us FROM entries WHERE attempt_id = a.id AND phase = 'sent' LIMIT 1), sent_us),
    max(0, deadline_us - sent_us), deadline_us, input_tokens, output_tokens, coalesce(settled_by, '') = 'hand'
FROM attempts AS a WHERE sent_us IS NOT NULL AND phase <> 'void'
    AND (phase IN ('doubt', 'sent') OR settled_by = 'hand' OR held_us BETWEEN ? AND ?) ORDER BY sent_us
"""
_SLACK_US = 5 * 1_000_000  # two clocks differ


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
    path: LedgerAddress,
    export: Sequence[ExportRow],
    *,
    who: str,
    dry_run: bool = False,
    only: Collection[str] | None = None,
    clock: ReadClock | None = None,
) -> Reconciliation:
    """Settle attempts in doubt, or settled by hand, with the lines of an export that can belong to no other call.

    An attempt in the export's time range that it does not contain was not billed; one outside that range stays in
    doubt. Usage overrides the export. ``only``: limit the change to these attempts.

    Raises:
        StateError: the ledger cannot be used.
    """
    with open_for_correction(path, clock=clock, dry_run=dry_run) as tx:
        if tx is None:
            return Reconciliation(unused=len(export))
        sent = _sent(tx, export)
        open_now = {one.id: one for one in sent.values() if one.phase in ("doubt", "sent") or one.by_hand}
        deadlines = ((one.id, one.owner_id, one.deadline_us) for one in open_now.values())
        waiting = reasons_to_wait(tx, deadlines)
        tried = [_as_candidate(one, uncertain=one.id in open_now and one.id not in waiting) for one in sent.values()]
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
                left.append(LeftInDoubt(one.id, one.run_id, f"line {line.line if line else 0} has no valid cost"))
            elif only is None or one.id in only:
                above = one.hold_nano is not None and nano > one.hold_nano
                done.append(Correction(one.id, one.run_id, one.provider, one.model, one.nano, nano, above))
                if not dry_run:
                    _write(tx, one, line, nano, who=who)
        return Reconciliation(tuple(done), tuple(left), matched.unused)


def _sent(tx: Transaction, export: Sequence[ExportRow]) -> Mapping[str, _Sent]:
    """Return the attempts that the export may contain, and the others of about the same time."""
    times = [at for row in export for at in (row.since_us, row.until_us) if at is not None]
    span = (min(times, default=0) - _AROUND_US, max(times, default=0) + _AROUND_US)
    providers, named = {row.provider for row in export}, {row.attempt_id for row in export}
    found = map(_Sent._make, tx.db.execute(_SENT, span))
    return {one.id: one for one in found if one.provider in providers or one.id in named}


def _as_candidate(one: _Sent, *, uncertain: bool) -> ExportCandidate:
    until_us = one.sent_us + one.length_us
    return ExportCandidate(
        one.id, one.provider, one.model, one.sent_us, until_us, uncertain, one.input, one.output, one.hold_nano
    )


def _write(tx: Transaction, one: _Sent, line: ExportRow | None, nano: int, *, who: str) -> None:
    if line is None:
        attempts.correct(tx, one.id, nano, 0, by="export", reason=f"not in the provider's export: {who}")
        return
    known = line.input is not None and line.output is not None
    tokens = (line.input or 0) + (line.output or 0) if known else one.tokens
    attempts.correct(tx, one.id, nano, tokens, by="export", reason=f"line {line.line} of the provider's export: {who}")
    if known:
        tx.db.execute(
            "UPDATE attempts SET input_tokens = ?, cached_input_tokens = ?, cache_write_tokens = ?, output_tokens = ?,"
            " reasoning_tokens = ? WHERE id = ?",
            (line.input, line.cached, line.cache_write, line.output, line.reasoning, one.id),
        )
    row = attempts.read(tx, one.id)
    charge = Charge(Usage(line.input or 0, line.output or 0) if known else Usage(tokens), nano)
    if row.is_exceeded_by(charge):
        attempts.record_overrun(tx, one.id, row, charge)


def _cost(line: ExportRow, prices: str | None) -> int | None:
    """Return the cost in a line, or else the cost of its tokens at the prices of the hold; None if neither is valid."""
    if line.nano is not None or prices is None or line.input is None or line.output is None:
        return line.nano
    if line.cached + line.cache_write > line.input or line.reasoning > line.output:
        return None
    usage = Usage(line.input, line.output, line.cached, line.cache_write, line.reasoning)
    return charge_nano(Price.from_row(json.loads(prices)), usage)


class ExportCandidate(NamedTuple):
    """An attempt that was sent, with the wall time from then to its deadline, in microseconds.

    ``uncertain``: an export may settle it. ``input`` and ``output`` are the tokens if usage has settled it.
    ``most_nano`` is its worst case.
    """

    id: str
    provider: str
    model: str
    since_us: int
    until_us: int
    uncertain: bool
    input: int | None
    output: int | None
    most_nano: int | None


class ExportMatch(NamedTuple):
    """The line of each matched attempt, None if the export covers its time and does not contain it.

    ``left`` has the reason for each attempt that stays as it is; ``unused`` lines belong to no call of this ledger.
    """

    found: dict[str, ExportRow | None]
    left: dict[str, str]
    unused: int


def base(model: str) -> str:
    """Return the name of a model without its vendor, date and variant."""
    name = model.lower().rpartition("/")[2].partition(":")[0]
    return re.sub(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$", "", name)


def match(rows: Sequence[ExportRow], attempts: Sequence[ExportCandidate]) -> ExportMatch:
    """Match the lines of an export with attempts that it may contain."""
    known = {attempt.id for attempt in attempts}
    times_named = Counter(row.attempt_id for row in rows if row.attempt_id in known)
    named = {row.attempt_id: row for row in rows if row.attempt_id in known}
    rest = [row for row in rows if row.attempt_id not in known and row.since_us is not None]
    found: dict[str, ExportRow | None] = {}
    left: dict[str, str] = {}
    for attempt in (one for one in attempts if one.uncertain and one.id in named):
        if times_named[attempt.id] > 1:
            left[attempt.id] = f"the export names it {times_named[attempt.id]} times"
        else:
            found[attempt.id] = named[attempt.id]
    others = [attempt for attempt in attempts if attempt.id not in named]
    settled = _match_settled(rest, others)
    used = set(settled.values())
    places = _Lines([row for row in rest if row.line not in used])
    claims: dict[int, list[ExportCandidate]] = defaultdict(list)
    near = {attempt.id: places.near(attempt) for attempt in others if attempt.id not in settled}
    for attempt in (one for one in others if one.id in near):
        for row in near[attempt.id]:
            if not row.model or not attempt.model or base(row.model) == base(attempt.model):
                claims[row.line].append(attempt)
    knows_us = bool(named or settled)
    covered = [(row.since_us or 0, row.until_us or 0) for row in rows if row.since_us is not None]
    for attempt in (one for one in others if one.uncertain):
        mine = [row for row in near[attempt.id] if attempt in claims[row.line]]
        why = _why_not(attempt, near[attempt.id], mine, claims, covered, knows_us=knows_us)
        if why:
            left[attempt.id] = why
        else:
            found[attempt.id] = mine[0] if mine else None
    taken = {row.line for row in found.values() if row is not None}
    taken |= used
    return ExportMatch(found, left, sum(row.line not in taken and row.attempt_id not in known for row in rows))


def _why_not(
    attempt: ExportCandidate,
    near: Sequence[ExportRow],
    mine: Sequence[ExportRow],
    claims: dict[int, list[ExportCandidate]],
    covered: Sequence[tuple[int, int]],
    *,
    knows_us: bool,
) -> str:
    """Return why an attempt's line, or the lack of one, is uncertain; "" if it is certain."""
    if len(mine) > 1:
        return f"{len(mine)} lines of the export could be it"
    if mine:
        row = mine[0]
        if len(claims[row.line]) > 1:
            return f"line {row.line} could also be another call's"
        if not row.is_of_one_call and (row.nano is None or row.nano > (attempt.most_nano or 0)):
            return f"line {row.line} covers more than one call"
        return ""
    if near:
        return f"line {near[0].line} is in its time range, but is for {near[0].model or 'an unknown model'}"
    first = min((since for since, _ in covered), default=0)
    last = max((until for _, until in covered), default=0)
    if not (first <= attempt.since_us - _SLACK_US and attempt.until_us + _SLACK_US <= last):
        at = f"{as_datetime(attempt.since_us):%Y-%m-%d %H:%M:%S} UTC"
        return f"the export does not cover its time, from {at} to {as_datetime(attempt.until_us):%H:%M:%S}"
    if not knows_us:
        return "no line of the export is a call of this ledger: it may be from another account"
    return ""


def _match_settled(rows: Iterable[ExportRow], attempts: Iterable[ExportCandidate]) -> dict[str, int]:
    """Return the lines of the attempts that usage has settled, by equal tokens and time."""
    by_tokens: dict[tuple[str, int | None, int | None], list[ExportRow]] = defaultdict(list)
    for row in rows:
        by_tokens[base(row.model), row.input, row.output].append(row)
    lines: dict[str, int] = {}
    for attempt in sorted(attempts, key=lambda one: one.since_us):
        if attempt.uncertain or attempt.input is None:
            continue
        choice = by_tokens[base(attempt.model), attempt.input, attempt.output]
        its = next((row for row in choice if _overlaps(row, attempt)), None)
        if its is not None:
            choice.remove(its)
            lines[attempt.id] = its.line
    return lines


def _overlaps(row: ExportRow, attempt: ExportCandidate) -> bool:
    since, until = row.since_us or 0, row.until_us or 0
    same = row.provider == attempt.provider
    return same and since <= attempt.until_us + _SLACK_US and until >= attempt.since_us - _SLACK_US


class _Lines:
    """Lines in the order of their start, to find those of a period quickly."""

    def __init__(self, rows: Iterable[ExportRow]) -> None:
        self._rows = sorted(rows, key=lambda row: row.since_us or 0)
        self._since = [row.since_us or 0 for row in self._rows]
        self._longest = max(((row.until_us or 0) - (row.since_us or 0) for row in self._rows), default=0)

    def near(self, attempt: ExportCandidate) -> tuple[ExportRow, ...]:
        """Return the lines of its provider within the time of the attempt."""
        first = bisect_left(self._since, attempt.since_us - _SLACK_US - self._longest)
        last = bisect_left(self._since, attempt.until_us + _SLACK_US + 1)
        return tuple(row for row in self._rows[first:last] if _overlaps(row, attempt))
