"""The machine's own facts, compared with what the kernel says."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

import psutil
import pytest

from agentctl.core.errors import ToolError
from agentctl.sandbox.mount_table import Mount, mount_lines
from agentctl.tools.system import disk_rows, with_device_names
from agentctl.tools.tables import size
from agentctl.tools.toolbox import toolbox


async def _ask(tool: str, **arguments: object) -> str:
    return await toolbox(workspace=Path("/tmp")).get(tool)(arguments)


async def test_root_disk_has_the_size_that_the_kernel_reports() -> None:
    text = await _ask("system_disks", path="/")
    known = os.statvfs("/")
    header, row = text.splitlines()
    assert re.split(r" {2,}", header) == ["mounted on", "size", "used", "free", "used %", "type", "device"]
    assert re.split(r" {2,}", row)[:2] == ["/", size(known.f_blocks * known.f_frsize)]


def test_the_mount_table_says_what_psutil_says() -> None:
    theirs = [(one.mountpoint, one.fstype, one.device) for one in psutil.disk_partitions(all=True)]
    assert [*mount_lines()] == theirs


def test_a_root_disk_without_a_name_is_named_by_psutil() -> None:
    found = with_device_names([Mount("/", "ext4", "/dev/root")])
    assert found == psutil.disk_partitions(all=True)
    roots = {one.device for one in found if one.mountpoint == "/"}  # none where the root is changed to a folder
    assert roots.isdisjoint({"/dev/root", "rootfs"})


async def test_pseudo_file_systems_are_not_disks() -> None:
    text = await _ask("system_disks")
    places = {line.split()[0] for line in text.splitlines()[1:]}
    assert not places & {"/proc", "/sys", "/dev", "/run"}
    assert len(places) == len(text.splitlines()) - 1


async def test_a_relative_path_is_looked_up_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    text = await toolbox(workspace=tmp_path).get("system_disks")({"path": "inner"})
    assert len(text.splitlines()) == 2
    with pytest.raises(ToolError, match="does not exist"):
        await toolbox(workspace=tmp_path).get("system_disks")({"path": "nowhere"})


@pytest.mark.needs("Linux")
async def test_memory_is_what_the_kernel_reports() -> None:
    found = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    assert found
    assert re.search(rf"^RAM +{re.escape(size(int(found[1]) * 1024))} ", await _ask("system_memory"), re.MULTILINE)


async def test_load_and_uptime_are_reported() -> None:
    text = await _ask("system_load")
    assert re.search(r"^load average +[\d.]+ \(1 min\), [\d.]+ \(5 min\), [\d.]+ \(15 min\)$", text, re.MULTILINE)
    assert re.search(r"^cpu +\d+ % busy, \d+ cores?$", text, re.MULTILINE)
    assert re.search(r"^up +.+ \(since \d{4}-\d\d-\d\d \d\d:\d\d\)$", text, re.MULTILINE)


async def test_this_process_is_among_the_processes() -> None:
    text = await _ask("system_processes", sort="memory", limit=200)
    assert re.search(rf"^ *{os.getpid()} ", text, re.MULTILINE)
    assert text.splitlines()[0].split() == ["pid", "user", "cpu", "%", "memory", "name", "command"]


async def test_processes_are_sorted_limited_and_chosen_by_name() -> None:
    text = await _ask("system_processes", sort="name", limit=2, name="PY")
    rows = [line for line in text.splitlines()[1:] if not line.endswith(" shown.")]
    assert 1 <= len(rows) <= 2
    names = [re.split(r" {2,}", row.strip())[4].lower() for row in rows]
    assert names == sorted(names)
    assert await _ask("system_processes", name="no-such-process-\u2603") == (
        'No process matches "no-such-process-\u2603".'
    )


@pytest.mark.slow
async def test_a_busy_process_is_measured() -> None:
    import threading

    over = threading.Event()

    def burn() -> None:
        while not over.is_set():
            sum(range(1000))

    thread = threading.Thread(target=burn)
    thread.start()
    try:
        text = await _ask("system_processes", limit=200)
    finally:
        over.set()
        thread.join()
    row = re.search(rf"^ *{os.getpid()} +\S+ +([\d.]+)", text, re.MULTILINE)
    assert row
    assert float(row[1]) > 0


async def test_listener_of_a_port_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        for proto, one in (("tcp", tcp), ("udp", udp)):
            port = one.getsockname()[1]
            header, row = (await _ask("system_ports", port=port)).splitlines()
            assert header.split() == ["proto", "address", "port", "pid", "process"]
            assert row.split()[:4] == [proto, "127.0.0.1", str(port), str(os.getpid())]
        assert str(tcp.getsockname()[1]) in await _ask("system_ports")
    assert await _ask("system_ports", port=port) == f"Nothing listens on port {port}."


async def test_machine_user_and_addresses_are_reported() -> None:
    text = await _ask("system_info")
    assert re.search(rf"^host +{re.escape(socket.gethostname())}$", text, re.MULTILINE)
    assert re.search(rf"^kernel +.*{re.escape(os.uname().release)}$", text, re.MULTILINE)
    assert re.search(rf"^uid +{os.geteuid()}$", text, re.MULTILINE)
    assert re.search(r"^lo\d* +up +.*127\.0\.0\.1", text, re.MULTILINE)
    alone = await _ask("system_info", about="uptime")
    assert alone.startswith("up ")
    assert "host" not in alone


async def test_unnamed_user_is_shown_by_number() -> None:
    if os.geteuid() != 0:
        pytest.skip("becomes someone else")
    os.seteuid(54321)
    try:
        text = await _ask("system_info", about="user")
    finally:
        os.seteuid(0)
    assert re.search(r"^user +\(no name\) 54321$", text, re.MULTILINE)


def test_the_root_is_listed_also_where_no_mount_names_it() -> None:
    """In a changed root, as in containers and installers."""
    ((place, total, *_),) = disk_rows([])
    assert (place, total) == ("/", size(shutil.disk_usage("/").total))
