"""The real command while another program holds the ledger's write lock: what is paid for comes out, and is charged."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.integration.cli.parts import wait_for_file
from tests.support.command_line import Commands, Ended

COST = 0.013  # of one answer
WAITS = "warning: waiting up to 2 min 00 s to record the cost of a call: the ledger "


def spent(agentctl: Commands) -> tuple[float, float]:
    """Return what the ledger has as spent and as in doubt."""
    total = agentctl("costs", "--today", "--json").document["total"]
    return total["usd"], total["in_doubt_usd"]


def events(state: Path) -> list[dict[str, object]]:
    (journal,) = (state / "runs").glob("*.jsonl")
    return [json.loads(line) for line in journal.read_text().splitlines()]


def test_a_lock_of_seven_seconds_is_waited_for_and_the_answer_is_printed(agentctl: Commands, state: Path) -> None:
    ended = agentctl("run", "count them", script="locked for a while")
    assert (ended.code, ended.out) == (0, "the answer\n"), ended.err
    assert WAITS in ended.err, "also without -v"
    assert "locked by process" in ended.err
    names = [event["event"] for event in events(state)]
    assert names.index("call_unsettled") < names.index("call_settled")
    assert spent(agentctl) == (COST, 0)


def test_a_lock_that_stays_ends_with_74_and_the_next_run_shows_the_charge(agentctl: Commands, state: Path) -> None:
    ended = agentctl("run", "count them", script="locked for good")
    assert (ended.code, ended.out) == (74, ""), ended.err
    assert "--- so far ---\nthe answer\n" in ended.err
    assert "the last call cost $0.013; the next run settles it" in ended.err
    told = next(event for event in events(state) if event["event"] == "call_unsettled")
    assert (told["text"], told["nano"], told["conclusion"]) == ("the answer", 13_000_000, "charge")
    assert told["usage"] == {
        "input_tokens": 1000,
        "output_tokens": 100,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
    }
    checked = agentctl("ledger", "check")
    assert f"the next run settles attempt {told['attempt_id']} of run {told['run_id']} ($0.013), from" in checked.out
    (found,) = agentctl("ledger", "check", "--json").document["unsettled"]
    assert (found["usd"], found["tokens"], found["problem"], found["file"]) == (COST, 1100, None, told["file"])
    assert spent(agentctl) == (COST, 0), "costs settles it, too"
    assert agentctl("ledger", "check", "--json").document["unsettled"] == []
    assert agentctl("run", "and now", script="answer").code == 0
    assert spent(agentctl) == (2 * COST, 0)


def forced(agentctl: Commands) -> Ended:
    """Press Ctrl-C twice while the charge waits for a lock."""
    with agentctl.start("run", "count them", script="locked") as process:
        wait_for_file(agentctl.folder / "reached", process)
        assert process.stderr is not None
        while WAITS.encode() not in (said := process.stderr.readline()):
            assert said, process.wait()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return Ended(process.returncode, out.decode(), err.decode())


def test_ctrl_c_twice_ends_the_wait_and_the_next_run_settles_the_charge(agentctl: Commands, state: Path) -> None:
    ended = forced(agentctl)
    assert (ended.code, ended.out) == (130, "")
    assert "forced" in ended.err
    (told,) = [event for event in events(state) if event["event"] == "call_unsettled"]
    assert told["text"] == "the answer", "it is in the journal"
    assert agentctl("run", "and now", script="answer").code == 0
    assert spent(agentctl) == (2 * COST, 0)
