"""The audit that watches every step of the bill's tests finds what is wrong."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.support.bill.audit import Audit
from tests.support.bill.parts import KEY, PAID, PENNY, Here, Paid, reaching
from tests.support.wire.client import ask
from tests.support.wire.server import Answer, Tokens, WireServer

PRICED = PAID["openai"]


async def audited(folder: Path, script: object, paid: Paid = PRICED) -> tuple[Here, Audit]:
    """Run one task at an audited server of its own."""
    folder.mkdir(exist_ok=True)
    here = Here(folder / "someone")
    audit = Audit(here.state / "ledger.db")
    with WireServer(script, rates=paid.rates, keys=[KEY]) as server:  # type: ignore[arg-type]
        audit.watch(server.books)
        await here.run(reaching(server, "openai") | {"LLM_MODEL": paid.model}, max_cost_per_task="0.50")
    return here, audit


def change(here: Here, sql: str, *values: object) -> None:
    """Write a wrong row into the ledger."""
    with closing(sqlite3.connect(here.state / "ledger.db")) as db:
        db.execute("DROP TRIGGER entries_stay")
        db.execute(sql, values)
        db.commit()


async def test_audit_finds_nothing_at_any_step_of_an_honest_run(tmp_path: Path) -> None:
    _, audit = await audited(tmp_path, PRICED.brief)
    assert audit.steps >= 6  # each of two requests was heard, billed and ended
    audit.close()
    assert audit.spent == audit.total == 80_000_000


async def test_audit_finds_a_request_without_a_hold(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "ledger.db")
    with WireServer(Answer("hello"), rates=PRICED.rates) as server:
        audit.watch(server.books)
        ask(server, "openai")
    with pytest.raises(AssertionError, match="billed, and only 0 spent"):
        audit.close()


@pytest.mark.parametrize("phase", ["settled", "void"])
async def test_audit_finds_an_answer_without_usage_settled_at_zero_or_voided(tmp_path: Path, phase: str) -> None:
    here, audit = await audited(tmp_path, [partial(PRICED.brief, usage="omit"), *[PRICED.brief] * 2])
    audit.look()
    assert audit.wrong == []
    change(here, "UPDATE attempts SET phase = ?, nano = 0 WHERE phase = 'doubt'", phase)
    with pytest.raises(AssertionError, match="billed, and only"):
        audit.close()


async def test_audit_finds_a_charge_without_a_bill(tmp_path: Path) -> None:
    here, audit = await audited(tmp_path, PRICED.brief)
    change(here, "UPDATE attempts SET nano = nano + 1, settled_by = 'usage'")
    with pytest.raises(AssertionError, match="80000002 spent, and only 80000000 billed"):
        audit.close()


@pytest.mark.parametrize("limit", ["max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task"])
async def test_audit_finds_an_admission_above_a_limit_and_a_wrong_sum(tmp_path: Path, limit: str) -> None:
    here, _ = await audited(tmp_path, PRICED.brief)
    with closing(sqlite3.connect(here.state / "ledger.db")) as db:
        rows = db.execute(
            "SELECT id, admitted FROM attempts WHERE phase = 'settled' ORDER BY held_us, rowid"
        ).fetchall()
    first, admitted = rows[0]
    stored = json.loads(admitted)
    name = next(name for name in stored if name.partition("@")[0] == limit)
    ceiling, before = stored[name]
    for wrong, said in (([before, before], "above"), ([ceiling, -1], "was taken to stand")):
        change_to = json.dumps({**stored, name: wrong})
        with closing(sqlite3.connect(here.state / "ledger.db")) as db, db:
            db.execute("UPDATE attempts SET admitted = ? WHERE id = ?", (change_to, first))
        with pytest.raises(AssertionError, match=f"{said}.*{limit}"):
            Audit(here.state / "ledger.db").close()


async def test_a_broken_clamp_is_judged_apart_and_once_for_each_process(tmp_path: Path) -> None:
    over = partial(PENNY.busy, output_tokens=12_000, obeys=False)
    _, audit = await audited(tmp_path, over, PENNY)
    audit.close()
    assert audit.spent > PENNY.rates.nano(Tokens(0, 12_000))
    here, audit = await audited(tmp_path / "again", PENNY.brief, PENNY)
    audit.close()
    change(here, "UPDATE attempts SET hold_nano = 1")
    with pytest.raises(AssertionError, match="not the only call of its process"):
        audit.close()
