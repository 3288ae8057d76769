"""Runs are selected by status, time, agent and label."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agentctl.cli.runs.run_filter import STATUSES
from tests.support.command_line import Ended, Here

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
        **more: object,
    ) -> Path:
        folder = state / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        at = (NOW - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        first = {"event": "run_started", "run_id": run_id, "seq": 1, "at": at, "task": f"task of {run_id}"}
        first |= {"agent": agent, "provider": "builtin", "model": None, "labels": dict(labels or {})} | more
        lines = [first]
        if status:
            result = {"status": status, "task": first["task"], "agent": agent, "labels": first["labels"]}
            lines.append({"event": "run_finished", "run_id": run_id, "seq": 2, "at": at, "result": result})
        path = folder / f"{run_id}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
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
