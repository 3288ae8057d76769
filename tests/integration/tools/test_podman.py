"""The container tools at a real engine of Podman: where its answers differ from Docker's, ours do not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentctl.core.errors import AgentctlError, EngineUnavailable, ToolError
from agentctl.tools.docker.client import DockerEngine, EngineRefused
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support.command_line import Here
from tests.support.docker_parts import Docker, act, command_line

if TYPE_CHECKING:
    from tests.support.engine import PrivateEngine

pytest_plugins = ["tests.support.engine"]

BUSY = ("sh", "-c", "while :; do :; done")
IDLE = ("sh", "-c", 'trap "exit 0" TERM; while :; do sleep 0.1; done')


@pytest.fixture(scope="module")
def docker(podman_engine: PrivateEngine) -> Iterator[Docker]:
    """Give Docker's command line at Podman, with some containers: idle, paused, sick, failed, mute."""
    docker = command_line(podman_engine.host)
    run = ("run", "-d", "--network", "none", "--name")
    docker(*run, "idle", "busybox:local", *IDLE)
    docker(*run, "paused", "busybox:local", *IDLE)
    docker("pause", "paused")
    sick = ("--health-cmd", "false", "--health-retries", "1", "--health-interval", "1h")
    docker(*run, "sick", *sick, "busybox:local", *IDLE)
    docker(*run, "well", "--health-cmd", "true", "--health-interval", "1h", "busybox:local", *IDLE)
    for name in ("sick", "well"):  # without systemd there is no timer that would ask
        docker.read(f"/v4.0.0/libpod/containers/{name}/healthcheck")
    docker(*run, "mute", "--log-driver", "none", "busybox:local", *IDLE)
    docker(*run, "failed", "busybox:local", "sh", "-c", "echo no table; exit 3")
    docker("wait", "failed")
    yield docker
    docker("rm", "-f", "idle", "paused", "sick", "well", "mute", "failed", check=False)


@pytest.fixture
async def box(docker: Docker, tmp_path: Path) -> AsyncIterator[LazyToolbox]:
    async with toolbox(workspace=tmp_path, docker_host=docker.host) as made:
        yield made


@pytest.fixture
def ask(here: Here, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Give the command line at Podman."""
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    return here


def _rows(table: str) -> dict[str, list[str]]:
    return {line.split()[0]: re.split(r"  +", line)[1:] for line in table.splitlines()[1:] if "  " in line}


async def test_unhealthy_container_is_found_though_no_status_says_so(box: LazyToolbox, docker: Docker) -> None:
    listed = docker.read("/containers/json?all=1")
    assert not any("healthy" in entry["Status"] for entry in listed)
    assert [*_rows(await box.get("docker_ps")({"state": "unhealthy"}))] == ["sick"]
    assert [*_rows(await box.get("docker_ps")({"state": "healthy"}))] == ["well"]
    assert await box.get("docker_ps")({"state": "starting"}) == "No starting containers."
    rows = _rows(await box.get("docker_ps")({"all": True}))
    assert rows["sick"][2].endswith(" (unhealthy)")
    assert rows["well"][2].endswith(" (healthy)")
    assert "healthy" not in rows["idle"][2]


async def test_paused_container_is_measured_and_a_busy_one_uses_a_processor(box: LazyToolbox, docker: Docker) -> None:
    docker("run", "-d", "--network", "none", "--name", "busy", "busybox:local", *BUSY)
    try:
        rows = _rows(await box.get("docker_stats")({}))
    finally:
        docker("rm", "-f", "busy")
    assert {"busy", "paused", "sick"} <= rows.keys()
    assert "failed" not in rows
    assert float(rows["busy"][0].removesuffix(" %")) > 5
    assert rows["paused"][0] == "0.0 %"


async def test_disk_report_counts_what_images_share_once(box: LazyToolbox, docker: Docker) -> None:
    listed = _rows(await box.get("docker_images")({}))
    assert "busybox:local" in listed
    kind = _rows(await box.get("docker_system_df")({}))["images"]
    assert kind[2] == listed["busybox:local"][1] != "0 B"
    write = ("dd", "if=/dev/zero", "of=/big", "bs=3M", "count=1")
    docker("run", "--name", "grown", "--network", "none", "busybox:local", *write)
    try:
        docker.read("/v4.0.0/libpod/commit?container=grown&repo=grown&tag=local", method="POST")
        listed = _rows(await box.get("docker_images")({}))
        assert float(listed["localhost/grown:local"][1].removesuffix(" MB")) == pytest.approx(5.0, abs=0.3)
        kind = _rows(await box.get("docker_system_df")({}))["images"]
        assert kind[2] == listed["localhost/grown:local"][1]
    finally:
        docker("rm", "grown")
        docker("rmi", "localhost/grown:local", check=False)


async def test_hints_name_podmans_commands(box: LazyToolbox, docker: Docker) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        await box.get("docker_logs").prepare({"name": "zork"})
    assert caught.value.hint.endswith("(podman ps -a)")
    assert " (podman ps -a shows them)." in await box.get("docker_ps")({})
    engine = DockerEngine(docker.host)
    try:
        with pytest.raises(EngineRefused) as refused:
            await engine.get("containers/json", filters='{"status": ["zork"]}')
    finally:
        await engine.aclose()
    assert refused.value.hint == "look at its log: sudo journalctl -u podman -n 50"


async def test_log_that_no_driver_keeps_is_named_with_a_line_to_paste(box: LazyToolbox) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        await act(box, "docker_logs", name="mute")
    assert caught.value.message == (
        "mute has no log that the engine can read (log driver none): this container is not logging output."
    )
    assert caught.value.hint == "podman attach --no-stdin --sig-proxy=false mute   (what it writes from now on)"


async def test_what_podman_refuses_for_a_paused_container_is_explained(box: LazyToolbox) -> None:
    for tool, more in (("stop", {"timeout": 1}), ("start", {}), ("restart", {}), ("exec", {"command": "true"})):
        with pytest.raises(AgentctlError, match=r"^paused is paused") as caught:
            await act(box, f"docker_{tool}", name="paused", **more)
        assert caught.value.hint == "first: docker_unpause(name=paused)"
    assert (await act(box, "docker_unpause", name="paused")).startswith("paused goes on.\nstate: running for ")
    assert (await act(box, "docker_unpause", name="paused")).startswith("paused is not paused: nothing was changed.")
    assert (await act(box, "docker_pause", name="paused")).startswith("paused was paused.\nstate: paused for ")
    with pytest.raises(ToolError, match="failed is not running and cannot be paused"):
        await act(box, "docker_pause", name="failed")


async def test_restart_shows_only_what_was_written_since(box: LazyToolbox) -> None:
    for _ in range(2):
        assert (await act(box, "docker_restart", name="failed")).endswith("the last 1 line that it wrote:\nno table")


async def test_refusals_of_podman_are_understood(box: LazyToolbox) -> None:
    with pytest.raises(ToolError, match="idle is running and was not removed"):
        await act(box, "docker_rm", name="idle")
    with pytest.raises(ToolError, match=r"^zork was not started in idle: .*not found"):
        await act(box, "docker_exec", name="idle", command="zork")
    with pytest.raises(ToolError, match="a container named idle already exists"):
        await act(box, "docker_run", image="busybox:local", command="true", name="idle")
    assert (await act(box, "docker_run", image="busybox:local", command="echo ran")).endswith("stdout:\nran")


async def test_state_that_podman_does_not_have_is_said(box: LazyToolbox) -> None:
    said = await box.get("docker_ps")({"state": "restarting"})
    assert said == "No restarting containers. Podman has no such state."


def test_builtin_answers_and_names_podmans_commands(ask: Here) -> None:
    run = ("run", "--provider", "builtin", "--input", "none")
    ended = ask(*run, "Which containers are unhealthy?")
    assert (ended.code, [*_rows(ended.out)]) == (0, ["sick"])
    assert 'same as "podman ps --filter health=unhealthy"' in ended.err
    ended = ask(*run, "Unpause the container mute")
    assert (ended.code, ended.out) == (5, "")
    assert "To do it yourself: podman unpause mute" in ended.err
    ended = ask(*run, "logs of mute")
    assert "podman attach --no-stdin --sig-proxy=false mute" in ended.err


def test_doctor_names_podman(ask: Here) -> None:
    checks = ask("doctor", "--offline", "--json").document["checks"]
    [said] = [check["said"] for check in checks if check["about"] == "engine"]
    assert re.match(r"Podman \d+\.\d+.*, API 1\.\d+ at unix:", said)
