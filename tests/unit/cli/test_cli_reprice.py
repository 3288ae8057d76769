"""``agentctl ledger reprice``: the table, JSON and CSV, the prices used, and the refusals."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentctl.budget.conclusions import dearest_charge
from agentctl.budget.rules import Hold
from agentctl.cli.ledger.reprice_output import RepricedView, render_text
from agentctl.cli.ui.columns import Page
from agentctl.core.messages import Completion, Usage
from agentctl.core.pricing import Price
from agentctl.ledger.ledger_session import LedgerSession
from agentctl.ledger.report import CostQuery
from agentctl.ledger.repricing import reprice
from agentctl.providers.catalog import load_catalog
from agentctl.providers.installed_prices import installed_table
from tests.support.command_line import Ended
from tests.support.ledger.corrections import NO_LIMITS, begin, opened, send
from tests.support.ledger.parts import ask

Here = Callable[..., Ended]
USAGE = Usage(10_000, 1_000, cached_input_tokens=4_000)
# $2.50 in, $1.25 cached, $10 out: 6,000 x 2,500 + 4,000 x 1,250 + 1,000 x 10,000
GPT_4O = 30_000_000
# $0.15 in, $0.075 cached, $0.60 out
GPT_4O_MINI = 1_800_000


def call(book: LedgerSession, name: str, run: str, asked: str, **answer: Any) -> None:  # noqa: ANN401
    """Settle a call at today's prices, as a run does."""
    catalog = load_catalog()
    facts = catalog.facts("openai", asked)
    assert isinstance(book.reserve(ask(name, run, tokens=9_000, input_bound=20_000, facts=facts)), Hold)
    assert book.mark_sent(name)
    charge = dearest_charge(USAGE, Completion(**answer), facts, catalog.prices_at("openai", ""))
    assert charge is not None
    book.settle(name, charge)


@pytest.fixture
def spent(state: Path) -> Path:
    """Two runs: gpt-4o twice, gpt-4o-mini once, answered by gpt-4o, and one call in doubt."""
    book = opened(state / "ledger.db")
    for run, team in (("7f3a", "web"), ("8b00", "db")):
        book.open_run(run, NO_LIMITS, task="t", agent="docker", labels={"team": team})
    call(book, "a", "7f3a", "gpt-4o")
    call(book, "b", "7f3a", "gpt-4o", billed_nano=GPT_4O + 5)
    call(book, "c", "8b00", "gpt-4o-mini", model="gpt-4o")
    send(book, "d", "8b00", facts=load_catalog().facts("openai", "gpt-4o"))
    book.doubt("d", "hung up", ceiling=False, provider_fault=False)
    book.close()
    return state / "ledger.db"


@pytest.mark.usefixtures("spent")
def test_todays_prices_leave_every_charge_the_same(here: Here) -> None:
    document = here("ledger", "reprice", "--json").document
    assert (document["schema"], document["status"], document["exit_code"]) == ("agentctl.reprice/1", "done", 0)
    assert (document["by"], document["model"], document["table"], document["error"]) == (["model"], None, None, None)
    total = document["total"]
    assert total["repriced_nano_usd"] == total["charged_nano_usd"] == 3 * GPT_4O + 5
    assert (total["difference_nano_usd"], total["runs"], total["billed_calls"]) == (0, 2, 1)
    assert {why: count for why, count in total["not_repriced"].items() if count} == {"in_doubt": 1}
    assert [(row["model"], row["calls"], row["repriced_calls"]) for row in document["rows"]] == [
        ("gpt-4o", 3, 2),
        ("gpt-4o-mini", 1, 1),
    ]
    (prices,) = document["prices"]
    assert (prices["calls"], prices["source"]) == (3, load_catalog().version)


@pytest.mark.usefixtures("spent")
def test_the_table_shows_charged_repriced_and_the_difference_by_group(here: Here, tmp_path: Path) -> None:
    table = tmp_path / "cheaper.toml"
    table.write_text('[prices."openai/gpt-4o"]\ninput = 1.00\noutput = 5.00\ncached_input = 0.5\n')
    out = here("ledger", "reprice", "--table", str(table)).out.splitlines()
    assert out == [
        "model                                    calls  tokens in    out  charged  repriced  difference  not repriced",
        "openai/gpt-4o                                2     20,000  2,000  $0.0601   $0.0431     -$0.017             1",
        "openai/gpt-4o-mini (answered by gpt-4o)      1     10,000  1,000    $0.03    $0.013     -$0.017",
        "total                                        3     30,000  3,000  $0.0901   $0.0561     -$0.034             1",
        "",
        f"today: 3 calls charged $0.0901; at the prices of {table} $0.0561 (-$0.034, -38 %)",
        "not repriced: 1 call in doubt ($0.0026)",
        "1 call at the amount that the provider billed, which is more",
        "prices: cheaper.toml (3 calls)",
    ]


@pytest.mark.usefixtures("spent")
def test_given_model_is_priced_in_place_of_each_models_own(here: Here) -> None:
    for words in (("--model", "openai/gpt-4o-mini"), ("-m", "gpt-4o-mini")):
        document = here("ledger", "reprice", *words, "--by", "run", "--json").document
        assert document["model"] == words[1]
        assert document["total"]["repriced_nano_usd"] == 3 * GPT_4O_MINI
        rows = {row["run_id"]: (row["charged_nano_usd"], row["repriced_nano_usd"]) for row in document["rows"]}
        assert rows == {"7f3a": (2 * GPT_4O + 5, 2 * GPT_4O_MINI), "8b00": (GPT_4O, GPT_4O_MINI)}
    said = here("ledger", "reprice", "-m", "openai/gpt-4o-mini").out
    assert "; at today's prices as openai/gpt-4o-mini $0.0054 (-$0.0847, -94 %)" in said


@pytest.mark.usefixtures("spent")
def test_the_installed_table_as_a_file_changes_nothing(here: Here) -> None:
    total = here("ledger", "reprice", "--table", str(installed_table()), "--json").document["total"]
    assert (total["repriced_calls"], total["difference_nano_usd"]) == (3, 0)


@pytest.mark.usefixtures("spent")
def test_csv_has_the_groups_exact_amounts_and_the_reasons(here: Here, tmp_path: Path) -> None:
    table = tmp_path / "dearer.toml"
    table.write_text('[prices."openai/gpt-4o"]\ninput = 2.5\noutput = 10.000001\ncached_input = 1.25\n')
    text = here("ledger", "reprice", "--table", str(table), "--by", "label:team", "-o", "csv").out
    assert text.splitlines()[0] == (
        "label:team,calls,repriced_calls,billed_calls,input_tokens,cached_input_tokens,output_tokens,"
        "charged_usd,repriced_usd,difference_usd,not_repriced_in_doubt,not_repriced_open,not_repriced_unknown_price,"
        "not_repriced_unrecorded,not_repriced_export,not_repriced_hand,last_at"
    )
    rows = {row["label:team"]: row for row in csv.DictReader(io.StringIO(text))}
    web = {name: rows["web"][name] for name in ("calls", "charged_usd", "repriced_usd", "difference_usd")}
    assert web == {
        "calls": "2",
        "charged_usd": "0.060000005",
        "repriced_usd": "0.060000006",
        "difference_usd": "0.000000001",
    }
    assert rows["db"]["not_repriced_in_doubt"] == "1"
    cheaper = here("ledger", "reprice", "-m", "openai/gpt-4o-mini", "--by", "day", "-o", "csv").out
    assert ",-0.084600005," in cheaper


@pytest.mark.usefixtures("spent")
def test_a_model_without_a_price_is_named_and_left_out(here: Here, tmp_path: Path) -> None:
    table = tmp_path / "other.json"
    table.write_text(
        '{"gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06,'
        ' "output_cost_per_token": 2e-06}}'
    )
    document = here("ledger", "reprice", "--table", str(table), "--json").document
    assert document["unpriced_models"] == ["openai/gpt-4o"]
    assert document["total"]["not_repriced"]["unknown_price"] == 3
    out = here("ledger", "reprice", "--table", str(table)).out
    assert "not repriced: 3 calls without a known price: openai/gpt-4o" in out.splitlines()


def test_reprice_without_calls_says_so(here: Here, state: Path) -> None:
    assert here("ledger", "reprice").out == "today: no calls to reprice\n"
    assert not (state / "ledger.db").exists()
    document = here("ledger", "reprice", "--json").document
    assert (document["rows"], document["total"]["calls"], document["prices"]) == ([], 0, [])
    book = opened(state / "ledger.db")
    begin(book, "r")
    book.close()
    assert here("ledger", "reprice", "--since", "2h").out == "the last 2h: no calls to reprice\n"


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("--since", "x"), '--since "x" is not a time', "agentctl ledger reprice --since 2h"),
        (("--until", "x"), '--until "x" is not a time', "agentctl ledger reprice --until 2026-11-01"),
        (
            ("--since", "2026-11-02", "--until", "2026-11-01"),
            "the window from 2026-11-02 00:00 to 2026-11-02 00:00 is empty",
            "agentctl ledger reprice --since",
        ),
        (("--by", "modell"), '--by "modell" is unknown', 'did you mean "model"?'),
        (("--table", "/no/such/file"), "--table /no/such/file cannot be read", ""),
        (("--model", "openai/gpt-4o-minni"), "price of openai/gpt-4o-minni is unknown", 'did you mean "gpt-4o-mini"?'),
        (("--model", " "), "--model is empty", "--model openai/gpt-4o"),
        (("--run", "zz"), "no run", ""),
        (("--timezone", "Mars"), "Mars", ""),
    ],
)
def test_wrong_arguments_end_with_2_before_anything_is_shown(
    here: Here, spent: Path, words: tuple[str, ...], said: str, hint: str
) -> None:
    before = hashlib.sha256(spent.read_bytes()).hexdigest()
    ended = here("ledger", "reprice", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert hint in ended.err
    assert hashlib.sha256(spent.read_bytes()).hexdigest() == before


@pytest.mark.usefixtures("spent")
def test_a_configured_price_in_another_unit_is_refused_as_a_run_would_refuse_it(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.toml").write_text('[prices."openai/gpt-4o"]\ninput = 900\noutput = 10\n')
    monkeypatch.setenv("AGENTCTL_CONFIG_DIR", str(folder))
    ended = here("ledger", "reprice")
    assert (ended.code, "900 dollars per million tokens" in ended.err) == (2, True)


def test_a_call_at_an_unknown_price_then_is_repriced_and_not_compared(here: Here, state: Path, tmp_path: Path) -> None:
    book = opened(state / "ledger.db")
    begin(book, "r")
    facts = replace(load_catalog().facts("openai", "gpt-4o"), model="gpt-odd", price=None)
    assert isinstance(book.reserve(ask("a", "r", facts=facts)), Hold)
    assert book.mark_sent("a")
    charge = dearest_charge(USAGE, Completion(), facts, load_catalog().prices_at("openai", ""))
    assert charge is not None
    assert charge.nano is None
    book.settle("a", charge)
    book.close()
    table = tmp_path / "new.toml"
    table.write_text('[prices."openai/gpt-odd"]\ninput = 1\noutput = 2\n')
    out = here("ledger", "reprice", "--table", str(table)).out.splitlines()
    assert out[:2] == [
        "model           calls  tokens in    out  charged  repriced  difference",
        "openai/gpt-odd      1     10,000  1,000  unknown    $0.012     unknown",
    ]
    assert out[3] == f"today: 1 call charged unknown; at the prices of {table} $0.012 (unknown)"
    price = Price(Decimal(1), Decimal(2))
    assert price.at(10_000) == price


def test_help_says_what_reprice_does(here: Here) -> None:
    out = here("ledger", "reprice", "--help").out
    assert "Show what calls would have cost" in out
    assert "--table" in out


@pytest.mark.usefixtures("spent")
def test_a_narrow_terminal_leaves_out_the_tokens_and_then_the_count(spent: Path) -> None:
    report = reprice(spent, CostQuery(by=("provider",)), load_catalog().prices_at)
    view = RepricedView(report, CostQuery(by=("provider",)), "today")
    heads = {width: render_text(view, Page(width)).splitlines()[0].split() for width in (None, 80, 65, 50, 10)}
    most = ["provider", "calls", "tokens", "in", "out", "charged", "repriced", "difference", "not", "repriced"]
    assert heads[None] == heads[80] == most
    assert heads[65] == ["provider", "calls", "charged", "repriced", "difference", "not", "repriced"]
    assert heads[50] == ["provider", "calls", "charged", "repriced", "difference"]
    assert heads[10] == ["provider"]  # a block of labelled lines for each row
