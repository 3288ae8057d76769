"""Every charge can be computed again from its row, and a row that says something else is named."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge
from agentctl.cli.ledger.ledger_output import check_document, check_table
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import Price, Tier
from agentctl.ledger.audit import COLUMNS, ChargeRow, disagreement
from agentctl.ledger.check import check
from agentctl.ledger.reconcile import reconcile
from agentctl.ledger.schema import APPLICATION_ID, MIGRATIONS
from tests.support.ledger.charging import Call, calls, settle
from tests.support.ledger.corrections import CALL, begin, change, opened, rows, send
from tests.support.ledger.engines import database_at
from tests.support.ledger.parts import HandClock

LONG = Price(Decimal(6), Decimal(20), cache_write=Decimal(7))
PLAIN = Price(
    Decimal(3),
    Decimal(15),
    Decimal("0.3"),
    Decimal("3.75"),
    Decimal(16),
    cache_write_hour=Decimal(6),
    tiers=(Tier(900, LONG),),
)
DEAR = Price(Decimal(5), Decimal(25), source="litellm 1", version="1", digest="d1")
USAGE = Usage(800, 100, cached_input_tokens=200, cache_write_tokens=300, reasoning_tokens=40)
TABLE = {("asked", ""): PLAIN, ("answered", ""): DEAR, ("asked", "priority"): DEAR}
SHAPES = {
    "asked": Call(TABLE, USAGE, Completion(model="asked")),
    "hour": Call(TABLE, USAGE, Completion(model="asked", hour_writes=120)),
    "long": Call(TABLE, replace(USAGE, input_tokens=901), Completion()),
    "answered": Call(TABLE, USAGE, Completion(model="answered")),
    "tier": Call(TABLE, USAGE, Completion(tier="priority")),
    "billed": Call(TABLE, USAGE, Completion(model="asked", billed_nano=10**9)),
}


def filled(path: Path, clock: HandClock | None = None) -> None:
    """Settle one call of each shape."""
    session = opened(path, clock)
    begin(session, "run")
    for name, call in SHAPES.items():
        assert settle(session, name, call) is not None
    session.close()


@given(st.lists(calls(), min_size=1, max_size=6))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_every_charge_is_recomputed_to_the_nano_dollar(found: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        session = opened(path)
        begin(session, "run")
        charges = [settle(session, f"{number}", call) for number, call in enumerate(found)]
        session.close()
        proof = check(path)
    assert proof.wrong == ()
    assert proof.recomputed == sum(charge is not None and charge.nano is not None for charge in charges)
    unknown = sum(charge is not None and charge.nano is None for charge in charges)
    assert dict(proof.not_recomputed) == ({"unknown_price": unknown} if unknown else {})


#: Numbers that do not change an amount: the provider's bill is higher, or two classes have the same price.
NO_PART = {
    *(("billed", column) for column in ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens")),
    *((name, "hour_write_tokens") for name in ("billed", "answered", "tier", "long")),
    *((name, column) for name in ("answered", "tier") for column in ("cached_input_tokens", "cache_write_tokens")),
    *((name, "reasoning_tokens") for name in ("answered", "tier", "long")),
    ("long", "cached_input_tokens"),
}
NUMBERS = (
    *("nano", "tokens", "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "hour_write_tokens"),
)


def charge_rows(path: Path) -> list[ChargeRow]:
    return [ChargeRow(*row) for row in rows(path, f"SELECT {', '.join(COLUMNS)} FROM attempts")]  # noqa: S608


def test_a_number_that_was_changed_in_a_row_is_named(path: Path) -> None:
    filled(path)
    for row in charge_rows(path):
        assert disagreement(row) is None
        for column in NUMBERS:
            changed = ChargeRow(**row._asdict() | {column: (getattr(row, column) or 0) + 1})
            said = disagreement(changed)
            assert (said is None) == ((row.id, column) in NO_PART), (row.id, column, said)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("part", ["input", "output"])
def test_a_unit_price_that_was_changed_in_a_row_is_named(path: Path, name: str, part: str) -> None:
    filled(path)
    ((written,),) = rows(path, "SELECT charged_prices FROM attempts WHERE id = ?", name)
    unit = json.loads(written)
    for table in (unit, *(value for value in unit.values() if isinstance(value, dict))):
        table[part] = str(Decimal(table[part]) + 100_000)
    change(path, "UPDATE attempts SET charged_prices = ? WHERE id = ?", json.dumps(unit), name)
    assert any(one.startswith(f"attempt {name}: ") for one in check(path).wrong)


@pytest.mark.parametrize(
    ("name", "sql", "said"),
    [
        ("asked", "charged_by = 'billed'", "its row says that the provider's bill set the charge, but"),
        ("billed", "charged_by = 'asked'", "its row says that a price set the charge, but"),
        ("billed", "billed_nano = billed_nano + 1", "its row says a charge of 1,000,000,000 nano-dollars"),
        ("billed", "billed_nano = NULL", "its row says that the provider's bill set the charge, but"),
        ("asked", "billed_nano = nano + 1", "its row says that a price set the charge, but"),
        ("answered", "charged_by = 'asked'", "its price is that of answered"),
        ("asked", "charged_model = 'other'", "its price is that of other"),
        ("answered", "answered_model = NULL", "its price is that of answered"),
        ("tier", "charged_prices = NULL", "its row has no prices"),
        ("tier", "charged_prices = '[1]'", "its row has no prices"),
        ("tier", """charged_prices = '{"input": "1"}'""", "its row has no prices"),
        (
            "tier",
            "charged_prices = prices",
            "its row says a charge of 6,500,000 nano-dollars, but it comes to 3,625,000",
        ),
        ("hour", "hour_write_tokens = 301", "parts of its cache write add up to 301 tokens of 300"),
        ("hour", "cached_input_tokens = 501", "parts of its input add up to 801 tokens of 800"),
        ("asked", "reasoning_tokens = 101", "parts of its output add up to 101 tokens of 100"),
    ],
)
def test_a_row_that_contradicts_itself_is_named_with_what_does_not_agree(
    path: Path, name: str, sql: str, said: str
) -> None:
    filled(path)
    change(path, f"UPDATE attempts SET {sql} WHERE id = ?", name)  # noqa: S608 - our own names
    wrong = [one for one in check(path).wrong if one.startswith(f"attempt {name}: ")]
    assert len(wrong) == 1
    assert said in wrong[0]


def test_charge_that_cannot_be_recomputed_is_counted_by_reason_and_not_wrong(path: Path, clock: HandClock) -> None:
    filled(path, clock)
    session = opened(path, clock)
    begin(session, "other")
    settle(session, "free of price", Call({}, USAGE, Completion(tier="priority")), "other")
    send(session, "old", "other")
    session.settle("old", Charge(Usage(10, 256), CALL, "m"))
    for name in ("manual", "doubt", "export"):
        send(session, name, "other")
        session.doubt(name, "hung up", ceiling=False, provider_fault=False)
    session.close()
    reconcile(path, "attempt", "manual", actual_nano=5, who="me", clock=clock)
    reconcile(path, "attempt", "export", actual_nano=5, who="me", clock=clock)
    change(path, "UPDATE attempts SET settled_by = 'export' WHERE id = 'export'")
    found = check(path, clock=clock)
    assert (found.recomputed, found.wrong) == (len(SHAPES), ())
    assert found.not_recomputed == {"unknown_price": 1, "unrecorded": 1, "export": 1, "hand": 1}
    assert [(one.run_id, one.attempts) for one in found.doubts] == [("other", 1)]
    document = json.loads(check_document(found, path, None))
    assert document["charges"] == {"recomputed": len(SHAPES), "not_recomputed": dict(found.not_recomputed)}
    said = (
        "6 charges recomputed from their token classes and prices; not recomputed: 1 without a known price, "
        "1 settled before prices were stored with them, 1 settled by a provider's export, 1 settled manually"
    )
    assert said in check_table(found, path).splitlines()


def test_a_charge_above_its_hold_is_recomputed_in_full(path: Path) -> None:
    session = opened(path)
    begin(session, "run")
    charge = settle(session, "overrun", Call(TABLE, Usage(10**6, 10**6), Completion()))
    session.close()
    ((hold, nano),) = rows(path, "SELECT hold_nano, nano FROM attempts")
    assert charge is not None
    assert nano == charge.nano > hold
    found = check(path)
    assert (found.recomputed, found.wrong, len(found.overruns)) == (1, (), 1)


def test_amount_beyond_64_bits_is_recomputed_with_the_cap_it_was_recorded_with(path: Path) -> None:
    filled(path)
    most = 2**63 - 1
    by_name = {row.id: row for row in charge_rows(path)}
    asked = by_name["asked"]._replace(nano=most, tokens=most, input_tokens=most)
    billed = by_name["billed"]._replace(nano=most, billed_nano=2**64)
    for row in (asked, billed):
        assert disagreement(row) is None
        assert disagreement(row._replace(nano=most - 1)) is not None
    assert disagreement(asked._replace(tokens=most - 1)) is not None


def test_a_ledger_of_the_schema_before_is_checked_before_and_after_its_migration(path: Path, clock: HandClock) -> None:
    path.parent.mkdir(mode=0o700)
    with closing(database_at(path)) as db:
        db.executescript(MIGRATIONS[0])
        db.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1; PRAGMA journal_mode=WAL;")
        db.executescript(OLD)
    for run in ("one", "two"):
        found = check(path, clock=clock)
        assert (found.recomputed, dict(found.not_recomputed), found.wrong) == (0, {"unrecorded": 1}, ())
        session = opened(path, clock)
        begin(session, run)
        session.close()


OLD = """
INSERT INTO owners VALUES ('o', 1, 'h', 'b', 1, 2, NULL);
INSERT INTO scopes (id, kind, opened_us) VALUES ('run', 'run', 1);
INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, model, prices, input_bound, granted_output,
    hold_nano, hold_tokens, ceiling_tokens, nano, tokens, admitted, held_us, sent_us, deadline_us, ended_us,
    leaves_hour_us, input_tokens, output_tokens, settled_by)
VALUES ('a', 'run', 'o', 'turn', 'settled', 'p', 'm', '{"input": "0", "output": "1000"}', 10, 20, 20000000, 30, 30,
    20000000, 30, '{}', 1, 2, 9, 3, 9, 10, 20, 'usage');
INSERT INTO entries VALUES
    (1, 'a', 1, 1, 'held', 20000000, 30, NULL),
    (2, 'a', 2, 2, 'sent', 20000000, 30, NULL),
    (3, 'a', 3, 3, 'settled', 20000000, 30, NULL);
"""
