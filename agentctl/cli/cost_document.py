"""What was spent, for programs: the document ``agentctl.costs/1``, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agentctl.cli.document import Document, moment, usd
from agentctl.cli.exits import ExitStatus
from agentctl.errors import Unit
from agentctl.ledger.grouping import LABEL, CostRow, Sums
from agentctl.ledger.report import CostQuery, CostReport
from agentctl.version import __version__

SCHEMA = "agentctl.costs/1"
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
}


class Standing(NamedTuple):
    """How a limit stands now, in its own unit; ``ceiling`` None: there is none. ``scope`` is what it is about."""

    scope: str
    name: str
    unit: Unit
    ceiling: int | None
    used: int

    @property
    def left(self) -> int | None:
        """What is left of it."""
        return None if self.ceiling is None else max(0, self.ceiling - self.used)


class Gate(NamedTuple):
    """``--fail-above``: nano-dollars, and why it was not passed."""

    above_nano: int
    counted_nano: int
    message: str = ""
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether what counts as spent is known, and not above it."""
        return not self.message


def document(report: CostReport, query: CostQuery, *, standings: tuple[Standing, ...], gate: Gate | None) -> Document:
    """Return the whole report."""
    failed = gate is not None and not gate.passed
    status = ExitStatus.budget if failed else ExitStatus.done
    limits = {each.name: _limit(each) for each in standings}
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
        "max_cost_per_hour": limits["max_cost_per_hour"],
        "limits": limits,
        "fail_above": None if gate is None else _gate(gate),
        "error": None
        if gate is None or gate.passed
        else {"kind": "budget", "message": gate.message, "hint": gate.hint},
    }


def _limit(standing: Standing) -> Document:
    amounts = {"limit": standing.ceiling, "used": standing.used, "left": standing.left}
    return {name: usd(value) if standing.unit == "nano_usd" else value for name, value in amounts.items()}


def _gate(gate: Gate) -> Document:
    return {"usd": usd(gate.above_nano), "counted_usd": usd(gate.counted_nano), "passed": gate.passed}


def _figures(sums: Sums) -> Document:
    return {name: getattr(sums, name) for name in FIGURES}


def _cost(sums: Sums) -> Document:
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


def _row(row: CostRow, by: tuple[str, ...]) -> Document:
    labels = {"labels": dict(row.labels)} if row.labels else {}
    return {
        **dict(_group(row, by)),
        **labels,
        **_figures(row),
        "cost": _cost(row),
        "last_at": moment(row.last_at),
    }


def _group(row: CostRow, by: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Yield what the row is grouped by, labels left out; the times are when they began."""
    for field in dict.fromkeys(field for word in by for field in _FIELDS.get(word, ())):
        value = getattr(row, field)
        yield field, value if field not in ("hour", "day") else moment(value)


def as_csv(report: CostReport, query: CostQuery) -> str:
    """Return a header and a line for each row: amounts as plain decimals, empty where unknown; times in UTC."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = tuple(word for word in query.by if word.startswith(LABEL))
    fields = tuple(dict.fromkeys(field for word in query.by for field in _FIELDS.get(word, ())))
    writer.writerow(_plain(name) for name in (*fields, *labels, *FIGURES, *MONEY, "last_at"))
    for row in report.rows:
        texts = (*(value for _, value in _group(row, query.by)), *(value for _, value in row.labels))
        amounts = (row.cost_nano, row.known_nano, row.in_doubt_nano, row.held_nano)
        writer.writerow(
            (
                *(_plain(value) for value in texts),
                *(getattr(row, name) for name in FIGURES),
                *("" if nano is None else _decimal(nano) for nano in amounts),
                moment(row.last_at),
            )
        )
    return text.getvalue()


def _plain(value: str | None) -> str:
    """Return text that no spreadsheet takes for a formula, and that holds nothing but text."""
    from agentctl.text import safe_text

    text = safe_text(value or "")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _decimal(nano: int) -> str:
    """Return dollars, to the last digit that there is: ``0.0123``, ``0``."""
    whole, rest = divmod(nano, 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
