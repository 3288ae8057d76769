"""Starts a server in a sandbox and waits to be ended: ``python -m ...server_worker JSON``.

SIGTERM and Ctrl-C cancel what it does, as in a run; the exit code is then 0.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from agentctl.sandbox import server_process
from agentctl.sandbox.select import open_sandbox


async def serve(asked: dict[str, Any]) -> None:
    workspace = Path(asked["workspace"])
    sandbox = await open_sandbox(asked["tier"], workspace=workspace, network=False, read_only=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_at_a_signal, tasks.cancel_scope)
        async with server_process.start_server(
            ["sh", "-c", asked["script"]], env=asked["env"], workspace=workspace, sandbox=sandbox
        ) as server:
            assert await server.receive() == b"ready\n", server.why_ended
            print(server.tier, flush=True)
            await anyio.sleep_forever()
    sandbox.close()


async def _cancel_at_a_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


if __name__ == "__main__":
    anyio.run(serve, json.loads(sys.argv[1]))
