"""What gives a container power over its machine, by what the engine says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agentctl.tools.docker.dangers import UNCHECKED, dangers_of, holds_socket

QUIET: dict[str, Any] = {"Privileged": False, "NetworkMode": "bridge", "PidMode": "", "IpcMode": "private"}


def mounted(source: str, target: str = "/at", *, writable: bool = True, kind: str = "bind") -> dict[str, Any]:
    return {"Type": kind, "Source": source, "Destination": target, "RW": writable, "Name": "v"}


def found(*mounts: Mapping[str, Any], volumes: Mapping[str, Any] | None = None, **host: object) -> tuple[str, ...]:
    container = {"HostConfig": {**QUIET, **host}, "Mounts": list(mounts)}
    return dangers_of(container, volumes or {}, "/run/user/7/engine.sock")


def test_plain_container_has_no_danger() -> None:
    plain = {"v": {"Name": "v", "Options": None}}
    assert found(mounted("", kind="tmpfs"), mounted("/var/lib/docker/volumes/v", kind="volume"), volumes=plain) == ()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ({"Privileged": True}, "privileged: its root has all rights on the machine"),
        ({"PidMode": "host"}, "sees and can end the machine's processes (pid namespace host)"),
        ({"NetworkMode": "host"}, "uses the machine's network, loopback included (network host)"),
        ({"IpcMode": "host"}, "shares memory with the machine's processes (ipc namespace host)"),
        ({"UTSMode": "host"}, "can rename the machine (uts namespace host)"),
        ({"UsernsMode": "host"}, "its root is the machine's root (user namespace host)"),
        ({"PidMode": "container:web"}, "shares the pid namespace of another container (container:web)"),
        ({"CapAdd": ["SYS_ADMIN", "NET_RAW"]}, "has added capabilities: SYS_ADMIN, NET_RAW"),
        ({"Devices": [{"PathOnHost": "/dev/sda"}]}, "has devices of the machine: /dev/sda"),
        ({"DeviceCgroupRules": ["a *:* rwm"]}, "may open devices: a *:* rwm"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "has no filter of system calls (seccomp unconfined)"),
        ({"SecurityOpt": ["apparmor:unconfined"]}, "has no AppArmor profile (apparmor unconfined)"),
        ({"SecurityOpt": ["label=disable"]}, "has no SELinux label (label disable)"),
        ({"Binds": ["/etc:/host:ro"]}, "mounts /etc of the machine at /host, read-only"),
        (
            {"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/host"}]},
            "mounts /etc of the machine at /host, writable",
        ),
    ],
)
def test_each_power_is_named(host: dict[str, Any], said: str) -> None:
    assert found(**host) == (said,)


SOCKET = "with the engine's socket it controls the machine"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/srv", "mounts /srv of the machine at /at, writable"),
        ("/", f"mounts / of the machine at /at, writable: {SOCKET}"),
        ("/var/run/docker.sock", f"mounts /var/run/docker.sock of the machine at /at, writable: {SOCKET}"),
        ("/run/user/7", f"mounts /run/user/7 of the machine at /at, writable: {SOCKET}"),
    ],
)
def test_mount_of_the_machine_is_named(source: str, said: str) -> None:
    assert found(mounted(source)) == (said,)


def test_socket_comes_before_other_mounts_and_privileges_before_both() -> None:
    said = found(mounted("/srv", "/a"), mounted("/run/docker.sock", "/b"), Privileged=True)
    assert [line.split()[0:2] for line in said] == [
        ["privileged:", "its"],
        ["mounts", "/run/docker.sock"],
        ["mounts", "/srv"],
    ]


@pytest.mark.parametrize(
    ("volumes", "said"),
    [
        ({"v": {"Options": {"device": "/etc", "o": "bind"}}}, ("mounts /etc of the machine at /at, writable",)),
        ({"v": {"Options": {"device": ":/share", "type": "nfs"}}}, ()),
        ({}, ("mounts a volume at /at, writable; whether it is a folder of the machine could not be checked",)),
    ],
)
def test_volume_is_followed_to_the_folder_behind_it(volumes: dict[str, Any], said: tuple[str, ...]) -> None:
    assert found(mounted("", kind="volume"), volumes=volumes) == said


@pytest.mark.parametrize("container", [{}, {"HostConfig": None}, {"HostConfig": {}}, {"HostConfig": {"Privileged": 1}}])
def test_silence_of_the_engine_is_a_danger(container: dict[str, Any]) -> None:
    assert dangers_of(container, {}) == (f"{UNCHECKED}: the engine did not say",)


def test_many_dangers_are_counted() -> None:
    said = found(*(mounted(f"/d{number}", f"/t{number}") for number in range(20)))
    assert (len(said), said[-1]) == (13, "8 more of this kind")


def test_path_that_only_resembles_a_socket_holds_none() -> None:
    assert not any(map(holds_socket, ("", "/srv/docker.sock.d", "/home", "/running", "/run2")))
