"""Questions about money: what the model costs, how old the prices are, what the limits leave."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from agentctl.cli.doctor.findings import Finding, missing, ok, warning
from agentctl.cli.ui.format import ceiling, money
from agentctl.core.errors import LIMIT_NAMES, StateError
from agentctl.core.limits import WINDOWS
from agentctl.core.pricing import ModelFacts, Price, price_config_lines, to_nano
from agentctl.providers.catalog import load_catalog
from agentctl.settings import Loaded

OLD_DAYS = 180
_WARN_SHARE = Decimal("0.8")


def price(facts: ModelFacts) -> tuple[Finding, ...]:
    """Say what the model costs, or that nobody knows; under a dollar limit a run has refused that before."""
    if not facts.metered:
        return (ok("price", f"{facts.provider} costs nothing"),)
    name, found = f"{facts.provider}/{facts.model}", facts.price
    window = f", {facts.context_window:,} tokens of context" if facts.context_window else ""
    if found is None:
        said = f"the price of {name} is unknown, and no dollar limit is set: what it costs is not counted"
        return (warning("price", said, f"put its prices at the end of config.toml:\n{price_config_lines(name)}"),)
    if _is_free(found):
        return (ok("price", f"{name} is free{window}"),)
    said = f"{name} costs {_shown(found.input)} in, {_shown(found.output)} out per million tokens{window}"
    return (ok("price", f"{said} ({found.source})"),)


def _is_free(found: Price) -> bool:
    return not (found.input or found.output)


def price_table(loaded: Loaded, today: date) -> tuple[Finding, ...]:
    """Say which price table is read, and how old it is."""
    catalog = load_catalog(loaded.settings.prices)
    about = "price table"
    try:
        version, days = catalog.version, catalog.age_days(today)
    except StateError as error:
        return (missing(about, error.message, error.hint),)
    own = f", and {len(loaded.settings.prices)} lines of yours" if loaded.settings.prices else ""
    if days is None:
        said = f"{version}{own}: another one than agentctl was checked with, its age is unknown"
        return (warning(about, said, "install agentctl again with what it pins"),)
    if days > OLD_DAYS:
        said = f"{version}, {days} days old{own}: prices may have changed"
        return (warning(about, said, "upgrade agentctl, or put prices into config.toml: agentctl help setup"),)
    return (ok(about, f"{version}, {days} days old{own}"),)


def limits(loaded: Loaded, facts: ModelFacts | None) -> tuple[Finding, ...]:
    """Say which limits hold, who lowered one, and whether the hour has room."""
    settings = loaded.settings
    used = _hour_used(loaded)
    task, hour = _dollars(settings.max_cost_per_task), _dollars(settings.max_cost_per_hour)
    tokens = "none" if settings.max_tokens_per_task is None else f"{settings.max_tokens_per_task:,}"
    spent = "" if used is None or used == 0 else f" ({money(used)} of it used)"
    others = {name.rpartition("_")[2]: getattr(settings, name) for name in WINDOWS if name != "max_cost_per_hour"}
    more = "".join(f", {name} {_shown(most)}" for name, most in others.items() if most is not None)
    said = f"task {task}, hour {hour}{spent}{more}, {tokens} tokens a task"
    set_by = [f"{name} by {loaded.tightened[name]}" for name in LIMIT_NAMES if name in loaded.tightened]
    said += f"; lowered: {', '.join(set_by)}" if set_by else ""
    costs = facts is not None and facts.metered and not (facts.price is not None and _is_free(facts.price))
    dollars = (settings.max_cost_per_task, settings.max_cost_per_hour, *others.values())
    if costs and all(most is None for most in dollars):
        return (warning("limits", f"{said}: nothing bounds what it costs", "agentctl run --max-cost 0.50 …"),)
    if settings.max_cost_per_hour is not None and used is not None and costs:
        most = to_nano(settings.max_cost_per_hour)
        raised = f"agentctl run --max-cost-per-hour {2 * settings.max_cost_per_hour or 10:f} …"
        if used >= most:
            return (missing("limits", f"{said}: the hour has no room left", raised, stops=True),)
        if used >= _WARN_SHARE * most:
            return (warning("limits", f"{said}: the hour is nearly full", raised),)
    if loaded.ci:
        return (ok("limits", f"{said}; CI is set: the hour is this runner's only"),)
    return (ok("limits", said),)


def _dollars(value: Decimal | None) -> str:
    return "none" if value is None else ceiling(to_nano(value))


def _shown(value: Decimal) -> str:
    return ceiling(to_nano(value))


def _hour_used(loaded: Loaded) -> int | None:
    """Return what counts against the hour, in nano-dollars; None if the ledger does not say (its own question does)."""
    from agentctl.ledger.report import costs_window

    try:
        return costs_window(loaded.settings.ledger_path, seconds=3600).hour.total
    except StateError:
        return None
