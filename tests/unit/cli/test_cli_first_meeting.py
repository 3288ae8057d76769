"""First commands of a new user: words in the wrong place, and a help without Python's type names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentctl.budget.rules import Ask
from agentctl.core.limits import CostLimit
from agentctl.ledger import SqliteLedger
from tests.support.command_line import Ended
from tests.support.ledger.parts import FACTS

Here = Callable[..., Ended]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ls"], 'did you mean "agentctl runs list"?'),
        (["history", "--json"], 'did you mean "agentctl runs list"?'),
        (["how", "much", "disk", "is", "free"], "did you mean: agentctl run 'how much disk is free'"),
        (["show", "disk", "usage"], "did you mean: agentctl run 'show disk usage'"),
        (["rusn", "list"], 'did you mean "runs"?'),
        (["costs", "--since"], "agentctl costs --help"),
        (["runs", "list", "--limit"], "agentctl runs list --help"),
        (["--json", "run", "x"], "put it after the command: agentctl run --json"),
        (["-o", "json", "costs"], "put it after the command: agentctl costs -o"),
    ],
)
def test_words_in_the_wrong_place_get_the_right_line(here: Here, words: list[str], hint: str) -> None:
    ended = here(*words)
    assert (ended.code, ended.err.splitlines()[1]) == (2, f"hint: {hint}")


@pytest.mark.parametrize("words", [["run", "-o", "xml", "x"], ["completion", "tcsh"], ["costs", "-o", "xml"]])
def test_wrong_choice_is_reported_without_the_parsers_own_words(here: Here, words: list[str]) -> None:
    ended = here(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "Value error" not in ended.err
    assert "is not one of" in ended.err


@pytest.mark.parametrize("words", [[], ["run"], ["costs"], ["runs", "show"], ["config", "show"], ["completion"]])
def test_the_help_shows_no_types_of_python(here: Here, words: list[str]) -> None:
    text = here(*words, "--help").out
    assert "--help" in text
    for shown in ("<bool>", "<str>", "list["):
        assert shown not in text


def test_config_check_refuses_what_a_run_would_refuse(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_DENY", "docker_pss")
    ended = here("config", "check")
    assert (ended.code, ended.out) == (2, "")
    assert 'did you mean "docker_ps"?' in ended.err
    monkeypatch.delenv("AGENTCTL_DENY")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen-1234567890")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-not-to-be-seen-0987654321")
    assert here("config", "check").code == here("run", "How much memory is free?").code == 2


def test_costs_table_has_no_empty_columns(here: Here, state: Path) -> None:
    here("run", "count them", script="answer")
    header = here("costs").out.splitlines()[0]
    assert header.split() == ["run", "agent", "model", "calls", "tokens", "in", "out", "cost", "last", "call"]
    anyio.run(_leave_in_doubt, state / "ledger.db")
    assert here("costs").out.splitlines()[0].split()[-5:] == ["cost", "in", "doubt", "last", "call"]


async def _leave_in_doubt(path: Path) -> None:
    ledger = SqliteLedger(path)
    await ledger.open_run("r", CostLimit(), task="t", agent="a", labels={})
    await ledger.reserve(Ask("x", "r", FACTS, input_bound=10, least=20, most=20, hour_limit_nano=None))
    await ledger.mark_sent("x")
    await ledger.doubt("x", "cut")
    await ledger.aclose()
