"""An engine that hangs, dies or is stopped: each tool reports what it was doing."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from agentctl.core.errors import EngineUnavailable
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.toolbox import toolbox
from tests.support.docker_parts import command_line, wait_for_new

if TYPE_CHECKING:
    from tests.support.engine import PrivateEngine

pytest_plugins = ["tests.support.engine"]


async def test_killed_engine_is_reported_by_every_waiting_call(private_engine: PrivateEngine, tmp_path: Path) -> None:
    failed: dict[str, EngineUnavailable] = {}
    docker = command_line(private_engine.host)
    async with toolbox(workspace=tmp_path, docker_host=private_engine.host) as box:

        async def use(tool: str, arguments: Mapping[str, Any]) -> None:
            try:
                await box.get(tool)(arguments)
            except EngineUnavailable as error:
                failed[tool] = error

        asked: dict[str, dict[str, object]] = {
            "docker_run": {"image": "busybox:local", "command": "sleep 100"},
            "docker_exec": {"name": "sample-web", "command": "sleep 887"},
            "docker_stop": {"name": "sample-worker", "timeout": 60},
        }
        prepared = {tool: await box.get(tool).prepare(arguments) for tool, arguments in asked.items()}
        async with anyio.create_task_group() as group:
            for tool, arguments in prepared.items():
                group.start_soon(use, tool, arguments)
            await anyio.to_thread.run_sync(wait_for_new, docker, set[str]())
            await anyio.sleep(1)
            [pid] = private_engine.processes()
            os.kill(pid, signal.SIGKILL)
    assert "closed the connection in mid-answer" in failed["docker_run"].message
    assert "its container is still there: docker rm -f" in failed["docker_run"].hint
    assert re.search(
        "closed the connection in mid-answer|No container engine is running", failed["docker_exec"].message
    )
    assert "may still run in the container" in failed["docker_exec"].hint
    assert "closed the connection in mid-answer" in failed["docker_stop"].message
    doubt = "Whether the change was made is not known: look with docker_ps(all=true)."
    assert doubt in failed["docker_stop"].message


async def test_an_engine_that_hangs_and_is_stopped_ends_a_call_and_is_missing_for_the_next(
    private_engine: PrivateEngine, tmp_path: Path
) -> None:
    engine = DockerEngine(private_engine.host, patience=0.5)
    patient = DockerEngine(private_engine.host, patience=60)
    assert await patient.get("containers/sample-web/json")
    [pid] = private_engine.processes()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineUnavailable, match=r"did not answer within 0\.5 s"):
        await engine.get("containers/json")
    os.kill(pid, signal.SIGCONT)
    failed: list[EngineUnavailable] = []

    async def logs() -> None:
        try:
            async with patient.stream("containers/sample-web/logs", stdout="1", tail="5") as chunks:
                async for _ in chunks:
                    pass
        except EngineUnavailable as error:
            failed.append(error)

    async with toolbox(workspace=tmp_path, docker_host=private_engine.host) as box:
        assert "sample-web" in await box.get("docker_ps")({})
        os.kill(pid, signal.SIGSTOP)
        async with anyio.create_task_group() as group:
            group.start_soon(logs)
            await anyio.sleep(0.3)
            await anyio.to_thread.run_sync(private_engine.stop)
        with pytest.raises(EngineUnavailable) as caught:
            await box.get("docker_ps")({})
    await engine.aclose()
    await patient.aclose()
    assert [error.status for error in failed] == ["unavailable"]
    # The client may retry on a reused connection, and then gets no response.
    assert re.search("closed the connection in mid-answer|No container engine is running", failed[0].message)
    assert caught.value.message.startswith(("No container engine is running", "The container engine at"))
    assert "sudo systemctl start docker" in caught.value.hint
