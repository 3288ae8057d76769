"""Repricing: at the same prices the exact charges, at other prices the sum of the token classes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge
from agentctl.core.errors import UsageError
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import FREE, Price, PriceOf, Tier, charge_nano
from agentctl.ledger.reconcile import reconcile
from agentctl.ledger.report import CostQuery, costs_report
from agentctl.ledger.repricing import Alternative, PricesAt, PriceUse, RepriceReport, reprice
from tests.support.ledger.charging import PROVIDER, Call, calls, settle
from tests.support.ledger.corrections import CALL, NO_LIMITS, begin, change, opened, send
from tests.support.ledger.parts import HandClock
from tests.support.price_strategies import PriceTable, price_tables

USAGE = Usage(1_000, 100, cached_input_tokens=200, cache_write_tokens=300, reasoning_tokens=40)
PLAIN = Price(
    Decimal(3),
    Decimal(15),
    Decimal("0.3"),
    Decimal("3.75"),
    Decimal(16),
    source="then",
    cache_write_hour=Decimal(6),
    tiers=(Tier(5_000, Price(Decimal(6), Decimal(20))),),
)
DEAR = Price(Decimal(5), Decimal(25), source="then")
NOW = Price(Decimal("0.1234567"), Decimal(2), cached_input=Decimal("0.01"), source="now", version="9", digest="d")
TABLE: PriceTable = {("asked", ""): PLAIN, ("answered", ""): DEAR}


def at(table: Mapping[tuple[str, str], Price]) -> PricesAt:
    """Return the prices of a table, at the test's provider alone, wherever it is asked."""

    def prices_at(provider: str, base_url: str) -> PriceOf:
        def price_of(model: str, /, *, tier: str = "") -> Price | None:
            return table.get((model, tier)) if provider == PROVIDER else None

        return price_of

    return prices_at


def made(path: Path, clock: HandClock | None, *made_calls: Call) -> dict[str, Charge | None]:
    """Settle calls, each in a run of its own (``run-0``, ``run-1``, ...); return their charges, None in doubt."""
    session, charges = opened(path, clock), dict[str, Charge | None]()
    for number, call in enumerate(made_calls):
        begin(session, f"run-{number}")
        charges[f"run-{number}"] = settle(session, f"call-{number}", call, f"run-{number}")
    session.close()
    return charges


def by_run(report: RepriceReport) -> dict[str | None, tuple[int | None, int]]:
    """Return what each run was charged, and what it comes to."""
    return {row.run_id: (row.charged_nano, row.repriced_nano) for row in report.rows}


@st.composite
def tables_and_calls(draw: st.DrawFn) -> tuple[PriceTable, list[Call]]:
    table = draw(price_tables)
    return table, draw(st.lists(calls(table), min_size=1, max_size=5))


@given(tables_and_calls())
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_the_same_prices_give_back_every_charge_to_the_nano_dollar(drawn: tuple[PriceTable, list[Call]]) -> None:
    """Tiers, cached input, cache writes of both kinds, reasoning, service tiers, another model, the provider's bill,
    classes that are not trusted, and amounts beyond 64 bits.
    """
    table, made_calls = drawn
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        charges = made(path, None, *made_calls)
        report = reprice(path, CostQuery(by=("run",)), at(table))
    for row in report.rows:
        charge = charges.pop(str(row.run_id))
        if charge is None:
            assert row.not_repriced == {"in_doubt": 1}
        elif charge.nano is None:
            assert row.not_repriced == {"unknown_price": 1}
        else:
            assert (row.charged_nano, row.repriced_nano, row.difference_nano) == (charge.nano, charge.nano, 0)
            assert (row.repriced_calls, row.billed_calls) == (1, int(charge.by == "billed"))
            assert not row.not_repriced
    assert not charges


def test_other_prices_are_applied_to_the_token_classes_of_each_call(path: Path, clock: HandClock) -> None:
    made(path, clock, Call(TABLE, USAGE, Completion(hour_writes=50)), Call(TABLE, USAGE, Completion(model="answered")))
    report = reprice(path, CostQuery(by=("run",)), at({("asked", ""): NOW, ("answered", ""): FREE}), clock=clock)
    now = charge_nano(NOW, USAGE)
    assert by_run(report) == {
        "run-0": (charge_nano(PLAIN, USAGE, hour_writes=50), now),
        "run-1": (charge_nano(DEAR, USAGE), now),
    }
    assert report.total.difference_nano == 2 * now - sum(row.compared_nano for row in report.rows)
    assert report.prices == (PriceUse("now", "9", "d", 2),)


def test_each_call_is_rounded_up_on_its_own(path: Path, clock: HandClock) -> None:
    tiny = Price(Decimal("0.0000001"), Decimal(0))
    made(path, clock, *[Call(TABLE, Usage(1, 0), Completion())] * 3)
    assert reprice(path, CostQuery(by=()), at({("asked", ""): tiny}), clock=clock).total.repriced_nano == 3


def test_billed_amount_counts_where_it_is_more_but_not_for_another_model(path: Path, clock: HandClock) -> None:
    made(path, clock, Call(TABLE, USAGE, Completion(model="asked", billed_nano=9_000_000)))
    report = reprice(path, CostQuery(), at({("asked", ""): NOW}), clock=clock)
    assert (report.total.repriced_nano, report.total.billed_calls) == (9_000_000, 1)
    other = reprice(path, CostQuery(), at({("m", ""): NOW}), alternative=Alternative(None, "m"), clock=clock)
    assert (other.total.repriced_nano, other.total.billed_calls) == (charge_nano(NOW, USAGE), 0)


def test_an_alternative_is_priced_in_the_place_of_asked_and_answering_model(path: Path, clock: HandClock) -> None:
    made(path, clock, Call(TABLE, USAGE, Completion(model="answered", hour_writes=300)))
    for alternative in (Alternative(None, "m"), Alternative(PROVIDER, "m")):
        report = reprice(path, CostQuery(), at({**TABLE, ("m", ""): NOW}), alternative=alternative, clock=clock)
        assert by_run(report) == {"run-0": (charge_nano(DEAR, USAGE), charge_nano(NOW, USAGE))}
        assert report.rows[0].model == "asked", "the group is that of the call"
    elsewhere = reprice(path, CostQuery(), at({("m", ""): NOW}), alternative=Alternative("q", "m"), clock=clock)
    assert (elsewhere.total.not_repriced, elsewhere.unpriced) == ({"unknown_price": 1}, ("q/m",))


def test_a_call_without_tokens_of_a_model_is_free_as_any_model(path: Path, clock: HandClock) -> None:
    session = opened(path, clock)
    begin(session, "run")
    send(session, "a")
    session.settle("a", Charge(Usage(), 0, None, "asked", FREE))
    change(path, "UPDATE attempts SET provider = 'builtin', model = NULL, charged_model = NULL")
    session.close()
    prices: Callable[[str, str], PriceOf] = lambda *_: lambda model, /, *, tier="": None if model else FREE  # noqa: E731
    report = reprice(path, CostQuery(), prices, alternative=Alternative("openai", "m"), clock=clock)
    assert (report.total.repriced_calls, report.total.repriced_nano) == (1, 0)


def test_an_answering_model_without_a_price_is_an_unknown_price_and_is_named(path: Path, clock: HandClock) -> None:
    made(path, clock, Call(TABLE, USAGE, Completion(model="answered")))
    report = reprice(path, CostQuery(), at({("asked", ""): NOW}), clock=clock)
    assert (report.total.not_repriced, report.total.repriced_nano) == ({"unknown_price": 1}, 0)
    assert report.unpriced == ("p/answered",)


def test_a_service_tier_without_a_price_is_an_unknown_price(path: Path, clock: HandClock) -> None:
    made(path, clock, Call({**TABLE, ("asked", "priority"): DEAR}, USAGE, Completion(tier="priority")))
    report = reprice(path, CostQuery(), at(TABLE), clock=clock)
    assert (report.total.not_repriced, report.total.compared_nano) == ({"unknown_price": 1}, 0)
    assert report.unpriced == ("p/asked in the service tier priority",)


def test_call_that_cannot_be_repriced_is_counted_by_reason_and_in_neither_sum(path: Path, clock: HandClock) -> None:
    made(path, clock, Call(TABLE, USAGE, Completion()), Call({}, USAGE, Completion()))
    session = opened(path, clock)
    begin(session, "rest")
    for name in ("old", "manual", "export", "doubt", "open"):
        send(session, name, "rest")
        if name == "old":
            session.settle("old", Charge(Usage(10, 256), CALL, "m"))
        elif name != "open":
            session.doubt(name, "hung up", ceiling=False, provider_fault=False)
    other = opened(path, clock)  # while the first one's process lives, nothing of it is reconciled
    for name in ("manual", "export"):
        change(path, "UPDATE attempts SET owner_id = 'gone' WHERE id = ?", name)
    change(path, "INSERT INTO owners (id, pid, host, boot_id, started_us, ended_us) VALUES ('gone', 1, 'h', 'b', 1, 2)")
    for name in ("manual", "export"):
        reconcile(path, "attempt", name, actual_nano=5, who="me", clock=clock)
    change(path, "UPDATE attempts SET settled_by = 'export' WHERE id = 'export'")
    total = reprice(path, CostQuery(), at({("asked", ""): NOW}), clock=clock).total
    session.close()
    other.close()
    # the price of the model was unknown to the second run, and is known now
    assert (total.calls, total.repriced_calls, total.uncharged_calls) == (7, 2, 1)
    assert total.not_repriced == {"in_doubt": 1, "open": 1, "unrecorded": 1, "export": 1, "hand": 1}
    assert (total.charged_nano, total.difference_nano) == (None, None)
    assert (total.compared_nano, total.repriced_nano) == (charge_nano(PLAIN, USAGE), 2 * charge_nano(NOW, USAGE))


def test_the_window_the_labels_and_the_run_choose_the_calls_as_for_costs(path: Path, clock: HandClock) -> None:
    session = opened(path, clock)
    for name, team in (("early", "web"), ("late", "web"), ("other", "db")):
        session.open_run(name, NO_LIMITS, task="t", agent="a", labels={"team": team})
    for name in ("early", "late", "other"):
        settle(session, name, Call(TABLE, USAGE, Completion()), name)
        clock.pass_by(3600)
    session.close()
    start = datetime.fromtimestamp(1_800_000_000, UTC)
    hour = timedelta(hours=1)
    queries = {
        "all": CostQuery(),
        "since": CostQuery(since=start + hour),
        "until": CostQuery(until=start + hour),
        "label": CostQuery(labels=(("team", "web"),)),
        "run": CostQuery(run="la"),
        "grouped": CostQuery(by=("hour", "label:team", "agent")),
    }
    calls_in = {"all": 3, "since": 2, "until": 1, "label": 2, "run": 1, "grouped": 3}
    for name, query in queries.items():
        found, costs = reprice(path, query, at(TABLE), clock=clock), costs_report(path, query, clock=clock)
        assert found.total.repriced_calls == found.total.calls == calls_in[name], name
        assert found.total.known_nano == found.total.repriced_nano == costs.total_nano, name
        keys = [(row.hour, row.run_id, row.agent, row.model, row.labels, row.last_at) for row in costs.rows]
        assert [(r.hour, r.run_id, r.agent, r.model, r.labels, r.last_at) for r in found.rows] == keys, name
        assert (found.since, found.until, found.runs) == (costs.since, costs.until, costs.runs), name


def test_reprice_writes_nothing_and_is_empty_without_a_ledger(path: Path, clock: HandClock) -> None:
    assert reprice(path, CostQuery(), at(TABLE), clock=clock).total.calls == 0
    assert not path.parent.exists()
    with pytest.raises(UsageError, match="no run"):
        reprice(path, CostQuery(run="x"), at(TABLE), clock=clock)
    made(path, clock, Call(TABLE, USAGE, Completion()))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert reprice(path, CostQuery(), at(TABLE), clock=clock).total.calls == 1
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_an_amount_beyond_64_bits_is_repriced_with_the_same_cap(path: Path, clock: HandClock) -> None:
    made(path, clock, Call(TABLE, USAGE, Completion()))
    change(path, "UPDATE attempts SET input_tokens = ?", 2**62)
    assert reprice(path, CostQuery(), at({("asked", ""): PLAIN}), clock=clock).total.repriced_nano == 2**63 - 1


def test_each_model_is_looked_up_once_a_provider_and_address(path: Path, clock: HandClock) -> None:
    made(path, clock, *[Call(TABLE, replace(USAGE, input_tokens=n), Completion()) for n in (600, 700, 800)])
    asked: list[str] = []

    def prices_at(provider: str, base_url: str) -> PriceOf:
        def price_of(model: str, /, *, tier: str = "") -> Price | None:
            asked.append(f"{provider} {base_url} {model} {tier}")
            return NOW

        return price_of

    change(path, "UPDATE attempts SET base_url = 'http://a' WHERE id <> 'call-0'")
    reprice(path, CostQuery(), prices_at, clock=clock)
    assert sorted(asked) == [f"{PROVIDER} call-0 asked ", f"{PROVIDER} http://a asked "]
