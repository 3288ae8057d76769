"""The commands of the ledger where it is on a server: import of a file, check, and what a server does by itself."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.bill.nests import OUTER, inner, starting
from tests.support.bill.parts import KEY, PENNY, reaching
from tests.support.command_line import Commands, Here
from tests.support.ledger.corrections import change, left_in_doubt
from tests.support.ledger.many_rows import fill
from tests.support.ledger.spending import Spender
from tests.support.postgres.fleet import Fleet
from tests.support.wire.plugin import OpenWire

ROWS = 600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old" / "ledger.db"


@pytest.fixture
def fleet(own_fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A ledger on a server, as the environment names it."""
    url = own_fleet.address(tmp_path).url
    monkeypatch.setenv("AGENTCTL_LEDGER", f"{url}{'&' if '?' in url else '?'}password=hunter2hunter2")
    return own_fleet


def test_import_brings_a_history_once(here: Here, file: Path, fleet: Fleet) -> None:
    left_in_doubt(file, "a", "b")
    document = here("ledger", "import", str(file), "--json").document
    place = document["ledger"]
    assert (document["schema"], document["file"], document["error"]) == ("agentctl.ledger-import/1", str(file), None)
    assert document["runs"] == {"imported": 1, "known": 0}
    assert document["attempts"] == {
        "imported": 2, "corrected": 0, "known": 0, "interrupted": 0, "not_sent": 0, "unknown_price": 0,
    }  # fmt: skip
    assert (document["spent_nano_usd"], document["in_doubt_nano_usd"]) == (0, 512_000_000)
    again = here("ledger", "import", str(file))
    assert again.out.splitlines() == [
        f"nothing to import: {place} has all of {file}",
        "1 run and 2 attempts were imported before",
    ]
    checked = here("ledger", "check")
    assert checked.out.splitlines()[:2] == [
        f"the ledger {place} can be read; rows and admissions are consistent",
        "2 attempts: 0 replayed, admitted within their limits, 2 imported from files",
    ]
    assert here("ledger", "check", "--json").document["admissions"]["imported"] == 2
    assert "hunter2" not in str(document) + again.out + checked.out
    assert here("ledger", "reconcile", "--run", "run", "--actual", "0", "--yes").code == 0
    assert here("costs", "--json").document["total"]["in_doubt_nano_usd"] == 0


def test_import_needs_a_server_a_file_and_a_person(
    here: Here, file: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_in_doubt(file, "a")
    ended = here("ledger", "import", str(file.with_name("missing.db")))
    assert (ended.code, "cannot be read: no such file" in ended.err) == (2, True)
    change(file, "PRAGMA user_version=99")
    ended = here("ledger", "import", str(file), "--json")
    assert (ended.code, ended.document["error"]["kind"]) == (74, "state")
    monkeypatch.setenv("AGENTCTL_PARENT_RUN", "outer")
    assert here("ledger", "import", str(file)).code == 5
    monkeypatch.delenv("AGENTCTL_PARENT_RUN")
    monkeypatch.setenv("AGENTCTL_LEDGER", "")
    ended = here("ledger", "import", str(file))
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: no shared ledger is set to import into")
    assert fleet.phases() == {}


async def test_a_report_is_the_same_of_a_file_and_of_the_server_that_imported_it(
    here: Here, file: Path, fleet: Fleet, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = state / "ledger.db"
    for user, run, tokens in (("ann", "17", 25), ("bob", "", 50)):
        spender = Spender(path, datetime.now(UTC), user_name=user, ci_run=run)
        await spender.run(f"run-{user}")
        await spender.call(f"run-{user}", tokens, model=user)
        await spender.ledger.aclose()
    assert here("ledger", "import", str(path)).code == 0
    words = ("costs", "--by", "host,ci_run,user,model")
    table = [line for line in here(*words).out.splitlines() if "CI" in line or "ann" in line or "bob" in line]
    rows = here(*words, "--json").document["rows"]
    monkeypatch.setenv("AGENTCTL_LEDGER", "")
    assert [line for line in here(*words).out.splitlines() if "CI" in line or "ann" in line or "bob" in line] == table
    assert len(table) == 3
    assert [row | {"last_at": ""} for row in here(*words, "--json").document["rows"]] == [
        row | {"last_at": ""} for row in rows
    ]


def test_the_clock_of_a_server_is_not_reset_from_here(here: Here, fleet: Fleet) -> None:
    ended = here("ledger", "reconcile", "--clock", "--yes")
    assert (ended.code, ended.out) == (2, "")
    assert "is the server's own, and never goes back: there is no clock to reset" in ended.err
    assert "hunter2" not in ended.err


def test_a_damaged_ledger_on_a_server_is_not_told_to_be_moved(here: Here, file: Path, fleet: Fleet) -> None:
    left_in_doubt(file, "a")
    here("ledger", "import", str(file))
    fleet.query("UPDATE agentctl.attempts SET nano = nano + 1")
    ended = here("ledger", "check")
    assert (ended.code, "mv " in ended.err) == (74, False)
    assert "name another one in AGENTCTL_LEDGER" in ended.err


def test_an_import_that_was_killed_is_completed_by_the_next(agentctl: Commands, file: Path, fleet: Fleet) -> None:
    """Killed with SIGKILL in the middle; then the server has what it would have without that."""
    fill(file, ROWS)
    with agentctl.start("ledger", "import", str(file)) as process:
        deadline = time.monotonic() + 60
        while not fleet.phases():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    cut = len(fleet.phases())
    document = agentctl("ledger", "import", str(file), "--json").document
    assert (document["attempts"]["imported"], document["attempts"]["known"]) == (ROWS - cut, cut)
    assert 0 < cut < ROWS
    checked = agentctl("ledger", "check", "--json").document
    assert (checked["ok"], checked["attempts"], checked["admissions"]["imported"]) == (True, ROWS, ROWS)
    (sums,) = fleet.query("SELECT count(*), sum(nano), sum(tokens) FROM agentctl.attempts")
    assert sums == (ROWS, sum(1000 + n % 5000 for n in range(ROWS)), ROWS * 4200)
    assert len(fleet.entries()) == ROWS


def test_a_run_below_one_on_a_server_spends_there_by_the_users_own_env_only(
    shell: Commands, tmp_path: Path, wire: OpenWire, own_fleet: Fleet
) -> None:
    """A command does not get the address with the password: without the user's .env a run of it spends nothing."""
    url = own_fleet.address(tmp_path).url
    url += f"{'&' if '?' in url else '?'}password=hunter2hunter2"
    own = tmp_path / "own"
    own.mkdir()
    (own / ".env").touch(0o600)
    (own / ".env").write_text(f"AGENTCTL_LEDGER={url}\n")
    server = wire(PENNY.busy, rates=PENNY.rates, keys=[KEY])
    environ = reaching(server, "openai") | {"LLM_MODEL": PENNY.model}
    refused = inner(environ, "--max-cost", "none", into="refused")
    spending = inner(environ | {"AGENTCTL_CONFIG_DIR": str(own)}, "--max-cost", "none")
    server.play(starting(PENNY, f"env > env.txt; {refused}; {spending}"))
    outer = shell(
        *("run", OUTER, "--json", "--max-cost", "0.06", "--sandbox", "none", "--yes", "--agent", "system"),
        **environ,
        AGENTCTL_LEDGER=url,
    ).document
    given = (tmp_path / "env.txt").read_text()
    assert ("AGENTCTL_PARENT_RUN" in given, "AGENTCTL_LEDGER" in given, "hunter2" in given) == (True, False, False)
    assert (
        json.loads((tmp_path / "refused.json").read_text())["exit_code"],
        (tmp_path / "refused.code").read_text(),
    ) == (5, "5\n")
    assert "put its AGENTCTL_LEDGER into your own .env" in (tmp_path / "refused.err").read_text()
    document = json.loads((tmp_path / "inner.json").read_text())
    assert (document["exit_code"], document["breaker"]["run_id"]) == (3, outer["run_id"])
    assert own_fleet.query("SELECT id, parent_id FROM agentctl.scopes ORDER BY rowid") == [
        (outer["run_id"], None),
        (document["run_id"], outer["run_id"]),
    ]
    assert document["cost"]["nano_usd"] + outer["cost"]["nano_usd"] == server.books.billed_nano <= 60_000_000
    assert own_fleet.query("SELECT sum(nano)::bigint FROM agentctl.attempts") == [(server.books.billed_nano,)]
