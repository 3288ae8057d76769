"""Which line of an export is which attempt: by id, else by time and model, one to one, and only where nothing else can
be. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agentctl.ledger.clock import as_datetime
from agentctl.ledger.usage_export import ExportRow

_SLACK_US = 5 * 1_000_000  # two clocks are never quite the same


class SentAttempt(NamedTuple):
    """An attempt that was sent, from then to its deadline by the wall clock, in microseconds.

    ``uncertain``: it may be settled by an export. ``input`` and ``output`` are the tokens of one that was settled by
    usage. ``most_nano`` is its worst case.
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
    """What belongs together: an attempt's line, None where an export that covers its time does not have it.

    ``left`` says why of attempts that stay as they are; ``unused`` lines are no call that this ledger knows.
    """

    found: dict[str, ExportRow | None]
    left: dict[str, str]
    unused: int


def base(model: str) -> str:
    """Return a model's name without its maker, its date and its variant."""
    name = model.lower().rpartition("/")[2].partition(":")[0]
    return re.sub(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$", "", name)


def match(rows: Sequence[ExportRow], attempts: Sequence[SentAttempt]) -> ExportMatch:
    """Match the lines of an export with the attempts that it can be about."""
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
    settled = _settled_lines(rest, others)
    used = set(settled.values())
    places = _Lines([row for row in rest if row.line not in used])
    claims: dict[int, list[SentAttempt]] = defaultdict(list)
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
    attempt: SentAttempt,
    near: Sequence[ExportRow],
    mine: Sequence[ExportRow],
    claims: dict[int, list[SentAttempt]],
    covered: Sequence[tuple[int, int]],
    *,
    knows_us: bool,
) -> str:
    """Return why the attempt's line, or that it has none, is not known; "" if it is."""
    if len(mine) > 1:
        return f"{len(mine)} lines of the export could be it"
    if mine:
        row = mine[0]
        if len(claims[row.line]) > 1:
            return f"line {row.line} could be another call's, too"
        if not row.is_of_one_call and (row.nano is None or row.nano > (attempt.most_nano or 0)):
            return f"line {row.line} tells of more than one call"
        return ""
    if near:
        return f"line {near[0].line} lies in its time, and is of {near[0].model or 'an unknown model'}"
    first = min((since for since, _ in covered), default=0)
    last = max((until for _, until in covered), default=0)
    if not (first <= attempt.since_us - _SLACK_US and attempt.until_us + _SLACK_US <= last):
        at = f"{as_datetime(attempt.since_us):%Y-%m-%d %H:%M:%S} UTC"
        return f"the export does not cover its time, from {at} to {as_datetime(attempt.until_us):%H:%M:%S}"
    if not knows_us:
        return "no line of the export is a call of this ledger: it may be another account's"
    return ""


def _settled_lines(rows: Iterable[ExportRow], attempts: Iterable[SentAttempt]) -> dict[str, int]:
    """Return the lines of attempts that usage has settled: the same tokens, in their time."""
    alike: dict[tuple[str, int | None, int | None], list[ExportRow]] = defaultdict(list)
    for row in rows:
        alike[base(row.model), row.input, row.output].append(row)
    lines: dict[str, int] = {}
    for attempt in sorted(attempts, key=lambda one: one.since_us):
        if attempt.uncertain or attempt.input is None:
            continue
        choice = alike[base(attempt.model), attempt.input, attempt.output]
        its = next((row for row in choice if _meet(row, attempt)), None)
        if its is not None:
            choice.remove(its)
            lines[attempt.id] = its.line
    return lines


def _meet(row: ExportRow, attempt: SentAttempt) -> bool:
    since, until = row.since_us or 0, row.until_us or 0
    same = row.provider == attempt.provider
    return same and since <= attempt.until_us + _SLACK_US and until >= attempt.since_us - _SLACK_US


class _Lines:
    """Lines in the order of their beginning, to find those in a time."""

    def __init__(self, rows: Iterable[ExportRow]) -> None:
        self._rows = sorted(rows, key=lambda row: row.since_us or 0)
        self._since = [row.since_us or 0 for row in self._rows]
        self._longest = max(((row.until_us or 0) - (row.since_us or 0) for row in self._rows), default=0)

    def near(self, attempt: SentAttempt) -> tuple[ExportRow, ...]:
        """Return the lines of its provider that lie in the attempt's time."""
        first = bisect_left(self._since, attempt.since_us - _SLACK_US - self._longest)
        last = bisect_left(self._since, attempt.until_us + _SLACK_US + 1)
        return tuple(row for row in self._rows[first:last] if _meet(row, attempt))
