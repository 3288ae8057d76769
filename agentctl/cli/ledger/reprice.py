"""``agentctl ledger reprice``: show what the calls of a window would have cost at other prices."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import (
    OUTPUT,
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
    from agentctl.core.pricing import PriceOf
    from agentctl.ledger.repricing import Alternative, PricesAt
    from agentctl.providers.catalog import Catalog
    from agentctl.settings import Settings

PRICES = "Prices"

RepriceForm = Literal["table", "text", "json", "csv"]


def reprice(
    since: Since = None,
    until: Until = None,
    timezone: Timezone = None,
    run: OneRun = None,
    label: Labels = None,
    by: By = "model",
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            help="Price each call as if this model had answered: openai/gpt-4o, or a model of the call's provider.",
            rich_help_panel=PRICES,
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="FILE",
            help="Use litellm's table in FILE (JSON) instead of the installed one, or the prices in FILE (TOML, written"
            " as in config.toml) on top of today's.",
            rich_help_panel=PRICES,
        ),
    ] = None,
    output: Annotated[
        RepriceForm | None,
        typer.Option(
            "-o", "--output", help="Output format (default table).", show_default=False, rich_help_panel=OUTPUT
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show what calls would have cost at today's prices, or at those of a file.

    Applies the prices to the tokens of each call in the ledger, by token class.
    Where the provider billed more, that amount is used, except with --model.
    At unchanged prices every charge is reproduced, to the nano-dollar.
    Without --since: today. Changes nothing.

    Counted but not repriced: calls in doubt, in progress or without a price,
    and calls settled manually, by an export, or before prices were stored.

    Examples:
        agentctl ledger reprice --since 7d
        agentctl ledger reprice --since 30d --table prices.json
    """
    from datetime import UTC, datetime

    from agentctl.cli.costs.time_window import WindowRequest, resolve_window
    from agentctl.cli.error_output import print_stderr, report_settings
    from agentctl.cli.ledger.reprice_output import RepricedView, render
    from agentctl.cli.ui.columns import stdout_page
    from agentctl.ledger.clock import as_datetime
    from agentctl.ledger.engines import clock_of
    from agentctl.ledger.grouping import find_time_zone
    from agentctl.ledger.report import CostQuery
    from agentctl.ledger.repricing import reprice as priced_anew

    form = output_form(output, json=json) or "table"
    place = find_time_zone(timezone)
    request = WindowRequest(since=since, until=until, whole=run is not None, command="agentctl ledger reprice")
    labels = tuple(pair for word in label or () for pair in parse_labels([word]).items())
    resolve_window(request, now=datetime.now(UTC), zone=place)  # report wrong flags before reading the ledger
    groups, settings = parse_groups(by), report_settings("prices").settings
    wanted = resolve_window(request, now=as_datetime(clock_of(settings.ledger_address)().wall_us), zone=place)
    query = CostQuery(since=wanted.since, until=wanted.until, run=run, labels=labels, by=groups, zone=place)
    catalog = _catalog(settings, table)
    alternative = None if model is None else _alternative(catalog, model, settings)
    report = priced_anew(settings.ledger_address, query, _prices_at(catalog, settings), alternative=alternative)
    for note in wanted.notes:
        print_stderr(f"note: {note}")
    view = RepricedView(report, query, wanted.title, model, table)
    sys.stdout.write(render(view, form, page=stdout_page()))


def _catalog(settings: Settings, table: str | None) -> Catalog:
    """Return today's prices, or those of a file.

    Raises:
        UsageError: the file cannot be used, or a price seems to be in the wrong unit.
    """
    from pathlib import Path

    from agentctl.cli.error_output import waiting_notice
    from agentctl.providers.catalog import load_catalog
    from agentctl.providers.price_file import catalog_with

    if table is None:
        catalog = load_catalog(settings.price_lines)
    else:
        catalog = catalog_with(Path(table), settings.price_lines, late=waiting_notice(f"--table {table}"))
    catalog.refuse_far_off()
    return catalog


def _prices_at(catalog: Catalog, settings: Settings) -> PricesAt:
    """Return the lookup of prices by provider and address; a provider of the user's own is at its own address."""

    def prices_at(provider: str, base_url: str) -> PriceOf:
        own = settings.named(provider)
        if own is None:
            return catalog.prices_at(provider, base_url)
        return catalog.prices_at(provider, base_url or own.base_url, own.kind)

    return prices_at


def _alternative(catalog: Catalog, model: str, settings: Settings) -> Alternative:
    """Return the model of ``--model``; if it names a provider, its price is known.

    Raises:
        UsageError: the price is unknown, or the name is empty.
    """
    from agentctl.core.errors import UsageError
    from agentctl.ledger.repricing import Alternative
    from agentctl.settings import KNOWN_PROVIDERS, OTHER_PROVIDERS

    provider, slash, name = model.strip().partition("/")
    if not (slash and provider.lower() in (*settings.providers, *KNOWN_PROVIDERS, *OTHER_PROVIDERS)):
        if not model.strip():
            raise UsageError("--model is empty", hint="for example: --model openai/gpt-4o")
        return Alternative(None, model.strip())
    provider = provider.lower()
    if _prices_at(catalog, settings)(provider, "")(name) is None:
        raise UsageError(f"the price of {provider}/{name} is unknown", hint=catalog.near(provider, name))
    return Alternative(provider, name)
