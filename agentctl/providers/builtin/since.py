"""Spans and points of time in a task's words: ``in the last 10 minutes``, ``since yesterday``, ``since 2 hours ago``.

``since_at`` reads them without a clock, so that the same words always mean the same; ``resolve_since`` makes a time of
a day's name or an hour, by the clock and in the time zone of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

from agentctl.providers.builtin.lexicon import NUMBERS, word_set

_LEADING = word_set("in for from over during within of the")
_KEYWORDS = word_set("since last past")
_SPAN = r"([0-9]{1,9})(s|sec|secs|m|min|mins|h|hr|hrs|d|w)"  # compiled when a question names a time
_SPANS = {
    word: letter
    for letter, words in {
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
        "w": "w week weeks",
    }.items()
    for word in words.split()
}
_HOURS = {"d": 24, "w": 168}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = frozenset({"today", "yesterday", *_WEEKDAYS})
_TIMES = {"midnight": "00:00", "noon": "12:00", "midday": "12:00"}
_HOUR = r"([0-9]{1,2})(?:[:.]([0-9]{2}))?(am|pm)?"


def since_at(words: Sequence[tuple[str, bool]], at: int) -> tuple[str, int] | None:
    """Parse the span or point of time that begins at a word; return its value and how many words it took, or None.

    The value is a span (``10m``, ``48h``), a time (``2026-01-31T08:00``), or a day, an hour or both by their names
    (``yesterday``, ``08:00``, ``monday 08:00``) for ``resolve_since``.
    """
    lowers = [word.lower() for word, is_quoted in words[at : at + 8] if not is_quoted]
    took = 0
    while took < len(lowers) and lowers[took] in _LEADING:
        took += 1
    if took > 2 or took == len(lowers) or lowers[took].lstrip("-") not in _KEYWORDS:
        return None
    keyword, rest = lowers[took].lstrip("-"), lowers[took + 1 :]
    took += 1
    if keyword == "since" and (point := _point(rest)):
        return point[0], took + point[1]
    skipped = 0
    while keyword == "since" and rest[skipped : skipped + 1] and rest[skipped] in {"the", "last", "past"}:
        skipped += 1
    span = _span(rest[skipped:])
    if span is None:
        return None
    value, length = span
    length += skipped
    if rest[length : length + 1] == ["ago"]:
        length += 1
    return value, took + length


def _span(words: list[str]) -> tuple[str, int] | None:
    """Parse ``10m``, ``2 hours``, ``an hour``, ``half an hour``, ``day``; return it in docker's form."""
    if not words:
        return None
    if words[:2] == ["half", "an"] and words[2:3] == ["hour"]:
        return "30m", 3
    match = re.fullmatch(_SPAN, words[0])
    if match:
        return _as_span(int(match[1]), _SPANS[match[2]]), 1
    if words[0] in {"minute", "hour", "day", "week"}:
        return _as_span(1, _SPANS[words[0]]), 1
    if len(words) < 2 or words[1] not in _SPANS:
        return None
    number = "1" if words[0] in {"a", "an", "one"} else str(NUMBERS.get(words[0], words[0]))
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        return None
    return _as_span(int(number), _SPANS[words[1]]), 2


def _as_span(count: int, unit: str) -> str:
    return f"{count * _HOURS[unit]}h" if unit in _HOURS else f"{count}{unit}"


def _point(words: list[str]) -> tuple[str, int] | None:
    """Parse a day, an hour, both in either order, or a date; return its value and how many words it took."""
    if words[:2] == ["this", "morning"]:
        return "today", 2
    day, clock, took = "", "", 0
    while took < len(words):
        word, following = words[took], words[took + 1] if took + 1 < len(words) else ""
        step = 2 if word in {"at", "on", "last"} and took + 1 < len(words) else 1
        wanted = following if step == 2 else word
        if not day and wanted in _DAYS and (word != "last" or wanted in _WEEKDAYS):
            day = wanted
        elif not day and not clock and word != "last" and (found := _date(wanted)):
            day = found
        elif not clock and word not in {"on", "last"} and (read := _clock(words[took + step - 1 :])):
            clock, length = read
            step += length - 1
        else:
            break
        took += step
    return (f"{day} {clock}".strip(), took) if took else None


def _clock(words: list[str]) -> tuple[str, int] | None:
    """Parse ``08:00``, ``8am``, ``8 am`` or ``noon``; return the hour and minute, and how many words it took."""
    if words[0] in _TIMES:
        return _TIMES[words[0]], 1
    length = 2 if words[1:2] in (["am"], ["pm"]) else 1
    match = re.fullmatch(_HOUR, "".join(words[:length]))
    if match is None or not (match[2] or match[3]):
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[3] == "pm" else 0)
    return (f"{hour:02}:{minute:02}", length) if hour < 24 and minute < 60 else None


def _date(word: str) -> str | None:
    try:
        found = datetime.fromisoformat(word.upper())
    except ValueError:
        return None
    return word.upper() if re.match(r"\d{4}-\d\d-\d\d", word) and 1970 <= found.year < 9999 else None


def resolve_since(value: str, now: datetime) -> str:
    """Return a ``since`` of ``since_at`` as docker takes it: a span as it is, else a time with its offset from UTC.

    A day's name is the last such day, an hour without a day the last such hour; without an hour a day begins at
    midnight. ``now`` has a time zone; days and hours are those of this machine's own.
    """
    day, _, clock = value.partition(" ")
    if not clock and (re.fullmatch(_SPAN, value) or "T" in value):
        return value
    if _point(value.lower().split()) is None:
        return value  # for the tool to judge
    if re.fullmatch(_HOUR, day) and not clock:
        day, clock = "", day
    local = now.astimezone()
    hour = time.fromisoformat(clock) if clock else time()
    if day:
        then = _day(day, local.date())
        is_ahead = day in _WEEKDAYS and (then, hour) > (local.date(), local.time())
        return _local(then - timedelta(days=7) if is_ahead else then, hour)
    is_past = hour <= local.time()
    return _local(local.date() if is_past else local.date() - timedelta(days=1), hour)


def _day(name: str, today: date) -> date:
    if name == "today":
        return today
    if name == "yesterday":
        return today - timedelta(days=1)
    if name in _WEEKDAYS:
        return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(name)) % 7)
    return date.fromisoformat(name[:10])


def _local(day: date, hour: time) -> str:
    return datetime.combine(day, hour).astimezone().isoformat(timespec="seconds")
