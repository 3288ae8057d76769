"""Reconcile: an amount in doubt is given back once, all or none, and never under a living process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.budget.breaker import RefusalContext, refusal_error
from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold, Wait
from agentctl.core.errors import ActionDenied, UsageError, Verdict
from agentctl.core.messages import Usage
from agentctl.ledger.check import check
from agentctl.ledger.engines import open_database
from agentctl.ledger.provider_health import pause_or_probe
from agentctl.ledger.reconcile import By, Correction, LeftInDoubt, Reconciliation, clear_overrun, reconcile
from tests.support.ledger.corrections import CALL, begin, change, dies, left_in_doubt, opened, rows, send
from tests.support.ledger.parts import FACTS, HandClock, ask

LIVES = "its process is alive, and may still learn the cost"


def gives_back(path: Path, by: By, value: str, nano: int = 0, **more: object) -> Reconciliation:
    return reconcile(path, by, value, actual_nano=nano, who="me", **more)  # type: ignore[arg-type]


def was(name: str, nano: int = 0, *, above: bool = False) -> Correction:
    return Correction(name, "run", "p", "m", CALL, nano, above)


def test_a_run_gets_back_what_was_in_doubt_and_a_second_time_changes_nothing(path: Path) -> None:
    left_in_doubt(path, "a", "b")
    found = gives_back(path, "run", "run")
    assert (found, found.freed_nano) == (Reconciliation((was("a"), was("b"))), 2 * CALL)
    before = rows(path, "SELECT * FROM entries")
    assert gives_back(path, "run", "run", 5) == Reconciliation()
    assert rows(path, "SELECT * FROM entries") == before
    assert rows(path) == [("a", "settled", 0, 0, "hand"), ("b", "settled", 0, 0, "hand")]
    assert rows(path, "SELECT count(*) FROM entries WHERE reason = 'by hand: me'") == [(2,)]


@pytest.mark.parametrize(("by", "value"), [("run", "run"), ("provider", "p"), ("attempt", "a"), ("attempt", "abc")])
def test_a_dry_run_changes_nothing_not_even_what_the_dead_left(path: Path, by: By, value: str) -> None:
    session = opened(path, owner="dead")
    begin(session, "run")
    send(session, "abcd")
    dies(session, path, "dead")
    lock = path.with_suffix(".owners") / "traces"
    lock.touch()
    before = (
        rows(path, "SELECT * FROM attempts"),
        rows(path, "SELECT * FROM entries"),
        rows(path, "SELECT * FROM clock"),
    )
    assert gives_back(path, by, value, dry_run=True).done == (was("abcd"),)
    after = rows(path, "SELECT * FROM attempts"), rows(path, "SELECT * FROM entries"), rows(path, "SELECT * FROM clock")
    assert (before, lock.exists()) == (after, True)
    assert gives_back(path, by, value).done == (was("abcd"),)
    assert rows(path) == [("abcd", "settled", 0, 0, "hand")]


def test_reconcile_settles_nothing_under_a_living_owner(path: Path) -> None:
    left_in_doubt(path, "a")
    session = opened(path)
    begin(session, "other")
    send(session, "b", "other")
    session.doubt("b", "hung up", ceiling=False, provider_fault=True)
    send(session, "c", "other")
    for by, value in (("attempt", "b"), ("run", "other"), ("attempt", "c")):
        with pytest.raises(ActionDenied, match="a live process"):
            gives_back(path, by, value)  # type: ignore[arg-type]
    found = gives_back(path, "provider", "p")
    assert found == Reconciliation((was("a"),), (LeftInDoubt("b", "other", LIVES), LeftInDoubt("c", "other", LIVES)))
    assert [row[:2] for row in rows(path)] == [("a", "settled"), ("b", "doubt"), ("c", "sent")]
    session.close()
    assert [one.attempt_id for one in gives_back(path, "run", "other").done] == ["b", "c"]


def test_nonzero_amount_settles_one_attempt_and_zero_may_settle_many(path: Path) -> None:
    left_in_doubt(path, "a", "b")
    with pytest.raises(UsageError, match=r"an amount is for one attempt, but 2 of run run are in doubt"):
        gives_back(path, "run", "run", 7)
    assert gives_back(path, "attempt", "a", CALL + 1).done == (was("a", CALL + 1, above=True),)
    assert gives_back(path, "run", "run", CALL).done == (was("b", CALL),)
    assert rows(path) == [("a", "settled", CALL + 1, 266, "hand"), ("b", "settled", CALL, 266, "hand")]
    assert gives_back(path, "attempt", "a", 3).done == (Correction("a", "run", "p", "m", CALL + 1, 3),)
    assert check(path).wrong == ()


def test_late_usage_overrides_a_manual_amount_and_never_the_reverse(path: Path) -> None:
    left_in_doubt(path, "a")
    gives_back(path, "attempt", "a", 7)
    session = opened(path)
    assert session.settle("a", Charge(Usage(10, 20), 20_000_000, "m")).nano == 20_000_000
    assert session.settle("a", Charge(Usage(10, 30), 30_000_000, "m")).nano == 20_000_000
    session.close()
    with pytest.raises(UsageError, match="is already settled by the usage that its provider reported"):
        gives_back(path, "attempt", "a", 7)
    assert gives_back(path, "run", "run") == Reconciliation()
    assert rows(path) == [("a", "settled", 20_000_000, 30, "usage")]
    assert check(path).wrong == ()


@pytest.mark.parametrize(
    ("by", "value", "said"),
    [("run", "none", "no run none"), ("attempt", "x", "no attempt x"), ("provider", "q", "no call to q")],
)
def test_unknown_name_is_reported(path: Path, by: By, value: str, said: str) -> None:
    left_in_doubt(path, "a")
    with pytest.raises(UsageError, match=said):
        gives_back(path, by, value)


def test_prefix_of_an_id_is_enough_unless_two_ids_have_it(path: Path) -> None:
    left_in_doubt(path, "aa1", "aa2", "aa", run="run-1")
    with pytest.raises(UsageError, match="several attempts begin with a"):
        gives_back(path, "attempt", "a")
    assert [one.attempt_id for one in gives_back(path, "attempt", "aa").done] == ["aa"]
    assert len(gives_back(path, "run", "ru").done) == 2


def test_row_that_cannot_be_written_leaves_all_rows_as_they_were(path: Path) -> None:
    left_in_doubt(path, "a", "b")
    change(path, "CREATE TRIGGER stop BEFORE UPDATE ON attempts WHEN new.id = 'b' BEGIN SELECT RAISE(ABORT, 'no'); END")
    before = rows(path)
    with pytest.raises(Exception, match="no"):
        gives_back(path, "run", "run")
    assert rows(path) == before


def test_two_reconciles_at_once_settle_each_amount_once(path: Path) -> None:
    left_in_doubt(path, "a", "b", "c")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: gives_back(path, "run", "run"), range(2)))
    assert sum(len(one.done) for one in found) == 3
    assert rows(path, "SELECT count(*) FROM entries WHERE phase = 'settled'") == [(3,)]


def test_confirmed_calls_are_given_back_and_no_others(path: Path) -> None:
    left_in_doubt(path, "a", "b")
    assert gives_back(path, "run", "run", only={"a"}).done == (was("a"),)
    assert [row[1] for row in rows(path)] == ["settled", "doubt"]


def test_manual_amount_says_nothing_about_the_providers_health(path: Path, clock: HandClock) -> None:
    left_in_doubt(path, "a", "b", "c", clock=clock)
    clock.pass_by(1)
    gives_back(path, "attempt", "a", 7, clock=clock)
    store = open_database(path, clock=clock)
    with store.read() as tick:
        assert isinstance(pause_or_probe(tick, FACTS, pause_s=2.0), Wait)
    store.close()


def test_model_cleared_after_an_overrun_is_held_at_its_usual_worst_case(path: Path) -> None:
    session = opened(path)
    begin(session, "run")
    send(session, "a")
    assert session.settle("a", Charge(Usage(10, 300), 300_000_000, "m")).overrun
    assert send(session, "b").nano == 10_000 * 1_000_000
    with pytest.raises(UsageError, match="p/n never cost more"):
        clear_overrun(path, "p", "n")
    assert clear_overrun(path, "p", "m", dry_run=True)
    assert send(session, "c").nano == 10_000 * 1_000_000
    assert (clear_overrun(path, "p", "m"), clear_overrun(path, "p", "m")) == (True, False)
    assert send(session, "d").nano == CALL
    session.close()


def test_hint_names_the_run_or_the_other_runs_whose_doubt_refuses(
    path: Path,
) -> None:
    left_in_doubt(path, "a", "b", "c")
    session = opened(path)
    begin(session, "next")
    wanted = ask("d", "next", hour=Decimal(1))
    refused = session.reserve(wanted)
    assert isinstance(refused, Verdict)
    own = refusal_error(refused, FACTS, RefusalContext("next", 3 * CALL)).hint
    assert own.endswith("; if p shows that nothing was billed: agentctl ledger reconcile --run next --actual 0")
    others = refusal_error(refused, FACTS, RefusalContext("next", CALL)).hint
    assert (
        "; agentctl ledger check   lists what other runs have in doubt; if p billed none of it, at any address:"
        in others
    )
    assert others.endswith("agentctl ledger reconcile --provider p --actual 0")
    gives_back(path, "provider", "p")
    assert isinstance(session.reserve(wanted), Hold)
    session.close()


DEEDS = ("hold", "send", "doubt", "settle", "late", "void", "die", "reconcile run", "reconcile provider", "amount")
Deed = tuple[str, int, int]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 2), st.integers(0, 3)), max_size=25))
def test_reconcile_at_any_time_keeps_the_sums_of_the_history_and_living_holds(
    deeds: list[Deed],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = HandClock()
        story = Story(Path(folder) / "ledger.db", clock)
        for deed in deeds:
            clock.pass_by(1)
            story.goes_on(*deed)
        story.ends()


class Story:
    """Three owners with a run each, who call, fail, die and are replaced; somebody reconciles in between."""

    def __init__(self, path: Path, clock: HandClock) -> None:
        self.path, self.clock, self.number = path, clock, 0
        self.books = [opened(path, clock, owner=f"owner-{at}") for at in range(3)]
        self.owners = [f"owner-{at}" for at in range(3)]
        self.runs = [f"run-{at}" for at in range(3)]
        for at in range(3):
            begin(self.books[at], self.runs[at])
        self.buried: list[Callable[[], None]] = []

    def goes_on(self, deed: str, who: int, pick: int) -> None:
        session, run = self.books[who], self.runs[who]
        before = self.of_the_living()
        if deed in ("hold", "send"):
            self.number += 1
            name = f"call-{self.number:03}"
            if isinstance(session.reserve(ask(name, run)), Hold) and deed == "send":
                assert session.mark_sent(name)
        elif deed in ("doubt", "settle", "void", "late"):
            wanted = {"late": ("doubt", "settled"), "void": ("held", "sent")}.get(deed, ("sent",))
            mine = "SELECT id, phase FROM attempts WHERE owner_id = ?"
            found = [name for name, phase in rows(self.path, mine, self.owners[who]) if phase in wanted]
            if not found:
                return
            name = found[pick % len(found)]
            if deed == "doubt":
                session.doubt(name, "cut off", ceiling=pick == 3, provider_fault=False)
            elif deed == "void":
                session.void(name, "no connection")
            else:
                session.settle(name, Charge(Usage(10, 100 + pick), (100 + pick) * 1_000_000, "m"))
        elif deed == "die":
            dies(session, self.path, self.owners[who])
            self.buried.append(session.close)
            self.number += 1
            self.owners[who], self.runs[who] = f"later-{self.number}", f"run-later-{self.number}"
            self.books[who] = opened(self.path, self.clock, owner=self.owners[who])
            begin(self.books[who], self.runs[who])
        else:
            self.reconciles(deed, pick, before)
        self.is_right()

    def reconciles(self, deed: str, pick: int, before: list[object]) -> None:
        doubts = rows(self.path, "SELECT id, run_id FROM attempts WHERE phase = 'doubt' ORDER BY id")
        name, run = doubts[pick % len(doubts)] if doubts else ("", "")
        by, value = {"reconcile run": ("run", run), "amount": ("attempt", name)}.get(deed, ("provider", "p"))
        try:
            found = gives_back(self.path, by, value, pick if by == "attempt" else 0, clock=self.clock)  # type: ignore[arg-type]
        except (ActionDenied, UsageError):
            return
        finally:
            assert self.of_the_living() == before
        if by == "provider":
            left = rows(self.path, "SELECT count(*) FROM attempts WHERE phase IN ('doubt', 'sent')")
            assert left == [(len(found.left),)]

    def of_the_living(self) -> list[object]:
        found = rows(self.path, "SELECT owner_id, id, phase, nano, tokens FROM attempts ORDER BY id")
        return [row for row in found if row[0] in self.owners]

    def is_right(self) -> None:
        last = (
            "SELECT phase, sum(nano), sum(tokens) FROM entries"
            " WHERE id IN (SELECT max(id) FROM entries GROUP BY attempt_id) GROUP BY phase"
        )
        sums = rows(self.path, "SELECT phase, sum(nano), sum(tokens) FROM attempts GROUP BY phase")
        assert sums == rows(self.path, last)
        assert check(self.path, clock=self.clock).wrong == ()

    def ends(self) -> None:
        for close in (*self.buried, *(session.close for session in self.books)):
            close()
        assert os.listdir(self.path.with_suffix(".owners")) == []  # noqa: PTH208
