"""docker_run: its restrictions, the report of its end, and that no container stays behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.core.errors import ToolError
from agentctl.tools.docker.orphans import process_identity
from agentctl.tools.toolbox import LazyToolbox, toolbox
from tests.support import fork_server
from tests.support.docker_parts import Docker, Make, act, inspected, ours, wait_for_new

pytest_plugins = ["tests.support.engine", "tests.support.docker_plugin"]
pytestmark = pytest.mark.usefixtures("nothing_left")
IMAGE = "busybox:local"
FRAME = {  # what the engine keeps of HostConfig, whole
    "AutoRemove": False,
    "Binds": None,
    "BlkioDeviceReadBps": None,
    "BlkioDeviceReadIOps": None,
    "BlkioDeviceWriteBps": None,
    "BlkioDeviceWriteIOps": None,
    "BlkioWeight": 0,
    "BlkioWeightDevice": None,
    "CapAdd": None,
    "CapDrop": ["ALL"],
    "Cgroup": "",
    "CgroupParent": "",
    "CgroupnsMode": "host",
    "ConsoleSize": [0, 0],
    "ContainerIDFile": "",
    "CpuCount": 0,
    "CpuPercent": 0,
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpuShares": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "Devices": None,
    "Dns": None,
    "DnsOptions": None,
    "DnsSearch": None,
    "ExtraHosts": None,
    "GroupAdd": None,
    "IOMaximumBandwidth": 0,
    "IOMaximumIOps": 0,
    "Init": True,
    "IpcMode": "private",
    "Isolation": "",
    "KernelMemory": 0,
    "KernelMemoryTCP": 0,
    "Links": None,
    "LogConfig": {"Type": "json-file", "Config": {"max-file": "1", "max-size": "10m"}},
    "Memory": 536870912,
    "MemoryReservation": 0,
    "MemorySwap": 536870912,
    "MemorySwappiness": None,
    "NanoCpus": 1000000000,
    "NetworkMode": "none",
    "OomKillDisable": False,
    "OomScoreAdj": 0,
    "PidMode": "",
    "PidsLimit": 256,
    "PortBindings": {},
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": True,
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "Runtime": "runc",
    "SecurityOpt": ["no-new-privileges:true"],
    "ShmSize": 67108864,
    "Tmpfs": {"/tmp": "rw,nosuid,nodev,noexec,size=67108864"},
    "UTSMode": "",
    "Ulimits": None,
    "UsernsMode": "",
    "VolumeDriver": "",
    "VolumesFrom": None,
}


async def _detached(box: LazyToolbox, docker: Docker, **arguments: object) -> dict[str, Any]:
    """Return what the engine says about a container that was left running, and remove it."""
    told = await act(box, "docker_run", image=IMAGE, detach=True, **{"command": "sleep 100", **arguments})
    name = told.split()[0]
    try:
        return inspected(docker, name)
    finally:
        docker("rm", "-f", name)


async def test_a_command_runs_to_its_end_and_its_container_is_removed(box: LazyToolbox) -> None:
    told = await act(box, "docker_run", image=IMAGE, command="sh -c 'echo out; echo err >&2; exit 4'")
    assert re.fullmatch(r"exit code 4 after \d+\.\d s; the container was removed\nstdout:\nout\nstderr:\nerr", told)


async def test_every_restriction_reaches_the_engine(box: LazyToolbox, docker: Docker) -> None:
    found = await _detached(box, docker)
    host = {key: value for key, value in found["HostConfig"].items() if key in FRAME or value}
    paths = {"MaskedPaths", "ReadonlyPaths"}
    assert paths <= set(host)  # the engine's own masks of /proc and /sys stay
    frame = {**FRAME, "CgroupnsMode": host["CgroupnsMode"], "Runtime": host["Runtime"]}  # the engine's own choice
    assert {key: value or None for key, value in host.items() if key not in paths} == {
        key: value or None for key, value in frame.items()
    }
    assert found["Config"]["User"] == ""
    assert not found["Config"]["Env"]
    assert found["Mounts"] == []
    assert set(found["Config"]["Labels"]) == {"agentctl.sample", "agentctl.run", "agentctl.owner", "agentctl.call"}


async def test_each_option_changes_only_its_own_restriction(box: LazyToolbox, docker: Docker, tmp_path: Path) -> None:
    plain = (await _detached(box, docker))["HostConfig"]
    found = await _detached(
        box, docker, network=True, writable=True, workspace=True, ports=["0:80", "127.0.0.1:18077:81/udp"],
        memory_mb=64, env={"A": "1 2", "EMPTY": ""}, name="t-asked",
    )  # fmt: skip
    host = found["HostConfig"]
    mount = {
        "Type": "bind",
        "Source": str(tmp_path.resolve()),
        "Target": "/workspace",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}],
        "81/udp": [{"HostIp": "127.0.0.1", "HostPort": "18077"}],
    }
    assert {key: value for key, value in host.items() if value != plain.get(key)} == {
        "NetworkMode": "bridge",
        "ReadonlyRootfs": False,
        "Mounts": [mount],
        "PortBindings": bindings,
        "Memory": 64 * 2**20,
        "MemorySwap": 64 * 2**20,
    }
    assert "Tmpfs" not in host
    assert found["Name"] == "/t-asked"
    assert found["Config"]["Env"][:2] == ["A=1 2", "EMPTY="]
    assert found["Config"]["WorkingDir"] == "/workspace"


async def test_container_has_no_privileges_no_network_and_nothing_to_write_to(box: LazyToolbox, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("readable")
    (tmp_path / "note").chmod(0o644)
    looks = 'grep -E "CapEff|NoNewPrivs" /proc/self/status; ls /sys/class/net; cat note; echo fine > /tmp/y; cat /tmp/y'
    writes = "for p in /x /etc/passwd /workspace/note /workspace/new; do echo > $p; done"
    told = await act(box, "docker_run", image=IMAGE, command=f"sh -c '{looks}; {writes}'", workspace=True)
    assert re.search(r"CapEff:\s+0{16}\nNoNewPrivs:\s+1\nlo\nreadablefine\n", told)
    assert told.count("Read-only file system") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


async def test_processes_and_memory_have_an_end(box: LazyToolbox) -> None:
    storm = "sh -c 'i=0; while [ $i -lt 400 ]; do sleep 30 & i=$((i+1)); done'"
    told = await act(box, "docker_run", image=IMAGE, command=storm, timeout=30)
    assert re.search(r"can't fork|Resource temporarily unavailable", told)
    told = await act(box, "docker_run", image=IMAGE, command="sh -c 'tail /dev/zero'", memory_mb=16)
    assert "it was killed for lack of memory (memory_mb=16)" in told


async def test_container_left_running_is_named_and_stays(box: LazyToolbox, docker: Docker) -> None:
    told = await act(
        box, "docker_run", image=IMAGE, command="httpd -f -h / -p 80", name="t-stays", detach=True, network=True,
        ports=["80"],
    )  # fmt: skip
    try:
        assert re.fullmatch(
            r"t-stays was started and keeps running \(docker_stop, docker_rm end it\)\.\n"
            r"state: running for \d+ s, pid \d+\nports: 127\.0\.0\.1:\d+->80/tcp",
            told,
        )
        await act(box, "docker_run", image=IMAGE, command="true")  # sweeps
        assert inspected(docker, "t-stays")["State"]["Running"] is True
        with pytest.raises(ToolError, match="a container named t-stays already exists"):
            await act(box, "docker_run", image=IMAGE, name="t-stays")
        port = told.rpartition("127.0.0.1:")[2].partition("-")[0]
        with pytest.raises(ToolError, match="a port is already in use"):
            await act(box, "docker_run", image=IMAGE, network=True, ports=[f"{port}:80"], command="sleep 9")
    finally:
        docker("rm", "-f", "t-stays")


async def test_detached_container_that_ends_at_once_is_an_error_and_removed(box: LazyToolbox) -> None:
    with pytest.raises(ToolError) as caught:
        await act(box, "docker_run", image=IMAGE, command="sh -c 'echo no config; exit 3'", detach=True)
    assert caught.value.message.endswith(
        "ended within a second, and was removed again.\nexit code: 3\nthe last 1 line that it wrote:\nno config"
    )


async def test_a_command_that_does_not_end_is_ended(box: LazyToolbox) -> None:
    told = await act(box, "docker_run", image=IMAGE, command="sh -c 'echo begun; sleep 1000'", timeout=1)
    assert told == "timed out: it was stopped after 1 s and removed (timeout, 600 at most)\nstdout:\nbegun"


async def test_a_flood_is_bounded_and_says_so(box: LazyToolbox) -> None:
    told = await act(box, "docker_run", image=IMAGE, command="sh -c 'yes 0123456789 | head -c 3000000'", timeout=120)
    assert len(told) < 200_000
    assert "left out" in told


async def test_a_shells_signs_outside_a_shell_are_pointed_out(box: LazyToolbox) -> None:
    told = await act(box, "docker_run", image=IMAGE, command="echo a | wc -l")
    assert "stdout:\na | wc -l" in told
    assert "note: no shell ran this" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"image": "--privileged"}, "is not a valid image name"),
        ({"image": "-v /:/host busybox:local"}, "is not a valid image name"),
        ({"image": "busybox:local --privileged"}, "is not a valid image name"),
        ({"image": "busybox:local\n"}, "is not a valid image name"),
        ({"image": "busybox\0:local"}, "is not a valid image name"),
        ({"image": "../../containers"}, "is not a valid image name"),
        ({"image": "x" * 32768}, "is not a valid image name"),
        ({"name": "--privileged"}, "is not a valid container name"),
        ({"name": "a b"}, "is not a valid container name"),
        ({"name": "../x"}, "is not a valid container name"),
        ({"name": "x" * 32768}, "is not a valid container name"),
        ({"command": "''"}, '"command" is empty'),
        ({"image": ""}, '"image" is empty'),
        ({"command": "echo 'open"}, "has an unterminated quote"),
        ({"command": "echo a\0b"}, "that is not allowed in a command"),
        ({"command": "echo \ud800"}, "that is not allowed in a command"),
        ({"command": "x" * 70_000}, "the most is 65,536"),
        ({"ports": ["8080:80"]}, "network=true only"),
        ({"ports": ["0.0.0.0:80:80"], "network": True}, "is not a valid port"),
        ({"ports": ["99999"], "network": True}, "is not a valid port"),
        ({"env": {"A=B": "x"}}, "invalid environment variable name"),
        ({"env": {"A": "x\0"}}, "invalid environment variable name"),
        ({"timeout": 601}, "from 1 to 600"),
        ({"memory_mb": 100_000}, "from 16 to 8192"),
        ({"privileged": True}, 'no argument "privileged"'),
        ({"volumes": ["/:/host"]}, 'no argument "volumes"'),
        ({"workspace": "/:/host"}, '"workspace" must be true or false'),
        ({"security_opt": ["seccomp=unconfined"]}, 'no argument "security_opt"'),
        ({"pid": "host"}, 'no argument "pid"'),
    ],
)
async def test_hostile_arguments_are_refused_before_any_question(
    box: LazyToolbox, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(ToolError) as caught:
        await box.get("docker_run").prepare({"image": IMAGE, **arguments})
    assert said in caught.value.message
    assert len(caught.value.message) < 400


async def test_flags_in_a_command_are_words_of_the_command(box: LazyToolbox) -> None:
    told = await act(box, "docker_run", image=IMAGE, command="echo --privileged -v /:/host --pid=host")
    assert "stdout:\n--privileged -v /:/host --pid=host" in told
    told = await act(box, "docker_run", image=IMAGE, command="--privileged -v /:/host")
    assert "exit code 127" in told
    long = "y" * 32768
    assert long[:3000] in await act(box, "docker_run", image=IMAGE, command=f"echo {long}")


async def test_a_workspace_that_holds_the_engines_socket_is_not_mounted(docker_host: str) -> None:
    for workspace in (Path(docker_host.removeprefix("unix://")).parent, Path("/"), Path("/run")):
        async with toolbox(workspace=workspace, docker_host=docker_host) as box:
            with pytest.raises(ToolError, match="cannot be mounted"):
                await box.get("docker_run").prepare({"image": IMAGE, "workspace": True})
    async with toolbox(workspace=Path("/tmp"), docker_host="tcp://127.0.0.1:1") as box:
        with pytest.raises(ToolError, match="may be another machine"):
            await box.get("docker_run").prepare({"image": IMAGE, "workspace": True})


@pytest.mark.parametrize("detach", [False, True])
async def test_run_cancelled_at_any_moment_leaves_nothing_behind(
    box: LazyToolbox, docker: Docker, detach: bool
) -> None:
    await act(box, "docker_run", image=IMAGE, command="true")
    arguments = await box.get("docker_run").prepare({"image": IMAGE, "command": "sleep 100", "detach": detach})
    before = ours(docker)
    for moment in (0.001, 0.01, 0.03, 0.1, 0.3):
        with anyio.move_on_after(moment) as limit:
            await box.get("docker_run")(arguments)
        assert limit.cancelled_caught
        assert ours(docker) == before


KILLED = """
import sys, anyio, pathlib
from agentctl.tools.docker.orphans import process_identity
from agentctl.tools.toolbox import toolbox
async def main():
    box = toolbox(workspace=pathlib.Path("/tmp"), docker_host=sys.argv[1])
    await box.get("docker_run")({"image": "busybox:local", "command": "sleep 300", "timeout": 300})
anyio.run(main)
"""


def _killed_runner(host: str, docker: Docker, *, child: bool = False) -> tuple[subprocess.Popen[Any], str]:
    """Start a process with a docker_run under way, a ``child`` of this one or not; return it and the container's id."""
    before = ours(docker)
    process: subprocess.Popen[Any]
    if child:
        process = subprocess.Popen([sys.executable, "-c", KILLED, host])
    else:
        environ = {**os.environ, **fork_server.ENVIRON}
        process = fork_server.Forked(["-c", KILLED, host], cwd=fork_server.ROOT, env=environ)
    return process, wait_for_new(docker, before, runner=process)


async def _sweep(box: LazyToolbox) -> None:
    """Do what a run does at its start and its end."""
    box.sweep()
    await box.aclose()


@pytest.mark.parametrize(
    ("owner", "stays"),
    [("{place} pid=1@1", False), ("another-boot pid:[4026531836] pid=1@1", True), ("", True), ("nonsense", True)],
)
async def test_a_container_whose_owner_cannot_be_seen_stays(
    box: LazyToolbox, docker: Docker, make: Make, owner: str, stays: bool
) -> None:
    label = owner.format(place=process_identity().rpartition(" pid=")[0])
    name = make("--label", "agentctl.run=wait", "--label", f"agentctl.owner={label}")
    await _sweep(box)
    assert (docker("ps", "-q", "--filter", f"name={name}") != "") is stays


async def test_containers_of_a_killed_agentctl_are_removed_and_those_of_a_living_one_stay(
    box: LazyToolbox, docker: Docker, docker_host: str
) -> None:
    dead, left = _killed_runner(docker_host, docker, child=True)
    alive, busy = _killed_runner(docker_host, docker)
    try:
        assert inspected(docker, left)["State"]["Running"] is True  # the second did not take it: it was alive then
        dead.send_signal(signal.SIGKILL)  # a zombie until it is waited for: dead all the same
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        await _sweep(box)
        assert left not in ours(docker)
        assert inspected(docker, busy)["State"]["Running"] is True
    finally:
        for process in (dead, alive):
            process.kill()
            process.wait()
    await _sweep(box)
    assert busy not in ours(docker)
    assert box.notes() == ("1 container of runs that were killed: removed",)


async def test_an_interrupt_removes_the_container(docker: Docker, docker_host: str) -> None:
    process, identity = _killed_runner(docker_host, docker)
    process.send_signal(signal.SIGINT)
    await anyio.to_thread.run_sync(process.wait)
    assert identity not in ours(docker)


async def test_command_as_a_list_of_words_runs_with_exactly_these_words(box: LazyToolbox) -> None:
    told = await act(box, "docker_run", image=IMAGE, command=["echo", "a  b", "$HOME", "'"])
    assert "stdout:\na  b $HOME '" in told
    assert (await box.get("docker_run").prepare({"image": IMAGE, "command": ["echo", "a b"]}))[
        "command"
    ] == "echo 'a b'"
