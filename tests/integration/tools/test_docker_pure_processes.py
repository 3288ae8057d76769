"""Tests that start processes, beside ``tests/unit/tools/test_docker_pure.py``."""

from __future__ import annotations

import os
import subprocess

from agentctl.tools.docker.orphans import is_gone, process_identity


def test_a_dead_owner_is_gone_and_in_doubt_it_lives() -> None:
    with subprocess.Popen(["true"]) as process:
        pid = process.pid
    place, _, _ = process_identity().rpartition(" pid=")
    assert is_gone(f"{place} pid={pid}@1")
    assert is_gone(f"{place} pid={os.getpid()}@1")  # the number was given to another process
    for label in ("", "x", f"other-boot pid={pid}@1", f"{place} pid=-1@1", f"{place} pid=x@1", f"{place} pid=@"):
        assert not is_gone(label)
