"""``agentctl runs watch`` beside a run in a process of its own: several watch it, and none of them touches it."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tests.support.command_line import Commands


def read_until(stdout: IO[bytes], event: str) -> list[dict[str, Any]]:
    """Return the records up to the first one of this event."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["event"] != event:
        line = stdout.readline()
        assert line, "the watching ended before"
        found.append(json.loads(line))
    return found


def test_a_run_is_watched_to_its_end_by_one_while_others_leave(agentctl: Commands, tmp_path: Path) -> None:
    with ExitStack() as started:
        run = started.enter_context(agentctl.start("run", "-q", "look", script="until released"))
        while not (tmp_path / "reached").exists():
            assert run.poll() is None
        watchers = [started.enter_context(agentctl.start("runs", "watch", "-o", "jsonl")) for _ in range(3)]
        begun = [read_until(_stdout(watcher), "call_sent") for watcher in watchers]
        assert begun[0] == begun[1] == begun[2]
        stopped, left, stays = watchers
        stopped.send_signal(signal.SIGINT)
        assert (stopped.wait(30), _rest(stopped)) == (130, (b"", b""))
        _stdout(left).close()
        assert (left.wait(30), run.poll()) == (0, None), "a reader that went away ends the watching, not the run"
        (tmp_path / "released").touch()
        assert read_until(_stdout(stays), "run_finished")[-1]["result"]["status"] == "done"
        assert (stays.wait(30), _rest(stays)) == (0, (b"", b""))
        assert run.wait(30) == 0


def test_a_run_that_is_killed_while_it_is_watched_is_said_to_be_so(agentctl: Commands, tmp_path: Path) -> None:
    with agentctl.start("run", "-q", "look", script="until released") as run:
        while not (tmp_path / "reached").exists():
            assert run.poll() is None
        with agentctl.start("runs", "watch") as watcher:
            assert _stdout(watcher).readline().startswith(b"scripted/priced")
            run.kill()
            out, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 0
    assert b"\nkilled \xc2\xb7 run " in out


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _rest(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.read(), process.stderr.read()
