"""Ledgers of an older schema, and every way to open one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.core.limits import CostLimit
from agentctl.ledger.check import check
from agentctl.ledger.database import Database
from agentctl.ledger.forecast import forecast_first_call
from agentctl.ledger.inspection import inspect_ledger
from agentctl.ledger.report import costs_window
from agentctl.ledger.schema import MIGRATIONS
from tests.support.ledger.corrections import rows
from tests.support.ledger.many_rows import fill
from tests.support.ledger.parts import ask

ROWS = 3_000
LATEST = len(MIGRATIONS)


def look_ahead(path: Path) -> None:
    forecast_first_call(path, ask("first"), CostLimit(), agent="a")


OPENERS: dict[str, Callable[[Path], object]] = {
    "run": lambda path: Database(path).close(),
    "costs": lambda path: costs_window(path, seconds=60),
    "check": check,
    "doctor": inspect_ledger,
    "estimate": look_ahead,
}


@pytest.fixture
def older(path: Path) -> Path:
    fill(path, ROWS, schema=1)
    return path


def version_of(path: Path) -> int:
    ((version,),) = rows(path, "PRAGMA user_version")
    return int(version)
