"""Tests that start processes, beside ``tests/unit/cli/test_cli_costs.py``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from agentctl.core.limits import CostLimit
from tests.integration.cli.parts import run_into_closed_pipe
from tests.support.command_line import Commands, Ended
from tests.support.ledger.spending import Spender

MINUTE = timedelta(minutes=1)


async def _spend(path: Path) -> None:
    """Two runs, half an hour ago: three calls at known prices, one in doubt, one of unknown price."""
    spender = Spender(path, datetime.now(UTC) - 30 * MINUTE)
    limits = CostLimit(max_cost_per_task="0.5")
    await spender.run("7f3a", limits=limits, labels={"team": "web", "pr": "17"})
    await spender.run("8b00", agent="system", labels={"team": '=HYPERLINK("x")'})
    await spender.call("7f3a", 100, model="big", cached=4)
    await spender.call("7f3a", 25, model="small")
    await spender.call("8b00", 75, model="big")
    await spender.call("8b00", 50, model="big", end="doubt")
    await spender.ledger.aclose()


@pytest.fixture
def spent(state: Path) -> Path:
    """A ledger of $0.25, 0.05 of it in doubt."""
    anyio.run(_spend, state / "ledger.db")
    return state / "ledger.db"


@pytest.mark.usefixtures("spent")
def test_a_screen_without_block_characters_gets_ascii(agentctl: Commands) -> None:
    with agentctl.start("costs", "--last-hour", "--by", "model", env={"PYTHONIOENCODING": "ascii"}) as process:
        out, _ = process.communicate(timeout=60)
    text = out.decode("ascii")
    assert "90 % ####################\n" in text
    assert "\\" not in text
    assert "4 calls, $0.20, $0.05 in doubt\n" in text


def test_a_long_table_into_a_closed_pipe_is_silent(agentctl: Commands, spent: Path) -> None:
    with closing(sqlite3.connect(spent)) as db, db:
        db.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
            " INSERT INTO scopes (id, kind, opened_us) SELECT 'many' || i, 'run', 0 FROM n"
        )
        db.execute(
            "INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, input_bound, granted_output,"
            " hold_tokens, ceiling_tokens, nano, tokens, admitted, held_us, deadline_us, ended_us, leaves_hour_us)"
            " SELECT 'of ' || scopes.id, scopes.id, attempts.owner_id, purpose, phase, provider, 1, 1, 1, 1, 1, 1,"
            " '{}', held_us, deadline_us, ended_us, leaves_hour_us FROM scopes JOIN attempts ON attempts.id = '7f3a-1'"
            " WHERE scopes.id LIKE 'many%'"
        )
    for form in ("table", "csv", "json"):
        assert run_into_closed_pipe(agentctl, "costs", "--last-hour", "-o", form) == Ended(0, "", "")
    gated = run_into_closed_pipe(agentctl, "costs", "--last-hour", "--fail-above", "0.01")
    assert (gated.code, gated.err.startswith("error: $0.25")) == (3, True)
