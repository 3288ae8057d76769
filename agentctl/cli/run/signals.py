"""Drives one run and listens for Ctrl-C and SIGTERM meanwhile."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from agentctl.cli.ui.terminal import restore_sequence

if TYPE_CHECKING:
    from agentctl.core.results import RunResult
    from agentctl.runner.orchestrator import Orchestrator


async def run_until_signal(orchestrator: Orchestrator, task: str) -> RunResult:
    """Run ``task`` to its end; a first signal asks it to stop, a second one ends the process."""
    ended: list[RunResult] = []
    broken: list[Exception] = []
    async with anyio.create_task_group() as group:
        await group.start(_listen, orchestrator)
        try:
            ended.append(await orchestrator.run(task))
        except Exception as error:  # noqa: BLE001 - raised below, as itself and not in a group
            broken.append(error)
        group.cancel_scope.cancel()
    if broken:
        raise broken[0]
    return ended[0]


async def _listen(orchestrator: Orchestrator, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        asked = False
        async for number in signals:
            if asked:
                exit_at_once(number, None)
            asked = True
            orchestrator.interrupt(terminated=number == signal.SIGTERM)
            # From here on at once, even where the event loop hangs in something that cannot be cancelled.
            signal.signal(signal.SIGINT, exit_at_once)
            signal.signal(signal.SIGTERM, exit_at_once)


def exit_at_once(number: int, frame: object) -> None:
    """Give the terminal back and end; the journal is on disk up to here, and the ledger's holds outlive us."""
    os.write(2, restore_sequence() + b"\nforced: what was sent counts as spent\n")
    os._exit(128 + number)
