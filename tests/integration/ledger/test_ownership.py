"""Root in a user's state folder: its files belong to the user, and what it leaves blocks nothing for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentctl.cli.ledger.ledger_output import check_document, check_table
from agentctl.core.errors import ActionDenied, StateError
from agentctl.ledger.check import LedgerCheck, check
from agentctl.ledger.database import Database
from agentctl.ledger.locks import is_dead, liveness
from agentctl.ledger.reconcile import MAY_LIVE, reconcile
from tests.support.ledger.corrections import CALL, begin, change, left_in_doubt, opened, rows, send
from tests.support.ledger.other_user import USER, as_user, home_of_user, not_of_user, root_only
from tests.support.ledger.parts import HandClock
from tests.support.ledger.scripted_process import ROOT, Puppet, puppet

pytestmark = root_only
DEADLINE_S = 600.0


@pytest.fixture
def home() -> Iterator[Path]:
    with home_of_user() as folder:
        yield folder


@pytest.fixture
def path(home: Path) -> Path:
    return home / ".local" / "state" / "agentctl" / "ledger.db"


@pytest.fixture
def users(path: Path, clock: HandClock) -> Path:
    """The ledger, which the user has used."""
    with as_user():
        left_in_doubt(path, "before", run="before", clock=clock)
    return path


@pytest.fixture
def root_run(users: Path, clock: HandClock) -> Iterator[Puppet]:
    """A run of root on the user's ledger: one call is held and one is under way."""
    with puppet(users, clock=clock) as process:
        process.do("open", "root's")
        for name in ("held", "sent"):
            process.do("hold", name, 100, {"run": "root's", "deadline_s": DEADLINE_S})
        process.do("mark", "sent")
        yield process


def lock_of(path: Path, run: str = "root's") -> Path:
    ((owner,),) = rows(path, "SELECT DISTINCT owner_id FROM attempts WHERE run_id = ?", run)
    return path.with_suffix(".owners") / str(owner)


def as_before(*files: Path) -> None:
    """Let files belong to root, as they did before root handed them over."""
    for file in files:
        os.chown(file, 0, 0)


def one_more(path: Path, clock: HandClock, name: str) -> None:
    """Let the user start a run and make a hold: the dead are looked after."""
    with as_user():
        session = opened(path, clock)
        begin(session, name)
        send(session, name, name)
        session.close()


def phases(path: Path) -> dict[str, str]:
    return dict(rows(path, "SELECT id, phase FROM attempts WHERE run_id = 'root''s'"))


def looked_at(path: Path, clock: HandClock) -> LedgerCheck:
    with as_user():
        return check(path, clock=clock)


# --- what root makes ------------------------------------------------------------------------------------------------


def test_files_made_by_root_in_a_users_home_belong_to_the_user(home: Path, path: Path) -> None:
    with puppet(path) as root:
        root.do("open", "run")
        root.do("hold", "a", 100)
        root.do("mark", "a")
        assert {one.name.removeprefix("ledger.") for one in path.parent.iterdir()} == {
            *("db", "db-wal", "db-shm", "queue", "owners", "unsettled")
        }
        assert not_of_user(home) == {}
        assert [one.stat().st_mode & 0o777 for one in (path.parent, path, *path.with_suffix(".owners").iterdir())] == [
            *(0o700, 0o600, 0o600)
        ]


def test_files_made_by_root_beside_a_users_ledger_belong_to_the_user(home: Path, clock: HandClock) -> None:
    shared = home / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o1777)
    path = shared / "ledger.db"
    with as_user():
        Database(path, clock=clock).close()
        (shared / "ledger.queue").unlink()
    with puppet(path, clock=clock) as root:
        root.do("open", "run")
        assert not_of_user(shared) == {".": 0}


def test_root_keeps_its_own_files_in_a_folder_of_its_own(tmp_path: Path) -> None:
    Database(tmp_path / "state" / "ledger.db").close()
    assert {one.lstat().st_uid for one in (tmp_path / "state").rglob("*")} == {0}


def test_a_users_files_stay_the_users_where_root_works_on_them(users: Path, root_run: Puppet) -> None:
    assert not_of_user(users.parent) == {}


# --- a run of root that was killed ----------------------------------------------------------------------------------


def test_a_killed_run_of_root_is_dead_for_the_user_and_blocks_nothing(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    assert [one.living for one in looked_at(users, clock).open] == [True, True]
    with as_user(), pytest.raises(ActionDenied, match="belongs to a live process"):
        reconcile(users, "run", "root's", actual_nano=0, who="user", clock=clock)
    root_run.kill()
    assert [one.living for one in looked_at(users, clock).open] == [False, False]
    with as_user():
        found = reconcile(users, "run", "root's", actual_nano=0, who="user", clock=clock)
    assert [one.attempt_id for one in found.done] == ["sent"]
    assert phases(users) == {"held": "void", "sent": "settled"}


# --- what an older agentctl left as root ----------------------------------------------------------------------------


def test_lock_that_cannot_be_opened_is_unknown_and_its_holds_wait_for_the_deadline(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    as_before(lock_of(users))
    root_run.kill()
    clock.pass_by(DEADLINE_S - 1)
    one_more(users, clock, "next")
    assert phases(users) == {"held": "held", "sent": "sent"}
    found = looked_at(users, clock)
    assert [one.living for one in found.open] == [None, None]
    document = json.loads(check_document(found, users, None))
    assert [one["owner"]["living"] for one in document["open"]] == [None, None]
    assert [one["owner"]["state"] for one in document["open"]] == ["unknown", "unknown"]
    assert "unknown: its lock file cannot be opened" in check_table(found, users)
    assert lock_of(users).exists()


def test_call_of_unknown_owner_is_concluded_at_its_deadline_and_frees_the_hour(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    as_before(lock_of(users))
    root_run.kill()
    clock.pass_by(DEADLINE_S)
    one_more(users, clock, "next")
    assert phases(users) == {"held": "void", "sent": "doubt"}
    clock.pass_by(3_599)
    with as_user():
        session = opened(users, clock)
        before = session.spend("root's").hour_nano.total
        clock.pass_by(1)
        assert before - session.spend("root's").hour_nano.total >= CALL // 256 * 100
        session.close()
    assert check(users, clock=clock).wrong == ()


def test_reconcile_waits_for_the_deadline_of_calls_of_unknown_owner_and_no_longer(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    as_before(lock_of(users))
    root_run.kill()
    with as_user():
        for dry_run in (True, False):
            with pytest.raises(ActionDenied, match="so its process may be alive") as denied:
                reconcile(users, "run", "root's", actual_nano=0, who="user", clock=clock, dry_run=dry_run)
            assert denied.value.hint.startswith("try again after 2027-01-15 ")
        left = reconcile(users, "provider", "p", actual_nano=0, who="user", clock=clock).left
        assert [(one.attempt_id, one.why) for one in left] == [("sent", MAY_LIVE)]
    clock.pass_by(DEADLINE_S)
    with as_user():
        would = reconcile(users, "run", "root's", actual_nano=0, who="user", clock=clock, dry_run=True)
        done = reconcile(users, "run", "root's", actual_nano=0, who="user", clock=clock)
    assert [one.attempt_id for one in would.done] == [one.attempt_id for one in done.done] == ["sent"]
    assert phases(users) == {"held": "void", "sent": "settled"}


def test_reserve_of_a_run_of_unknown_state_is_free_after_an_hour(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    as_before(lock_of(users))
    root_run.kill()
    change(users, "UPDATE attempts SET phase = 'kept' WHERE id = 'held'")
    change(users, "UPDATE entries SET phase = 'kept' WHERE 0")
    clock.pass_by(3_599)
    one_more(users, clock, "early")
    assert phases(users)["held"] == "kept"
    clock.pass_by(1)
    one_more(users, clock, "late")
    assert phases(users)["held"] == "void"


def test_living_run_of_root_whose_lock_the_user_cannot_open_is_not_taken_for_dead(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    as_before(lock_of(users))
    clock.pass_by(2 * DEADLINE_S)
    with as_user():
        assert liveness(users.with_suffix(".owners"), lock_of(users).name) is True  # the kernel lists it
        assert not is_dead(users.with_suffix(".owners"), lock_of(users).name)
        with pytest.raises(ActionDenied, match="belongs to a live process"):
            reconcile(users, "run", "root's", actual_nano=0, who="user", clock=clock)
    one_more(users, clock, "next")
    assert phases(users)["sent"] == "sent"
    assert root_run.do("settle", "sent", 40) == "settled"


@pytest.mark.needs("mount namespaces")
def test_late_usage_of_a_living_run_that_the_kernel_hides_counts(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    """The run is invisible from another namespace: its call is in doubt after its deadline, its late usage counts."""
    as_before(lock_of(users))
    clock.pass_by(DEADLINE_S)
    line = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with puppet(users, *line, clock=clock) as hidden:
        hidden.do("become", USER)
        hidden.do("open", "hidden")
        assert hidden.do("hold", "h", 1, {"run": "hidden"}) == "held"
        assert phases(users)["sent"] == "doubt"
        assert root_run.do("settle", "sent", 40) == "settled"
        assert root_run.do("spend", "root's")[:2] == [40_000_000, 0]


def test_a_queue_that_root_left_does_not_stop_the_user(users: Path, clock: HandClock) -> None:
    as_before(users.with_suffix(".queue"))
    one_more(users, clock, "next")
    assert not_of_user(users.parent) == {}


@pytest.mark.parametrize("name", ["ledger.db", "ledger.owners"])
def test_amounts_that_only_root_can_give_back_are_named_with_the_command(
    users: Path, clock: HandClock, name: str
) -> None:
    theirs = users.parent / name
    as_before(theirs)
    with as_user(), pytest.raises(StateError) as refused:
        begin(opened(users, clock), "next")
    assert refused.value.hint == f'sudo chown -R "$(id -u)" {theirs}'
    command = refused.value.hint.removeprefix("sudo ").replace("$(id -u)", f"{USER}")  # as sudo would run it
    subprocess.run(["bash", "-c", command], check=True)
    one_more(users, clock, "next")


def test_the_next_run_of_root_gives_back_what_an_older_one_left(
    users: Path, root_run: Puppet, clock: HandClock
) -> None:
    owners = users.with_suffix(".owners")
    as_before(lock_of(users), owners, users.with_suffix(".queue"))
    with puppet(users, clock=clock) as later:
        later.do("open", "later")
        assert not_of_user(users.parent) == {}
    assert [one.living for one in looked_at(users, clock).open] == [True, True]
    root_run.kill()
    assert [one.living for one in looked_at(users, clock).open] == [False, False]


# --- what a user could make of a run of root ------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret"  # on the disk of the ledger, for links
    path.write_text("12345")
    path.chmod(0o600)
    return path


def put_link(secret: Path, place: Path) -> None:
    place.unlink()
    place.symlink_to(secret)


def put_second_name(secret: Path, place: Path) -> None:
    place.unlink()
    os.link(secret, place)


@pytest.mark.parametrize("put", [put_link, put_second_name])
def test_root_chowns_no_file_of_its_own_in_place_of_a_lock(
    users: Path, secret: Path, clock: HandClock, put: Callable[[Path, Path], None]
) -> None:
    owners = users.with_suffix(".owners")
    put(secret, users.with_suffix(".queue"))
    (owners / "lock").touch()
    put(secret, owners / "lock")
    before = secret.stat().st_uid, secret.stat().st_mode
    with puppet(users, clock=clock) as root:
        root.do("open", "run")
    assert (secret.stat().st_uid, secret.stat().st_mode) == before
    assert len(secret.read_bytes()) in (5, 20), "a queue has the number of its process"


def test_root_removes_and_chowns_nothing_in_a_folder_that_the_user_links_to(
    users: Path, tmp_path: Path, clock: HandClock
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    os.chown(precious / "file", 0, 0)
    owners = users.with_suffix(".owners")
    owners.rename(owners.with_name("aside"))
    owners.symlink_to(precious)
    with puppet(users, clock=clock) as root:
        assert "cannot be used" in root.do("open", "run")["error"]
    assert [(one.name, one.stat().st_uid) for one in precious.iterdir()] == [("file", 0)]
    assert precious.stat().st_uid == 0


def test_root_chowns_no_folder_that_holds_more_than_locks(users: Path, clock: HandClock) -> None:
    owners = users.with_suffix(".owners")
    (owners / "letter").write_text("dear diary")
    as_before(owners, owners / "letter")
    with puppet(users, clock=clock) as root:
        root.do("open", "run")
        assert (owners.stat().st_uid, (owners / "letter").stat().st_uid) == (0, 0)
    assert (owners / "letter").read_text() == "dear diary"


def test_owner_id_that_is_a_path_changes_no_other_file_as_root(users: Path, secret: Path, clock: HandClock) -> None:
    secret.write_text("")
    with as_user():
        left_in_doubt(users, "bad", run="bad", clock=clock)
        change(users, "UPDATE attempts SET phase = 'sent', leaves_hour_us = NULL WHERE id = 'bad'")
        there = os.path.relpath(secret, users.with_suffix(".owners"))
        change(users, "UPDATE owners SET id = ? WHERE id = (SELECT owner_id FROM attempts WHERE id = 'bad')", there)
        change(users, "UPDATE attempts SET owner_id = ? WHERE id = 'bad'", there)
    with puppet(users, clock=clock) as root:
        root.do("open", "run")
        root.do("hold", "a", 1)
    assert secret.exists()


# --- on disk --------------------------------------------------------------------------------------------------------


def test_the_state_folder_and_those_made_for_it_are_on_disk_when_the_ledger_is(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.support.ledger.fsync_faults import Syncs; syncs = Syncs();"
        "from agentctl.ledger.database import Database; Database(Path(sys.argv[1])).close();"
        "print(*syncs.paths, sep='\\n')"
    )
    path = tmp_path / "a" / "b" / "ledger.db"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True)
    synced = done.stdout.split()
    assert {str(one) for one in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")} <= set(synced)
    first = synced.index(f"{path}-wal")
    assert synced.index(str(tmp_path)) < synced.index(str(tmp_path / "a" / "b")) < first
