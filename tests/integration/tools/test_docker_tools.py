"""The container tools against a real engine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.toolbox import LazyToolbox, toolbox

pytest_plugins = ["tests.support.engine"]


@pytest.fixture
async def box(docker_host: str, tmp_path: Path) -> AsyncIterator[LazyToolbox]:
    async with toolbox(workspace=tmp_path, docker_host=docker_host) as made:
        yield made


def _docker(host: str, *words: str) -> str:
    environ = {**os.environ, "DOCKER_HOST": host}
    return subprocess.run(["docker", *words], env=environ, check=True, capture_output=True, text=True).stdout.strip()


def _first_cells(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines()[1:] if line.strip()}


async def test_running_containers_are_listed_and_stopped_ones_counted_and_named(box: LazyToolbox) -> None:
    text = await box.get("docker_ps")({})
    assert text.splitlines()[0].split() == ["name", "id", "image", "status", "ports", "created"]
    assert {"sample-web", "sample-worker"} <= _first_cells(text)
    assert "sample-failed" not in _first_cells(text)
    assert re.search(r"not running: .*\bsample-failed\b.* \(docker ps -a shows them\)\.\Z", text)


async def test_all_containers_are_listed_with_how_they_ended(box: LazyToolbox) -> None:
    text = await box.get("docker_ps")({"all": True})
    assert {"sample-web", "sample-worker", "sample-failed"} <= _first_cells(text)
    assert re.search(r"sample-failed .* Exited \(3\)", text)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"state": "exited"}, {"sample-failed"}),
        ({"state": "running", "name": "sample-"}, {"sample-web", "sample-worker"}),
        ({"name": "WORK"}, {"sample-worker"}),
        ({"name": "sample-w", "all": True}, {"sample-web", "sample-worker"}),
    ],
)
async def test_containers_are_chosen_by_state_and_by_name(
    box: LazyToolbox, arguments: dict[str, object], named: set[str]
) -> None:
    assert _first_cells(await box.get("docker_ps")(arguments)) == named


async def test_unhealthy_is_what_the_engine_says_and_no_stopped_container(box: LazyToolbox, docker_host: str) -> None:
    names = [f"sick-{os.getpid()}", f"paused-sick-{os.getpid()}", f"stopped-sick-{os.getpid()}"]
    check = ("--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1")
    for name in names:
        _docker(docker_host, "run", "-d", "--name", name, "--network", "none", *check, "busybox:local", "sleep", "99")
    try:
        for name in names:
            for _ in range(300):
                if "health         unhealthy" in await box.get("docker_inspect")({"name": name}):
                    break
                await anyio.sleep(0.1)
        _docker(docker_host, "pause", names[1])
        _docker(docker_host, "kill", names[2])
        kept = _docker(docker_host, "ps", "-a", "--filter", "health=unhealthy", "--format", "{{.Names}}").split()
        assert {*names} <= {*kept}  # the engine keeps a stopped container's last health
        found = await box.get("docker_ps")({"state": "unhealthy", "name": "sick"})
        assert _first_cells(found) == {*names[:2]}
        assert found.count("unhealthy)") == 2
        assert "health         when it ended: unhealthy" in await box.get("docker_inspect")({"name": names[2]})
    finally:
        _docker(docker_host, "rm", "-f", *names)


@pytest.mark.parametrize(
    ("driver", "command"),
    [
        ("none", "docker attach --no-stdin --sig-proxy=false <name>   (what it writes from now on)"),
        ("syslog", "sudo journalctl -t <id> -n 100   (or: sudo grep <id> /var/log/syslog)"),
        ("syslog tag=ci/{{.Name}}", "sudo journalctl -t ci/<name> -n 100   (or: sudo grep ci/<name> /var/log/syslog)"),
        (
            "syslog syslog-address=udp://log.example:514",
            "its lines go to udp://log.example:514   (or: docker attach --no-stdin --sig-proxy=false <name>)",
        ),
        ("syslog tag={{.ImageID}}", "docker attach --no-stdin --sig-proxy=false <name>   (what it writes from now on)"),
        ("journald", "sudo journalctl CONTAINER_NAME=<name> -n 100"),
    ],
)
async def test_log_that_cannot_be_read_says_so_with_a_line_to_paste(
    box: LazyToolbox, docker_host: str, driver: str, command: str
) -> None:
    driver, *options = driver.split()
    name, words = f"driver-{driver}-{os.getpid()}", [word for option in options for word in ("--log-opt", option)]
    words = ["--network", "none", "--log-driver", driver, *words]
    made = _docker(docker_host, "create", "--name", name, *words, "busybox:local")
    try:
        try:
            said = await box.get("docker_logs")({"name": name})  # where the machine has such a log: no line of it
        except EngineUnavailable as error:
            said = f"{error.message} {error.hint}"
        assert f"log driver is {driver}: " in said or f"can read (log driver {driver}): " in said
        assert said.endswith(command.replace("<name>", name).replace("<id>", made[:12]))
    finally:
        _docker(docker_host, "rm", name)


async def test_no_match_says_what_is_hidden(box: LazyToolbox) -> None:
    ps = box.get("docker_ps")
    assert await ps({"state": "paused"}) == "No paused containers."
    assert (
        await ps({"name": "sample-failed"}) == 'No running containers matching "sample-failed". '
        "1 container is not running: sample-failed (docker ps -a shows them)."
    )
    assert await ps({"name": "nobody", "all": True}) == 'No containers matching "nobody".'


async def test_logs_are_the_last_lines(box: LazyToolbox) -> None:
    with anyio.fail_after(20):
        while True:
            lines = (await box.get("docker_logs")({"name": "sample-web", "tail": 2})).splitlines()
            if len(lines) == 2:
                break
            await anyio.sleep(0.3)
    numbers = [int(line.removeprefix("tick ")) for line in lines]
    assert numbers[1] == numbers[0] + 1


async def test_logs_hold_what_went_to_stderr(box: LazyToolbox) -> None:
    assert await box.get("docker_logs")({"name": "sample-failed"}) == "fatal: no config"


async def test_logs_can_begin_at_a_moment(box: LazyToolbox) -> None:
    logs = box.get("docker_logs")
    assert await logs({"name": "sample-worker", "since": "0s"}) == "sample-worker has written nothing since 0s."
    assert await logs({"name": "sample-worker", "since": "2h"}) == "started"
    assert await logs({"name": "sample-worker", "since": "2020-01-31T08:00"}) == "started"
    with pytest.raises(ToolError, match="which is not a time"):
        await logs({"name": "sample-worker", "since": "yesterday-ish"})


async def test_a_flood_of_logs_is_cut_and_says_so(box: LazyToolbox, docker_host: str) -> None:
    noise = "i=0; while [ $i -lt 9000 ]; do echo line-$i-of-a-rather-long-log; i=$((i+1)); done; printf 'no end'"
    _docker(docker_host, "run", "--name", "flood", "--network", "none", "busybox:local", "sh", "-c", noise)
    try:
        text = await box.get("docker_logs")({"name": "flood", "tail": 10000})
    finally:
        _docker(docker_host, "rm", "-f", "flood")
    assert re.match(r"… [\d,]+ earlier lines left out \(the most is 60 KB\) …\n", text)
    assert text.endswith("line-8999-of-a-rather-long-log\nno end")
    assert len(text) < 64 * 1024


async def test_a_log_of_a_terminal_is_read_without_frames(box: LazyToolbox, docker_host: str) -> None:
    _docker(docker_host, "run", "-t", "--name", "tty", "--network", "none", "busybox:local", "echo", "\x1b[31mhello")
    try:
        text = await box.get("docker_logs")({"name": "tty"})
    finally:
        _docker(docker_host, "rm", "-f", "tty")
    assert text == "\\x1b[31mhello"


async def test_inspect_is_short_and_shows_no_secret(box: LazyToolbox, docker_host: str) -> None:
    words = [
        "--name",
        "secretive",
        "-e",
        "API_TOKEN=hunter2-hunter2",
        "-m",
        "32m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "9",
    ]
    mounts = ["-v", "agentctl-data:/data", "-v", "/tmp:/host:ro", "-p", "127.0.0.1:18080:80", "--restart", "on-failure"]
    _docker(docker_host, "run", "-d", *words, *mounts, "busybox:local", "sleep", "60")
    try:
        text = await box.get("docker_inspect")({"name": "secretive"})
        volumes = await box.get("docker_volumes")({})
        listed = await box.get("docker_ps")({"name": "secretive"})
        df = await box.get("docker_system_df")({})
    finally:
        _docker(docker_host, "rm", "-f", "secretive")
        _docker(docker_host, "volume", "rm", "agentctl-data")
    known = dict(line.split("  ", 1) for line in text.splitlines())
    known = {name: value.strip() for name, value in known.items()}
    assert "hunter2" not in text
    assert known["environment"].startswith("API_TOKEN")
    assert known["limits"] == "memory 32.0 MB, cpus 0.5, processes 9"
    assert known["ports"] == "127.0.0.1:18080->80/tcp"
    assert set(known["mounts"].split("; ")) == {"agentctl-data -> /data", "/tmp -> /host (read-only)"}
    assert known["networks"].startswith("bridge 172.")
    assert known["restarts"] == "0 (policy: on-failure)"
    assert known["state"].startswith("running for ")
    assert known["command"] == "sleep 60"
    assert re.search(r"^agentctl-data +local +yes ", volumes, re.MULTILINE)
    assert "127.0.0.1:18080->80/tcp" in listed
    assert re.search(r"^volumes +1 +1 ", df, re.MULTILINE)


async def test_volumes_say_which_are_in_use_and_networks_who_is_on_them(box: LazyToolbox, docker_host: str) -> None:
    _docker(docker_host, "volume", "create", "agentctl-spare")
    try:
        volumes = await box.get("docker_volumes")({})
    finally:
        _docker(docker_host, "volume", "rm", "agentctl-spare")
    networks = await box.get("docker_networks")({})
    assert re.search(r"^agentctl-spare +local +no ", volumes, re.MULTILINE)
    assert re.search(r"^bridge .* sample-web", networks, re.MULTILINE)
    assert re.search(r"^host .* -$", networks, re.MULTILINE)


async def test_inspect_shows_how_a_container_ended(box: LazyToolbox) -> None:
    text = await box.get("docker_inspect")({"name": "sample-failed"})
    assert re.search(r"^state +exited, ended .* ago$", text, re.MULTILINE)
    assert re.search(r"^exit code +3$", text, re.MULTILINE)


async def test_a_container_is_found_by_the_start_of_its_id(box: LazyToolbox, docker_host: str) -> None:
    identity = _docker(docker_host, "inspect", "-f", "{{.Id}}", "sample-web")
    assert re.search(r"^name +sample-web$", await box.get("docker_inspect")({"name": identity[:10]}), re.MULTILINE)


async def test_stats_measure_running_containers_only(box: LazyToolbox) -> None:
    stats = box.get("docker_stats")
    text = await stats({})
    assert {"sample-web", "sample-worker"} <= _first_cells(text)
    assert re.search(r"^sample-worker +\d+\.\d % .* 64\.0 MB ", text, re.MULTILINE)
    assert re.match(r"most memory: [\w-]+ \(\d", text.splitlines()[-1])
    assert "most memory" not in await stats({"name": "sample-web"})
    assert await stats({"name": "sample-failed"}) == "sample-failed is not running (state: exited)."


async def test_images_networks_and_disk_use_are_listed(box: LazyToolbox) -> None:
    assert "busybox:local" in _first_cells(await box.get("docker_images")({}))
    assert await box.get("docker_images")({"name": "nginx"}) == 'No images match "nginx".'
    assert {"bridge", "host", "none"} <= _first_cells(await box.get("docker_networks")({}))
    df = await box.get("docker_system_df")({})
    assert [line.split("  ")[0] for line in df.splitlines()[1:]] == ["images", "containers", "volumes", "build cache"]


@pytest.mark.parametrize("tool", ["docker_logs", "docker_inspect", "docker_stats"])
async def test_missing_container_is_reported_with_the_nearest_name(box: LazyToolbox, tool: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        await box.get(tool)({"name": "sample-wbe"})
    assert caught.value.message == 'No such container: sample-wbe. Did you mean "sample-web"?'
    assert "sample-worker" in caught.value.hint


async def test_a_name_that_is_a_path_asks_for_nothing_else(box: LazyToolbox) -> None:
    for name in ("../images/json?x=", "sample-web/json", "a b", "-x", "\x1b[2J"):
        with pytest.raises(EngineUnavailable, match="No such container"):
            await box.get("docker_inspect")({"name": name})


async def test_reads_at_the_same_time_share_one_client(box: LazyToolbox) -> None:
    texts: list[str] = []

    async def ask(name: str) -> None:
        texts.append(await box.get(name)({}))

    async with anyio.create_task_group() as group:
        for name in ("docker_ps", "docker_images", "docker_networks", "docker_volumes") * 5:
            group.start_soon(ask, name)
    assert len(texts) == 20


async def test_a_toolbox_can_be_used_again_after_it_was_closed(box: LazyToolbox) -> None:
    before = await box.get("docker_images")({})
    await box.aclose()
    await box.aclose()
    assert (await box.get("docker_images")({})).splitlines()[0] == before.splitlines()[0]


@contextmanager
def _as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_missing_permission_for_the_socket_gets_a_line_to_paste(docker_host: str) -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root, to become someone else")
    engine = DockerEngine(docker_host)
    with _as_nobody(), pytest.raises(EngineUnavailable) as caught:
        await engine.get("containers/json")
    await engine.aclose()
    assert caught.value.message.startswith("No permission for the container engine's socket /")
    assert caught.value.hint.startswith('sudo usermod -aG docker "$USER"')
