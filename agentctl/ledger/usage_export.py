"""Read a provider's usage export: CSV of any provider, whose columns are recognised by name. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.pricing import NANO_PER_USD

_SECOND_US = 1_000_000
_MOST_ROWS = 1_000_000
_FIRST = {  # the first of these that a file has
    "attempt": ("attempt_id", "id"),
    "provider": ("provider",),
    "model": ("model", "model_permaslug", "model_version", "model_name", "model_id"),
    "since": (
        "start_time_iso",
        "start_time",
        "time",
        "timestamp",
        "created_at",
        "usage_date_utc",
        "usage_date",
        "date",
    ),
    "until": ("end_time_iso", "end_time"),
    "cost": ("cost_usd", "cost_total", "total_cost", "cost", "amount_usd", "usd"),
    "currency": ("currency", "amount_currency"),
    "requests": ("num_model_requests", "n_requests", "num_requests", "requests"),
}
_SUMS = {  # all of these that a file has, added
    "input": (
        *("input_tokens", "tokens_prompt", "prompt_tokens", "usage_input_tokens_no_cache"),
        *("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h", "usage_input_tokens_cache_read"),
    ),
    "cached": ("cached_input_tokens", "input_cached_tokens", "tokens_cached", "usage_input_tokens_cache_read"),
    "cache_write": (*("cache_write_tokens", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),),
    "output": ("output_tokens", "tokens_completion", "completion_tokens", "usage_output_tokens"),
    "reasoning": ("reasoning_tokens", "tokens_reasoning"),
}
_GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+\.\d+", re.ASCII)  # 1,234.50
_MADE_BY = (("generation_id", "openrouter"), ("usage_date_utc", "anthropic"), ("num_model_requests", "openai"))


class ExportRow(NamedTuple):
    """One line: the bill and its time, in UTC microseconds; unknown is None. ``line`` counts from 1, the header.

    ``cached`` and ``cache_write`` are included in ``input``, ``reasoning`` in ``output``. ``requests`` is the number of
    calls in the line.
    """

    line: int
    attempt_id: str
    provider: str
    model: str
    since_us: int | None
    until_us: int | None
    input: int | None
    output: int | None
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    nano: int | None = None
    requests: int | None = None

    @property
    def is_of_one_call(self) -> bool:
        """Whether the line is certainly of a single call, not of all calls in a period."""
        brief = self.since_us is not None and (self.until_us or 0) - self.since_us <= _SECOND_US
        return self.requests == 1 or (self.requests is None and brief)


def up_to_nano(usd: Decimal) -> int:
    """Return dollars as whole nano-dollars, rounded up like every charge."""
    return int((usd * NANO_PER_USD).to_integral_value(ROUND_CEILING))


def read_export(text: str, *, provider: str = "") -> tuple[ExportRow, ...]:
    """Return the lines of an export; ``provider`` is its provider if the file does not name one.

    Raises:
        UsageError: it is not CSV, has no column of ids or times, or its provider is unknown.
    """
    text = text.removeprefix("\ufeff").lstrip()
    head = text.partition("\n")[0]
    try:
        lines = csv.reader(io.StringIO(text, newline=None), delimiter=max(",;\t", key=head.count))
        names = [_plain(name) for name in next(lines, [])]
        rows = list(_rows(lines, names, provider or next((by for name, by in _MADE_BY if name in names), "")))
    except csv.Error as error:
        raise UsageError(f"the export is not valid CSV: {error}") from error
    if not {*_FIRST["attempt"], *_FIRST["since"]} & {*names}:
        raise UsageError(
            "the export has no column of ids or times",
            hint="its first line names the columns: attempt_id, time, model, input_tokens, output_tokens, cost_usd",
        )
    if any(not row.provider and not row.attempt_id for row in rows):
        raise UsageError("the provider of the export is unknown", hint="name it: --provider NAME")
    return tuple(rows)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def _rows(lines: Iterator[list[str]], names: list[str], provider: str) -> Iterator[ExportRow]:
    first = {what: next((name for name in of if name in names), "") for what, of in _FIRST.items()}
    for number, cells in enumerate(lines, 2):
        if number > _MOST_ROWS:
            raise UsageError(f"the export has more than {_MOST_ROWS:,} lines", hint="export a shorter period")
        if not any(map(str.strip, cells)):
            continue
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
        said = {what: row.get(name, "") for what, name in first.items()}
        since, until = _time(said["since"], said["until"])
        named, _, bare = said["model"].partition("/")
        yield ExportRow(
            line=number,
            attempt_id=said["attempt"],
            provider=said["provider"].lower() or provider or (named if bare else ""),
            model=said["model"],
            since_us=since,
            until_us=until,
            input=_sum(row, "input"),
            output=_sum(row, "output"),
            cached=_sum(row, "cached") or 0,
            cache_write=_sum(row, "cache_write") or 0,
            reasoning=_sum(row, "reasoning") or 0,
            nano=_nano(said["cost"]) if said["currency"].lower() in ("", "usd") else None,
            requests=_count(said["requests"]),
        )


def _sum(row: Mapping[str, str], what: str) -> int | None:
    found = [_count(row[name]) for name in _SUMS[what] if name in row]
    known = [count for count in found if count is not None]
    return sum(known) if known else None


def _count(cell: str) -> int | None:
    digits = cell.replace(",", "").removesuffix(".0")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def _nano(cell: str) -> int | None:
    bare = cell.removeprefix("$")
    if "," in bare and not _GROUPED.fullmatch(bare):
        return None  # a decimal comma: the file does not show what its dots and commas mean
    try:
        usd = Decimal(bare.replace(",", ""))
    except InvalidOperation:
        return None
    return up_to_nano(usd) if usd.is_finite() and 0 <= usd < 1_000_000 else None


def _time(since: str, until: str) -> tuple[int | None, int | None]:
    """Return the period of a line, as precise as its time is written: a second, a minute, an hour or a day."""
    begin, end = _moment(since), _moment(until)
    if begin is None:
        return None, None
    at_us, length_us = begin
    return at_us, max(at_us, at_us + length_us if end is None else end[0])


def _moment(cell: str) -> tuple[int, int] | None:
    if re.fullmatch(r"\d{9,17}(\.\d+)?", cell):
        number = Decimal(cell)
        scale = 1_000_000 if number < 10**11 else 1_000 if number < 10**14 else 1
        return int(number * scale), _SECOND_US
    try:
        at = datetime.fromisoformat(re.sub(r"\s*(UTC|GMT|Z)$", "+00:00", cell))
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    length = _SECOND_US
    if ":" not in cell:
        length = 24 * 3600 * _SECOND_US
    elif re.search(r"[T ]\d\d:\d\d(?!:?\d)", cell):
        length = 60 * _SECOND_US if at.minute else 3600 * _SECOND_US
    try:
        return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), length
    except OverflowError:
        return None
