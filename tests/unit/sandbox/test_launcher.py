"""The thread that starts commands: how it ends, whoever ends it."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from agentctl.sandbox.confinement import Launcher

#: Held by the interpreter while a thread starts, and by whoever joins one; Python 3.13 has none.
STARTING = getattr(threading, "_shutdown_locks_lock", nullcontext())


def test_launcher_that_is_collected_while_a_thread_starts_ends() -> None:
    launcher, is_held, has_ended = Launcher("/bin/true"), threading.Event(), threading.Event()
    assert launcher.start(lambda: "started") == "started"

    def collect() -> None:
        is_held.wait()
        launcher.__exit__()
        has_ended.set()

    threading.Thread(target=collect, daemon=True).start()
    with STARTING:
        is_held.set()
        assert has_ended.wait(20)


def test_launcher_ends_what_it_has_begun_first() -> None:
    done: list[str] = []
    may_go = threading.Event()

    def move() -> None:
        may_go.wait(5)
        done.append("moved")

    with Launcher("/bin/true") as launcher:
        launcher.begin(move)
        may_go.set()
    assert done == ["moved"]
