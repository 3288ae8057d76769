"""``run --estimate``: what a run would send and could cost; the estimate sends nothing and costs nothing."""

from __future__ import annotations

import json
import os
import shlex
from decimal import Decimal
from functools import partial
from pathlib import Path

import anyio
import pytest

from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger import SqliteLedger
from tests.support.bill.book import book_of
from tests.support.bill.parts import FORMATS, KEY, PAID, TASK, priced, reaching
from tests.support.command_line import HEAVY_MODULES, Commands, Here, loaded_modules
from tests.support.estimate import as_it_stands, hold, spend
from tests.support.wire.plugin import OpenWire

MODEL = ModelFacts("openai", "gpt-4-turbo", Price(Decimal(0), Decimal(1_000)), output_ceiling=4096)
FIELDS = (
    *("schema", "version", "status", "exit_code", "as_of", "task", "agent", "agent_chosen_by", "provider"),
    *("provider_chosen_by", "model", "fallbacks", "labels", "price", "first_call", "cost", "like_runs", "limits"),
    *("ledger", "sandbox", "left_out", "mcp_servers", "breaker", "error"),
)


def everything() -> dict[str, tuple[int, int, bytes]]:
    """Return what stands in the user's home: state, configuration, cache and all else."""
    return as_it_stands(Path(os.environ["HOME"]))


def spent(state: Path, *tokens: int) -> None:
    """Enter runs of the real model's name in the ledger, each token a thousandth of a dollar."""

    async def enter() -> None:
        book = SqliteLedger(state / "ledger.db")
        for number, one in enumerate(tokens):
            await spend(book, f"run {number}", tokens=one, facts=MODEL, agent="system")
        await book.aclose()

    anyio.run(enter)


@pytest.mark.parametrize("format", FORMATS)
def test_estimate_describes_the_request_that_the_run_then_sends(
    agentctl: Commands, state: Path, wire: OpenWire, format: str
) -> None:
    server = wire(PAID[format].brief, rates=PAID[format].rates, keys=[KEY])
    words, environ = ("--json", "--config", str(priced(agentctl.folder))), reaching(server, format)
    told = agentctl("run", TASK, "--estimate", *words, **environ)
    assert (told.code, server.books.requests, state.exists()) == (0, (), False)
    assert agentctl("run", TASK, *words, **environ).code == 0
    first, sent = book_of(state).attempts[0], server.books.chat_requests[0].asked
    assert sent is not None
    call = told.document["first_call"]
    assert (call["most_input_tokens"], call["granted_output_tokens"]) == (first.input_bound, first.granted_output)
    assert (call["granted_output_tokens"], tuple(call["tools"])) == (sent.clamp, sent.tools)
    assert round(call["most_usd"] * 10**9) == first.hold_nano
    assert 0 < call["likely_input_tokens"] < call["most_input_tokens"]
    assert told.document["model"] == sent.model


def test_estimate_sends_nothing_and_changes_no_file(agentctl: Commands, state: Path, wire: OpenWire) -> None:
    server = wire(PAID["openai"].brief, rates=PAID["openai"].rates, keys=[KEY])
    environ = reaching(server, "openai")
    assert agentctl("run", TASK, **environ).code == 0
    heard, before = len(server.books.requests), everything()
    for words in ((), ("--json",), ("-o", "jsonl"), ("--max-cost-per-hour", "0.01")):
        told = agentctl("run", "--estimate", TASK, *words, **environ)
        assert told.code == (3 if "0.01" in words else 0)
        assert (len(server.books.requests), everything()) == (heard, before)
        assert list(agentctl.folder.iterdir()) == []
    told = agentctl("run", "--dry-run", TASK, **environ)
    assert told.out.startswith("Estimate as of ")
    assert (told.code, told.err) == (0, "")
    assert "$0.08" in told.out


def test_text_has_agent_price_limits_and_past_costs(agentctl: Commands, state: Path) -> None:
    spent(state, 10, 20, 30, 40, 50, 60)
    told = agentctl("run", "--estimate", TASK, OPENAI_API_KEY=KEY, LLM_MODEL="gpt-4-turbo", TZ="UTC").out
    said = {line[:11].strip(): line[11:].strip() for line in told.splitlines() if line}
    assert said["agent"] == "system (task words)"
    assert said["model"] == "openai/gpt-4-turbo (key OPENAI_API_KEY)"
    assert said["price"].startswith("$10 in, $30 out per million tokens (litellm ")
    assert said["ceiling"] == "$0.50 (max_cost_per_task)"
    assert said["past runs"] == "6 of this agent and model finished in the last 90 days"
    assert (said["P50"], said["P90"]) == ("$0.03, 40 tokens", "$0.06, 70 tokens")
    (hour,) = (line for line in told.splitlines() if line.startswith("max_cost_per_hour"))
    assert hour.split() == ["max_cost_per_hour", "$10", "$0.21", "$0", "$0", "$9.79"]
    assert " UTC; nothing was sent or spent.\n" in told


def test_the_document_has_every_field_in_its_order(here: Here, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    spent(state, 100, 200)
    told = here("run", "--estimate", TASK, "--json", "--model", "openai/gpt-4-turbo", "--label", "pr=17")
    document = told.document
    assert (told.code, told.err) == (0, "")
    assert tuple(document) == FIELDS
    assert (document["schema"], document["status"], document["exit_code"]) == ("agentctl.estimate/1", "done", 0)
    assert document["as_of"].endswith("Z")
    assert (document["price"]["input"], document["price"]["output"]) == ("10", "30")
    assert document["price"]["digest"]
    assert document["labels"]["pr"] == "17"
    call, cost = document["first_call"], document["cost"]
    assert cost["floor_nano_usd"] == call["likely_input_tokens"] * 10_000 + 256 * 30_000
    assert (cost["ceiling_usd"], cost["ceiling_by"]) == (0.5, "max_cost_per_task")
    assert document["like_runs"] == {"days": 90, "runs": 2, "needed": 5, "usd": None, "tokens": None}
    assert document["limits"]["max_cost_per_hour"] == {
        "limit": 10.0, "spent": 0.3, "in_doubt": 0.0, "held": 0.0, "left": 9.7,
    }  # fmt: skip
    assert (document["breaker"], document["error"]) == (None, None)


def test_jsonl_is_one_line(here: Here) -> None:
    (line,) = here("run", "--estimate", TASK, "-o", "jsonl").lines
    assert (line["event"], line["schema"], line["provider"]) == ("run_estimated", "agentctl.estimate/1", "builtin")


def test_task_that_would_be_refused_is_exit_3_as_with_the_run(here: Here, state: Path, wire: OpenWire) -> None:
    spent(state, 9_999)
    server = wire(PAID["openai"].brief, rates=PAID["openai"].rates, keys=[KEY])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in reaching(server, "openai").items():
            patch.setenv(name, value)
        told, done = here("run", "--estimate", TASK, "--json"), here("run", TASK, "--json")
        text = here("run", "--estimate", TASK)
    assert (told.code, done.code, text.code) == (3, 3, 3)
    assert server.books.chat_requests == ()
    assert (told.document["status"], told.document["error"]["kind"]) == ("budget", "budget")
    ours, theirs = told.document["breaker"], done.document["breaker"]
    assert ours["free_at"] is not None
    assert {**ours, "free_at": 0} == {**theirs, "free_at": 0}
    assert text.out.startswith("Estimate as of ")
    assert "The first call would be refused now: max_cost_per_hour.\n" in text.out
    assert text.err.startswith("error: max_cost_per_hour is $10.00; the next call could make it $10.0")
    assert text.err.endswith(f"hint: {shlex.join(['agentctl', 'run', '--estimate', TASK])} --max-cost-per-hour 20.00\n")


def test_holds_of_others_are_waited_for_unless_waiting_is_off(
    here: Here, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LLM_MODEL", "gpt-4-turbo")
    book = SqliteLedger(state / "ledger.db")
    anyio.run(partial(hold, book, "other", tokens=9_990, facts=MODEL))
    told = here("run", "--estimate", TASK)
    assert (told.code, told.err) == (0, "")
    assert told.out.endswith("\n\nThe first call would wait for amounts that other runs hold.\n")
    impatient = here("run", "--estimate", TASK, "--json", "--budget-wait", "0")
    assert (impatient.code, impatient.document["breaker"]["limit"]) == (3, "max_cost_per_hour")
    assert impatient.document["first_call"]["waits_for"] == "holds"
    anyio.run(book.aclose)


def test_amounts_in_doubt_that_are_in_the_way_end_it_as_they_end_the_run(
    here: Here, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LLM_MODEL", "gpt-4-turbo")

    async def fail() -> None:
        book = SqliteLedger(state / "ledger.db")
        await book.doubt((await hold(book, "other", tokens=9_990, facts=MODEL)).id, "cut")
        await book.aclose()

    anyio.run(fail)
    told, done = here("run", "--estimate", TASK, "--json"), here("run", TASK, "--json")
    assert (told.code, told.document["error"]) == (4, done.document["error"])
    assert told.document["breaker"] is None
    said = here("run", "--estimate", TASK).out
    assert said.endswith("\n\nThe first call would be refused now: amounts in doubt use up the limit.\n")


@pytest.mark.parametrize(("most", "counts"), [("0.50", False), ("0.05", True)])
def test_a_first_call_is_counted_where_its_bytes_are_in_the_way(
    here: Here, monkeypatch: pytest.MonkeyPatch, most: str, counts: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    words = ("run", "--estimate", TASK, "--json", "--model", "openai/gpt-4o", "--max-cost", most)
    counted = here(*words).document["first_call"]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example/v1")
    by_bytes = here(*words).document["first_call"]
    assert (counted["most_input_tokens"] < by_bytes["most_input_tokens"] / 2) is counts
    assert counted["likely_input_tokens"] < counted["most_input_tokens"]
    assert counted["most_usd"] <= float(most)


def test_every_limit_that_is_set_has_its_row(here: Here, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    spent(state, 1_000)
    words = ("run", "--estimate", TASK, "--max-cost-per-month", "1.30", "--max-calls-per-minute", "5")
    document = here(*words, "--json").document
    assert list(document["limits"]) == [
        *("max_cost_per_task", "max_cost_per_hour", "max_cost_per_month"),
        *("max_tokens_per_task", "max_calls_per_minute"),
    ]
    assert document["limits"]["max_cost_per_month"]["left"] == 0.3
    assert document["limits"]["max_calls_per_minute"]["left"] == 5
    assert here(*words, "--max-tokens", "none").out.count("ceiling     $0.30 (max_cost_per_month, as of now)\n") == 1


def test_an_unknown_price_is_exit_2_with_the_line_to_add(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    told = here("run", "--estimate", TASK, "--model", "openai/no-such-model")
    assert (told.code, told.out) == (2, "")
    assert '[prices."openai/no-such-model"]\ninput = 1.00\noutput = 3.00\n' in told.err
    assert ": agentctl config set 'prices.\"openai/no-such-model\"' input=USD output=USD   (or " in told.err
    lifted = here(
        *("run", "--estimate", TASK, "--model", "openai/no-such-model", "--json"),
        *("--max-cost", "none", "--max-cost-per-hour", "none"),
    )
    cost = lifted.document["cost"]
    assert (lifted.code, cost["floor_usd"], cost["ceiling_usd"], lifted.document["price"]) == (0, None, None, None)


def test_missing_key_is_exit_77_as_with_the_run(here: Here) -> None:
    words = ("run", TASK, "--provider", "openai", "--json")
    told, done = here(*words, "--estimate"), here(*words)
    assert (told.code, told.document["error"]) == (77, done.document["error"])


def test_two_keys_and_no_choice_is_exit_2_without_a_question(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert here("run", "--estimate", TASK).code == 2


def test_a_task_that_does_not_fit_is_exit_7(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert here("run", "--estimate", "look at this: " + "x" * 100_000).code == 7


def test_builtin_is_free_and_says_so(agentctl: Commands, state: Path) -> None:
    told = agentctl("run", "--estimate", TASK)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[2:] == [
        "agent  system (task words)",
        "model  builtin (no key, no server)",
        "cost   free: no language model is used",
    ]
    assert not state.exists()


def test_the_task_and_its_data_come_from_a_pipe_as_with_the_run(agentctl: Commands) -> None:
    def likely(*words: str, stdin: str = "") -> int:
        told = agentctl("run", "--estimate", "--json", *words, stdin=stdin, OPENAI_API_KEY=KEY)
        return int(told.document["first_call"]["likely_input_tokens"])

    assert likely(stdin=TASK) == likely(TASK)
    assert likely(TASK, "--input", "-", stdin="x " * 2000) > likely(TASK) + 1000


def test_a_file_that_is_not_trusted_tightens_the_estimate_and_nothing_is_remembered(agentctl: Commands) -> None:
    (agentctl.folder / ".env").write_text("MAX_COST_PER_TASK=0.02\nLLM_MODEL=gpt-4o\n")
    before = everything()
    for _ in range(2):
        told = agentctl("run", "--estimate", TASK, OPENAI_API_KEY=KEY)
        assert "max_cost_per_task is lowered to $0.02 by ./.env" in told.err
        assert "./.env is not trusted" in told.err
        (line,) = (line for line in told.out.splitlines() if line.startswith("max_cost_per_task"))
        assert line.endswith(f"set by {agentctl.folder}/.env")
        assert everything() == before


def test_estimate_loads_no_heavy_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    loaded = loaded_modules("run", "--estimate", TASK)
    assert "agentctl.runner.estimate" in loaded
    assert loaded & (HEAVY_MODULES - {"agentctl.runner.assemble", "psutil"}) == set()
    assert json.dumps(sorted(name for name in loaded if name.startswith("rich."))) == "[]"
