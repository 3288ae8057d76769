"""Runs that do not go on as asked: what the refusal says of them, what it leaves behind, and what a part keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.journal.lock import lock_journal
from agentctl.runner.agent_spec import AgentSpec, load_agents
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, PAID, TASK, lookup
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import WireRequest
from tests.support.wire.server import Answer

Cli = Callable[..., Ended]
WIRED = PAID["openai"]
OTHER = PAID["anthropic"]
OTHER_TOOLS = ("run", "--json", "--max-cost", "1", "--tools", "system_memory,system_load", "--resume")


def looking(asked: WireRequest) -> Answer:
    """Look at something else in each turn; without tools, answer."""
    step = sum(said.role == "assistant" for said in asked.messages)
    return WIRED.answer("Looking.", (lookup(step),)) if asked.tools else Answer("Half.", input_tokens=900)


@pytest.mark.parametrize("why", ["ended", "lives", "newer", "changed", "turns"])
def test_a_refusal_names_the_run_and_what_it_has_cost(cli: Cli, state: Path, wire: OpenWire, why: str) -> None:
    server = wire(looking if why == "turns" else WIRED.brief, rates=WIRED.rates, keys=[KEY])
    flags = ("--max-turns", "2") if why == "turns" else ()
    first = cli(server, "run", TASK, "--json", "--max-cost", "1", *flags).document
    path = state / "runs" / f"{first['run_id']}.jsonl"
    words: tuple[str, ...] = ("runs", "resume", "--json", first["run_id"])
    held = lock_journal(path) if why == "lives" else None
    if why == "newer":
        path.write_text(path.read_text().replace('"journal":1', '"journal":2'))
    if why == "changed":
        words = (*OTHER_TOOLS, first["run_id"], "And now?")
    refused = cli(server, *words)
    if held is not None:
        os.close(held)
    document = refused.document
    assert (refused.code, document["error"]["kind"]) == (2, "usage"), refused.err
    assert document["run_id"] == document["resumed_from"] == first["run_id"]
    assert document["cost"]["nano_usd"] == first["cost"]["nano_usd"] == book_of(state).counted_nano > 0
    assert document["cost"]["in_doubt_usd"] == 0
    assert document["usage"] == first["usage"]
    if why != "newer":  # such a journal is not read
        assert [document[name] for name in ("task", "model", "turns")] == [TASK, WIRED.model, 2]


def test_a_refusal_without_a_ledger_does_not_say_that_nothing_was_spent(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    for path in state.glob("ledger.db*"):
        path.rename(path.with_name(f"{path.name}.away"))
    cost = cli(server, "runs", "resume", run_id, "--json").document["cost"]
    assert (cost["usd"], cost["nano_usd"], cost["in_doubt_usd"]) == (None, None, None)
    for path in state.glob("ledger.db*.away"):
        path.rename(path.with_name(path.name.removesuffix(".away")))


def test_a_refused_fork_has_no_cost_and_no_files(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    files = state / "runs" / run_id
    files.mkdir(mode=0o700)
    (files / "1-system_memory.txt").write_text("whole")
    before = sorted((state / "runs").rglob("*.txt"))
    refused = cli(server, *OTHER_TOOLS, run_id, "--fork", "And now?")
    assert refused.code == 2, refused.err
    assert refused.document["cost"]["nano_usd"] == 0
    assert sorted((state / "runs").rglob("*.txt")) == before
    forked = cli(server, *OTHER_TOOLS, run_id, "--fork", "--accept-changes", "And now?").document
    assert (state / "runs" / forked["run_id"] / "1-system_memory.txt").read_text() == "whole"


FILES = {"--config": "max_cost_per_hour = 5\n", "--env-file": "MAX_COST_PER_HOUR=5\n"}


@pytest.mark.parametrize("flag", FILES)
def test_files_of_settings_are_those_of_the_first_part(
    cli: Cli, wire: OpenWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    Path("own.toml").write_text(FILES[flag])
    run_id = cli(server, "run", TASK, "--json", flag, "own.toml").document["run_id"]
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        more = cli(server, "runs", "resume", run_id, "--json", "And now?")
        assert (more.code, more.document["limits"]["max_cost_per_hour"]["limit"]) == (0, 5), more.err
    Path("work/own.toml").rename("other.toml")
    refused = cli(server, "runs", "resume", run_id, "--json", "And now?")
    assert refused.code == 2
    assert f"own.toml is missing, which run {run_id} was started with ({flag})" in refused.err
    again = cli(server, "run", "--resume", run_id, flag, "other.toml", "--json", "And now?")
    assert (again.code, again.document["limits"]["max_cost_per_hour"]["limit"]) == (0, 5), again.err


def test_a_provider_given_alone_does_not_get_the_model_of_the_last_one(cli: Cli, wire: OpenWire) -> None:
    first = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(first, "run", TASK, "--json", "--provider", "openai", "-m", WIRED.model).document["run_id"]
    second = wire(lambda _: OTHER.answer("Half."), rates=OTHER.rates, keys=[KEY])
    words = ("run", "--json", "--max-cost", "2", "--accept-changes", "--resume", run_id, "And now?")
    more = cli(second, *words, "--provider", "anthropic", paid=OTHER)
    assert (more.code, more.document["provider"], more.document["model"]) == (0, "anthropic", OTHER.model), more.err


def test_a_model_given_alone_is_its_own_providers(cli: Cli, wire: OpenWire) -> None:
    first = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(first, "run", TASK, "--json", "--provider", "openai", "-m", WIRED.model).document["run_id"]
    second = wire(lambda _: OTHER.answer("Half."), rates=OTHER.rates, keys=[KEY])
    words = ("run", "--json", "--max-cost", "2", "--accept-changes", "--resume", run_id, "And now?")
    more = cli(second, *words, "-m", OTHER.model, paid=OTHER)
    assert (more.code, more.document["provider"], more.document["model"]) == (0, "anthropic", OTHER.model), more.err


def test_the_last_run_is_one_that_began(cli: Cli, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    assert cli(server, *OTHER_TOOLS, run_id, "--fork", "And now?").code == 2
    more = cli(server, "runs", "resume", "--last", "--json", "And now?")
    assert (more.code, more.document["run_id"]) == (0, run_id), more.err


def test_turns_of_an_agent_are_a_total_that_a_flag_raises(
    cli: Cli, state: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agents(folder: Path | None = None) -> tuple[AgentSpec, ...]:
        return tuple(agent._replace(max_turns=2) for agent in load_agents(folder))

    for module in ("runner.assemble", "cli.run.resumed"):
        monkeypatch.setattr(f"agentctl.{module}.load_agents", agents)
    server = wire(looking, rates=WIRED.rates, keys=[KEY])
    stopped = cli(server, "run", TASK, "--json", "--max-cost", "2")
    run_id, asked = stopped.document["run_id"], len(server.books.chat_requests)
    assert (stopped.code, stopped.document["turns"]) == (1, 2)
    line = f"agentctl runs resume {run_id[:6]} --max-turns 4"
    assert line in stopped.err
    for _ in range(2):
        refused = cli(server, "runs", "resume", run_id, "--json")
        assert (refused.code, len(server.books.chat_requests)) == (2, asked)
        assert f"agentctl runs resume {run_id} --max-turns 4" in refused.err
    raised = cli(server, *line.split()[1:], "--json")
    assert (raised.code, raised.document["turns"]) == (1, 4), raised.err
    path = state / "runs" / f"{run_id}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    end = max(place for place, one in enumerate(lines) if json.loads(one)["event"] == "run_resumed")
    path.write_text("".join(lines[: end + 1]))
    assert cli(server, "runs", "resume", run_id, "--json").document["turns"] == 4, "a part that died keeps it"


def test_a_fork_killed_before_it_was_resumed_is_forked_again(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    first = cli(server, "run", TASK, "--json").document["run_id"]
    fork = cli(server, "runs", "resume", first, "--fork", "--json", "And now?").document["run_id"]
    path = state / "runs" / f"{fork}.jsonl"
    path.write_text(path.read_text().split("\n")[0] + "\n")
    asked = len(server.books.chat_requests)
    refused = cli(server, "runs", "resume", "--last", "--json")
    assert (refused.code, len(server.books.chat_requests)) == (2, asked), refused.err
    assert f"run {fork}, a fork of run {first}, stopped before it had begun" in refused.err
    line = refused.document["error"]["hint"].partition("agentctl ")[2]
    again = cli(server, *line.split(), "--json", "And now?")
    assert (again.code, again.document["resumed_from"]) == (0, first), again.err


def test_a_fork_whose_files_cannot_be_copied_ends_before_it_goes_on(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    (state / "runs" / run_id).mkdir(mode=0o700)
    (state / "runs" / run_id / "1-system_memory.txt").mkdir()
    asked = len(server.books.chat_requests)
    ended = cli(server, "runs", "resume", run_id, "--fork", "--json", "And now?")
    assert (ended.code, len(server.books.chat_requests)) == (74, asked), ended.err
    assert "the files of the run cannot be copied" in ended.err
    assert "run_resumed" not in (state / "runs" / f"{ended.document['run_id']}.jsonl").read_text()


def test_each_message_without_its_secret_is_counted_once(cli: Cli, state: Path, wire: OpenWire) -> None:
    def mind(asked: WireRequest) -> Answer:
        step = sum(said.role == "assistant" for said in asked.messages)
        return WIRED.answer(f"I look with {KEY}.", (lookup(step),)) if step < 2 else WIRED.answer("Half.")

    server = wire(mind, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "3").document["run_id"]
    path = state / "runs" / f"{run_id}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    place = [place for place, line in enumerate(lines) if json.loads(line)["event"] == "tool_started"][1]
    path.write_text("".join(lines[: place + 1]))
    for _ in range(2):
        again = cli(server, "runs", "resume", run_id, "--json")
        assert again.code == 0, again.err
        assert "warning: 2 messages have [redacted]" in again.err
        kept = [line for line in path.read_text().splitlines(keepends=True) if '"run_finished"' not in line]
        path.write_text("".join(kept[:-1]))
