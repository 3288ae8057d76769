"""``agentctl costs``: the table, JSON and CSV, and the gate ``--fail-above``."""

from __future__ import annotations

import csv
import io
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold
from agentctl.cli.costs.table import _cells
from agentctl.cli.costs.time_window import TimeWindow, WindowRequest, resolve_window
from agentctl.cli.ui.cells import bar, has_blocks, sparkline
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.grouping import Slot, TimeZone, find_time_zone
from agentctl.ledger.postgres import PostgresLedger
from tests.support.command_line import Ended
from tests.support.ledger.parts import ask, read_only
from tests.support.ledger.spending import Spender
from tests.support.postgres.fleet import Fleet

Here = Callable[..., Ended]
MINUTE = timedelta(minutes=1)
HEADER = (
    "calls,unknown_calls,input_tokens,cached_input_tokens,output_tokens,usd,known_usd,in_doubt_usd,held_usd,last_at"
)


async def _spend(path: Path) -> None:
    """Two runs, half an hour ago: three calls at known prices, one in doubt, one of unknown price."""
    spender = Spender(path, datetime.now(UTC) - 30 * MINUTE)
    limits = CostLimit(max_cost_per_task="0.5")
    await spender.run("7f3a", limits=limits, labels={"team": "web", "pr": "17"})
    await spender.run("8b00", agent="system", labels={"team": '=HYPERLINK("x")'})
    await spender.call("7f3a", 100, model="big", cached=4)
    await spender.call("7f3a", 25, model="small")
    await spender.call("8b00", 75, model="big")
    await spender.call("8b00", 50, model="big", end="doubt")
    await spender.ledger.aclose()


async def _spend_unpriced(path: Path) -> None:
    spender = Spender(path, datetime.now(UTC) - 20 * MINUTE)
    await spender.run("9c00")
    await spender.call("9c00", 20, model="big")
    await spender.call("9c00", 1, model="odd", priced=False)
    await spender.ledger.aclose()


@pytest.fixture
def spent(state: Path) -> Path:
    """A ledger of $0.25, 0.05 of it in doubt."""
    anyio.run(_spend, state / "ledger.db")
    return state / "ledger.db"


@pytest.mark.usefixtures("spent")
def test_the_table_has_groups_shares_and_a_total(here: Here) -> None:
    out = here("costs", "--last-hour", "--by", "model").out.splitlines()
    assert out[:4] == [
        "model    calls  tokens in  cached  out    cost  in doubt",
        "p/big        3         20       4  175  $0.175     $0.05   90 % ████████████████████",
        "p/small      1         10       0   25  $0.025        $0   10 % ██▎",
        "total        4         30       4  200   $0.20     $0.05",
    ]
    assert out[4] == ""
    assert out[5].startswith("per 5 min  ····")
    assert "█" in out[5]
    assert "  peak $0.25 at 20" in out[5]
    assert out[6:] == [
        "",
        "the last hour: 2 runs, 4 calls, $0.20 · $0.05 in doubt",
        "hour: $0.25 used, $9.75 left of $10 (max_cost_per_hour)",
    ]


@pytest.mark.usefixtures("spent")
def test_a_run_is_shown_from_its_start_with_its_own_limits(here: Here) -> None:
    assert here("costs", "--run", "7f", "--by", "agent").out.splitlines()[-4:] == [
        "in all: 1 run, 2 calls, $0.125",
        "hour: $0.25 used, $9.75 left of $10 (max_cost_per_hour)",
        "run 7f3a: $0.125 used, $0.375 left of $0.50 (max_cost_per_task)",
        "run 7f3a: 145 tokens used, 99,855 left of 100,000 (max_tokens_per_task)",
    ]
    limits = here("costs", "--run", "7f", "--json").document["limits"]
    assert limits["max_cost_per_task"] == {"limit": 0.5, "used": 0.125, "left": 0.375}
    assert limits["max_tokens_per_task"] == {"limit": 100_000, "used": 145, "left": 99_855}
    assert "no limit (max_cost_per_task)" in here("costs", "--run", "8b").out
    assert here("costs", "--run", "7f", "--until", "2020-01-01").out.startswith("until the end of 2020-01-01: 0 runs")


@pytest.mark.usefixtures("spent")
def test_labels_choose_and_group(here: Here) -> None:
    def total(*words: str) -> float:
        found = here("costs", "--last-hour", "--json", *words).document["total"]["known_usd"]
        assert isinstance(found, float)
        return found

    assert (total("--label", "team=web"), total("--label", "team=web", "--label", "pr=18")) == (0.125, 0.0)
    assert total("--label", "team=web", "--label", "pr=17") == 0.125
    assert total("--label", "pr=18", "--label", "pr=17") == 0.0
    rows = here("costs", "--last-hour", "--json", "--by", "label:pr").document["rows"]
    assert [(row["labels"], row["calls"]) for row in rows] == [({"pr": "17"}, 2), ({"pr": None}, 2)]
    table = here("costs", "--last-hour", "--by", "label:pr,model").out.splitlines()
    assert [line.split()[:2] for line in table[:3]] == [["pr", "model"], ["-", "p/big"], ["17", "p/big"]]


@pytest.mark.usefixtures("spent")
def test_machines_ci_runs_and_users_are_groups(here: Here, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run stores who started it; what was stored before that is unknown."""
    monkeypatch.setenv("GITHUB_ACTOR", "=ann")
    monkeypatch.setenv("GITHUB_RUN_ID", "17")
    assert here("run", "--provider", "builtin", "How much disk is free?").code == 0
    with closing(sqlite3.connect(state / "ledger.db")) as db, db:
        db.execute("UPDATE owners SET host = CASE WHEN ci_run IS NULL THEN 'old' ELSE 'new' END")
    found = here("costs", "--last-hour", "--by", "host,ci_run,user", "--json").document["rows"]
    assert [(row["host"], row["ci_run"], row["user"], row["cost"]["usd"]) for row in found] == [
        ("old", None, None, 0.2),
        ("new", "17", "=ann", 0.0),
    ]
    table = here("costs", "--last-hour", "--by", "user,ci_run").out.splitlines()
    assert [line.split()[:3] for line in table[:3]] == [
        ["user", "CI", "run"],
        ["unknown", "-", "4"],
        ["=ann", "17", "1"],
    ]
    out = here("costs", "--last-hour", "--by", "ci_run,host,user", "-o", "csv").out.splitlines()
    assert [line.split(",")[:4] for line in out] == [
        ["ci_run", "host", "user", "calls"],
        ["", "old", "", "4"],
        ["17", "new", "'=ann", "1"],
    ]


@pytest.mark.usefixtures("spent")
def test_csv_is_a_header_and_plain_amounts_and_no_cell_is_a_formula(here: Here, state: Path) -> None:
    anyio.run(_spend_unpriced, state / "ledger.db")
    out = here("costs", "--last-hour", "--by", "label:team,model", "-o", "csv").out
    assert out.splitlines()[0] == f"provider,model,label:team,{HEADER}"
    rows = [row[:-1] for row in csv.reader(io.StringIO(out))][1:]
    assert rows == [
        ["p", "big", '\'=HYPERLINK("x")', "2", "0", "10", "0", "75", "0.075", "0.075", "0.05", "0"],
        ["p", "big", "web", "1", "0", "10", "4", "100", "0.1", "0.1", "0", "0"],
        ["p", "small", "web", "1", "0", "10", "0", "25", "0.025", "0.025", "0", "0"],
        ["p", "big", "", "1", "0", "10", "0", "20", "0.02", "0.02", "0", "0"],
        ["p", "odd", "", "1", "1", "10", "0", "1", "", "0", "0", "0"],
    ]
    assert all(line.endswith("Z") for line in out.splitlines()[1:])
    assert here("costs", "-o", "csv", "--by", "hour,run").out.splitlines()[0] == f"hour,run_id,agent,{HEADER}"


def test_an_empty_csv_is_its_header(here: Here, state: Path) -> None:
    assert here("costs", "-o", "csv").out == f"run_id,agent,provider,model,{HEADER}\n"
    assert not state.exists()


@pytest.mark.usefixtures("spent")
def test_the_document_says_what_was_asked_and_times_are_utc(here: Here) -> None:
    words = ("costs", "--since", "2026-01-01", "--timezone", "Europe/Berlin", "--by", "day,run")
    document = here(*words, "--format", "json").document
    assert list(document)[:10] == [
        *("schema", "version", "status", "exit_code", "since", "until", "timezone", "by", "labels", "run_id"),
    ]
    assert document["since"] == "2025-12-31T23:00:00.000Z"
    assert (document["timezone"], document["by"], document["exit_code"]) == ("Europe/Berlin", ["day", "run"], 0)
    days = {row["day"] for row in document["rows"]}
    assert {day[11:] for day in days} <= {"22:00:00.000Z", "23:00:00.000Z"}, "when the day of Berlin began"
    assert {row["agent"] for row in document["rows"]} == {"docker", "system"}


@pytest.mark.usefixtures("spent")
def test_unknown_price_is_shown_beside_the_known_sum(here: Here, state: Path) -> None:
    anyio.run(_spend_unpriced, state / "ledger.db")
    table = here("costs", "--last-hour", "--by", "run").out
    (line,) = (line for line in table.splitlines() if line.startswith("9c00"))
    assert line.split()[:9] == ["9c00", "docker", "2", "20", "0", "21", "$0.02", "+", "?"]
    assert line.split()[9] == "1", "calls without a price"
    assert "3 runs, 6 calls, $0.22 + 1 call of unknown price · $0.05 in doubt\n" in table
    document = here("costs", "--last-hour", "--json").document
    total = document["total"]
    assert [total[name] for name in ("usd", "nano_usd", "known_usd", "unknown_calls")] == [None, None, 0.22, 1]
    costs = {row["model"]: row["cost"]["usd"] for row in document["rows"] if row["run_id"] == "9c00"}
    assert costs == {"odd": None, "big": 0.02}


@pytest.mark.usefixtures("spent")
@pytest.mark.parametrize(
    ("above", "words", "code"),
    [
        ("0.25", [], 0),
        ("0.249999999", [], 3),
        ("0.2", [], 3),
        ("0", ["--since", "2020-01-01", "--until", "2020-12-31"], 0),
        ("0.125", ["--run", "7f3a"], 0),
        ("0.124", ["--run", "7f3a"], 3),
        ("0.1", ["--label", "pr=17"], 3),
        ("0.1", ["--label", "pr=18"], 0),
    ],
)
def test_the_gate_lets_through_what_reaches_the_amount_and_nothing_above(
    here: Here, above: str, words: list[str], code: int
) -> None:
    window = words if words[:1] in (["--since"], ["--run"]) else ["--last-hour", *words]
    plain, gated = here("costs", *window), here("costs", *window, "--fail-above", above)
    assert (gated.code, gated.out) == (code, plain.out), "stdout is as always"
    assert (gated.err != "") == (code == 3)


@pytest.mark.usefixtures("spent")
def test_a_closed_gate_says_both_numbers_and_the_document_carries_the_error(here: Here) -> None:
    ended = here("costs", "--last-hour", "--fail-above", "0.24", "-o", "json")
    message = "$0.25 ($0.05 of it in doubt) is above --fail-above $0.24"
    assert ended.err.splitlines()[0] == f"error: {message}"
    document = ended.document
    assert (ended.code, document["exit_code"], document["status"]) == (3, 3, "budget")
    assert (document["error"]["kind"], document["error"]["message"]) == ("budget", message)
    assert document["fail_above"] == {"usd": 0.24, "counted_usd": 0.25, "passed": False}
    assert here("costs", "--last-hour", "--fail-above", "9", "--json").document["error"] is None


@pytest.mark.usefixtures("spent")
def test_hint_of_a_closed_gate_looks_at_the_same_window(here: Here) -> None:
    for words in ((), ("--last-hour",), ("--since", "2026-11-01 10:00", "--timezone", "UTC")):
        ended = here("costs", *words, "--fail-above", "0")
        assert ended.err.endswith(
            f"hint: to see the charges by model: {shlex.join(['agentctl', 'costs', *words, '--by', 'model'])}\n"
        )


def test_an_unknown_price_keeps_the_gate_closed_however_high_it_is(here: Here, state: Path) -> None:
    anyio.run(_spend_unpriced, state / "ledger.db")
    ended = here("costs", "--last-hour", "--fail-above", "1000")
    assert ended.code == 3
    assert "error: the price of 1 call is unknown: in addition to the known $0.02, their cost may exceed" in ended.err
    assert here("costs", "--last-hour", "--fail-above", "1000", "-o", "csv").code == 3


@pytest.mark.parametrize("held", [False, True])
def test_held_amounts_do_not_close_the_gate(here: Here, state: Path, held: bool) -> None:
    async def look() -> Ended:
        spender = Spender(state / "ledger.db", datetime.now(UTC) - MINUTE)
        await spender.run("r")
        await spender.call("r", 100, end="sent" if held else "doubt")
        ended = here("costs", "--last-hour", "--fail-above", "0")
        await spender.ledger.aclose()
        return ended

    ended = anyio.run(look)
    assert ended.code == (0 if held else 3)
    assert f"$0.10 {'held' if held else 'in doubt'}\n" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail-above", "none"], '--fail-above "none" is not an amount in dollars'),
        (["--fail-above", "-1"], '--fail-above "-1" is not an amount in dollars'),
        (["--fail-above", "1e-3"], '--fail-above "1e-3" is not an amount in dollars'),
        (["--by", "modle"], '--by "modle" is unknown'),
        (["--by", "label:"], '--by "label:" is unknown'),
        (["--by", ""], '--by "" is unknown'),
        (["--label", "team"], '--label "team" is not NAME=VALUE'),
        (["--today", "--this-month"], "--last-hour, --today, --this-month and --since cannot be combined"),
        (["--timezone", "Europe/Berlim"], "--timezone: there is no time zone 'Europe/Berlim'"),
        (["--since", "2026-13-01"], '--since "2026-13-01" is not a time; allowed: a duration such as 2h, a day'),
        (["--since", "0001-01-01", "--timezone", "Asia/Tokyo"], '--since "0001-01-01" is not a time; allowed'),
        (["--since", "9999-01-01"], "--since 9999-01-01 is in the future"),
        (["--since", "20261101"], '--since "20261101" is not a time; allowed: a duration such as 2h, a day'),
        (["--until", "9999-12-31"], '--until "9999-12-31" is not a time; allowed'),
        (["--since", "1h", "--until", "2h"], "the window from "),
        (["--run", "7f"], "no run in the ledger begins with '7f'"),
        (["--watch", "-o", "csv"], "--watch does not support CSV"),
        (["--watch"], "--watch needs stdout to be a terminal that can be redrawn"),
    ],
)
def test_wrong_words_are_refused_with_what_is_allowed(here: Here, words: list[str], message: str) -> None:
    ended = here("costs", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.splitlines()[1:] != [], "a hint"


@pytest.mark.parametrize(
    ("asked", "since", "until", "title"),
    [
        (WindowRequest(), "2026-11-24T23:00", None, "today (Europe/Berlin)"),
        (WindowRequest(last_hour=True), "2026-11-25T10:30", None, "the last hour"),
        (WindowRequest(this_month=True), "2026-10-31T23:00", None, "this month (Europe/Berlin)"),
        (WindowRequest(since="1h30m"), "2026-11-25T10:00", None, "the last 1h30m (Europe/Berlin)"),
        (
            WindowRequest(since="2026-11-01", until="2026-11-01"),
            *("2026-10-31T23:00", "2026-11-01T23:00", "since 2026-11-01 until the end of 2026-11-01 (Europe/Berlin)"),
        ),
        (
            WindowRequest(since="2026-11-01T14:00", until="2026-11-01T14:00Z"),
            *("2026-11-01T13:00", "2026-11-01T14:00"),
            "since 2026-11-01T14:00 until 2026-11-01T14:00Z (Europe/Berlin)",
        ),
        (WindowRequest(since="2026-11-01 14:00:30+05:30"), "2026-11-01T08:30:30", None, None),
        (WindowRequest(until="2h"), None, "2026-11-25T09:30", "until 2h ago (Europe/Berlin)"),
        (WindowRequest(whole=True), None, None, "in all"),
        (WindowRequest(whole=True, today=True), "2026-11-24T23:00", None, "today (Europe/Berlin)"),
        (
            WindowRequest(today=True, until="2h"),
            "2026-11-24T23:00",
            "2026-11-25T09:30",
            "today until 2h ago (Europe/Berlin)",
        ),
    ],
)
def test_window_arguments_become_two_times(
    asked: WindowRequest, since: str | None, until: str | None, title: str | None
) -> None:
    now = datetime(2026, 11, 25, 11, 30, tzinfo=UTC)
    found = resolve_window(asked, now=now, zone=find_time_zone("Europe/Berlin"))
    moments = [None if text is None else datetime.fromisoformat(f"{text}+00:00") for text in (since, until)]
    assert found == TimeWindow(moments[0], moments[1], found.title if title is None else title)


def test_time_that_no_clock_shows_or_that_comes_twice_is_reported(here: Here) -> None:
    words = ("costs", "--timezone", "Europe/Berlin", "--since")
    assert here(*words, "2025-10-26T02:30").err == (
        "note: 2025-10-26 02:30 occurs twice; using the first one; add +02:00 or +01:00 to choose\n"
    )
    assert here(*words, "2025-03-30T02:30").err == (
        "note: 2025-03-30 02:30 does not exist, the clocks skip it; using 2025-03-30 03:30\n"
    )
    document = here(*words, "2025-10-26T02:30", "--json").document
    assert document["since"] == "2025-10-26T00:30:00.000Z"
    assert here(*words, "2025-10-26T02:30+01:00").err == ""


def test_a_ledger_of_a_newer_program_is_refused_in_every_form(here: Here, spent: Path) -> None:
    with closing(sqlite3.connect(spent)) as db:
        db.execute("PRAGMA user_version = 99")
    for form in ("table", "csv", "json"):
        ended = here("costs", "-o", form)
        assert (ended.code, "was written by a newer agentctl" in ended.err) == (74, True)


def test_a_ledger_that_can_only_be_read_is_read(here: Here, spent: Path) -> None:
    with read_only(spent.parent):
        assert here("costs", "--last-hour").code == 0


def test_bars_and_lines_show_what_is_more_than_nothing() -> None:
    assert [bar(part, 100, 4, blocks=True) for part in (0, 1, 50, 63, 100)] == ["", "▏", "██", "██▌", "████"]
    assert [bar(part, 100, 4, blocks=False) for part in (0, 1, 50, 100)] == ["", "#", "##", "####"]
    assert bar(1, 0, 4, blocks=True) == ""
    assert sparkline([0, 1, 50, 100], blocks=True) == "·▁▄█"
    assert sparkline([0, 1, 50, 100], blocks=False) == ".:+@"
    assert sparkline([0, 0], blocks=True) == "··"
    assert [has_blocks(name) for name in ("utf-8", "ascii", "latin-1", "cp437", None, "no-such")] == [
        *(True, False, False, False, False, False)
    ]


@pytest.mark.parametrize(
    ("hours", "unit", "count"),
    [
        (1, "5 min", 12),
        (3, "hour", 3),
        (24, "hour", 24),
        (49, "day", 3),
        (24 * 31, "day", 31),
        (24 * 365, "8 days", 46),
    ],
)
def test_the_line_over_time_has_a_fair_number_of_cells_and_loses_nothing(hours: int, unit: str, count: int) -> None:
    since = datetime(2026, 11, 1, tzinfo=UTC)
    until = since + timedelta(hours=hours)
    slots = [Slot(since + at * (until - since) / 7, 10**at) for at in range(7)]
    found, cells = _cells(since, until, slots, TimeZone("UTC", UTC))
    assert (found, len(cells), sum(cell.nano for cell in cells)) == (unit, count, 1_111_111)
    assert cells[0] == Slot(since, cells[0].nano)


def test_amounts_in_csv_are_exact_to_the_last_digit(here: Here, spent: Path) -> None:
    with closing(sqlite3.connect(spent)) as db, db:
        db.execute("UPDATE attempts SET nano = 1 WHERE id = '7f3a-1'")
        db.execute("UPDATE attempts SET nano = 12345678901234567 WHERE id = '7f3a-2'")
    rows = list(csv.DictReader(io.StringIO(here("costs", "--last-hour", "--by", "model", "-o", "csv").out)))
    assert [(row["model"], Decimal(row["usd"])) for row in rows] == [
        ("small", Decimal("12345678.901234567")),
        ("big", Decimal("0.075000001")),
    ]
    assert "E" not in rows[1]["usd"]


@pytest.mark.usefixtures("spent")
def test_a_day_and_a_month_are_shown_where_they_are_limited(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_MAX_COST_PER_DAY", "5")
    monkeypatch.setenv("AGENTCTL_MAX_COST_PER_MONTH", "50")
    text, document = here("costs").out, here("costs", "--json").document
    assert "left of $5 (max_cost_per_day)" in text
    assert "left of $50 (max_cost_per_month)" in text
    assert "max_cost_per_minute" not in text
    assert {"max_cost_per_hour", "max_cost_per_day", "max_cost_per_month"} <= set(document["limits"])


@pytest.mark.usefixtures("spent")
def test_a_window_may_be_days(here: Here) -> None:
    week = here("costs", "--since", "7d", "--json").document
    began, ended = (datetime.fromisoformat(week[name]) for name in ("since", "until"))
    assert abs(ended - began - timedelta(days=7)) < timedelta(seconds=1)
    assert here("costs", "--since", "1d12h").out.splitlines()[-2].startswith("the last 1d12h: ")


async def _spend_on(fleet: Fleet, folder: Path) -> None:
    ledger = PostgresLedger(fleet.address(folder))
    await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
    assert isinstance(await ledger.reserve(ask("a")), Hold)
    assert await ledger.mark_sent("a")
    await ledger.settle("a", Charge(Usage(10, 100), 100_000_000, "m"))
    await ledger.aclose()


@pytest.mark.parametrize(
    "words", [("costs", "--last-hour", "--fail-above", "0.05"), ("ledger", "reprice", "--since", "1h")]
)
def test_window_of_a_server_is_by_its_clock_also_where_ours_is_hours_ahead(
    here: Here, own_fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    behind = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 7200000000"
    own_fleet.query(f"CREATE OR REPLACE FUNCTION agentctl.server_time_us() RETURNS bigint LANGUAGE sql AS '{behind}'")
    anyio.run(_spend_on, own_fleet, tmp_path)
    monkeypatch.setenv("AGENTCTL_LEDGER", own_fleet.address(tmp_path).url)
    said = here(*words, "--json")
    document = said.document
    assert (said.code, document["total"]["calls"]) == (3 if words[0] == "costs" else 0, 1)
