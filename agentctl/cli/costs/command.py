"""``agentctl costs``: show what was spent in a window, by group, and what is left of each limit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import (
    OUTPUT,
    WINDOW,
    By,
    Json,
    Labels,
    OneRun,
    Since,
    Timezone,
    Until,
    output_form,
    parse_groups,
    parse_labels,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from agentctl.cli.costs.cost_output import CostView
    from agentctl.cli.costs.document import LimitStatus, SpendGate
    from agentctl.ledger.grouping import CostSums
    from agentctl.ledger.report import CostReport
    from agentctl.settings import Loaded

GATE = "Gate"
BY = "run,model"

CostForm = Literal["table", "text", "json", "csv"]


def costs(
    last_hour: Annotated[
        bool, typer.Option("--last-hour", help="Show what was spent in the last 60 minutes.", rich_help_panel=WINDOW)
    ] = False,
    today: Annotated[
        bool, typer.Option("--today", help="Show what was spent today (default).", rich_help_panel=WINDOW)
    ] = False,
    this_month: Annotated[
        bool,
        typer.Option("--this-month", help="Show what was spent this month.", rich_help_panel=WINDOW),
    ] = False,
    since: Since = None,
    until: Until = None,
    timezone: Timezone = None,
    run: OneRun = None,
    label: Labels = None,
    by: By = BY,
    fail_above: Annotated[
        str | None,
        typer.Option(
            "--fail-above",
            metavar="USD",
            help="Exit 3 if more than USD is spent or in doubt in the window, or a price is unknown.",
            rich_help_panel=GATE,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Redraw after each change, until Ctrl-C (exit 130); with -o json print a line per change.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    output: Annotated[
        CostForm | None,
        typer.Option(
            "-o", "--output", help="Output format (default table).", show_default=False, rich_help_panel=OUTPUT
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show what was spent in a window, and what is left of each limit now.

    Times are local in the table and UTC in JSON and CSV. CSV columns: the groups,
    calls, unknown_calls, input_tokens, cached_input_tokens, output_tokens, usd
    (empty where a price is unknown), known_usd, in_doubt_usd, held_usd, last_at.

    Examples:
        agentctl costs
        agentctl costs --this-month --by day,model
        agentctl costs --since 7d --label team=web
        agentctl costs --today --fail-above 5  # a CI gate: exit 3
    """
    from datetime import UTC, datetime

    from agentctl.cli.costs.cost_output import CostView, print_view
    from agentctl.cli.costs.time_window import WindowRequest, resolve_window
    from agentctl.cli.error_output import report_settings
    from agentctl.core.limits import WINDOWS
    from agentctl.ledger.grouping import find_time_zone
    from agentctl.ledger.report import CostQuery, costs_report

    form = output_form(output, json=json) or "table"
    above = None if fail_above is None else _dollars(fail_above)
    place = find_time_zone(timezone)
    request = WindowRequest(last_hour, today, this_month, since, until, whole=run is not None)
    labels = tuple(pair for word in label or () for pair in parse_labels([word]).items())
    groups = parse_groups(by)
    resolve_window(request, now=datetime.now(UTC), zone=place)  # report wrong flags before reading the ledger
    loaded = report_settings()
    settings = loaded.settings
    from agentctl.ledger.clock import as_datetime
    from agentctl.ledger.engines import clock_of, files_of

    if any(files_of(settings.ledger_address).with_suffix(".unsettled").glob("*.json")):
        from agentctl.ledger.ledger_session import settle_spooled

        settle_spooled(settings.ledger_address)
    again = _again(request.words, run=run, labels=label or (), timezone=timezone)
    further = tuple(name for name in WINDOWS if name != "max_cost_per_hour" and getattr(settings, name) is not None)

    clock = clock_of(settings.ledger_address)

    def look() -> CostView:
        wanted = resolve_window(request, now=as_datetime(clock().wall_us), zone=place)
        bounds = {"since": wanted.since, "until": wanted.until}
        query = CostQuery(**bounds, run=run, labels=labels, by=groups, zone=place, further=further)
        report = costs_report(settings.ledger_address, query)
        gate = None if above is None else _gate(report.total, above, again)
        return CostView(report, query, wanted.title, wanted.notes, _limit_statuses(loaded, report), gate)

    if watch:
        from agentctl.cli.costs.cost_output import watch_costs

        code = watch_costs(look, form)
    else:
        code = print_view(look(), form, sys.stdout)
    if code:
        raise typer.Exit(code)


def _dollars(text: str) -> int:
    """Return the nano-dollars of ``--fail-above``.

    Raises:
        UsageError: ``text`` is not an amount.
    """
    from agentctl.core.errors import UsageError
    from agentctl.settings.parsers import dollars

    try:
        found = dollars(text)
    except ValueError:
        found = None
    if found is None:
        raise UsageError(
            f'--fail-above "{text}" is not an amount in dollars (0 or more, at most 9 decimal places)',
            hint="for example: agentctl costs --today --fail-above 5.00",
        )
    return _nano(found)


def _nano(usd: Decimal) -> int:
    from agentctl.core.pricing import to_nano

    return to_nano(usd)


def _again(words: Sequence[str], *, run: str | None, labels: Sequence[str], timezone: str | None) -> str:
    """Return the command that shows the same window by model."""
    import shlex

    given = [*words, *(word for label in labels for word in ("--label", label))]
    given += [] if run is None else ["--run", run]
    given += [] if timezone is None else ["--timezone", timezone]
    return shlex.join(["agentctl", "costs", *given, "--by", "model"])


def _gate(total: CostSums, above: int, again: str) -> SpendGate:
    """Return the result of ``--fail-above`` for charges and amounts in doubt; a call of unknown price fails it."""
    from agentctl.cli.costs.document import SpendGate
    from agentctl.cli.ui.format import ceiling, money, plural

    counted = total.counted_nano
    doubt = f" ({money(total.in_doubt_nano)} of it in doubt)" if total.in_doubt_nano else ""
    if counted > above:
        message = f"{ceiling(counted)}{doubt} is above --fail-above {ceiling(above)}"
        return SpendGate(above, counted, message, f"to see the charges by model: {again}")
    if total.unknown_calls:
        calls = plural(total.unknown_calls, "call")
        message = (
            f"the price of {calls} is unknown: in addition to the known {ceiling(counted)}{doubt},"
            f" their cost may exceed --fail-above {ceiling(above)}"
        )
        return SpendGate(above, counted, message, f"to see which model: {again}")
    return SpendGate(above, counted)


def _limit_statuses(loaded: Loaded, report: CostReport) -> tuple[LimitStatus, ...]:
    """Return each limit and what counts against it now, followed by those of the run that ``--run`` names.

    A limit with an invalid value is left out.
    """
    from agentctl.cli.costs.document import LimitStatus

    windows = {"max_cost_per_hour": report.hour, **report.further}
    everyone: Sequence[tuple[str, str, Decimal | None, int]] = [
        (name.rpartition("_")[2], name, getattr(loaded.settings, name), used.total)
        for name, used in windows.items()
        if not loaded.is_wrong(name)
    ]
    found = [
        LimitStatus(scope, name, "nano_usd", None if limit is None else _nano(limit), used)
        for scope, name, limit, used in everyone
    ]
    run = report.run
    if run is not None:
        scope = f"run {run.run_id}"
        found.append(LimitStatus(scope, "max_cost_per_task", "nano_usd", run.limit_nano, run.nano.total))
        found.append(LimitStatus(scope, "max_tokens_per_task", "tokens", run.limit_tokens, run.tokens.total))
    return tuple(found)
