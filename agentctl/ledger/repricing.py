"""Compute the cost of a window's calls at other prices, from the token classes in their rows.

Each call is charged again by the same rule: the highest price that may apply, or the provider's bill if that is more.
With the same prices every charge comes out the same, to the nano-dollar. Nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from agentctl.budget.conclusions import Charge, dearest_charge
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.messages import Completion
from agentctl.core.pricing import ModelFacts, PriceOf
from agentctl.ledger.audit import COLUMNS, ChargeRow, WhyNot
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.grouping import (
    OF_ALL,
    OF_ONE,
    CostRow,
    add_answered_models,
    add_up,
    figures_of,
    has_labels,
    window,
)
from agentctl.ledger.inspection import read_view
from agentctl.ledger.provider_health import is_unpriced
from agentctl.ledger.report import CostQuery, find_run, span_of, unknown_run, window_start
from agentctl.ledger.transaction import Transaction

#: Why a call is not repriced. ``unknown_price``: the given prices have none for it. ``open``: it is still running.
NotRepriced = WhyNot | Literal["open"]
REASONS: tuple[NotRepriced, ...] = ("in_doubt", "open", "unknown_price", "unrecorded", "export", "hand")

#: Returns the prices of a provider's models at the address in the ledger ("" for the provider's own).
PricesAt = Callable[[str, str], PriceOf]

_ROWS = """
SELECT a.run_id, a.provider, a.purpose, a.base_url, (coalesce(a.ended_us, :now) + :ahead) / :slot,
    coalesce(a.ended_us, a.sent_us, a.held_us) + :ahead, o.host, o.ci_run, o.user_name, s.agent, s.labels, {columns}
FROM ({source}) AS a CROSS JOIN scopes AS s ON s.id = a.run_id CROSS JOIN owners AS o ON o.id = a.owner_id
"""
_SQL = {
    of: _ROWS.format(columns=", ".join(f"a.{name}" for name in COLUMNS), source=source)
    for of, source in (("all", OF_ALL), ("one", OF_ONE))
}


class Alternative(NamedTuple):
    """The model to price instead of the requested one; ``provider`` None: at the provider of the call."""

    provider: str | None
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepricedRow(CostRow):
    """A group of calls, what they cost, and what they would have cost.

    ``compared_nano`` is what the ``repriced_calls`` were charged, ``repriced_nano`` what they come to. The
    ``uncharged_calls`` among them had no known price when they were made. ``billed_calls`` are repriced at the
    provider's bill. The other calls are not repriced; they are counted by the reason.
    """

    repriced_calls: int = 0
    billed_calls: int = 0
    uncharged_calls: int = 0
    compared_nano: int = 0
    repriced_nano: int = 0
    in_doubt_calls: int = 0
    open_calls: int = 0
    unknown_price_calls: int = 0
    unrecorded_calls: int = 0
    export_calls: int = 0
    hand_calls: int = 0

    @property
    def charged_nano(self) -> int | None:
        """The charges of the repriced calls; None if that is unknown for one of them."""
        return None if self.uncharged_calls else self.compared_nano

    @property
    def difference_nano(self) -> int | None:
        """The additional cost, negative for less; None if their charge is unknown."""
        return None if self.charged_nano is None else self.repriced_nano - self.charged_nano

    @property
    def not_repriced(self) -> Mapping[NotRepriced, int]:
        """The number of calls that are not repriced, by the reason."""
        counts: dict[NotRepriced, int] = {why: getattr(self, f"{why}_calls") for why in REASONS}
        return {why: count for why, count in counts.items() if count}


class PriceUse(NamedTuple):
    """A price table that set the amount of ``calls`` repriced calls."""

    source: str
    version: str
    digest: str
    calls: int


class RepriceReport(NamedTuple):
    """A window (UTC), its groups and their total. ``unpriced`` are the full names of the models without a price."""

    since: datetime
    until: datetime
    rows: tuple[RepricedRow, ...]
    total: RepricedRow
    runs: int = 0
    prices: tuple[PriceUse, ...] = ()
    unpriced: tuple[str, ...] = ()
    run_id: str | None = None


def reprice(
    path: LedgerAddress,
    query: CostQuery,
    prices_at: PricesAt,
    *,
    alternative: Alternative | None = None,
    clock: ReadClock | None = None,
) -> RepriceReport:
    """Price the calls of a window again by ``prices_at``; the report is empty without a ledger.

    With an ``alternative`` each call is priced as if that model had been requested and had answered, in the same
    service tier; the provider's bill for another model does not count then.

    Raises:
        StateError: the file is damaged, foreign or newer than this program.
        UsageError: no run or several have an id with this prefix.
    """
    clock = clock or system_clock()
    with read_view(path, clock) as tx:
        if tx is None:
            if query.run is not None:
                raise unknown_run(query.run)
            now = as_datetime(clock().wall_us)
            until = now if query.until is None else min(now, query.until)
            return RepriceReport(query.since or until, until, (), RepricedRow(last_at=until))
        run_id = None if query.run is None else find_run(tx, query.run).run_id
        span, repricing = span_of(tx, query), _Repricing(prices_at, alternative)
        values = window(tx, since_us=span.since_us, until_us=span.until_us, reaches_now=span.reaches_now, run_id=run_id)
        added = add_up(
            repricing.figures(_read(tx, values), query.labels), by=query.by, labels=query.labels, zone=query.zone
        )
        rows = added.rows(RepricedRow, query.by)
        rows = add_answered_models(tx, rows, values, by=query.by, labels=query.labels, zone=query.zone)
        since = query.since or window_start(tx, run_id, span, added.slots)
    total: dict[str, Any] = dict(zip(_FIGURES, added.total, strict=False))
    return RepriceReport(
        since,
        span.until,
        rows,
        RepricedRow(**total, last_at=span.until),
        added.runs,
        tuple(PriceUse(*table, calls) for table, calls in repricing.tables.most_common()),
        tuple(sorted(repricing.unpriced)),
        run_id,
    )


_FIGURES = figures_of(RepricedRow)


class _AttemptOfRun(NamedTuple):
    """An attempt with its run and its process."""

    run_id: str
    provider: str
    purpose: str
    base_url: str
    slot: int
    last_us: int
    host: str
    ci_run: str | None
    user: str | None
    agent: str
    labels: str
    charge: ChargeRow


_HEAD = len(_AttemptOfRun._fields) - 1


def _read(tx: Transaction, values: Mapping[str, object]) -> Iterator[_AttemptOfRun]:
    for row in tx.db.execute(_SQL["all" if values["run"] is None else "one"], values):
        yield _AttemptOfRun._make((*row[:_HEAD], ChargeRow._make(row[_HEAD:])))


class _Repricing:
    """Charges calls again, and records the price tables used and the models without a price."""

    def __init__(self, prices_at: PricesAt, alternative: Alternative | None) -> None:
        self._prices_at = cache(lambda provider, base_url: _cache_prices(prices_at(provider, base_url)))
        self._alternative = alternative
        self.tables: Counter[tuple[str, str, str]] = Counter()
        self.unpriced: set[str] = set()

    def figures(self, rows: Iterator[_AttemptOfRun], labels: tuple[tuple[str, str], ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows for ``add_up``, of the attempts of runs that have all ``labels``."""
        for row in rows:
            if has_labels(row.labels, labels):
                figures = self._figures(row)
                head = (row.run_id, row.provider, row.charge.model, row.purpose, row.slot, row.last_us)
                run = (row.host, row.ci_run, row.user, row.agent, row.labels)
                yield (*head, *(figures.get(name, 0) for name in _FIGURES), *run)

    def _figures(self, row: _AttemptOfRun) -> dict[str, int]:
        charge, usage = row.charge, row.charge.usage
        found = {
            "calls": int(charge.phase != "kept"),
            "input_tokens": usage.input_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "output_tokens": usage.output_tokens,
        }
        amount = {"settled": "known_nano", "doubt": "in_doubt_nano"}.get(charge.phase, "held_nano")
        found[amount] = charge.nano or 0
        if charge.phase == "kept":
            return found
        if charge.nano is None and amount != "held_nano":
            found["unknown_calls"] = 1
        why = "open" if amount == "held_nano" else charge.why_not
        if why not in (None, "unknown_price"):
            return found | {f"{why}_calls": 1}
        again = self._charge(row)
        if again is None or again.price is None:
            return found | {"unknown_price_calls": 1}
        self.tables[again.price.source, again.price.version, again.price.digest] += 1
        found |= {
            "repriced_calls": 1,
            "repriced_nano": again.nano or 0,
            "billed_calls": int(again.by == "billed"),
        }
        return found | {"compared_nano": charge.nano or 0, "uncharged_calls": int(charge.nano is None)}

    def _charge(self, row: _AttemptOfRun) -> Charge | None:
        """Charge a call again; None if the price of its model or service tier is unknown."""
        was = row.charge
        tier, hour_writes = was.charged_tier or "", was.hour_write_tokens or 0
        provider, base_url, model = row.provider, row.base_url, was.model
        completion = Completion(
            model=was.answered_model, tier=tier, hour_writes=hour_writes, billed_nano=was.billed_nano
        )
        if self._alternative is not None and provider != "builtin":
            if self._alternative.provider not in (None, provider):
                provider, base_url = self._alternative.provider or provider, ""
            model = self._alternative.model
            completion = Completion(model=model, tier=tier, hour_writes=hour_writes)
        price_of = self._prices_at(provider, base_url)
        facts = ModelFacts(provider, model, price_of(model or ""), base_url=base_url)
        is_dearest = was.charged_dearest == 1
        charge = dearest_charge(was.usage, completion, facts, price_of, dearest_class=is_dearest)
        if charge is not None and charge.nano is not None and not is_unpriced(charge):
            return charge
        in_tier = f" in the service tier {tier}" if charge is None else ""
        unknown = charge.substitute if charge is not None and is_unpriced(charge) else None
        self.unpriced.add(f"{provider}/{unknown.name}" if unknown is not None else f"{facts.name}{in_tier}")
        return None


def _cache_prices(price_of: PriceOf) -> PriceOf:
    """Return the same lookup with a cache."""
    found = cache(lambda model, tier: price_of(model, tier=tier) if tier else price_of(model))
    return lambda model, /, *, tier="": found(model, tier)
