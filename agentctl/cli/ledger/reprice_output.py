"""The output of ``agentctl ledger reprice``: a table, the document ``agentctl.reprice/1``, and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from agentctl.cli.costs.document import csv_text, decimal_usd, group_fields
from agentctl.cli.costs.table import group_columns, group_names
from agentctl.cli.documents import Document, as_json, moment, usd
from agentctl.cli.ledger.ledger_output import WHY_NOT
from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import money, plural
from agentctl.core.version import __version__
from agentctl.ledger.report import CostQuery
from agentctl.ledger.repricing import REASONS, NotRepriced, RepricedRow, RepriceReport

SCHEMA = "agentctl.reprice/1"
_COUNTS = ("calls", "repriced_calls", "billed_calls")
_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")
_MONEY = ("charged_usd", "repriced_usd", "difference_usd")
_MOST_NAMED = 5
_PIPE = Page()
_DROP = {"tokens in": 4, "out": 3, "not repriced": 2, "calls": 1}


class RepricedView(NamedTuple):
    """A report with its query, and the model and the file of the prices."""

    report: RepriceReport
    query: CostQuery
    title: str
    model: str | None = None
    file: str | None = None


def render(view: RepricedView, form: str, *, page: Page = _PIPE) -> str:
    """Return the text for stdout, with its final newline."""
    if form == "csv":
        return _csv(view)
    return (as_json(reprice_document(view)) if form == "json" else render_text(view, page)) + "\n"


def reprice_document(view: RepricedView) -> Document:
    """Return the report as a document; an amount is None if one of its calls has an unknown price."""
    report, query = view.report, view.query
    return {
        "schema": SCHEMA,
        "version": __version__,
        "status": "done",
        "exit_code": 0,
        "since": moment(report.since),
        "until": moment(report.until),
        "timezone": query.zone.name,
        "by": list(query.by),
        "labels": [f"{name}={value}" for name, value in query.labels],
        "run_id": report.run_id,
        "model": view.model,
        "table": view.file,
        "rows": [_row(row, query.by) for row in report.rows],
        "total": {"runs": report.runs, **_amounts(report.total)},
        "prices": [use._asdict() for use in report.prices],
        "unpriced_models": list(report.unpriced),
        "error": None,
    }


def _row(row: RepricedRow, by: tuple[str, ...]) -> Document:
    more: Document = {"labels": dict(row.labels)} if row.labels else {}
    if row.answered_models:
        more["answered_models"] = list(row.answered_models)
    return {**dict(group_fields(row, by)), **more, **_amounts(row), "last_at": moment(row.last_at)}


def _amounts(row: RepricedRow) -> Document:
    return {
        **{name: getattr(row, name) for name in (*_COUNTS, *_TOKENS)},
        "charged_usd": usd(row.charged_nano),
        "charged_nano_usd": row.charged_nano,
        "known_charged_nano_usd": row.compared_nano,
        "repriced_usd": usd(row.repriced_nano),
        "repriced_nano_usd": row.repriced_nano,
        "difference_usd": usd(row.difference_nano),
        "difference_nano_usd": row.difference_nano,
        "uncharged_calls": row.uncharged_calls,
        "not_repriced": {why: row.not_repriced.get(why, 0) for why in REASONS},
    }


def _csv(view: RepricedView) -> str:
    """Return a header and a line for each row; amounts as plain decimals, empty where unknown."""

    def cells(row: RepricedRow) -> Iterator[object]:
        yield from (getattr(row, name) for name in (*_COUNTS, *_TOKENS))
        yield from map(decimal_usd, (row.charged_nano, row.repriced_nano, row.difference_nano))
        yield from (row.not_repriced.get(why, 0) for why in REASONS)
        yield moment(row.last_at)

    names = (*_COUNTS, *_TOKENS, *_MONEY, *(f"not_repriced_{why}" for why in REASONS), "last_at")
    return csv_text(view.report.rows, view.query.by, names, cells)


def render_text(view: RepricedView, page: Page = _PIPE) -> str:
    """Return the table, the total, and the calls that were not repriced."""
    report = view.report
    lines = [_total(view)]
    lines += [f"not repriced: {phrase}" for phrase in _not_repriced(report)]
    if report.total.billed_calls:
        lines.append(
            f"{plural(report.total.billed_calls, 'call')} at the amount that the provider billed, which is more"
        )
    if report.prices:
        used = ", ".join(f"{use.source} ({plural(use.calls, 'call')})" for use in report.prices)
        lines.append(f"prices: {used}")
    table = [_table(view, page), ""] if report.rows else []
    return "\n".join([*table, *map(page.prose, lines)])


def _table(view: RepricedView, page: Page) -> str:
    """Return the groups and their total."""
    report, query = view.report, view.query
    rows = [(group_names(row, query.by, query.zone), row) for row in report.rows]
    if len(rows) > 1:
        rows.append((["total", *[""] * (len(rows[0][0]) - 1)], report.total))
    none_left_out = set() if report.total.not_repriced else {"not repriced"}
    shown = [head for head in _FIGURES if head not in none_left_out]
    figures = [Column(head, drop=_DROP.get(head, 0), right=True) for head in shown]
    lines = [[*own, *(_FIGURES[head](row) for head in shown)] for own, row in rows]
    return page.table([*group_columns(query.by), *figures], lines)


def _count(row: RepricedRow) -> str:
    count = sum(row.not_repriced.values())
    return f"{count:,}" if count else ""


def _charge(row: RepricedRow) -> str:
    if not row.repriced_calls:
        return "-"
    if row.charged_nano is not None:
        return money(row.charged_nano)
    return f"{money(row.compared_nano)} + ?" if row.compared_nano else "unknown"


def _difference(row: RepricedRow) -> str:
    if row.difference_nano is None:
        return "unknown"
    return _signed_money(row.difference_nano) if row.repriced_calls else "-"


def _signed_money(nano: int) -> str:
    return money(0) if nano == 0 else f"{'-' if nano < 0 else '+'}{money(abs(nano))}"


_FIGURES: dict[str, Callable[[RepricedRow], str]] = {
    "calls": lambda row: f"{row.repriced_calls:,}",
    "tokens in": lambda row: f"{row.input_tokens:,}",
    "out": lambda row: f"{row.output_tokens:,}",
    "charged": _charge,
    "repriced": lambda row: money(row.repriced_nano) if row.repriced_calls else "-",
    "difference": _difference,
    "not repriced": _count,
}


def _total(view: RepricedView) -> str:
    total = view.report.total
    calls = plural(total.repriced_calls, "call")
    if not total.repriced_calls:
        return f"{view.title}: no calls to reprice"
    prices = f"the prices of {view.file}" if view.file else "today's prices"
    model = f" as {view.model}" if view.model else ""
    said = f"{view.title}: {calls} charged {_charge(total)}; at {prices}{model} {money(total.repriced_nano)}"
    change = f" ({_difference(total)})"
    if total.difference_nano and total.charged_nano:
        change = f" ({_difference(total)}, {_percent(total.difference_nano, total.charged_nano)})"
    return said + change


def _percent(part: int, whole: int) -> str:
    """Return a share in whole percent, rounded to the nearest, with its sign."""
    percent = (200 * abs(part) + whole) // (2 * whole)
    return f"{'-' if part < 0 else '+'}{percent:,} %"


def _reason(why: NotRepriced) -> str:
    return "in progress" if why == "open" else WHY_NOT[why]


def _not_repriced(report: RepriceReport) -> Iterator[str]:
    """Yield a phrase for each reason, with the amount of calls in doubt and the models without a price."""
    for why, count in report.total.not_repriced.items():
        said = f"{plural(count, 'call')} {_reason(why)}"
        if why == "in_doubt":
            said += f" ({money(report.total.in_doubt_nano)})"
        if why == "unknown_price":
            named = ", ".join(report.unpriced[:_MOST_NAMED])
            more = f" and {len(report.unpriced) - _MOST_NAMED} more" if len(report.unpriced) > _MOST_NAMED else ""
            said += f": {named}{more}"
        yield said
