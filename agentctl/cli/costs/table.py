"""The report of ``agentctl costs`` as a table: groups, total, sparkline over time, and what is left of each limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN

from agentctl.cli.costs.document import LimitStatus
from agentctl.cli.ui.cells import bar, cell_width, sparkline
from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import amount, money, plural
from agentctl.cli.ui.format import limit as shown_limit
from agentctl.ledger.grouping import LABEL, CostRow, CostSums, Slot, TimeZone
from agentctl.ledger.report import CostQuery, CostReport

_WIDEST_BAR, _NARROWEST_BAR = 20, 4
_MOST_CELLS = 48
_SHARE = len("100 % ")
_MINUTES = timedelta(minutes=5)
_LONGEST = timedelta(days=400)
_EXACT = frozenset({"run", "hour", "day"})
_DROP = {"no price": 7, "cached": 6, "last call": 5, "agent": 4, "out": 3, "tokens in": 2, "calls": 1}
_UNKNOWN = {"host": "unknown", "user": "unknown"}  # a call without a CI run may have been made outside of CI
_HEADS = {"ci_run": ("CI run",), "model": ("model",), "run": ("run", "agent"), "hour": ("hour",), "day": ("day",)}


def render_table(
    report: CostReport,
    query: CostQuery,
    title: str,
    statuses: Sequence[LimitStatus],
    page: Page,
    *,
    blocks: bool,
) -> str:
    """Return the report as text for ``page``; ``blocks``: with block characters."""
    parts = [_table(report, query, page, blocks=blocks), ""] if report.rows else []
    parts += _over_time(report, query.zone, width=page.width, blocks=blocks)
    lines = [_total(report, title, between=" · " if blocks else ", "), *map(_limit_line, statuses)]
    return "\n".join([*parts, *map(page.prose, lines)])


def _table(report: CostReport, query: CostQuery, page: Page, *, blocks: bool) -> str:
    """Return the groups and their total, without empty columns; on a narrow terminal without bars."""
    rows: list[tuple[list[str], CostSums, str]]
    rows = [(group_names(row, query.by, query.zone), row, _last_call(row, query.zone)) for row in report.rows]
    if len(rows) > 1:
        rows.append((["total", *[""] * (len(rows[0][0]) - 1)], report.total, ""))
    empty = _empty(report.total) | (set() if "run" in query.by else {"last call"})
    figures = [head for head in _FIGURES if head not in empty]
    columns = [*group_columns(query.by), *(Column(head, drop=_DROP.get(head, 0), right=True) for head in figures)]
    lines = [[*own, *(_FIGURES[head](sums) or last for head in figures)] for own, sums, last in rows]
    wide = max(map(cell_width, Page().table(columns, lines).split("\n")))
    room = _WIDEST_BAR if page.width is None else min(_WIDEST_BAR, page.width - wide - 2 - _SHARE)
    if len(report.rows) < 2 or room < _NARROWEST_BAR or report.total.counted_nano == 0:
        return page.table(columns, lines)
    bars = [*_bars(report, room, blocks=blocks), ""]
    return page.table([*columns, Column("")], [[*line, each] for line, each in zip(lines, bars, strict=True)])


def _empty(total: CostSums) -> set[str]:
    amounts = {"cached": total.cached_input_tokens, "no price": total.unknown_calls}
    amounts |= {"in doubt": total.in_doubt_nano, "held": total.held_nano}
    return {head for head, amount in amounts.items() if not amount}


def _last_call(row: CostRow, zone: TimeZone) -> str:
    return f"{zone.local(row.last_at):%Y-%m-%d %H:%M:%S}"


def group_columns(by: tuple[str, ...]) -> list[Column]:
    """Return the columns that identify a group."""
    return [
        Column(head.removeprefix(LABEL), "whole" if head in _EXACT else "name", drop=_DROP["agent"] * (head == "agent"))
        for head in _heads(by)
    ]


def _heads(by: tuple[str, ...]) -> list[str]:
    heads = dict.fromkeys(head for word in by for head in _HEADS.get(word, (word,)))
    if "model" in heads:
        heads.pop("provider", None)  # it is part of the model's name
    return list(heads)


def group_names(row: CostRow, by: tuple[str, ...], zone: TimeZone) -> list[str]:
    """Return the cells that identify the group of ``row``, one for each of ``group_columns``."""
    labels = dict(row.labels)
    model = f"{row.provider}/{row.model}" if row.model else row.provider
    if row.answered_models:
        model = f"{model} (answered by {', '.join(row.answered_models)})"
    values = {"run": row.run_id, "agent": row.agent, "model": model, "provider": row.provider, "purpose": row.purpose}
    values |= {"host": row.host, "CI run": row.ci_run, "user": row.user}
    values |= {"hour": _hour(row.hour, zone), "day": None if row.day is None else f"{zone.local(row.day):%Y-%m-%d}"}
    heads = _heads(by)
    found = (labels.get(head[len(LABEL) :]) if head.startswith(LABEL) else values[head] for head in heads)
    return [
        _UNKNOWN.get(head, "-") if value is None else " ".join(value.split())
        for head, value in zip(heads, found, strict=True)
    ]


def _hour(at: datetime | None, zone: TimeZone) -> str | None:
    """Return the hour in local time, with its offset if the clock shows it twice."""
    if at is None:
        return None
    local = zone.local(at)
    return f"{local:%Y-%m-%d %H:%M}" + (f" {zone.offset(at)}" if zone.doubt(local) == "doubled" else "")


def _cost(sums: CostSums) -> str:
    if not sums.unknown_calls:
        return money(sums.known_nano)
    return f"{money(sums.known_nano)} + ?" if sums.known_nano else "unknown"


_FIGURES: dict[str, Callable[[CostSums], str]] = {
    "calls": lambda sums: f"{sums.calls:,}",
    "tokens in": lambda sums: f"{sums.input_tokens:,}",
    "cached": lambda sums: f"{sums.cached_input_tokens:,}",
    "out": lambda sums: f"{sums.output_tokens:,}",
    "cost": _cost,
    "no price": lambda sums: f"{sums.unknown_calls:,}",
    "in doubt": lambda sums: money(sums.in_doubt_nano),
    "held": lambda sums: money(sums.held_nano),
    "last call": lambda _: "",
}


def _bars(report: CostReport, width: int, *, blocks: bool) -> Iterator[str]:
    """Yield each row's share of the total cost and a bar; the most expensive row has a full bar."""
    whole, most = report.total.counted_nano, max(row.counted_nano for row in report.rows)
    for row in report.rows:
        percent = f"{(200 * row.counted_nano + whole) // (2 * whole)} %"
        yield f"{percent:>5} {bar(row.counted_nano, most, width, blocks=blocks)}".rstrip()


def _total(report: CostReport, title: str, *, between: str) -> str:
    total = report.total
    said = f"{title}: {plural(report.runs, 'run')}, {plural(total.calls, 'call')}, {money(total.known_nano)}"
    if total.unknown_calls:
        said += f" + {plural(total.unknown_calls, 'call')} of unknown price"
    for nano, word in ((total.in_doubt_nano, "in doubt"), (total.held_nano, "held")):
        said += f"{between}{money(nano)} {word}" if nano else ""
    return said


def _limit_line(status: LimitStatus) -> str:
    used = f"{status.scope}: {amount(status.used, status.unit)}"
    if status.unit == "tokens":
        used += " tokens"
    if status.left is None:
        return f"{used} used, no limit ({status.name})"
    left = money(status.left, rounding=ROUND_DOWN) if status.unit == "nano_usd" else f"{status.left:,}"
    return f"{used} used, {left} left of {shown_limit(status.ceiling, status.unit)} ({status.name})"


def _over_time(report: CostReport, zone: TimeZone, *, width: int | None, blocks: bool) -> Iterator[str]:
    """Yield a sparkline with a cell for every 5 minutes, hour or number of days, and an empty line."""
    if report.total.counted_nano == 0:
        return
    since = report.since
    if report.until - since > _LONGEST:  # skip years before the first call
        since = max(since, report.slots[0].at)
    unit, cells = _cells(since, report.until, report.slots, zone)
    if len(cells) < 2:
        return
    most = max(cells, key=lambda cell: cell.nano)
    line = f"per {unit}  {sparkline([cell.nano for cell in cells], blocks=blocks)}"
    if width is not None and len(line) > width:
        return
    form = "%Y-%m-%d" if "day" in unit else "%Y-%m-%d %H:%M"
    peak = f"  peak {money(most.nano)} at {zone.local(most.at):{form}}"
    yield line + ("" if width is not None and len(line + peak) > width else peak)
    yield ""


def _cells(since: datetime, until: datetime, slots: Sequence[Slot], zone: TimeZone) -> tuple[str, list[Slot]]:
    """Return the unit of time that gives a readable number of cells, and the sums in its cells."""
    span = until - since
    if span <= _MINUTES * 30:
        first = since - timedelta(minutes=since.minute % 5, seconds=since.second, microseconds=since.microsecond)
        unit, begins = "5 min", [first + at * _MINUTES for at in range(-(-(until - first) // _MINUTES))]
    elif span <= timedelta(hours=_MOST_CELLS):
        first = zone.hour_of(since)
        hours = (first + timedelta(hours=at) for at in range(span // timedelta(hours=1) + 2))
        unit, begins = "hour", list(dict.fromkeys(zone.hour_of(at) for at in hours if at < until))
    else:
        begins, at = [], zone.day_of(since)
        while at < until:
            begins.append(at)
            at = zone.day_after(at)
        together = -(-len(begins) // _MOST_CELLS)
        unit, begins = "day" if together == 1 else f"{together} days", begins[::together]
    sums = [0] * len(begins)
    place = 0
    for slot in slots:  # both are in chronological order
        while place + 1 < len(begins) and begins[place + 1] <= slot.at:
            place += 1
        if begins:
            sums[place] += slot.nano
    return unit, [Slot(at, nano) for at, nano in zip(begins, sums, strict=True)]
