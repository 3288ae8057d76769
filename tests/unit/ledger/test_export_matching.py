"""A provider's usage export settles calls that match uniquely, and leaves uncertain ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge
from agentctl.core.errors import UsageError
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.export_matching import reconcile_export
from agentctl.ledger.reconcile import Reconciliation, reconcile
from agentctl.ledger.usage_export import read_export
from tests.support.ledger.corrections import CALL, begin, left_in_doubt, opened, rows, send
from tests.support.ledger.parts import HandClock

START = datetime.fromtimestamp(1_800_000_000, UTC)
ENDS = (f"{START - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}", f"{START + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}")


def at(seconds: float) -> str:
    return f"{START + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


def given(path: Path, text: str, clock: HandClock, *, provider: str = "p", dry_run: bool = False) -> Reconciliation:
    return reconcile_export(path, read_export(text, provider=provider), who="me", dry_run=dry_run, clock=clock)


def plain(*lines: str) -> str:
    """Our own columns, over a time that has the test's in its middle."""
    ends = (f",{time},other,1,1,0" for time in ENDS)
    return "\n".join(("attempt_id,time,model,input_tokens,output_tokens,cost_usd", *lines, *ends))


def settled_beside(path: Path, clock: HandClock, name: str = "known") -> str:
    """Settle a call by usage, which shows that the export is of this account; return its line."""
    session = opened(path, clock)
    begin(session, f"run-of-{name}")
    send(session, name, f"run-of-{name}")
    line = f",{at(clock.wall_s - 1_800_000_000)},m,10,20,0.02"
    session.settle(name, Charge(Usage(10, 20), 20_000_000, "m"))
    session.close()
    return line


@pytest.mark.parametrize(
    ("head", "line", "read"),
    [
        ("attempt_id,time,model,input_tokens,output_tokens,cost_usd", "a,2026-11-24T10:00:00Z,m,10,20,0.03",
         ("a", "p", "m", 1, 10, 20, 0, 30_000_000, True)),
        ("ID;Time;Model;Input Tokens;Output Tokens;Cost (USD)", "a;1795514400;m;1,234;20;$0.03",
         ("a", "p", "m", 1, 1234, 20, 0, 30_000_000, True)),
        (("generation_id,created_at,cost_total,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,"
         "model_permaslug,provider_name,cancelled"),
         "gen-1,2026-11-24 10:00:00.250,0.0000000001,10,20,5,4,openai/gpt-4o-2024-08-06,Azure,false",
         ("", "openrouter", "openai/gpt-4o-2024-08-06", 1, 10, 20, 4, 1, True)),
        (("start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens,"
         "input_cached_tokens"),
         "1795514400,1795514460,2026-11-24T10:00:00+00:00,2026-11-24T10:01:00+00:00,2,gpt-4o,10,20,4",
         ("", "openai", "gpt-4o", 60, 10, 20, 4, None, False)),
        (("usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
         "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
         "usage_output_tokens,web_search_count"),
         "2026-11-24,claude-opus-4-5,k,w,standard,0-200k,10,3,2,4,20,0",
         ("", "anthropic", "claude-opus-4-5", 86400, 19, 20, 4, None, False)),
    ],
)  # fmt: skip
def test_the_columns_of_each_export_are_found_by_their_names(head: str, line: str, read: tuple[object, ...]) -> None:
    made_by_itself = read[1] if read[1] != "p" else ""
    (row,) = read_export(f"\ufeff{head}\r\n{line}\r\n", provider="" if made_by_itself else "p")
    seconds = ((row.until_us or 0) - (row.since_us or 0)) // 1_000_000
    found = (row.attempt_id, row.provider, row.model, seconds, row.input, row.output, row.cached, row.nano)
    assert (*found, row.is_of_one_call) == read
    assert datetime.fromtimestamp((row.since_us or 0) // 1_000_000, UTC).day == 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column of ids or times"),
        ("model,cost\nm,1", "no column of ids or times"),
        ("time,model,cost\n2026-11-24T10:00:00Z,m,1", "the provider of the export is unknown"),
        ("time,model\n" + '"' + "x" * 200_000, "not valid CSV"),
    ],
)
def test_file_that_is_not_an_export_is_refused_with_the_missing_columns(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_export(text)


def test_invalid_values_in_a_line_are_unknown() -> None:
    text = (
        "time,model,input_tokens,cost_usd,currency\nnever,m,-1,nan,usd\n2026-13-01,m,1.5,-3,usd\n1795514400,m,,1,eur\n"
    )
    read = read_export(text, provider="p")
    assert [(row.since_us is None, row.input, row.nano) for row in read] == [
        (True, None, None), (True, None, None), (False, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "nano"),
    [
        ("$1,234.50", 1_234_500_000_000), ("0,0001", None), ("0,5", None), ("1.234,50", None), ("1,234", None),
        ("1,23.4", None),
    ],
)  # fmt: skip
def test_a_decimal_comma_is_never_taken_for_one_between_thousands(cell: str, nano: int | None) -> None:
    (row,) = read_export(f"id;cost\na;{cell}\n")
    assert row.nano == nano


def test_lines_may_end_as_on_any_machine() -> None:
    for end in ("\n", "\r\n", "\r"):
        assert [row.nano for row in read_export(f"id,cost{end}a,1{end}b,2{end}")] == [10**9, 2 * 10**9]


def test_a_call_is_found_by_our_own_id_whatever_the_time(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", "b", "c", clock=clock)
    text = "attempt_id,input_tokens,output_tokens,cost_usd\na,10,20,0.02\nc,1,1,0.5\nc,1,1,0.5\nx,1,1,1\n"
    would = given(path, text, clock, dry_run=True)
    assert rows(path) == [(name, "doubt", CALL, 266, None) for name in ("a", "b", "c")]
    found = given(path, text, clock)
    assert found == would
    assert [(one.attempt_id, one.was_nano, one.now_nano) for one in found.done] == [("a", CALL, 20_000_000)]
    assert {one.attempt_id: one.why for one in found.left}["c"] == "the export names it 2 times"
    assert found.unused == 1
    assert rows(path)[0] == ("a", "settled", 20_000_000, 30, "export")
    assert rows(path, "SELECT input_tokens, output_tokens FROM attempts WHERE id = 'a'") == [(10, 20)]
    assert check(path, clock=clock).wrong == ()


def test_call_matched_by_model_and_time_is_priced_by_tokens_without_a_cost_column(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    found = given(path, plain(f",{at(2)},maker/m-2026-01-01,10,30,"), clock)
    assert [(one.attempt_id, one.now_nano) for one in found.done] == [("a", 30_000_000)]
    assert (found.left, found.unused) == ((), 2)


def test_two_possible_matches_are_both_left(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", "b", clock=clock)
    one_line = given(path, plain(f",{at(2)},m,10,30,0.03"), clock)
    assert (one_line.done, {one.why for one in one_line.left}) == ((), {"line 2 could also be another call's"})
    two_lines = given(path, plain(f",{at(2)},m,10,30,0.03", f",{at(3)},m,10,40,0.04"), clock)
    assert (two_lines.done, {one.why for one in two_lines.left}) == ((), {"2 lines of the export could be it"})


def test_line_of_a_call_settled_by_usage_matches_no_other_call(path: Path, clock: HandClock) -> None:
    known = settled_beside(path, clock)
    left_in_doubt(path, "a", clock=clock)
    found = given(path, plain(known, f",{at(2)},m,10,30,0.03"), clock)
    assert [(one.attempt_id, one.now_nano) for one in found.done] == [("a", 30_000_000)]
    assert rows(path, "SELECT nano, settled_by FROM attempts WHERE id = 'known'") == [(20_000_000, "usage")]


def test_call_missing_in_an_export_that_covers_it_was_not_billed(path: Path, clock: HandClock) -> None:
    known = settled_beside(path, clock)
    clock.pass_by(1000)
    left_in_doubt(path, "a", clock=clock)
    found = given(path, plain(known), clock)
    assert [(one.attempt_id, one.now_nano) for one in found.done] == [("a", 0)]
    reason = "SELECT reason FROM entries WHERE attempt_id = 'a' ORDER BY id DESC LIMIT 1"
    assert rows(path, reason) == [("not in the provider's export: me",)]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "no line of the export is a call of this ledger: it may be from another account"),
        (f",{at(500)},m-large,10,30,0.03", "line 2 is in its time range, but is for m-large"),
    ],
)
def test_call_that_another_account_or_model_may_have_is_left(
    path: Path, clock: HandClock, lines: str, why: str
) -> None:
    left_in_doubt(path, "a", clock=clock)
    found = given(path, plain(*lines.splitlines()), clock)
    assert (found.done, [one.why for one in found.left]) == ((), [why])


@pytest.mark.parametrize("ends", ["before it was sent", "begins after its deadline"])
def test_call_outside_the_time_of_the_export_is_not_given_back(path: Path, clock: HandClock, ends: str) -> None:
    head = "attempt_id,time,model,input_tokens,output_tokens,cost_usd"
    if ends == "before it was sent":
        lines = (f",{ENDS[0]},other,1,1,0", settled_beside(path, clock))
        clock.pass_by(100)
        left_in_doubt(path, "a", clock=clock)  # to be answered within 600 s
    else:
        left_in_doubt(path, "a", clock=clock)
        clock.pass_by(700)
        lines = (settled_beside(path, clock), f",{ENDS[1]},other,1,1,0")
    found = given(path, "\n".join((head, *lines)), clock)
    assert (found.done, len(found.left), rows(path)[0][1]) == ((), 1, "doubt")
    assert found.left[0].why.startswith("the export does not cover its time, from 2027-01-15 08:0")


def test_a_line_for_a_whole_day_counts_only_up_to_the_worst_case(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    head = "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens"
    more = given(path, f"{head}\n{START:%Y-%m-%d},m,10,257", clock)
    assert [one.why for one in more.left] == ["line 2 covers more than one call"]
    text = f"{head},cost_usd\n{START:%Y-%m-%d},m,10,200,0.2"
    assert [(one.now_nano) for one in given(path, text, clock).done] == [200_000_000]


def test_export_overrides_a_manual_amount_and_usage_overrides_both(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    reconcile(path, "run", "run", actual_nano=0, who="me", clock=clock)
    assert given(path, "attempt_id,cost_usd\na,0.1", clock).done[0].now_nano == 100_000_000
    assert reconcile(path, "run", "run", actual_nano=0, who="me", clock=clock) == Reconciliation()
    with pytest.raises(UsageError, match="is already settled by its provider's export"):
        reconcile(path, "attempt", "a", actual_nano=0, who="me", clock=clock)
    assert given(path, "attempt_id,cost_usd\na,0.2", clock).done == ()
    late = opened(path, clock)
    assert late.settle("a", Charge(Usage(10, 20), 20_000_000, "m")).nano == 20_000_000
    late.close()
    assert given(path, "attempt_id,cost_usd\na,0.3", clock).done == ()
    assert rows(path) == [("a", "settled", 20_000_000, 30, "usage")]
    assert check(path, clock=clock).wrong == ()


def test_cost_above_its_hold_is_recorded_in_full_and_counts_against_the_model(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", clock=clock)
    found = given(path, "attempt_id,input_tokens,output_tokens,cost_usd\na,10,300,0.3", clock)
    assert [(one.now_nano, one.is_above) for one in found.done] == [(300_000_000, True)]
    assert [one.attempts for one in check(path, clock=clock).overruns] == [1]


def test_export_settles_nothing_under_a_living_owner(path: Path, clock: HandClock) -> None:
    session = opened(path, clock)
    begin(session, "run")
    send(session, "a")
    session.doubt("a", "cut off", ceiling=False, provider_fault=True)
    found = given(path, "attempt_id,cost_usd\na,0.1", clock)
    assert (found.done, [one.attempt_id for one in found.left]) == ((), ["a"])
    session.close()
