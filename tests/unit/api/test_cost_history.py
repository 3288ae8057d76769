"""The cost history: the last thousand calls as JSON, complete at any moment, never written over a foreign file."""

from __future__ import annotations

import json
import logging
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentctl import CostTracker, DockerAgent, ScriptedProvider
from agentctl.core.errors import ProviderUnavailable
from agentctl.core.events import CallSettled, Record
from agentctl.journal.cost_history import MOST_RECORDS, CostHistory
from agentctl.ledger.locks import queue_lock
from agentctl.providers.scripted import Step
from tests.support.command_line import Commands
from tests.support.face import COST, PRICED, USED, says


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".cost_history.json"


@pytest.fixture
def agentctl(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def records(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text())
    assert isinstance(found, list)
    return found


def settled(run: str, number: int) -> Record:
    return Record(run, number, datetime.now(UTC), CallSettled(f"{run}-{number}", USED, COST))


async def test_each_call_is_a_record_with_the_documented_fields(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "hunter2-hunter2")
    script: list[Step] = [ProviderUnavailable("the answer broke off"), says("whole")]
    agent = DockerAgent(ScriptedProvider(script, facts=PRICED), CostTracker(history_file=path))
    assert not path.exists()
    result = await agent.execute_async("log in with hunter2-hunter2 " + "x" * 300)
    lost, charged = records(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    task = charged.pop("task")
    assert (len(task), task[:23]) == (200, "log in with [redacted] ")
    assert datetime.fromisoformat(charged.pop("at")).tzinfo == UTC
    assert charged == {
        "run_id": result.run_id,
        "agent": "docker",
        "provider": "scripted",
        "model": "priced",
        "input_tokens": 1000,
        "output_tokens": 100,
        "cached_input_tokens": 0,
        "tokens": 1100,
        "cost_usd": 0.013,
        "nano_usd": COST,
        "in_doubt": False,
    }
    assert (lost["in_doubt"], lost["input_tokens"], lost["nano_usd"]) == (True, None, result.in_doubt_nano)


async def test_the_last_thousand_are_kept(path: Path) -> None:
    old = [{"at": "x", "run_id": f"old {n}", "provider": "p", "nano_usd": None, "more": n} for n in range(MOST_RECORDS)]
    path.write_text(json.dumps(old))
    await CostHistory(path, warn=pytest.fail).observe(settled("new", 1))
    found = records(path)
    assert (len(found), found[0], found[-1]["run_id"]) == (MOST_RECORDS, old[1], "new")


@pytest.mark.parametrize(
    "foreign", ['{"name": "my-package"}', "[1, 2]", '[{"at": "cut', "not json", "[" * 5000, '[{"run_id": "x"}]']
)
async def test_file_that_is_not_a_cost_history_is_left_alone(path: Path, foreign: str) -> None:
    path.write_text(foreign)
    said: list[str] = []
    history = CostHistory(path, warn=said.append)
    await history.observe(settled("run", 1))
    await history.observe(settled("run", 2))
    assert path.read_text() == foreign
    why = "it is not a cost history and was left unchanged (move it away, or name another file)"
    assert said == [f"the cost history {path} was not written: {why}"]


async def test_an_empty_file_is_an_empty_history(path: Path) -> None:
    path.touch()
    await CostHistory(path, warn=pytest.fail).observe(settled("run", 1))
    assert len(records(path)) == 1


async def test_no_link_folder_or_pipe_is_written_through(path: Path) -> None:
    said: list[str] = []
    target = path.with_name("precious")
    path.symlink_to(target)
    await CostHistory(path, warn=said.append).observe(settled("run", 1))
    path.unlink()
    os.mkfifo(path)
    await CostHistory(path, warn=said.append).observe(settled("run", 1))
    path.unlink()
    path.mkdir()
    await CostHistory(path, warn=said.append).observe(settled("run", 1))
    assert not target.exists()
    assert [text.partition(": ")[2].partition(" (")[0] for text in said] == [
        "it is a symbolic link",
        "it is not a cost history and was left unchanged",
        "it is not a cost history and was left unchanged",
    ]


async def test_a_place_that_cannot_be_written_is_one_warning_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "no such folder" / "history.json"
    tracker = CostTracker(history_file=path)
    agent = DockerAgent(ScriptedProvider([ProviderUnavailable("broke off"), says("done")], facts=PRICED), tracker)
    with caplog.at_level(logging.WARNING, "agentctl"):
        assert (await agent.execute_async("go on")).status == "done"
    assert [record.getMessage() for record in caplog.records if "history" in record.getMessage()] == [
        f"the cost history {path} was not written: the folder {path.parent} does not exist"
    ]
    assert tracker.calls == 2


async def test_unwritten_record_is_tried_again_when_the_run_ends(path: Path) -> None:
    said: list[str] = []
    blocked = path.with_name(f"{path.name}.lock")
    blocked.mkdir()

    def clear(request: object) -> object:
        blocked.rmdir()
        return says("second")

    provider = ScriptedProvider([ProviderUnavailable("broke off"), clear], facts=PRICED)
    history = CostHistory(path, warn=said.append)
    result = await DockerAgent(provider, observers=[history]).execute_async("go on")
    assert (result.status, len(said), len(records(path))) == ("done", 1, 2)


async def test_a_held_lock_is_not_waited_for_without_end(path: Path) -> None:
    said: list[str] = []
    with queue_lock(path.with_name(f"{path.name}.lock")):
        await CostHistory(path, warn=said.append, patience_s=0.05).observe(settled("run", 1))
    (text,) = said
    assert f"another process holds {path.name}.lock" in text
    assert not path.exists()
