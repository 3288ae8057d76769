"""Runs are selected by status, time, agent and label, and removed unless they are still needed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from agentctl.cli.runs.run_filter import STATUSES
from tests.support.command_line import Ended, Here
from tests.support.ledger.spending import Spender

NOW = datetime.now(UTC)
Write = Callable[..., Path]


@pytest.fixture
def write(state: Path) -> Write:
    """Write the journal of a run that started ``hours`` ago; without a status it has no end."""

    def journal(
        run_id: str,
        status: str = "",
        *,
        hours: float = 0.1,
        agent: str = "system",
        labels: Mapping[str, str] | None = None,
        source: str = "",
    ) -> Path:
        folder = state / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        at = (NOW - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        first = {"event": "run_started", "run_id": run_id, "seq": 1, "at": at, "task": f"task of {run_id}"}
        first |= {"agent": agent, "provider": "builtin", "model": None, "labels": dict(labels or {})}
        lines = [first]
        if status:
            result = {"status": status, "task": first["task"], "agent": agent, "labels": first["labels"]}
            lines.append({"event": "run_finished", "run_id": run_id, "seq": 2, "at": at, "result": result})
        if source:
            lines.insert(1, {"event": "run_resumed", "run_id": run_id, "seq": 2, "at": at, "source": source})
        path = folder / f"{run_id}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        ended = (NOW - timedelta(hours=hours)).timestamp()
        os.utime(path, (ended, ended))
        return path

    return journal


def ids(ended: Ended) -> list[str]:
    return [run["run_id"] for run in ended.document["runs"]]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", ["aa", "bb", "cc", "dd"]),
        ("--status done", ["aa"]),
        ("--status DONE,budget", ["aa", "bb"]),
        ("--status done --status budget", ["aa", "bb"]),
        ("--status unfinished", ["cc"]),
        ("--status interrupted", ["dd"]),
        ("--status terminated", ["dd"]),
        ("--since 2h", ["aa", "bb"]),
        ("--agent docker", ["bb", "cc"]),
        ("--agent dock", []),
        ("--label team=web", ["aa", "cc"]),
        ("--label team=web --label job=7", ["cc"]),
        ("--label team=", []),
        ("--agent docker --since 2h --status budget", ["bb"]),
        ("--status done,budget,unfinished --limit 2", ["aa", "bb"]),
    ],
)
def test_runs_are_selected_by_every_flag_given(here: Here, write: Write, flags: str, expected: list[str]) -> None:
    write("aa", "done", hours=0.5, labels={"team": "web"})
    write("bb", "budget", hours=1, agent="docker", labels={"team": "data"})
    write("cc", hours=3, agent="docker", labels={"team": "web", "job": "7"})
    write("dd", "terminated", hours=50)
    assert ids(here("runs", "list", *flags.split(), "--json")) == expected


def test_listed_run_has_its_labels(here: Here, write: Write) -> None:
    write("aa", "done", labels={"team": "web"})
    (run,) = here("runs", "list", "--json").document["runs"]
    assert run["labels"] == {"team": "web"}


def test_empty_selection_says_whether_there_are_runs(here: Here, write: Write) -> None:
    assert here("runs", "list", "--status", "done").out == "no runs yet\n"
    write("aa", "budget")
    assert here("runs", "list", "--status", "done").out == "no run matches\n"


def test_limit_is_reported_of_the_runs_that_match(here: Here, write: Write) -> None:
    for number in range(4):
        write(f"a{number}", "done" if number else "budget")
    ended = here("runs", "list", "--status", "done", "--limit", "1")
    assert ended.err == "showing 1 of 3 runs; --limit 0 shows all\n"


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        ("--status dome", "--status 'dome' is not a status of a run", 'did you mean "done"?'),
        ("--status zzz", "--status 'zzz' is not a status of a run", f"allowed: {', '.join(STATUSES)}"),
        ("--since 2999-01-01", "--since 2999-01-01 is in the future", "give a time in the past, such as --since 2h"),
        ("--label web", '--label "web" is not NAME=VALUE', "for example: --label team=web"),
    ],
)
def test_invalid_selection_is_exit_2(here: Here, flags: str, message: str, hint: str) -> None:
    ended = here("runs", "list", *flags.split())
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\nhint: {hint}\n")


def left(state: Path) -> list[str]:
    return sorted(path.stem for path in (state / "runs").glob("*.jsonl"))


def removed(ended: Ended) -> list[str]:
    return [run["run_id"] for run in ended.document["removed"]]


async def spend(path: Path, minutes_ago: Mapping[str, int]) -> Spender:
    """Enter a paid call of each run, the earliest first; all runs are open."""
    spender = Spender(path, datetime.now(UTC) - timedelta(days=9))
    for run_id, minutes in minutes_ago.items():
        spender.at(datetime.now(UTC) - timedelta(minutes=minutes))
        await spender.run(run_id)
        await spender.call(run_id, 5)
    return spender


async def spend_and_die(path: Path, minutes_ago: Mapping[str, int]) -> None:
    await (await spend(path, minutes_ago)).ledger.aclose()


def test_rm_removes_journal_and_full_results(here: Here, write: Write, state: Path) -> None:
    folder = write("aa11", "done").with_suffix("")
    folder.mkdir()
    (folder / "1-docker_logs.txt").write_text("x" * 2048)
    write("bb22", "done")
    dry = here("runs", "rm", "aa", "--dry-run")
    assert (dry.code, left(state), folder.exists()) == (0, ["aa11", "bb22"], True)
    assert dry.err.startswith("1 run would be removed, 2.")
    ended = here("runs", "rm", "aa", "aa11", "--json")
    assert (removed(ended), ended.document["dry_run"]) == (["aa11"], False)
    assert (left(state), folder.exists()) == (["bb22"], False)


def test_rm_of_a_run_that_is_needed_removes_nothing(here: Here, write: Write, state: Path) -> None:
    write("aa", "done")
    write("bb", "budget")
    write("cc", "done", source="bb")
    ended = here("runs", "rm", "aa", "bb")
    assert (ended.code, left(state)) == (2, ["aa", "bb", "cc"])
    assert ended.err.startswith("error: run bb is still needed: run cc was forked from it\nhint: nothing was removed; ")
    assert here("runs", "rm", "cc", "bb").code == 0
    assert left(state) == ["aa"]


def test_running_run_is_kept(here: Here, write: Write, state: Path) -> None:
    with write("aa", hours=100).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert here("runs", "rm", "aa").err.startswith("error: run aa is still needed: it is running\n")
        assert removed(here("runs", "prune", "--older", "1h", "--json")) == []
    assert left(state) == ["aa"]
    assert removed(here("runs", "prune", "--older", "1h", "--json")) == ["aa"]


def test_run_whose_calls_count_in_a_window_is_kept(
    here: Here, write: Write, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("aa", "done", hours=30)
    write("bb", "done", hours=30)
    anyio.run(spend_and_die, state / "ledger.db", {"aa": 90, "bb": 30})
    monkeypatch.setenv("AGENTCTL_MAX_COST_PER_DAY", "5")
    ended = here("runs", "prune", "--older", "1d", "--json")
    reason = "its calls still count in a limit's window"
    assert ended.document["kept"] == [{"run_id": run_id, "reason": reason} for run_id in ("aa", "bb")]
    monkeypatch.delenv("AGENTCTL_MAX_COST_PER_DAY")
    before = here("costs", "--run", "aa", "--json").document["total"]
    assert removed(here("runs", "prune", "--older", "1d", "--json")) == ["aa"]
    assert here("costs", "--run", "aa", "--json").document["total"] == before
    assert here("ledger", "check").code == 0


def test_run_that_a_living_process_has_open_is_kept(here: Here, write: Write, state: Path) -> None:
    write("aa", "done", hours=30)

    async def check_while_open() -> None:
        spender = await spend(state / "ledger.db", {"aa": 600})
        ended = await anyio.to_thread.run_sync(here, "runs", "prune", "--older", "1d", "--json")
        assert ended.document["kept"] == [{"run_id": "aa", "reason": "run aa is still running"}]
        await spender.ledger.aclose()

    anyio.run(check_while_open)
    assert left(state) == ["aa"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--older 48h", ["cc", "dd"]),
        ("--older 2d --keep-bytes 1G", ["cc", "dd"]),
        ("--older 30d", []),
        ("--keep-bytes 1G", []),
        ("--keep-bytes 0", ["aa", "bb", "cc", "dd"]),
        ("--keep-bytes 10k", ["bb", "cc", "dd"]),
    ],
)
def test_prune_takes_the_oldest_and_what_does_not_fit(
    here: Here, write: Write, state: Path, flags: str, expected: list[str]
) -> None:
    for number, run_id in enumerate(("aa", "bb", "cc", "dd")):
        path = write(run_id, "done", hours=1 + 40 * number)
        path.with_suffix("").mkdir()
        (path.with_suffix("") / "1-x.txt").write_bytes(b"x" * 6000)
    dry = here("runs", "prune", *flags.split(), "--dry-run", "--json")
    assert (sorted(removed(dry)), left(state)) == (expected, ["aa", "bb", "cc", "dd"])
    assert sorted(removed(here("runs", "prune", *flags.split(), "--json"))) == expected
    assert left(state) == [run_id for run_id in ("aa", "bb", "cc", "dd") if run_id not in expected]


def test_prune_keeps_what_a_fork_of_a_fork_goes_on_from(here: Here, write: Write, state: Path) -> None:
    write("aa", "budget", hours=90)
    write("bb", "budget", hours=80, source="aa")
    write("cc", "done", hours=1, source="bb")
    ended = here("runs", "prune", "--older", "1d")
    assert (ended.code, left(state)) == (0, ["aa", "bb", "cc"])
    assert ended.err == (
        "kept aa: run bb was forked from it\nkept bb: run cc was forked from it\n0 runs removed, 0 B\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("prune", "prune needs --older or --keep-bytes"),
        ("prune --older x", '--older "x" is not a duration'),
        ("prune --keep-bytes many", '--keep-bytes "many" is not a size'),
        ("rm zz", "no run begins with 'zz'"),
    ],
)
def test_wrong_words_remove_nothing(here: Here, write: Write, state: Path, words: str, message: str) -> None:
    write("aa", "done", hours=900)
    ended = here("runs", *words.split())
    assert (ended.code, ended.err.splitlines()[0], left(state)) == (2, f"error: {message}", ["aa"])
