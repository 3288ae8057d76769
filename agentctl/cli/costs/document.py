"""The report of ``agentctl costs`` as JSON (``agentctl.costs/1``) and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, cast

from agentctl.cli.documents import in_unit, moment, usd
from agentctl.cli.exit_codes import ExitStatus
from agentctl.core.errors import Unit
from agentctl.core.version import __version__
from agentctl.ledger.grouping import LABEL, CostRow, CostSums
from agentctl.ledger.report import CostQuery, CostReport

if TYPE_CHECKING:
    from agentctl.cli.document_types import (
        CallCounts,
        CostFields,
        CostRowFields,
        CostsDocument,
        GateFields,
        LimitLeft,
    )

R = TypeVar("R", bound=CostRow)

SCHEMA: Literal["agentctl.costs/1"] = "agentctl.costs/1"
FIGURES = ("calls", "unknown_calls", "input_tokens", "cached_input_tokens", "output_tokens")
MONEY = ("usd", "known_usd", "in_doubt_usd", "held_usd")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FIELDS = {
    "hour": ("hour",),
    "day": ("day",),
    "run": ("run_id", "agent"),
    "agent": ("agent",),
    "provider": ("provider",),
    "model": ("provider", "model"),
    "purpose": ("purpose",),
    "host": ("host",),
    "ci_run": ("ci_run",),
    "user": ("user",),
}


class LimitStatus(NamedTuple):
    """The current state of a limit, in its unit. ``ceiling`` None: no limit. ``scope``: hour, day, ... or a run."""

    scope: str
    name: str
    unit: Unit
    ceiling: int | None
    used: int

    @property
    def left(self) -> int | None:
        """The rest of the limit, None if there is no limit."""
        return None if self.ceiling is None else max(0, self.ceiling - self.used)


class SpendGate(NamedTuple):
    """The result of ``--fail-above``, in nano-dollars; ``message`` is empty if it passed."""

    above_nano: int
    counted_nano: int
    message: str = ""
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether all that counts as spent is known and does not exceed ``above_nano``."""
        return not self.message


def costs_document(
    report: CostReport, query: CostQuery, *, statuses: tuple[LimitStatus, ...], gate: SpendGate | None
) -> CostsDocument:
    """Return the report as the document ``agentctl.costs/1``."""
    failed = gate is not None and not gate.passed
    status = ExitStatus.budget if failed else ExitStatus.done
    limits = {each.name: _limit(each) for each in statuses}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "status": status.shown,
        "exit_code": status.value,
        "since": moment(report.since),
        "until": moment(report.until),
        "timezone": query.zone.name,
        "by": list(query.by),
        "labels": [f"{name}={value}" for name, value in query.labels],
        "run_id": None if report.run is None else report.run.run_id,
        "rows": [_row(row, query.by) for row in report.rows],
        "total": {**_cost(report.total), "runs": report.runs, **_figures(report.total)},
        "max_cost_per_hour": limits.get("max_cost_per_hour"),  # null if its value is invalid
        "limits": limits,
        "fail_above": None if gate is None else _gate(gate),
        "error": None
        if gate is None or gate.passed
        else {"kind": "budget", "message": gate.message, "hint": gate.hint},
    }


def _limit(status: LimitStatus) -> LimitLeft:
    return {
        "limit": in_unit(status.ceiling, status.unit),
        "used": in_unit(status.used, status.unit),
        "left": in_unit(status.left, status.unit),
    }


def _gate(gate: SpendGate) -> GateFields:
    return {"usd": usd(gate.above_nano), "counted_usd": usd(gate.counted_nano), "passed": gate.passed}


def _figures(sums: CostSums) -> CallCounts:
    return {
        "calls": sums.calls,
        "unknown_calls": sums.unknown_calls,
        "input_tokens": sums.input_tokens,
        "cached_input_tokens": sums.cached_input_tokens,
        "output_tokens": sums.output_tokens,
    }


def _cost(sums: CostSums) -> CostFields:
    return {
        "usd": usd(sums.cost_nano),
        "nano_usd": sums.cost_nano,
        "known_usd": usd(sums.known_nano),
        "known_nano_usd": sums.known_nano,
        "unknown_calls": sums.unknown_calls,
        "in_doubt_usd": usd(sums.in_doubt_nano),
        "in_doubt_nano_usd": sums.in_doubt_nano,
        "held_usd": usd(sums.held_nano),
        "held_nano_usd": sums.held_nano,
    }


def _row(row: CostRow, by: tuple[str, ...]) -> CostRowFields:
    named: dict[str, object] = dict(group_fields(row, by))
    if row.labels:
        named["labels"] = dict(row.labels)
    if row.answered_models:
        named["answered_models"] = list(row.answered_models)
    groups = cast("CostRowFields", named)  # which fields they are, --by says
    return {**groups, **_figures(row), "cost": _cost(row), "last_at": moment(row.last_at)}


def group_fields(row: CostRow, by: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Yield the fields that the row is grouped by, without labels; an hour or day is given by its start."""
    for field in dict.fromkeys(field for word in by for field in _FIELDS.get(word, ())):
        value = getattr(row, field)
        yield field, value if field not in ("hour", "day") else moment(value)


def costs_csv(report: CostReport, query: CostQuery) -> str:
    """Return a header and a line for each row: amounts as plain decimals, empty where unknown; times in UTC."""

    def cells(row: CostRow) -> tuple[object, ...]:
        amounts = (row.cost_nano, row.known_nano, row.in_doubt_nano, row.held_nano)
        return (*(getattr(row, name) for name in FIGURES), *map(decimal_usd, amounts), moment(row.last_at))

    return csv_text(report.rows, query.by, (*FIGURES, *MONEY, "last_at"), cells)


def csv_text(
    rows: Iterable[R], by: tuple[str, ...], names: Iterable[str], cells: Callable[[R], Iterable[object]]
) -> str:
    """Return a header and a line for each row: the groups, then its ``cells`` under ``names``."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = tuple(word for word in by if word.startswith(LABEL))
    fields = tuple(dict.fromkeys(field for word in by for field in _FIELDS.get(word, ())))
    writer.writerow(_plain(name) for name in (*fields, *labels, *names))
    for row in rows:
        texts = (*(value for _, value in group_fields(row, by)), *(value for _, value in row.labels))
        writer.writerow((*map(_plain, texts), *cells(row)))
    return text.getvalue()


def _plain(value: str | None) -> str:
    """Return printable text that no spreadsheet reads as a formula."""
    from agentctl.core.text import safe_text

    text = safe_text(value or "")
    return f"'{text}" if text.startswith(_FORMULA) else text


def decimal_usd(nano: int | None) -> str:
    """Return an exact amount in dollars: ``0.0123``, ``-0.5``, ``0``; "" if unknown."""
    if nano is None:
        return ""
    whole, rest = divmod(abs(nano), 1_000_000_000)
    return f"{'-' if nano < 0 else ''}{whole}.{rest:09d}".rstrip("0").rstrip(".")
