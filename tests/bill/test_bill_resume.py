"""Runs that go on: limits are totals, nothing settled is asked twice, and the conversation is the one that it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.journal.lock import lock_journal
from agentctl.journal.replay import read_past
from tests.support.bill.book import book_of
from tests.support.bill.parts import (
    FOUR_CENTS,
    KEY,
    PAID,
    TASK,
    assert_accounted,
    assert_within,
)
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Call, WireRequest
from tests.support.wire.server import Answer, WireServer

Cli = Callable[..., Ended]
WIRED = PAID["openai"]


def told(server: WireServer) -> list[list[tuple[str, str]]]:
    """Return what each request said, message by message."""
    heard = [one.asked for one in server.books.chat_requests if one.asked is not None]
    return [[(said.role, said.text) for said in asked.messages] for asked in heard]


def looks(times: int) -> Callable[[WireRequest], Answer]:
    """Look ``times`` times, then answer."""

    def mind(asked: WireRequest) -> Answer:
        looked = sum(said.role == "tool" for said in asked.messages)
        return WIRED.answer("Half of it is used.") if looked >= times else WIRED.busy(asked)

    return mind


def writes(asked: WireRequest) -> Answer:
    """Write a file that asks for approval, then say so."""
    last = asked.messages[-1]
    if last.role == "tool":
        denied = last.text.startswith("denied")
        return WIRED.answer("I was not allowed to write it." if denied else "It is written.")
    return WIRED.answer("I write it.", (Call("write_file", {"path": ".envrc", "text": "x=1\n"}),))


def test_a_raised_limit_is_a_total_and_the_run_goes_on_where_it_stopped(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(looks(3), rates=WIRED.rates, keys=[KEY])
    tripped = cli(server, "run", TASK, "--json", "--max-cost", "0.11")
    assert tripped.code == 3, tripped.err
    run_id, asked = tripped.document["run_id"], len(told(server))
    assert f"agentctl runs resume {run_id[:6]} --max-cost-per-task" in tripped.err
    spent = book_of(state).counted_nano

    again = cli(server, "runs", "resume", run_id[:6], "--json", "--max-cost", "0.60")
    document = again.document
    assert (again.code, document["status"], document["answer"]) == (0, "done", "Half of it is used."), again.err
    assert document["run_id"] == document["resumed_from"] == run_id
    assert document["turns"] == 4
    assert document["limits"]["max_cost_per_task"] == {"limit": 0.6, "used": book_of(state).counted_nano / 10**9}
    assert document["cost"]["nano_usd"] == server.books.billed_nano > spent
    requests = told(server)
    assert requests[asked][: len(requests[0])] == requests[0]
    assert_accounted(server.books, book_of(state))
    assert_within(server.books, book_of(state), 600_000_000)


def test_a_limit_that_is_not_raised_stops_the_resumed_run_at_once(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
    billed = server.books.billed_nano
    again = cli(server, "runs", "resume", run_id, "--json")
    assert again.code == 3
    assert again.document["limits"]["max_cost_per_task"]["limit"] == 0.11, "an old limit stays"
    assert again.document["breaker"]["hint"].startswith(f"agentctl run --resume {run_id} --max-cost "), "not anew"
    assert server.books.billed_nano - billed <= FOUR_CENTS
    assert_within(server.books, book_of(state), 110_000_000)


def test_more_words_go_on_with_the_last_run_of_this_folder(cli: Cli, wire: OpenWire, tmp_path: Path) -> None:
    server = wire([WIRED.brief, WIRED.brief, WIRED.answer("Since noon.")], rates=WIRED.rates, keys=[KEY])
    first = cli(server, "run", TASK, "--json")
    more = cli(server, "run", "-c", "--json", "And since when?")
    assert (more.code, more.document["answer"]) == (0, "Since noon."), more.err
    assert more.document["run_id"] == first.document["run_id"]
    last = told(server)[-1]
    assert [role for role, _ in last] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert last[-1][1].startswith("And since when?")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    refused = cli(server, "run", "-c", "--json", "And since when?")
    assert refused.code == 2
    assert "no run in" in refused.err


def test_a_run_that_ended_well_needs_words(cli: Cli, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    refused = cli(server, "runs", "resume", run_id, "--json")
    assert refused.code == 2
    assert "has ended well" in refused.err
    assert len(told(server)) == 2


def test_a_fork_has_an_id_a_journal_and_a_limit_of_its_own(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(looks(4), rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
    forked = cli(server, "runs", "resume", run_id, "--fork", "--json", "--max-cost", "0.40")
    document = forked.document
    assert forked.code == 0, forked.err
    assert (document["run_id"] != run_id, document["resumed_from"]) == (True, run_id)
    own = [one for one in book_of(state).attempts if one.run_id == document["run_id"]]
    assert document["limits"]["max_cost_per_task"]["used"] == sum(one.nano for one in own) / 10**9
    lines = (state / "runs" / f"{document['run_id']}.jsonl").read_text().splitlines()
    assert not any('"role":"system"' in line for line in lines), "the journal refers and does not copy"
    again = cli(server, "runs", "resume", document["run_id"], "--json", "And now?")
    assert again.code == 0, again.err
    assert told(server)[-1][0] == told(server)[0][0]


def test_a_run_that_lives_is_refused_with_its_process(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
    held = lock_journal(state / "runs" / f"{run_id}.jsonl")
    try:
        refused = cli(server, "runs", "resume", run_id)
    finally:
        os.close(held)
    assert refused.code == 2
    assert f"still running, in process {os.getpid()}" in refused.err


@pytest.mark.parametrize("record", ["run_started", "run_resumed"])
def test_a_journal_of_a_newer_version_is_refused(cli: Cli, state: Path, wire: OpenWire, record: str) -> None:
    server = wire(WIRED.busy, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
    cli(server, "runs", "resume", run_id)
    path = state / "runs" / f"{run_id}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line |= {"journal": 2} if line["event"] == record else {}
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    asked = len(told(server))
    refused = cli(server, "runs", "resume", run_id, "--max-cost", "1")
    assert (refused.code, len(told(server))) == (2, asked)
    assert "a newer agentctl (journal 2, known: 1)" in refused.err


def test_a_change_needs_to_be_accepted_where_nobody_reads_of_it(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(looks(2), rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.06").document["run_id"]
    asked, before = len(told(server)), (state / "runs" / f"{run_id}.jsonl").read_bytes()
    words = ("run", "--resume", run_id, "--json", "--max-cost", "1", "--tools", "system_memory,system_load")
    refused = cli(server, *words)
    assert (refused.code, len(told(server))) == (2, asked)
    assert "the tools that the model is offered have changed" in refused.err
    assert (state / "runs" / f"{run_id}.jsonl").read_bytes() == before, "its end stays"
    accepted = cli(server, *words, "--accept-changes")
    assert accepted.code == 0, accepted.err
    assert "warning: the tools that the model is offered have changed" in accepted.err


def test_a_deferred_call_goes_on_exactly_there_once_it_is_allowed(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(writes, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "write_file,read_file", "--approve", "defer")
    deferred = cli(server, "run", "Write .envrc", "--json", *words)
    document = deferred.document
    assert (deferred.code, document["error"]["kind"]) == (5, "deferred"), deferred.err
    (pending,) = document["pending"]
    assert (pending["tool"], pending["rule_to_allow"]) == ("write_file", "write_file(path=.envrc)")
    assert pending["arguments"]["text"] == "x=1\n"
    assert not Path(".envrc").exists()
    assert len(told(server)) == 1

    run_id = document["run_id"]
    assert f"agentctl runs resume {run_id} --allow 'write_file(path=.envrc)'" in deferred.err
    waiting = cli(server, "runs", "resume", run_id, "--json")
    assert (waiting.code, len(told(server))) == (5, 1), "the turn is not paid for again"
    done = cli(server, "runs", "resume", run_id, "--json", "--allow", pending["rule_to_allow"])
    assert (done.code, done.document["answer"], done.document["turns"]) == (0, "It is written.", 2), done.err
    assert Path(".envrc").read_text() == "x=1\n"
    assert len(told(server)) == 2
    assert [role for role, _ in told(server)[-1]] == ["system", "user", "assistant", "tool"]
    assert done.document["pending"] == []


def test_a_denied_call_goes_on_once_it_is_allowed(cli: Cli, wire: OpenWire) -> None:
    server = wire(writes, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "write_file,read_file")
    denied = cli(server, "run", "Write .envrc", "--json", *words)
    assert denied.code == 5
    command = next(line for line in denied.err.splitlines() if "agentctl runs resume" in line)
    assert command.endswith("--allow 'write_file(path=.envrc)'")
    done = cli(server, "runs", "resume", denied.document["run_id"], "--json", "--allow", "write_file(path=.envrc)")
    assert (done.code, done.document["answer"]) == (0, "It is written."), done.err
    assert "Now allowed: write_file(path=.envrc)." in told(server)[2][-1][1]


def test_the_model_that_does_not_make_the_allowed_call_again_is_asked_to(cli: Cli, wire: OpenWire) -> None:
    def forgets(asked: WireRequest) -> Answer:
        is_allowed = asked.messages[-1].text.startswith("Now allowed")
        return WIRED.answer("It is allowed now.") if is_allowed else writes(asked)

    server = wire(forgets, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "write_file,read_file")
    run_id = cli(server, "run", "Write .envrc", "--json", *words).document["run_id"]
    found = cli(server, "runs", "resume", run_id, "--json", "--allow", "write_file(path=.envrc)")
    error = found.document["error"]
    assert (found.code, error["kind"]) == (5, "denied")
    assert error["message"].startswith("the model did not make the denied call again: write_file needs approval")
    assert error["hint"] == f'agentctl runs resume {run_id} "Make that call now"'
    done = cli(server, "runs", "resume", run_id, "Make that call now", "--json")
    assert (done.code, Path(".envrc").read_text()) == (0, "x=1\n"), done.err


def test_a_run_that_died_before_its_first_request_is_run_again_instead(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    path = state / "runs" / f"{run_id}.jsonl"
    path.write_text(path.read_text().split("\n")[0] + "\n")
    refused = cli(server, "runs", "resume", run_id)
    assert (refused.code, len(told(server))) == (2, 2)
    assert "nothing was sent" in refused.err


def cut(state: Path, run_id: str, *, last: str) -> None:
    """Leave of a journal what a process that was killed behind its last record ``last`` left."""
    path = state / "runs" / f"{run_id}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    end = max(place for place, line in enumerate(lines) if json.loads(line)["event"] == last)
    path.write_text("".join(lines[: end + 1]))


def test_words_for_a_deferred_run_wait_until_its_call_has_run(cli: Cli, wire: OpenWire) -> None:
    server = wire(writes, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "write_file,read_file", "--approve", "defer")
    run_id = cli(server, "run", "Write .envrc", "--json", *words).document["run_id"]
    assert cli(server, "runs", "resume", run_id, "Mind the port.", "--json").code == 5
    cli(server, "runs", "resume", run_id, "--json", "--allow", "write_file(path=.envrc)")
    assert [role for role, _ in told(server)[1]] == ["system", "user", "assistant", "tool", "user"]
    assert told(server)[1][-1][1].startswith("Mind the port.")


def test_words_of_a_part_that_was_killed_before_it_sent_them_are_said(cli: Cli, state: Path, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json").document["run_id"]
    cli(server, "runs", "resume", run_id, "And since when?", "--json")
    cut(state, run_id, last="run_resumed")
    again = cli(server, "runs", "resume", run_id, "--json")
    assert again.code == 0, again.err
    assert told(server)[-1][-1][1].startswith("And since when?")


def test_labels_are_those_of_the_whole_run(cli: Cli, wire: OpenWire) -> None:
    server = wire(looks(3), rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--max-cost", "0.11", "--label", "team=ops").document["run_id"]
    again = cli(server, "runs", "resume", run_id, "--json", "--max-cost", "0.60")
    assert again.document["labels"].get("team") == "ops"


def test_a_part_that_fails_before_its_first_call_keeps_what_was_spent(
    cli: Cli, state: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = wire(looks(3), rates=WIRED.rates, keys=[KEY])
    tripped = cli(server, "run", TASK, "--json", "--max-cost", "0.11").document

    def fails(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("agentctl.runner.plan.Plan.window_note", fails)
    again = cli(server, "runs", "resume", tripped["run_id"], "--json", "--max-cost", "0.60")
    assert again.code == 70
    assert again.document["cost"]["nano_usd"] == tripped["cost"]["nano_usd"] > 0
    assert again.document["usage"] == tripped["usage"]
    assert again.document["turns"] == 2, "those that are complete"


def test_an_agent_given_now_replaces_the_earlier_one(cli: Cli, wire: OpenWire) -> None:
    server = wire(WIRED.brief, rates=WIRED.rates, keys=[KEY])
    run_id = cli(server, "run", TASK, "--json", "--agent", "system").document["run_id"]
    more = cli(server, "run", "--resume", run_id, "--agent", "docker", "--json", "--accept-changes", "And now?")
    assert more.document["agent"] == "docker", more.err
    more = cli(server, "run", "--resume", run_id, "--json", "And now?")
    assert more.document["agent"] == "docker", more.err


def test_an_answer_to_new_words_after_a_denial_ends_well(cli: Cli, wire: OpenWire) -> None:
    server = wire(writes, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "write_file,read_file")
    run_id = cli(server, "run", "Write .envrc", "--json", *words).document["run_id"]
    server.play([WIRED.answer("It would hold x=1.")])
    more = cli(server, "runs", "resume", run_id, "--json", "Never mind. What would it hold?")
    assert (more.code, more.document["answer"]) == (0, "It would hold x=1."), more.err


def test_messages_of_another_provider_stay_those_of_another(cli: Cli, state: Path, wire: OpenWire) -> None:
    first, other = wire(looks(3), rates=WIRED.rates, keys=[KEY]), PAID["anthropic"]
    run_id = cli(first, "run", TASK, "--json", "--max-cost", "0.11").document["run_id"]
    second = wire(lambda _: other.answer("Half."), rates=other.rates, keys=[KEY])
    words = (
        "run",
        "--resume",
        run_id,
        "--json",
        "--max-cost",
        "2",
        "--accept-changes",
        "-m",
        f"anthropic/{other.model}",
    )
    more = cli(second, *words, paid=other)
    assert more.code == 0, more.err
    assert more.document["provider_chosen_by"] != "default"
    assert read_past(state / "runs" / f"{run_id}.jsonl").replaced, "so a third part changes them, too"


def test_new_words_have_a_read_made_again(cli: Cli, state: Path, wire: OpenWire) -> None:
    def mind(asked: WireRequest) -> Answer:
        last = asked.messages[-1]
        if last.role == "tool":
            return WIRED.answer(last.text)
        return WIRED.answer("I look.", (Call("read_file", {"path": "a.txt"}),))

    server = wire(mind, rates=WIRED.rates, keys=[KEY])
    words = ("--agent", "system", "--tools", "read_file,write_file", "--max-cost", "3")
    Path("a.txt").write_text("begin\n")
    assert cli(server, "run", "Read a.txt", "--json", *words).code == 0
    for text in ("one", "two", "three"):
        Path("a.txt").write_text(f"{text}\n")
        again = cli(server, "run", "-c", "--json", "Read it again.")
        assert (again.code, again.document["answer"].strip()) == (0, text), again.err
    past = read_past(state / "runs" / f"{again.document['run_id']}.jsonl")
    assert (past.asked_at, len(past.history)) == (3, 4), "a part without words heeds only what came after them"
