"""The spool: entries that the ledger could not take, applied once by the next process; it never prevents a start."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.conclusions import Charge, Conclusion, Doubt, Void
from agentctl.core.errors import StateError, UsageError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import Price, Tier
from agentctl.core.substitutes import Substitute
from agentctl.ledger.check import check
from agentctl.ledger.database import Database
from agentctl.ledger.ledger_session import LedgerSession, settle_spooled
from agentctl.ledger.reconcile import reconcile
from agentctl.ledger.spool import MOST_BYTES, SCHEMA, Spool
from tests.support.ledger.parts import ask

HELD = 100_000_000  # 100 tokens
CHARGE = Charge(Usage(10, 40), 40_000_000, "m")
PRICED_TOKENS = 10 + 40


def book_at(path: Path, owner: str = "") -> LedgerSession:
    return LedgerSession(Database(path), owner_id=owner or os.urandom(8).hex(), pid=os.getpid())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def sent(path: Path) -> LedgerSession:
    """A process that has sent attempt ``a``."""
    session = book_at(path, "first")
    start(session, "run")
    session.reserve(ask("a", tokens=100))
    assert session.mark_sent("a")
    return session


def start(session: LedgerSession, run: str) -> None:
    session.open_run(run, CostLimit(), task="", agent="", labels={})


def next_start(path: Path) -> None:
    session = book_at(path)
    start(session, os.urandom(4).hex())
    session.close()


def row(path: Path, name: str = "a", columns: str = "phase, nano") -> tuple[object, ...]:
    with closing(sqlite3.connect(path)) as db:
        found: tuple[object, ...] = db.execute(f"SELECT {columns} FROM attempts WHERE id = ?", (name,)).fetchone()  # noqa: S608
        return found


def steps(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [phase for (phase,) in db.execute("SELECT phase FROM entries WHERE attempt_id = 'a' ORDER BY id")]


def files(path: Path) -> list[str]:
    folder = path.with_suffix(".unsettled")
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def put(path: Path, content: object, name: str = "a.json") -> Path:
    file = path.with_suffix(".unsettled") / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def document(kind: str = "charge", **changes: object) -> dict[str, object]:
    usage = {"input_tokens": 10, "output_tokens": 40}
    inner: dict[str, dict[str, object]] = {
        "charge": {"usage": usage, "nano": 40_000_000, "model": "m"},
        "doubt": {"reason": "cut"},
        "void": {"reason": "refused"},
    }
    return {"schema": SCHEMA, "attempt_id": "a", "kind": kind, kind: inner.get(kind, {}) | changes}


# --- the files ------------------------------------------------------------------------------------------------------

amounts = st.integers(0, 2**63 - 1)
tokens = st.integers(0, 2**62 - 1)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens)
words = st.text(max_size=100)
dollars = st.decimals(0, 1000, places=9)
flat = st.builds(
    Price, dollars, dollars, *[st.none() | dollars] * 3, words, words, words, st.just(()), st.none() | dollars
)
tiered = st.just(()) | st.tuples(st.builds(Tier, amounts, flat))
prices = st.builds(lambda price, tiers: replace(price, tiers=tiers), flat, tiered)
substitutes = st.sampled_from([Substitute("big", None), Substitute("big", Price(Decimal(1), Decimal("0.5")), "fast")])
charges = st.builds(
    Charge,
    usages,
    st.none() | amounts,
    st.none() | words,
    st.none() | st.sampled_from(["asked", "answered", "billed"]),
    st.none() | prices,
    st.none() | words,
    words,
    amounts,
    st.none() | amounts,
    substitute=st.none() | substitutes,
)
conclusions: st.SearchStrategy[Conclusion] = st.one_of(
    charges,
    st.builds(Doubt, st.text(max_size=400), st.booleans(), st.booleans(), st.none() | charges, st.none() | substitutes),
    st.builds(Void, st.text(max_size=400)),
)


def test_allocated_file_is_removed_by_another_process_only_when_its_own_has_ended(tmp_path: Path) -> None:
    """A ledger on a server has no lock files beside it that say who lives."""
    ledger = tmp_path / "ledger-0123456789ab.db"
    living, ended, later = (Spool(ledger, owner_id=name) for name in ("living", "ended", "later"))
    living.allocate()
    ended.allocate()
    assert ended._spare is not None
    os.close(ended._spare)
    later.allocate()
    assert sorted(path.name for path in living.folder.iterdir()) == ["later.spare", "living.spare"]


@given(conclusion=conclusions)
def test_spooled_entry_is_read_back(tmp_path_factory: pytest.TempPathFactory, conclusion: Conclusion) -> None:
    ledger = tmp_path_factory.mktemp("spool") / "ledger.db"
    spool = Spool(ledger, owner_id="me")
    file = spool.put("a", conclusion)
    assert [(one.attempt_id, one.path, one.conclusion) for one in Spool(ledger).read()] == [("a", file, conclusion)]
    spool.remove_own("a")
    assert list(spool.read()) == []


@pytest.mark.parametrize("allocated", [True, False])
def test_spool_file_is_private_to_the_user(path: Path, allocated: bool) -> None:
    spool = Spool(path, owner_id="me")
    if allocated:
        spool.allocate()
    file = spool.put("a", CHARGE)
    modes = [oct(place.stat().st_mode & 0o777) for place in (file, file.parent)]
    assert (modes, files(path)) == (["0o600", "0o700"], ["a.json"])


def test_a_later_conclusion_of_one_attempt_replaces_the_earlier(path: Path) -> None:
    spool = Spool(path, owner_id="me")
    spool.put("a", Doubt("x" * 400))
    spool.put("a", CHARGE)
    assert [one.conclusion for one in spool.read()] == [CHARGE]


def test_spool_makes_nothing_without_the_state_folder(path: Path) -> None:
    away = path.parent.with_name("away") / path.name
    with pytest.raises(StateError, match="no such folder"):
        Spool(away, owner_id="me").put("a", CHARGE)
    assert not away.parent.exists()


# --- applied --------------------------------------------------------------------------------------------------------

ENDS = [
    pytest.param(CHARGE, ("settled", 40_000_000, "usage"), id="a charge"),
    pytest.param(Doubt("cut"), ("doubt", HELD, None), id="a doubt"),
    pytest.param(Doubt("ran past", ceiling=True), ("doubt", 10_000_000_000, None), id="past its clamp"),
    pytest.param(Void("refused"), ("void", 0, None), id="a void"),
]


@pytest.mark.parametrize(("conclusion", "ends"), ENDS)
@pytest.mark.parametrize("state", ["its process lives", "its process has ended"])
def test_next_process_applies_an_entry_once(
    sent: LedgerSession, path: Path, conclusion: Conclusion, ends: tuple[object, ...], state: str
) -> None:
    if state == "its process has ended":
        sent.close()
        next_start(path)
    sent.spool("a", conclusion)
    next_start(path)
    assert row(path, columns="phase, nano, settled_by") == ends
    assert [name for name in files(path) if name.endswith(".json")] == []
    before = steps(path)
    Spool(path, owner_id="again").put("a", conclusion)  # as one that was killed before it could remove it
    next_start(path)
    assert (row(path, columns="phase, nano, settled_by"), steps(path)) == (ends, before)
    assert check(path).wrong == ()


def test_entry_applied_before_a_kill_is_not_applied_again(sent: LedgerSession, path: Path) -> None:
    file = Path(sent.spool("a", CHARGE))
    data = file.read_bytes()
    next_start(path)
    file.write_bytes(data)
    next_start(path)
    assert (steps(path), file.exists()) == (["held", "sent", "settled"], False)


def test_processes_that_start_at_once_apply_an_entry_once(sent: LedgerSession, path: Path) -> None:
    sent.spool("a", CHARGE)
    books = [book_at(path) for _ in range(8)]
    threads = [threading.Thread(target=start, args=(session, f"run-{number}")) for number, session in enumerate(books)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (steps(path), row(path)) == (["held", "sent", "settled"], ("settled", 40_000_000))
    for session in books:
        session.close()


def test_applied_entry_equals_one_stored_at_once(path: Path, tmp_path: Path) -> None:
    """The file has everything from which a charge can be recomputed, too."""
    tier = Tier(200_000, Price(Decimal(3), Decimal(2)))
    price = Price(Decimal("1.5"), Decimal(1_000), Decimal("0.15"), tiers=(tier,))
    usage = Usage(10, 40, 2, 4, 1)
    charge = Charge(usage, 50_000_000, "m-2", "answered", price, "m-2", "priority", 3, 45_000_000)
    found = []
    for ledger in (path, tmp_path / "other.db"):
        session = book_at(ledger)
        start(session, "run")
        session.reserve(ask("a", tokens=100))
        session.mark_sent("a")
        if ledger == path:
            session.spool("a", charge)
            session.close()
            next_start(ledger)
        else:
            session.settle("a", charge)
            session.close()
        with closing(sqlite3.connect(ledger)) as db:
            db.row_factory = sqlite3.Row
            found.append(dict(db.execute("SELECT * FROM attempts").fetchone()))
    differ = {name for name in found[0] if found[0][name] != found[1][name] and not name.endswith("_us")}
    assert differ == {"owner_id", "reason"}, "its process had ended meanwhile"
    names = ("charged_tier", "billed_nano", "charged_by")
    assert tuple(found[0][name] for name in names) == ("priority", 45_000_000, "answered")


def test_own_process_removes_an_entry_that_it_could_write_after_all(sent: LedgerSession, path: Path) -> None:
    sent.spool("a", CHARGE)
    assert sent.conclude("a", CHARGE).phase == "settled"
    assert [name for name in files(path) if name.endswith(".json")] == []


def test_charge_in_the_spool_overrides_a_manual_amount(sent: LedgerSession, path: Path) -> None:
    sent.close()
    sent._spool.put("a", CHARGE)
    with pytest.raises(UsageError, match="settled by the usage that its provider reported"):
        reconcile(path, "attempt", "a", actual_nano=0, who="me")
    assert row(path) == ("settled", 40_000_000)


def test_entry_is_settled_at_once_or_left(sent: LedgerSession, path: Path) -> None:
    """The entry is settled so that costs shows it; readers make no ledger and do not wait."""
    settle_spooled(path.with_name("none.db"))
    assert not path.with_name("none.db").exists()
    sent.spool("a", CHARGE)
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        settle_spooled(path, patience_s=0.02)
    assert "a.json" in files(path)
    settle_spooled(path)
    assert (row(path), "a.json" in files(path)) == (("settled", 40_000_000), False)


def test_spooled_void_frees_only_doubt_caused_by_its_dead_process(sent: LedgerSession, path: Path) -> None:
    sent.doubt("a", "the answer broke off", ceiling=False, provider_fault=True)
    sent.spool("a", Void("refused"))
    next_start(path)
    assert row(path) == ("doubt", HELD)


def test_spooled_entry_does_not_change_a_charge(sent: LedgerSession, path: Path) -> None:
    sent.settle("a", CHARGE)
    for end in (CHARGE._replace(nano=1), Doubt("cut", ceiling=True), Void("refused")):
        sent.spool("a", end)
        next_start(path)
        assert row(path) == ("settled", 40_000_000)


def test_a_lock_at_the_start_leaves_the_spool_as_it_is(sent: LedgerSession, path: Path) -> None:
    sent.spool("a", CHARGE)
    session = LedgerSession(Database(path, busy_s=0.02), owner_id="me", pid=os.getpid())
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateError, match="locked"):
            start(session, "other")
    assert "a.json" in files(path)
    start(session, "other")
    assert (row(path), "a.json" in files(path)) == (("settled", 40_000_000), False)
    session.close()


# --- what cannot be read --------------------------------------------------------------------------------------------

USAGE = {"input_tokens": 10, "output_tokens": 40}
UNREADABLE: dict[str, object] = {
    "empty": "",
    "no JSON": "{",
    "no text": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "deep": "[" * 30_000,
    "a list": [],
    "another schema": document() | {"schema": "agentctl.unsettled/2"},
    "another attempt": document() | {"attempt_id": "b"},
    "an unknown kind": document("refund"),
    "no conclusion": document() | {"charge": None},
    "a field less": document() | {"charge": {"usage": USAGE}},
    "a field more": document(discount=1),
    "a negative amount": document(nano=-1),
    "a fraction": document(nano=0.5),
    "a truth": document(nano=True),
    "too much": document(nano=2**63),
    "a negative count": document(usage=USAGE | {"input_tokens": -1}),
    "a count as text": document(usage=USAGE | {"output_tokens": "40"}),
    "too many tokens": document(usage=USAGE | {"input_tokens": 2**63}),
    "a name that is none": document(model=7),
    "a reason that is none": document("doubt", reason=None),
    "a truth that is none": document("doubt", ceiling=1),
    "too long": json.dumps(document()) + " " * MOST_BYTES,
}


@pytest.mark.parametrize("content", UNREADABLE)
def test_unreadable_entry_stays_and_is_not_an_error_of_the_run(sent: LedgerSession, path: Path, content: str) -> None:
    file = put(path, UNREADABLE[content])
    before = file.read_bytes()
    next_start(path)
    assert (row(path), file.read_bytes()) == (("sent", HELD), before)
    (found,) = check(path).unsettled
    assert (found.file, check(path).wrong) == (file, ())
    assert found.problem


@pytest.fixture(params=["a pipe", "a link", "a folder", "another user's"])
def odd(request: pytest.FixtureRequest, path: Path) -> Path:
    file = put(path, document())
    target = file.with_name("elsewhere")
    file.rename(target)
    match request.param:
        case "a pipe":
            os.mkfifo(file)
        case "a link":
            file.symlink_to(target)
        case "a folder":
            file.mkdir()
        case _:
            target.rename(file)
            file.chmod(0)
            if os.geteuid() == 0:  # whom no mode holds
                file.unlink()
                file.mkdir()
    return file


def test_entry_that_is_not_a_file_is_left_alone(sent: LedgerSession, path: Path, odd: Path) -> None:
    next_start(path)
    assert row(path) == ("sent", HELD)
    (found,) = check(path).unsettled
    assert (found.file, found.problem != "") == (odd, True)


@pytest.mark.parametrize("name", ["../a.json", "a b.json", "é.json", f"{'x' * 101}.json", "a.json.json"])
def test_file_name_that_is_no_attempt_id_is_named_by_check(sent: LedgerSession, path: Path, name: str) -> None:
    file = put(path, document(), name=name.replace("..", "__").replace("/", " "))
    next_start(path)
    assert row(path) == ("sent", HELD)
    assert [one.problem for one in check(path).unsettled] == ["its name is not the id of an attempt"]
    assert file.exists()


def test_an_attempt_of_another_ledger_and_one_that_was_never_sent_are_named_by_check(
    sent: LedgerSession, path: Path
) -> None:
    sent.reserve(ask("b", tokens=100))
    put(path, document() | {"attempt_id": "b"}, "b.json")
    put(path, document() | {"attempt_id": "c"}, "c.json")
    next_start(path)
    assert {one.attempt_id: one.problem for one in check(path).unsettled} == {
        "b": "its attempt was not sent",
        "c": "its attempt is not in this ledger",
    }
    assert row(path, "b") == ("held", HELD)


def test_unreadable_entry_does_not_block_the_others(sent: LedgerSession, path: Path) -> None:
    put(path, "{", "A.json")
    put(path, document())
    next_start(path)
    assert (row(path), files(path)) == (("settled", 40_000_000), ["A.json", "first.spare"])


def test_check_shows_what_the_next_run_settles_and_changes_nothing(sent: LedgerSession, path: Path) -> None:
    file = sent.spool("a", CHARGE)
    (found,) = check(path).unsettled
    assert (found.attempt_id, found.run_id, str(found.file)) == ("a", "run", file)
    assert (found.kind, found.nano, found.tokens, found.problem) == ("charge", 40_000_000, PRICED_TOKENS, "")
    assert (row(path), "a.json" in files(path)) == (("sent", HELD), True)


def test_a_field_that_an_older_agentctl_did_not_write_has_its_default(sent: LedgerSession, path: Path) -> None:
    put(path, document() | {"charge": {"usage": USAGE, "nano": 40_000_000}})
    next_start(path)
    assert row(path, columns="phase, nano, answered_model") == ("settled", 40_000_000, None)


def test_no_file_of_the_spool_is_read_without_need(path: Path) -> None:
    """A start with an empty spool does not even make its folder."""
    next_start(path)
    assert not path.with_suffix(".unsettled").exists()
