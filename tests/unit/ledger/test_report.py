"""The report of a window: its bounds, groups, local time, and a query that never reads the whole ledger."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from agentctl.budget.rules import Amounts
from agentctl.core.errors import StateError, UsageError
from agentctl.core.limits import CostLimit
from agentctl.core.pricing import PriceOf
from agentctl.ledger import inspection
from agentctl.ledger.grouping import MACHINE_ZONE, SQL, CostRow, CostSums, TimeZone, find_time_zone
from agentctl.ledger.report import CostQuery, CostReport, RunBudget, costs_report, costs_window
from agentctl.ledger.repricing import RepriceReport, reprice
from tests.support.ledger.engines import database_at
from tests.support.ledger.spending import NO_LIMIT, Spender

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)
BERLIN = find_time_zone("Europe/Berlin")


@pytest.fixture
async def spender(path: Path) -> AsyncIterator[Spender]:
    """A ledger whose first day is the second of November."""
    found = Spender(path, NOON)
    yield found
    await found.ledger.aclose()


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's own zone."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def report(spender: Spender, query: CostQuery) -> CostReport:
    return costs_report(spender.path, query, clock=spender.clock)


def groups(found: CostReport | RepriceReport, *names: str) -> list[tuple[object, ...]]:
    """Return the named fields of each row, and the dollars' thousandths that count as spent."""
    return [(*(getattr(row, name) for name in names), row.counted_nano / 1_000_000) for row in found.rows]


async def test_window_includes_its_start_and_excludes_its_end(
    spender: Spender,
) -> None:
    await spender.run("r")
    for tokens, moment in ((1, NOON), (2, NOON + HOUR - MOMENT), (4, NOON + HOUR), (8, NOON + 2 * HOUR)):
        spender.at(moment)
        await spender.call("r", tokens)
    spender.at(NOON + 3 * HOUR)
    bounds = [NOON + at * HOUR for at in range(-1, 4)]
    windows = [report(spender, CostQuery(since=a, until=b)).total_nano // 1_000_000 for a, b in pairwise(bounds)]
    assert windows == [0, 3, 4, 8]
    assert report(spender, CostQuery()).total_nano // 1_000_000 == sum(windows)


async def test_past_window_shows_no_calls_open_now_or_ended_since(spender: Spender) -> None:
    await spender.run("r")
    await spender.call("r", 100)
    await spender.call("r", 50, end="doubt")
    await spender.call("r", 200, end="sent")
    spender.at(NOON + 2 * HOUR)
    await spender.call("r", 400)
    over = report(spender, CostQuery(since=NOON, until=NOON + HOUR)).total
    assert (over.calls, over.known_nano, over.in_doubt_nano, over.held_nano) == (2, 100_000_000, 50_000_000, 0)
    still = report(spender, CostQuery(since=NOON + HOUR)).total
    assert (still.calls, still.known_nano, still.in_doubt_nano, still.held_nano) == (2, 400_000_000, 0, 200_000_000)
    ahead = report(spender, CostQuery(since=NOON + HOUR, until=NOON + 9 * HOUR))
    assert (ahead.total, ahead.until) == (still, NOON + 2 * HOUR)


async def test_the_bounds_are_wall_time_also_after_the_clock_was_set_back(spender: Spender) -> None:
    await spender.run("r")
    await spender.call("r", 100)
    spender.clock.wall_s -= 2 * 3600  # the ledger's own time stays where it is
    await spender.run("another")
    spender.clock.pass_by(600)
    await spender.call("r", 10)
    now = NOON - 2 * HOUR + timedelta(minutes=10)
    found = report(spender, CostQuery(since=now - timedelta(minutes=5), by=("hour",)))
    assert groups(found, "hour") == [(NOON - 2 * HOUR, 10)]
    assert (found.until, found.rows[0].last_at) == (now, now)
    assert report(spender, CostQuery(since=now - timedelta(hours=1))).total_nano == 110_000_000


@pytest.mark.parametrize("rules", [BERLIN, MACHINE_ZONE], ids=["named", "the machine's"])
@pytest.mark.usefixtures("machine_in_berlin")
@pytest.mark.parametrize(
    ("first", "hours"), [(datetime(2026, 10, 24, 22, tzinfo=UTC), 25), (datetime(2026, 3, 28, 23, tzinfo=UTC), 23)]
)
async def test_a_day_has_25_or_23_hours_where_the_clocks_change(
    path: Path, rules: TimeZone, first: datetime, hours: int
) -> None:
    spender = Spender(path, first - HOUR)
    await spender.run("r")
    for at in range(-1, hours + 1):
        spender.at(first + at * HOUR)
        await spender.call("r", 1)
    assert rules.day_of(first + (hours - 1) * HOUR) == first
    assert rules.day_after(first) == first + hours * HOUR
    by_day = report(spender, CostQuery(by=("day",), zone=rules))
    assert [thousandths for _, thousandths in groups(by_day, "day")] == [1, hours, 1]
    assert by_day.rows[1].day == first
    by_hour = report(spender, CostQuery(since=first, until=first + hours * HOUR, by=("hour",), zone=rules))
    assert groups(by_hour, "hour") == [(first + at * HOUR, 1) for at in range(hours)], "each hour is one of its own"
    await spender.ledger.aclose()


@pytest.mark.usefixtures("machine_in_berlin")
@pytest.mark.parametrize("rules", [BERLIN, MACHINE_ZONE], ids=["named", "the machine's"])
def test_a_doubled_time_is_the_first_and_a_missing_one_is_moved_on(rules: TimeZone) -> None:
    doubled, missing = datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30)
    assert (rules.doubt(doubled), rules.moment(doubled)) == ("doubled", datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert (rules.doubt(missing), rules.moment(missing)) == ("missing", datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    assert rules.doubt(datetime(2026, 6, 1)) == ""
    assert rules.offset(rules.moment(doubled)) == "+02:00"
    assert find_time_zone("America/St_Johns").offset(NOON) == "-03:30"


def test_hours_and_days_begin_where_they_do_in_odd_places() -> None:
    lord_howe, cairo, nepal = (
        find_time_zone("Australia/Lord_Howe"),
        find_time_zone("Africa/Cairo"),
        find_time_zone("Asia/Kathmandu"),
    )
    skipped = datetime(2026, 10, 3, 15, 45, tzinfo=UTC)  # half an hour is skipped from 02:00 to 02:30
    assert lord_howe.hour_of(skipped) == datetime(2026, 10, 3, 15, 30, tzinfo=UTC)
    assert cairo.day_of(datetime(2026, 4, 24, 12, tzinfo=UTC)) == datetime(2026, 4, 23, 22, tzinfo=UTC), "no midnight"
    assert nepal.hour_of(NOON) == NOON - timedelta(minutes=45)
    assert nepal.month_of(NOON) == datetime(2026, 10, 31, 18, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berlim", 'did you mean "Europe/Berlin"?'),
        ("tokyo", 'did you mean "Asia/Tokyo"?'),
        ("new york", 'did you mean "America/New_York"?'),
        ("/etc/localtime", ""),
        ("Europe", ""),
        ("../UTC", ""),
        ("", ""),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="there is no time zone") as caught:
        find_time_zone(name)
    assert caught.value.hint.startswith(hint)
    assert find_time_zone("utc") == find_time_zone("Z") == TimeZone("UTC", UTC)


async def test_labels_must_all_match_and_are_a_group_of_their_own(spender: Spender) -> None:
    await spender.run("both", labels={"team": "wéb", "pr": "17"})
    await spender.run("team", labels={"team": "wéb"})
    await spender.run("none", labels={"tea": "m", "te\\am": '"'})
    for run_id, tokens in (("both", 1), ("team", 2), ("none", 4), ("both", 8)):
        await spender.call(run_id, tokens)

    def labelled(*labels: tuple[str, str]) -> float:
        return report(spender, CostQuery(labels=labels)).total_nano / 1_000_000

    assert (labelled(("team", "wéb")), labelled(("team", "wéb"), ("pr", "17"))) == (11, 9)
    assert (labelled(("team", "")), labelled(("te\\am", '"')), labelled(("pr", "1"))) == (0, 4, 0)
    assert labelled(("pr", "17"), ("pr", "18")) == 0
    by_team = report(spender, CostQuery(by=("label:team",)))
    assert groups(by_team, "labels") == [((("team", "wéb"),), 11), ((("team", None),), 4)]
    assert by_team.runs == 3


@pytest.mark.parametrize(
    "by",
    [
        ("run", "model"),
        ("hour",),
        ("day", "agent"),
        ("provider",),
        ("purpose",),
        ("label:x", "label:y"),
        ("model",),
        ("user", "host"),
    ],
)
async def test_the_groups_add_up_to_the_total_whatever_they_are(spender: Spender, by: tuple[str, ...]) -> None:
    await spender.run("a", labels={"x": "1"})
    await spender.run("b", agent="system")
    for hour in range(3):
        spender.at(NOON + hour * HOUR)
        await spender.call("a", 3, model="one", cached=7)
        await spender.call("b", 5, model="two", end="doubt")
        await spender.call("b", 5, model="two", priced=False)
    await spender.call("b", 9, end="sent")
    found = report(spender, CostQuery(by=by))
    expected = CostSums(
        calls=10,
        unknown_calls=3,
        input_tokens=60,
        cached_input_tokens=21,
        output_tokens=24,
        known_nano=9_000_000,
        in_doubt_nano=15_000_000,
        held_nano=9_000_000,
    )
    assert (found.total, found.runs) == (expected, 2)
    for field in CostSums.__dataclass_fields__:
        assert sum(getattr(row, field) for row in found.rows) == getattr(expected, field)
    assert sum(slot.nano for slot in found.slots) == expected.counted_nano


async def test_calls_are_grouped_by_the_machine_the_ci_run_and_the_user_of_their_process(path: Path) -> None:
    """The processes of a run that was resumed are grouped each by its own."""
    laptop, first, second, nobody = (
        Spender(path, NOON, user_name=user, ci_run=run)
        for user, run in (("ann", ""), ("ann", "17"), ("b\ud800b", "18"), ("", ""))
    )
    await laptop.run("a")
    await laptop.call("a", 1)
    await laptop.ledger.close_run("a", "done")
    await first.ledger.reopen_run("a", NO_LIMIT)
    await first.call("a", 2)
    await second.run("b")
    await second.call("b", 4, model="another")
    await nobody.run("c")
    await nobody.call("c", 8)
    with closing(database_at(path)) as db, db:
        db.execute("UPDATE owners SET host = 'laptop' WHERE ci_run IS NULL AND user_name IS NOT NULL")

    def no_prices(*_: str) -> PriceOf:
        return lambda *_, **__: None

    def by(*names: str) -> set[tuple[object, ...]]:
        found = groups(report(laptop, CostQuery(by=names)), *names)
        assert found == groups(reprice(path, CostQuery(by=names), no_prices, clock=laptop.clock), *names)
        return set(found)

    here = socket.gethostname()
    assert by("user") == {("ann", 3), ("b?b", 4), (None, 8)}
    assert by("ci_run") == {("17", 2), ("18", 4), (None, 9)}
    assert by("host") == {("laptop", 1), (here, 14)}
    assert by("user", "ci_run", "host") == {
        *(("ann", None, "laptop", 1), ("ann", "17", here, 2), ("b?b", "18", here, 4), (None, None, here, 8))
    }
    assert by("ci_run", "model") == {("17", "m", 2), ("18", "another", 4), (None, "m", 9)}
    for one in (laptop, first, second, nobody):
        await one.ledger.aclose()


async def test_call_of_unknown_price_does_not_hide_the_known_sum(spender: Spender) -> None:
    await spender.run("r")
    await spender.call("r", 100)
    await spender.call("r", 1, priced=False)
    await spender.call("r", 1, priced=False, end="doubt")
    (row,) = report(spender, CostQuery()).rows
    assert (row.cost_nano, row.known_nano, row.unknown_calls) == (None, 100_000_000, 2)


async def test_reserve_is_held_and_is_not_a_call(spender: Spender) -> None:
    await spender.run("r")
    await spender.call("r", 100, end="sent")
    with closing(database_at(spender.path)) as db, db:
        db.execute("UPDATE attempts SET phase = 'kept', sent_us = NULL")
    total = report(spender, CostQuery()).total
    assert (total.calls, total.held_nano) == (0, 100_000_000)


async def test_a_run_is_found_by_how_its_id_begins_and_stands_with_its_own_limits(spender: Spender) -> None:
    for run_id in ("7f3a", "7f3b", "7f"):
        await spender.run(run_id, limits=CostLimit(max_cost_per_task="0.5", max_tokens_per_task=None))
        await spender.call(run_id, 100)
    spender.at(NOON + 50 * HOUR)
    found = report(spender, CostQuery(run="7f3b"))
    assert (found.since, found.total_nano, found.runs) == (NOON, 100_000_000, 1), "however long ago"
    spent = Amounts(spent=100_000_000)
    assert found.run == RunBudget("7f3b", 500_000_000, None, spent, Amounts(spent=110))
    assert report(spender, CostQuery(run="7f3a", since=NOON + HOUR)).total == CostSums()
    whole = report(spender, CostQuery(run="7f")).run
    assert whole is not None
    assert whole.run_id == "7f", "one that is named in full is meant"
    with pytest.raises(UsageError, match=r"several runs begin with '7f3': 7f3a, 7f3b"):
        report(spender, CostQuery(run="7f3"))
    for wrong in ("8", "", "7F", "%", "7f3a0"):
        with pytest.raises(UsageError, match="no run in the ledger begins with"):
            report(spender, CostQuery(run=wrong))


async def test_window_without_a_start_begins_with_the_first_call(spender: Spender) -> None:
    assert report(spender, CostQuery()).since == datetime.fromtimestamp(spender.clock.wall_s, UTC)
    await spender.run("r")
    await spender.call("r", 1)
    spender.at(NOON + HOUR)
    assert report(spender, CostQuery()).since == NOON
    early = NOON - HOUR
    assert report(spender, CostQuery(run="r", until=early)).rows == ()
    assert report(spender, CostQuery(until=early)) == CostReport(early, early)


def test_missing_ledger_is_an_empty_report_of_the_window_asked_for(path: Path) -> None:
    found = costs_report(path, CostQuery(since=NOON, until=NOON + HOUR))
    assert found == CostReport(NOON, NOON + HOUR)
    with pytest.raises(UsageError, match="no run"):
        costs_report(path, CostQuery(run="7f"))
    assert not path.parent.exists()


@pytest.mark.parametrize("of", ["all", "one"])
async def test_report_of_a_window_does_not_read_the_whole_ledger(spender: Spender, of: str) -> None:
    await spender.run("r")
    await spender.call("r", 1)
    values = dict.fromkeys(("since", "until", "reaches_now", "now", "ahead"), 1) | {"slot": 300, "run": "r"}
    with closing(database_at(spender.path)) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {SQL[of]}", values)]
    index = "attempts_ended (ended_us>? AND ended_us<?)" if of == "all" else "attempts_run (run_id=?)"
    assert f"SEARCH attempts USING INDEX {index}" in plan
    assert [step for step in plan if "SCAN attempts" in step and "USING INDEX attempts_open" not in step] == []
    assert any(step.startswith("SEARCH s USING") for step in plan), "runs are looked up, not read through"


async def test_report_does_not_make_a_writer_wait(spender: Spender, path: Path) -> None:
    await spender.run("r")
    with closing(sqlite3.connect(path, timeout=0)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert costs_window(path, seconds=60).rows == ()
        writer.execute("ROLLBACK")


async def test_locked_ledger_is_never_read_without_its_log(
    spender: Spender, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "BUSY_S", 0.1)
    await spender.run("r")
    await spender.call("r", 1)
    await spender.ledger.aclose()
    with closing(database_at(path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked"):
            costs_report(path, CostQuery())


async def test_a_row_is_as_it_was_asked_for(spender: Spender) -> None:
    await spender.run("r", labels={"team": "web"})
    await spender.call("r", 2, cached=4)
    (row,) = report(spender, CostQuery(by=("day", "model", "label:team"), zone=BERLIN)).rows
    assert row == CostRow(
        day=datetime(2026, 11, 1, 23, tzinfo=UTC),
        provider="p",
        model="m",
        labels=(("team", "web"),),
        calls=1,
        input_tokens=10,
        cached_input_tokens=4,
        output_tokens=2,
        known_nano=2_000_000,
        last_at=NOON,
    )


async def test_clocks_that_do_not_quite_agree_change_nothing_that_happened(spender: Spender) -> None:
    await spender.run("r")
    await spender.call("r", 1)
    spender.clock.pass_by(10)
    before = report(spender, CostQuery(since=NOON - HOUR))
    spender.clock.wall_s += 1.000007
    spender.clock.boot_s += 1
    after = report(spender, CostQuery(since=NOON - HOUR))
    assert after.rows != before.rows
    assert after.timeless == before.timeless
    await spender.call("r", 1)
    assert report(spender, CostQuery(since=NOON - HOUR)).timeless != before.timeless
