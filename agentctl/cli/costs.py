"""``agentctl costs``: what was spent, and what is left of the hour."""

from __future__ import annotations

from decimal import ROUND_DOWN
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.flags import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.document import Document
    from agentctl.ledger.report import CostReport

SCHEMA = "agentctl.costs/1"
HOUR_S = 3600
WINDOW = "Window"


def costs(
    last_hour: Annotated[
        bool, typer.Option("--last-hour", help="The last 60 minutes.", rich_help_panel=WINDOW)
    ] = False,
    today: Annotated[bool, typer.Option("--today", help="Since midnight (default).", rich_help_panel=WINDOW)] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DURATION", help="The last 30m, 2h, 36h.", rich_help_panel=WINDOW),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Show what was spent, by run, and what is left of the hour's limit."""
    from agentctl.errors import UsageError
    from agentctl.ledger.report import costs_window
    from agentctl.settings import load_settings

    as_json = wants_json(output, json=json)
    if sum((last_hour, today, since is not None)) > 1:
        raise UsageError("--last-hour, --today and --since exclude each other", hint="give one of them")
    seconds, title = _window(last_hour=last_hour, since=since)
    settings = load_settings(flags={}, remember=False).settings
    report = costs_window(settings.ledger_path, seconds=seconds)
    limit = None if settings.max_cost_per_hour is None else _nano(settings.max_cost_per_hour)
    if as_json:
        from agentctl.cli.document import as_json as dumped

        print(dumped(_document(report, limit)))
    else:
        print(_table(report, title, limit))


def _nano(usd: object) -> int:
    from decimal import Decimal

    from agentctl.pricing import to_nano

    return to_nano(Decimal(str(usd)))


def _window(*, last_hour: bool, since: str | None) -> tuple[int, str]:
    if last_hour:
        return HOUR_S, "the last hour"
    if since is not None:
        from math import ceil

        from agentctl.errors import UsageError
        from agentctl.settings.values import duration

        try:
            return ceil(duration(zero=False)(since)), f"the last {since.strip()}"
        except ValueError as error:
            raise UsageError(f'--since is "{since}"; allowed: {error}') from error
    from datetime import datetime

    now = datetime.now().astimezone()
    midnight = datetime(now.year, now.month, now.day).astimezone()  # the offset at midnight, which may be another
    return max(1, int((now - midnight).total_seconds())), "today"


def _document(report: CostReport, limit: int | None) -> Document:
    from agentctl.cli.document import moment, usd
    from agentctl.version import __version__

    used = report.hour.total
    return {
        "schema": SCHEMA,
        "version": __version__,
        "since": moment(report.since),
        "until": moment(report.until),
        "rows": [
            {
                "run_id": row.run_id,
                "agent": row.agent,
                "provider": row.provider,
                "model": row.model,
                "calls": row.calls,
                "input_tokens": row.input_tokens,
                "output_tokens": row.output_tokens,
                "cost": _cost(row.cost_nano, row.in_doubt_nano, row.held_nano),
                "last_at": moment(row.last_at),
            }
            for row in report.rows
        ],
        "total": _cost(report.total_nano, report.in_doubt_nano, report.held_nano),
        "max_cost_per_hour": {
            "limit": usd(limit),
            "used": usd(used),
            "left": None if limit is None else usd(max(0, limit - used)),
        },
        "error": None,
    }


def _cost(charged: int | None, in_doubt: int, held: int) -> Document:
    from agentctl.cli.document import usd

    return {"usd": usd(charged), "nano_usd": charged, "in_doubt_usd": usd(in_doubt), "held_usd": usd(held)}


def _table(report: CostReport, title: str, limit: int | None) -> str:
    from agentctl.ui.figures import columns, money, plural
    from agentctl.ui.figures import limit as shown_limit

    parts: list[str] = []
    if report.rows:
        header = ("run", "agent", "model", "calls", "tokens in", "out", "cost", "in doubt", "held", "last call")
        rows = [
            (
                row.run_id,
                row.agent,
                f"{row.provider}/{row.model}" if row.model else row.provider,
                f"{row.calls:,}",
                f"{row.input_tokens:,}",
                f"{row.output_tokens:,}",
                "unknown" if row.cost_nano is None else money(row.cost_nano),
                money(row.in_doubt_nano),
                money(row.held_nano),
                f"{row.last_at.astimezone():%Y-%m-%d %H:%M:%S}",
            )
            for row in report.rows
        ]
        empty = {7} if not report.in_doubt_nano else set()
        empty |= {8} if not report.held_nano else set()
        kept = [at for at in range(len(header)) if at not in empty]  # else it is wider than a terminal for nothing
        lines = [[line[at] for at in kept] for line in (header, *rows)]
        parts += [columns(lines[0], lines[1:], right=frozenset(range(3, len(kept) - 1))), ""]
    calls = sum(row.calls for row in report.rows)
    runs = len({row.run_id for row in report.rows})
    total = f"{title}: {plural(runs, 'run')}, {plural(calls, 'call')}, {money(report.total_nano)}"
    for amount, word in ((report.in_doubt_nano, "in doubt"), (report.held_nano, "held")):
        total += f" · {money(amount)} {word}" if amount else ""
    parts.append(total)
    used = report.hour.total
    free = "" if limit is None else money(max(0, limit - used), rounding=ROUND_DOWN)
    left = "no limit" if limit is None else f"{free} left of {shown_limit(limit, 'nano_usd')}"
    parts.append(f"hour: {money(used)} used, {left} (max_cost_per_hour)")
    return "\n".join(parts)
