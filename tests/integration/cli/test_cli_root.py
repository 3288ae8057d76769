"""Root that runs agentctl in a user's home (sudo that keeps HOME): every file that stays is the user's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentctl.cli.error_output import record_crash
from agentctl.ledger.check import check
from agentctl.runner.learned_counts import LearnedCounts
from tests.support.command_line import Here
from tests.support.ledger.corrections import begin, opened, send
from tests.support.ledger.other_user import as_user, home_of_user, not_of_user, root_only

pytestmark = [root_only, pytest.mark.anyio]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's home, still empty, with the folders where the platform puts them."""
    with home_of_user() as folder:
        for kind, place in (("STATE", ".local/state"), ("CACHE", ".cache"), ("CONFIG", ".config")):
            monkeypatch.setenv(f"AGENTCTL_{kind}_DIR", str(folder / place / "agentctl"))
        monkeypatch.setenv("COST_HISTORY_FILE", str(folder / "costs.json"))
        yield folder


def test_files_left_by_a_run_of_root_in_a_users_home_belong_to_the_user(
    here: Here, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".agentctl.toml").write_text("max_turns = 7\nllm_provider = 'openai'\n")  # told once, and trusted
    assert here("run", "--provider", "builtin", "How much memory is used?").code == 0
    assert here("run", "--yes", "go", script="tools").code == 0
    assert here("trust", str(tmp_path), "--yes").code == 0
    state = home / ".local" / "state" / "agentctl"
    assert record_crash(RuntimeError("a bug")).hint == f"report this bug with the log {next(state.glob('crash-*'))}"
    names = {str(one.relative_to(state)) for one in state.rglob("*") if one.is_file()}
    assert {name.partition("-")[0].rpartition(".")[2] for name in names} >= {"db", "jsonl", "lock", "json"}, names
    assert not_of_user(home) == {}
    monkeypatch.chdir(home)
    assert here("runs", "list").code == 0  # loads its modules: the user may not be able to read this checkout
    with as_user():
        assert check(state / "ledger.db").wrong == ()
        assert json.loads((home / "costs.json").read_text())
        assert here("runs", "list").code == 0
        book = opened(state / "ledger.db")
        begin(book, "theirs")
        send(book, "call", "theirs")
        book.close()
    assert not_of_user(home) == {}


async def test_counts_learned_by_root_belong_to_the_user(home: Path) -> None:
    from agentctl.context.counter import Calibration

    await LearnedCounts(home / ".cache" / "agentctl").remember("p", "m", {"bytes": Calibration(1.0, 2.0)})
    assert not_of_user(home) == {}
    with as_user():
        assert LearnedCounts(home / ".cache" / "agentctl").known("p", "m") == {"bytes": Calibration(1.0, 2.0)}


def test_folder_owned_by_root_stays_owned_by_root(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTCTL_STATE_DIR", str(tmp_path / "state"))
    assert here("run", "--provider", "builtin", "How much memory is used?").code == 0
    assert {os.lstat(one).st_uid for one in (tmp_path / "state").rglob("*")} == {0}
