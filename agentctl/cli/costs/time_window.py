"""The time window of ``costs`` and ``ledger reprice``: parse its flags in the time zone of the query."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.ledger.grouping import TimeZone

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_ALLOWED = "a duration such as 2h, a day such as 2026-11-01, or a time such as 2026-11-01T14:00 (or with Z or +02:00)"


class WindowRequest(NamedTuple):
    """The flags of a window, as given."""

    last_hour: bool = False
    today: bool = False
    this_month: bool = False
    since: str | None = None
    until: str | None = None
    whole: bool = False  # without any flag: from the first call on, instead of today
    command: str = "agentctl costs"  # the command that these flags belong to

    @property
    def words(self) -> list[str]:
        """The flags as command-line arguments."""
        named = {"--last-hour": self.last_hour, "--today": self.today, "--this-month": self.this_month}
        timed = {"--since": self.since, "--until": self.until}
        given = [word for flag, value in timed.items() if value is not None for word in (flag, value)]
        return [flag for flag, is_given in named.items() if is_given] + given


class TimeWindow(NamedTuple):
    """Start and end in UTC. ``since`` None: the first call; ``until`` None: now. ``notes``: ambiguous times."""

    since: datetime | None
    until: datetime | None
    title: str
    notes: tuple[str, ...] = ()


class _Point(NamedTuple):
    at: datetime
    shown: str
    note: str = ""


def resolve_window(request: WindowRequest, *, now: datetime, zone: TimeZone) -> TimeWindow:
    """Return the window that the flags select; today without any flag.

    Raises:
        UsageError: two flags exclude each other, a time is invalid or in the future, or the window is empty.
    """
    if sum((request.last_hour, request.today, request.this_month, request.since is not None)) > 1:
        raise UsageError(
            "--last-hour, --today, --this-month and --since cannot be combined", hint="give only one of them"
        )
    begin = _begin(request, now, zone)
    end = None if request.until is None else _point(request, now=now, zone=zone, ends=True)
    if begin is not None and begin.at > now:
        raise UsageError(
            f"--since {request.since} is in the future", hint="give a time in the past, such as --since 2h"
        )
    if begin is not None and end is not None and end.at <= begin.at:
        raise UsageError(
            f"the window from {_clock(begin.at, zone)} to {_clock(end.at, zone)} is empty",
            hint=f"for example: {request.command} --since 2026-11-01 --until 2026-11-30",
        )
    shown = [] if begin is None else [begin.shown]
    shown += [] if end is None else [f"until {end.shown}"]
    title = " ".join(shown) or "in all"
    named = "" if zone.rules is None or title in ("the last hour", "in all") else f" ({zone.name})"
    notes = tuple(point.note for point in (begin, end) if point is not None and point.note)
    return TimeWindow(None if begin is None else begin.at, None if end is None else end.at, title + named, notes)


def _begin(request: WindowRequest, now: datetime, zone: TimeZone) -> _Point | None:
    if request.last_hour:
        return _Point(now - timedelta(hours=1), "the last hour")
    if request.this_month:
        return _Point(zone.month_of(now), "this month")
    if request.since is not None:
        return _point(request, now=now, zone=zone, ends=False)
    if not request.today and (request.whole or request.until is not None):
        return None
    return _Point(zone.day_of(now), "today")


def _point(request: WindowRequest, *, now: datetime, zone: TimeZone, ends: bool) -> _Point:
    """Return the time of ``--since``, or if it ``ends`` the window of ``--until``; a day means its start or its end."""
    from agentctl.settings.parsers import duration

    flag, said = ("--until", request.until or "") if ends else ("--since", request.since or "")
    said = said.strip()
    found = _TIME.fullmatch(said)
    try:
        if found is None:
            if said.isdigit():  # 20261101 would be read as seconds
                raise ValueError(said)
            ago = timedelta(seconds=duration(zero=False)(said))
            return _Point(now - ago, f"{said} ago" if ends else f"the last {said}")
        at = datetime.fromisoformat(said)
        if at.tzinfo is not None:
            moment = at.astimezone(UTC)
            return _Point(moment, said if ends else f"since {said}")
        moment = zone.moment(at)
        if len(said) == len("2026-11-01"):
            moment = zone.day_after(moment) if ends else moment
            return _Point(moment, f"the end of {said}" if ends else f"since {said}")
        return _Point(moment, said if ends else f"since {said}", _note(at, zone))
    except (ValueError, OverflowError, OSError) as error:
        example = f"{request.command} {flag} {'2026-11-01' if ends else '2h'}"
        raise UsageError(
            f'{flag} "{said}" is not a time; allowed: {_ALLOWED}', hint=f"for example: {example}"
        ) from error


def _note(local: datetime, zone: TimeZone) -> str:
    """Return how a local time that does not exist or occurs twice was interpreted, else ""."""
    first = zone.moment(local)
    match zone.doubt(local):
        case "missing":
            return f"{local:%Y-%m-%d %H:%M} does not exist, the clocks skip it; using {_clock(first, zone)}"
        case "doubled":
            second = zone.moment(local.replace(fold=1))
            ways = f"{zone.offset(first)} or {zone.offset(second)}"
            return f"{local:%Y-%m-%d %H:%M} occurs twice; using the first one; add {ways} to choose"
        case "":
            return ""


def _clock(at: datetime, zone: TimeZone) -> str:
    return f"{zone.local(at):%Y-%m-%d %H:%M}"
