"""Adds calls to a cost history: ``python history_writer.py FILE RUN CALLS``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio

from agentctl.core.events import CallSettled, Record
from agentctl.journal.cost_history import CostHistory
from tests.support.face import COST, USED


async def main() -> None:
    history = CostHistory(Path(sys.argv[1]), warn=sys.exit)
    for number in range(int(sys.argv[3])):
        await history.observe(Record(sys.argv[2], number, datetime.now(UTC), CallSettled(str(number), USED, COST)))


anyio.run(main)
