"""How commands show nested runs, and what they refuse inside a run."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.cli.runs.run_tree import draw_tree, find_tree
from agentctl.cli.ui.columns import Page
from agentctl.core.limits import CostLimit, Parent
from agentctl.ledger.clock import system_clock
from tests.support.command_line import KEY, Here
from tests.support.journal_files import JournalFile
from tests.support.ledger.process import Process
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Rates
from tests.support.wire.stories import pass_trial

CAPABILITY = "c" * 64
QUESTION = "How much memory is free?"


@pytest.fixture
def outer(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A run of another process, with a dollar to spend, that has started this one."""
    state.mkdir(parents=True)
    process = Process(state / "ledger.db", system_clock(), None)  # type: ignore[arg-type]
    limits = CostLimit(max_cost_per_task=Decimal(1), max_cost_per_hour=None, max_tokens_per_task=None)
    process.session.open_run("outer", limits, task="Look\naround", agent="a", labels={}, capability=CAPABILITY)
    monkeypatch.setenv("AGENTCTL_PARENT_RUN", "outer")
    monkeypatch.setenv("AGENTCTL_PARENT_CAPABILITY", CAPABILITY)
    yield process
    process.kill()


def test_runs_show_draws_the_tree_with_what_each_run_cost(here: Here, outer: Process) -> None:
    ran = [here("run", QUESTION, "--max-cost", "5", "--json", script="costly").document for _ in range(2)]
    first, last = (document["run_id"] for document in ran)
    cost = ran[0]["cost"]["nano_usd"]
    assert cost > 0
    shown = here("runs", "show")
    tree = shown.out[shown.out.index("run   ") :].splitlines()
    assert [line.split()[:2] for line in tree[1:]] == [["outer", "running"], ["├─", first], ["└─", last]]
    assert tree[0].split() == ["run", "status", "own", "with", "nested", "runs", "limit", "task"]
    assert tree[1].endswith("$1.00  Look around")
    assert tree[3].endswith("$5.00  (this run) How much memory is free?")
    document = here("runs", "show", first, "--json").document
    nodes = document["tree"]
    assert [(node["run_id"], node["parent_id"], node["depth"]) for node in nodes] == [
        ("outer", None, 0),
        (first, "outer", 1),
        (last, "outer", 1),
    ]
    assert nodes[0]["own"] == {"usd": 0.0, "nano_usd": 0, "in_doubt_usd": 0.0, "held_usd": 0.0}
    whole = sum(one["cost"]["nano_usd"] for one in ran)
    assert nodes[0]["with_nested"]["nano_usd"] == whole
    assert [node["own"]["nano_usd"] for node in nodes[1:]] == [one["cost"]["nano_usd"] for one in ran]
    assert nodes[1]["with_nested"] == nodes[1]["own"]
    assert here("costs", "--run", "outer", "--json").document["total"]["nano_usd"] == whole


@pytest.mark.parametrize("words", [("run", "-c"), ("runs", "resume")])
def test_the_last_run_to_go_on_with_is_one_that_no_run_started(
    here: Here, outer: Process, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    inside = {name: os.environ[name] for name in ("AGENTCTL_PARENT_RUN", "AGENTCTL_PARENT_CAPABILITY")}
    here("run", QUESTION, "--json", script="costly")
    for name in inside:
        monkeypatch.delenv(name)
    refused = here(*words, "--json", script="costly")
    assert (refused.code, refused.document["run_id"]) == (2, None)
    assert "every run here was started by another run" in refused.err
    own = here("run", QUESTION, "--json", script="costly").document
    for name, value in inside.items():
        monkeypatch.setenv(name, value)
    here("run", QUESTION, "--json", script="costly")
    for name in inside:
        monkeypatch.delenv(name)
    refused = here(*words, "--json", script="costly")
    assert (refused.code, refused.document["run_id"]) == (2, own["run_id"]), refused.err


def test_run_without_parent_or_child_has_no_tree(here: Here) -> None:
    here("run", QUESTION, "--provider", "builtin")
    assert "with nested runs" not in here("runs", "show").out
    assert "tree" not in here("runs", "show", "--json").document


def test_a_tree_deeper_than_one_has_a_line_to_each_run() -> None:
    from agentctl.budget.rules import Amounts
    from agentctl.ledger.report import RunNode

    def branch(name: str, parent: str | None, depth: int, **more: object) -> RunNode:
        nothing = (Amounts(), Amounts(), False, False)
        return RunNode(name, parent, depth, "t", "a", "done", None, *nothing)._replace(**more)  # type: ignore[arg-type]

    tree = [
        branch("a", None, 0, whole_unknown=True),
        branch("b", "a", 1, own=Amounts(10**9, 10**7, 10**6)),
        branch("c", "b", 2),
        branch("d", "b", 2),
        branch("e", "d", 3),
        branch("f", "a", 1),
        branch("g", "f", 2),
    ]
    lines = [line.split("  done")[0].rstrip() for line in draw_tree(tree, "e", Page()).splitlines()[1:]]
    assert lines == ["a", "├─ b", "│  ├─ c", "│  └─ d", "│     └─ e", "└─ f", "   └─ g"]
    assert "$1.00 + $0.01 in doubt + $0.001 held" in draw_tree(tree, "e", Page())
    assert "unknown" in draw_tree(tree, "e", Page()).splitlines()[1]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_tree_as_deep_as_can_be_stays_a_table(state: Path, outer: Process, width: int) -> None:
    above, limits = "outer", CostLimit(max_cost_per_task=Decimal(1), max_cost_per_hour=None, max_tokens_per_task=None)
    for depth in range(1, 16):
        name = f"{depth:012d}"
        parent = Parent(above, CAPABILITY)
        outer.session.open_run(name, limits, task="look", agent="a", labels={}, capability=CAPABILITY, parent=parent)
        above = name
    tree = find_tree(state / "ledger.db", above)
    lines = draw_tree(tree, above, Page(width)).splitlines()
    assert [branch.depth for branch in tree] == list(range(16))
    assert max(map(len, lines)) <= width
    assert [line.lstrip(" └─")[:12].rstrip() for line in lines[1:17]] == [branch.run_id for branch in tree]


def test_a_circle_of_parents_in_a_damaged_ledger_ends(here: Here, state: Path, outer: Process) -> None:
    limits = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
    outer.session.open_run("inner", limits, task="t", agent="a", labels={}, parent=Parent("outer", CAPABILITY))
    with contextlib.closing(sqlite3.connect(state / "ledger.db", isolation_level=None)) as db:
        db.execute("UPDATE scopes SET parent_id = 'inner' WHERE id = 'outer'")
    JournalFile(state, "inner").start().turn(text="x").end()
    shown = here("runs", "show", "inner")
    assert (shown.code, shown.out.splitlines()[-1][:4]) == (0, "done")


@pytest.mark.usefixtures("outer")
def test_the_ledger_cannot_be_changed_from_inside_a_run_recognized_by_capability(here: Here) -> None:
    """A child that has lost the mark is recognized by its capability, too."""
    refused = here("ledger", "reconcile", "--run", "outer", "--actual", "0")
    assert (refused.code, "the ledger cannot be changed from inside a run" in refused.err) == (5, True)
    assert here("ledger", "check").code == 0
    assert here("costs").code == 0


def test_providers_test_inside_a_run_is_paid_by_that_run(
    here: Here, outer: Process, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = wire(pass_trial, rates=Rates(Decimal("0.15"), Decimal("0.60")), keys=[KEY])
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert here("providers", "test", "openai").code == 0
    paid = outer.session.spend("outer").run_nano
    assert 0 < paid.spent <= server.books.billed_nano <= paid.spent + paid.in_doubt, "the cancelled call is in doubt"
    outer.session.close_run("outer", "done")
    asked = len(server.books.chat_requests)
    assert here("providers", "test", "openai").code == 5
    monkeypatch.delenv("AGENTCTL_PARENT_CAPABILITY")
    assert here("providers", "test", "openai").code == 5
    assert len(server.books.chat_requests) == asked
    assert here("providers", "test", "openai", "--free").code == 0
