"""Add up the attempts of a window by name and by local time, with clock changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean, safe_text
from agentctl.ledger.clock import as_datetime
from agentctl.ledger.sums import exact_sum, whole
from agentctl.ledger.transaction import Transaction

GROUPS = ("hour", "day", "model", "provider", "agent", "run", "purpose", "host", "ci_run", "user")
LABEL = "label:"
SLOT_S = 300  # all clocks in use change at a multiple of it, so no slot is in two hours
ClockChange = Literal["", "missing", "doubled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSums:
    """Calls, tokens and nano-dollars. ``known_nano`` is charged; ``unknown_calls`` are settled or in doubt without a
    known price. ``cached_input_tokens`` are included in ``input_tokens``.
    """

    calls: int = 0
    unknown_calls: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    known_nano: int = 0
    in_doubt_nano: int = 0
    held_nano: int = 0

    @property
    def cost_nano(self) -> int | None:
        """The charges; None if a price is unknown."""
        return None if self.unknown_calls else self.known_nano

    @property
    def counted_nano(self) -> int:
        """The amounts that count as spent: charged and in doubt, without unknown prices."""
        return self.known_nano + self.in_doubt_nano


_FIGURES = tuple(CostSums.__dataclass_fields__)
_KNOWN, _IN_DOUBT = _FIGURES.index("known_nano"), _FIGURES.index("in_doubt_nano")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow(CostSums):
    """The sums of one group; a field that it is not grouped by is None. ``hour`` and ``day`` are their start.

    ``ci_run`` is None outside of CI, too, and both it and ``user`` where the ledger does not know them.

    ``answered_models`` are those that answered instead of ``model``, at another price.
    """

    hour: datetime | None = None
    day: datetime | None = None
    run_id: str | None = None
    agent: str | None = None
    provider: str | None = None
    model: str | None = None
    purpose: str | None = None
    host: str | None = None
    ci_run: str | None = None
    user: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    last_at: datetime
    answered_models: tuple[str, ...] = ()


class Slot(NamedTuple):
    """A few minutes of the window (UTC), and the nano-dollars that count as spent in them."""

    at: datetime
    nano: int


_WHO = ("host", "ci_run", "user")
_KEYS = tuple(name for name in CostRow.__dataclass_fields__ if name not in (*_FIGURES, "answered_models"))
R = TypeVar("R", bound=CostRow)


class GroupTotals(NamedTuple):
    """Figures added up by group (its last time is the last figure), and by the slots of the window."""

    groups: Mapping[tuple[Any, ...], list[int]]
    slots: tuple[Slot, ...]
    runs: int

    @property
    def total(self) -> list[int]:
        """The figures of all groups, without the last time."""
        return [sum(figure) for figure in zip(*self.groups.values(), strict=True)][:-1]

    def rows(self, kind: type[R], by: tuple[str, ...]) -> tuple[R, ...]:
        """Return the groups as rows of ``kind``.

        Rows by hour or day are in the order of time, others by run are the latest first, others the highest cost first.
        """
        return tuple(_sort_rows([_row(kind, key, group) for key, group in self.groups.items()], by))


class WindowTotals(NamedTuple):
    """The groups of a window and their total; ``runs`` is the number of runs in it."""

    rows: tuple[CostRow, ...]
    total: CostSums
    runs: int
    slots: tuple[Slot, ...]


OF_ALL = """
    SELECT * FROM attempts WHERE ended_us >= :since AND ended_us < :until AND phase <> 'void'
    UNION ALL
    SELECT * FROM attempts WHERE leaves_hour_us IS NULL AND :reaches_now
"""
OF_ONE = """
    SELECT * FROM attempts
    WHERE run_id IN (SELECT scope_id FROM scope_paths WHERE above_id = :run) AND phase <> 'void'
    AND ((ended_us >= :since AND ended_us < :until) OR (leaves_hour_us IS NULL AND :reaches_now))
"""
_SUMS = """
SELECT g.*, {who}, s.agent, s.labels FROM (
    SELECT run_id, {owner} provider, model, purpose, (coalesce(ended_us, :now) + :ahead) / :slot AS at,
        max(coalesce(ended_us, sent_us, held_us)) + :ahead,
        count(*) FILTER (WHERE phase <> 'kept'),
        count(*) FILTER (WHERE phase IN ('settled', 'doubt') AND nano IS NULL),
        {amounts}
    FROM ({source}) AS w GROUP BY run_id, {owner} provider, model, purpose, at
) AS g CROSS JOIN scopes AS s ON s.id = g.run_id {owners}
"""
_BEFORE_AMOUNTS, _BEHIND_AMOUNTS = 8, 5  # columns of _SUMS, without the owner's id
_AMOUNTS = (
    *map(exact_sum, ("input_tokens", "cached_input_tokens", "output_tokens")),
    exact_sum("nano", "phase = 'settled'"),
    exact_sum("nano", "phase = 'doubt'"),
    exact_sum("nano", "phase IN ('held', 'sent', 'kept')"),
)


def _sums_of(source: str, *, by_owner: bool) -> str:
    join, names = "CROSS JOIN owners AS o ON o.id = g.owner_id", "o.host, o.ci_run, o.user_name"
    owner, who, owners = ("owner_id,", names, join) if by_owner else ("", "NULL, NULL, NULL", "")
    return _SUMS.format(source=source, amounts=", ".join(_AMOUNTS), owner=owner, who=who, owners=owners)


SQL = {of: _sums_of(source, by_owner=False) for of, source in (("all", OF_ALL), ("one", OF_ONE))}
_SQL_BY_OWNER = {of: _sums_of(source, by_owner=True) for of, source in (("all", OF_ALL), ("one", OF_ONE))}
_ANSWER = """
SELECT DISTINCT a.run_id, a.provider, a.model, a.purpose, (coalesce(a.ended_us, :now) + :ahead) / :slot,
    a.answered_model, o.host, o.ci_run, o.user_name, s.agent, s.labels
FROM ({source}) AS a JOIN substitutes AS t ON t.provider = a.provider AND t.base_url = a.base_url
    AND t.model = a.model AND t.answered_model = a.answered_model
JOIN scopes AS s ON s.id = a.run_id JOIN owners AS o ON o.id = a.owner_id
"""
_ANSWERS = {of: _ANSWER.replace("{source}", source) for of, source in (("all", OF_ALL), ("one", OF_ONE))}


def sums(tx: Transaction, values: Mapping[str, object], by: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each run, provider, model, purpose and slot of a ``window``; by process if ``by`` needs it."""
    by_owner = not set(_WHO).isdisjoint(by)
    of = "all" if values["run"] is None else "one"
    for row in tx.db.execute((_SQL_BY_OWNER if by_owner else SQL)[of], values):
        columns = (row[0], *row[2:]) if by_owner else row
        halves = columns[_BEFORE_AMOUNTS:-_BEHIND_AMOUNTS]
        yield (*columns[:_BEFORE_AMOUNTS], *map(whole, halves[::2], halves[1::2]), *columns[-_BEHIND_AMOUNTS:])


def window(
    tx: Transaction, *, since_us: int, until_us: int, reaches_now: bool, run_id: str | None
) -> Mapping[str, object]:
    """Return the parameters of a window's queries; its bounds are in ledger time."""
    values = {"since": since_us, "until": until_us, "reaches_now": reaches_now, "run": run_id, "now": tx.now_us}
    return values | {"ahead": tx.wall_us - tx.now_us, "slot": SLOT_S * 1_000_000}


def fold(
    rows: Iterable[tuple[Any, ...]], *, by: tuple[str, ...], labels: tuple[tuple[str, str], ...], zone: TimeZone
) -> WindowTotals:
    """Add up the rows of ``sums`` that carry all ``labels``, in groups of ``by`` (of GROUPS, or ``label:NAME``)."""
    added = add_up(rows, by=by, labels=labels, zone=zone)
    total = CostSums(**dict(zip(_FIGURES, added.total, strict=False)))
    return WindowTotals(added.rows(CostRow, by), total, added.runs, added.slots)


def add_up(
    rows: Iterable[tuple[Any, ...]], *, by: tuple[str, ...], labels: tuple[tuple[str, str], ...], zone: TimeZone
) -> GroupTotals:
    """Add up the figures of rows that carry all ``labels``.

    A row is what ``sums`` yields: run, provider, model, purpose, slot, last time, the figures, host, CI run, user,
    agent, labels as JSON.
    The figures begin with those of ``CostSums``.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    slots: dict[int, int] = {}
    runs: set[str] = set()
    named = tuple(word.removeprefix(LABEL) for word in by if word.startswith(LABEL))
    key_of = _keys(frozenset(by), zone)
    labels_of = cache(_labels)
    for run_id, provider, model, purpose, slot, last_us, *figures, host, ci_run, user, agent, written in rows:
        own = labels_of(written) if labels or named else {}
        if any(own.get(name) != value for name, value in labels):
            continue
        runs.add(run_id)
        slots[slot] = slots.get(slot, 0) + figures[_KNOWN] + figures[_IN_DOUBT]
        who = (host, ci_run, user)
        key = (
            *key_of(slot, run_id, agent, provider, model, purpose, *who),
            tuple((one, own.get(one)) for one in named),
        )
        group = groups.setdefault(key, [0] * (len(figures) + 1))
        for at, figure in enumerate(figures):
            group[at] += figure
        group[-1] = max(group[-1], last_us)
    return GroupTotals(groups, tuple(Slot(_slot_at(slot), nano) for slot, nano in sorted(slots.items())), len(runs))


def add_answered_models(
    tx: Transaction,
    rows: tuple[R, ...],
    window: Mapping[str, object],
    *,
    by: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    zone: TimeZone,
) -> tuple[R, ...]:
    """Return the rows of a window; if they are by model, with the models that answered instead of each."""
    if "model" not in by or not tx.db.execute("SELECT EXISTS (SELECT 1 FROM substitutes)").fetchone()[0]:
        return rows
    named = tuple(word.removeprefix(LABEL) for word in by if word.startswith(LABEL))
    key_of, answers = _keys(frozenset(by), zone), dict[tuple[Any, ...], set[str]]()
    found = tx.db.execute(_ANSWERS["all" if window["run"] is None else "one"], window)
    for run_id, provider, model, purpose, slot, answered, *who, agent, written in found:
        if has_labels(written, labels):
            own = _labels(written) if named else {}
            head = key_of(slot, run_id, agent, provider, model, purpose, *who)
            key = (*head, tuple((one, own.get(one)) for one in named))
            answers.setdefault(key, set()).add(answered)
    keyed = ((row, tuple(getattr(row, name) for name in _KEYS[:-1])) for row in rows)
    return tuple(replace(row, answered_models=tuple(sorted(answers.get(key, ())))) for row, key in keyed)


def has_labels(written: str, labels: tuple[tuple[str, str], ...]) -> bool:
    """Return whether the labels of a run, as JSON, include all of ``labels``."""
    own = _labels(written) if labels else {}
    return all(own.get(name) == value for name, value in labels)


def _labels(written: str) -> Mapping[str, str]:
    try:
        found = json.loads(written)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _slot_at(slot: int) -> datetime:
    return as_datetime(slot * SLOT_S * 1_000_000)


def _keys(by: frozenset[str], zone: TimeZone) -> Callable[..., tuple[Any, ...]]:
    """Return a function for the key of a row: the fields of CostRow to group by, in their order, but the labels."""
    times = tuple(
        (lambda slot, begins=begins: begins(_slot_at(slot))) if word in by else None
        for word, begins in (("hour", zone.hour_of), ("day", zone.day_of))
    )

    @cache
    def began(slot: int) -> tuple[datetime | None, ...]:
        return tuple(None if begins is None else begins(slot) for begins in times)

    def key(
        slot: int, run_id: str, agent: str, provider: str, model: str | None, purpose: str, *who: str | None
    ) -> tuple[Any, ...]:
        return (
            *began(slot),
            run_id if "run" in by else None,
            agent if by & {"run", "agent"} else None,
            provider if by & {"provider", "model"} else None,
            model if "model" in by else None,
            purpose if "purpose" in by else None,
            *(value if name in by else None for name, value in zip(_WHO, who, strict=True)),
        )

    return key


def figures_of(kind: type[CostRow]) -> tuple[str, ...]:
    """Return the names of a row's figures in their order: all of its fields but those that it is grouped by."""
    return tuple(name for name in kind.__dataclass_fields__ if name not in (*_KEYS, "answered_models"))


def _row(kind: type[R], key: tuple[Any, ...], group: list[int]) -> R:
    values: dict[str, Any] = dict(zip(figures_of(kind), group, strict=False))
    return kind(**values, **dict(zip(_KEYS, (*key, as_datetime(group[-1])), strict=True)))


def _sort_rows(rows: list[R], by: tuple[str, ...]) -> list[R]:
    if "run" in by:
        rows.sort(key=lambda row: row.last_at, reverse=True)
    else:
        rows.sort(key=lambda row: (row.counted_nano, row.calls), reverse=True)
    if "hour" in by or "day" in by:
        rows.sort(key=lambda row: row.hour or row.day or row.last_at)
    return rows


@dataclass(frozen=True, slots=True)
class TimeZone:
    """A time zone; ``rules`` None: that of this machine."""

    name: str = "local"
    rules: tzinfo | None = None

    def local(self, at: datetime) -> datetime:
        """Return the local time at ``at``, naive; ``fold`` is 1 in the second of a doubled hour."""
        if self.rules is None:
            return datetime.fromtimestamp(at.timestamp())
        return at.astimezone(self.rules).replace(tzinfo=None)

    def moment(self, local: datetime) -> datetime:
        """Return the UTC time of the naive local time ``local``.

        ``fold`` selects one of a doubled time; a missing time is moved on by what the clocks skip.
        """
        if self.rules is None:  # astimezone() would give a missing time the offset after the clock change
            return datetime.fromtimestamp(local.timestamp(), UTC)
        return local.replace(tzinfo=self.rules).astimezone(UTC)

    def doubt(self, local: datetime) -> ClockChange:
        """Return whether the naive local time ``local`` is missing or doubled because clocks are changed; "" if not."""
        first, second = (self.moment(local.replace(fold=fold)) for fold in (0, 1))
        if first == second:
            return ""
        return "doubled" if first < second else "missing"

    def offset(self, at: datetime) -> str:
        """Return the offset from UTC at ``at``: ``+02:00``."""
        minutes = round((self.local(at) - at.astimezone(UTC).replace(tzinfo=None)).total_seconds() / 60)
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"

    def day_of(self, at: datetime) -> datetime:
        """Return the start (UTC) of the day of ``at``."""
        day = self.local(at)
        return self.moment(datetime(day.year, day.month, day.day))

    def month_of(self, at: datetime) -> datetime:
        """Return the start (UTC) of the month of ``at``."""
        day = self.local(at)
        return self.moment(datetime(day.year, day.month, 1))

    def hour_of(self, at: datetime) -> datetime:
        """Return the start (UTC) of the hour of ``at``; a doubled hour counts as two."""
        return self.moment(self.local(at).replace(minute=0, second=0, microsecond=0))

    def day_after(self, at: datetime) -> datetime:
        """Return the start (UTC) of the day after that of ``at``, 23 to 25 hours later."""
        day = self.local(at)
        return self.moment(datetime(day.year, day.month, day.day) + timedelta(days=1))


MACHINE_ZONE = TimeZone()


def find_time_zone(name: str | None) -> TimeZone:
    """Return the time zone of that name; for None that of this machine.

    Raises:
        UsageError: no such time zone, or no table of time zones on this machine.
    """
    if name is None:
        return MACHINE_ZONE
    if name.strip().upper() in ("UTC", "Z"):
        return TimeZone("UTC", UTC)
    import zoneinfo  # noqa: PLC0415 - needed only for a named zone

    try:
        return TimeZone(name.strip(), zoneinfo.ZoneInfo(name.strip()))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    known = zoneinfo.available_timezones()
    if not known:
        raise UsageError(
            f"--timezone {safe_text(name)}: this machine has no table of time zones",
            hint="install the package tzdata, or use --timezone UTC",
        )
    word = name.strip().lower().replace(" ", "_")
    city = next((zone for zone in sorted(known) if word and word in (zone.lower(), zone.lower().split("/")[-1])), "")
    near = f'did you mean "{city}"?' if city else did_you_mean(name, known)
    raise UsageError(
        f"--timezone: there is no time zone {safe_text(name)!r}", hint=near or "for example: --timezone Europe/Berlin"
    )
