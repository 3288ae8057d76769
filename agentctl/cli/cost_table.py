"""What was spent, for people: a table with its total, a line over time, and what is left of each limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN

from agentctl.cli.cost_document import Standing
from agentctl.ledger.grouping import LABEL, CostRow, Slot, Sums
from agentctl.ledger.report import CostQuery, CostReport
from agentctl.ledger.zone import Zone
from agentctl.text import safe_text
from agentctl.ui.bars import bar, sparkline
from agentctl.ui.figures import amount, columns, money, plural
from agentctl.ui.figures import limit as shown_limit

_WIDEST_BAR, _NARROWEST_BAR = 20, 4
_MOST_CELLS = 48
_SHARE = len("100 % ")
_MINUTES = timedelta(minutes=5)
_HEADS = {"model": ("model",), "run": ("run", "agent"), "hour": ("hour",), "day": ("day",)}


def text(
    report: CostReport,
    query: CostQuery,
    title: str,
    standings: Sequence[Standing],
    *,
    width: int | None,
    blocks: bool,
) -> str:
    """Return the table; ``width`` is the terminal's, None where there is none. Only bars give way to it."""
    parts = [_table(report, query, width=width, blocks=blocks), ""] if report.rows else []
    parts += _over_time(report, query.zone, width=width, blocks=blocks)
    parts.append(_total(report, title, between=" · " if blocks else ", "))
    parts += [_standing(each) for each in standings]
    return "\n".join(parts)


def _table(report: CostReport, query: CostQuery, *, width: int | None, blocks: bool) -> str:
    by, total = query.by, report.total
    names = _heads(by)
    kept = [True, True, total.cached_input_tokens > 0, True, True, total.in_doubt_nano > 0, total.held_nano > 0]
    figures = [
        head
        for head, keep in zip(("calls", "tokens in", "cached", "out", "cost", "in doubt", "held"), kept, strict=True)
        if keep
    ]
    is_of_runs = "run" in by
    header = [*names, *figures, *(["last call"] if is_of_runs else [])]
    lines = [
        [
            *_names(row, by, query.zone),
            *(cell for cell, keep in zip(_figures(row), kept, strict=True) if keep),
            *([f"{query.zone.local(row.last_at):%Y-%m-%d %H:%M:%S}"] if is_of_runs else []),
        ]
        for row in report.rows
    ]
    right = frozenset(range(len(names), len(names) + len(figures)))
    if len(lines) < 2:
        return columns(header, lines, right=right)
    sums = [cell for cell, keep in zip(_figures(total), kept, strict=True) if keep]
    last = ["total", *[""] * (len(names) - 1), *sums, *([""] if is_of_runs else [])]
    plain = columns(header, [*lines, last], right=right)
    room = _WIDEST_BAR if width is None else width - max(map(len, plain.split("\n"))) - 2 - _SHARE
    room = min(room, _WIDEST_BAR)
    if room < _NARROWEST_BAR or total.counted_nano == 0:
        return plain
    shares = [_share(row.counted_nano, total.counted_nano, room, blocks=blocks) for row in report.rows]
    return columns(
        [*header, ""], [[*line, share] for line, share in zip([*lines, last], [*shares, ""], strict=True)], right=right
    )


def _heads(by: tuple[str, ...]) -> list[str]:
    heads = dict.fromkeys(head for word in by for head in _HEADS.get(word, (word,)))
    if "model" in heads:
        heads.pop("provider", None)  # it stands before the model
    return [safe_text(head.removeprefix(LABEL)) for head in heads]


def _names(row: CostRow, by: tuple[str, ...], zone: Zone) -> list[str]:
    heads = dict.fromkeys(head for word in by for head in _HEADS.get(word, (word,)))
    if "model" in heads:
        heads.pop("provider", None)
    labels = dict(row.labels)
    model = f"{row.provider}/{row.model}" if row.model else row.provider
    values = {"run": row.run_id, "agent": row.agent, "model": model, "provider": row.provider, "purpose": row.purpose}
    values |= {"hour": _hour(row.hour, zone), "day": None if row.day is None else f"{zone.local(row.day):%Y-%m-%d}"}
    found = (labels.get(head[len(LABEL) :]) if head.startswith(LABEL) else values[head] for head in heads)
    return ["-" if value is None else " ".join(safe_text(value).split()) for value in found]


def _hour(at: datetime | None, zone: Zone) -> str | None:
    """Return the hour on a local clock, with its offset where it comes twice."""
    if at is None:
        return None
    local = zone.local(at)
    return f"{local:%Y-%m-%d %H:%M}" + (f" {zone.offset(at)}" if zone.doubt(local) == "doubled" else "")


def _figures(sums: Sums) -> tuple[str, ...]:
    return (
        f"{sums.calls:,}",
        f"{sums.input_tokens:,}",
        f"{sums.cached_input_tokens:,}",
        f"{sums.output_tokens:,}",
        _cost(sums),
        money(sums.in_doubt_nano),
        money(sums.held_nano),
    )


def _cost(sums: Sums) -> str:
    if not sums.unknown_calls:
        return money(sums.known_nano)
    return f"{money(sums.known_nano)} + {sums.unknown_calls:,} unknown" if sums.known_nano else "unknown"


def _share(part: int, whole: int, width: int, *, blocks: bool) -> str:
    percent = f"{(200 * part + whole) // (2 * whole)} %"
    return f"{percent:>5} {bar(part, whole, width, blocks=blocks)}".rstrip()


def _total(report: CostReport, title: str, *, between: str) -> str:
    total = report.total
    said = f"{title}: {plural(report.runs, 'run')}, {plural(total.calls, 'call')}, {money(total.known_nano)}"
    if total.unknown_calls:
        said += f" + {plural(total.unknown_calls, 'call')} of unknown price"
    for nano, word in ((total.in_doubt_nano, "in doubt"), (total.held_nano, "held")):
        said += f"{between}{money(nano)} {word}" if nano else ""
    return said


def _standing(standing: Standing) -> str:
    used = f"{standing.scope}: {amount(standing.used, standing.unit)}"
    if standing.unit == "tokens":
        used += " tokens"
    if standing.left is None:
        return f"{used} used, no limit ({standing.name})"
    left = money(standing.left, rounding=ROUND_DOWN) if standing.unit == "nano_usd" else f"{standing.left:,}"
    return f"{used} used, {left} left of {shown_limit(standing.ceiling, standing.unit)} ({standing.name})"


def _over_time(report: CostReport, zone: Zone, *, width: int | None, blocks: bool) -> Iterator[str]:
    """Yield a line with a cell for each few minutes, hour or so many days of the window, and an empty one."""
    if report.total.counted_nano == 0:
        return
    unit, cells = _cells(report.since, report.until, report.slots, zone)
    if len(cells) < 2:
        return
    most = max(cells, key=lambda cell: cell.nano)
    line = f"per {unit}  {sparkline([cell.nano for cell in cells], blocks=blocks)}"
    form = "%Y-%m-%d" if "day" in unit else "%Y-%m-%d %H:%M"
    peak = f"  most {money(most.nano)} at {zone.local(most.at):{form}}"
    yield line + ("" if width is not None and len(line + peak) > width else peak)
    yield ""


def _cells(since: datetime, until: datetime, slots: Sequence[Slot], zone: Zone) -> tuple[str, list[Slot]]:
    """Return the unit of time that gives a fair number of cells, and the cells."""
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
    for slot in slots:  # in the order of time, as the beginnings are
        while place + 1 < len(begins) and begins[place + 1] <= slot.at:
            place += 1
        if begins:
            sums[place] += slot.nano
    return unit, [Slot(at, nano) for at, nano in zip(begins, sums, strict=True)]
