"""The removal of what killed runs left, at an engine that says what a test wants: ages, nonsense, nothing at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agentctl.tools.docker.orphans import process_identity
from agentctl.tools.toolbox import toolbox

NOW = 1_800_000_000
INFO = {"SystemTime": "2027-01-15T08:00:00.123456789Z"}  # NOW
HOUR = 3600
ELSEWHERE = "another-boot pid:[4026531836] pid=1@1"


@contextmanager
def engine(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve what ``answer`` returns for a path; yield the address, and the paths of what was deleted."""
    deleted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(*answer(self.path))

        def do_DELETE(self) -> None:
            deleted.append(self.path)
            self._say(204, b"")

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}", deleted
        finally:
            server.shutdown()
            thread.join()


def listing(*containers: tuple[str, str, int]) -> Callable[[str], tuple[int, bytes]]:
    """Answer with these containers: id, owner and age in hours."""
    entries = [
        {"Id": name, "Created": NOW - hours * HOUR, "Labels": {"agentctl.run": "wait", "agentctl.owner": owner}}
        for name, owner, hours in containers
    ]
    return lambda path: (200, json.dumps(INFO if path.startswith("/info") else entries).encode())


async def swept(host: str) -> tuple[str, ...]:
    box = toolbox(workspace=Path("/"), docker_host=host)
    box.sweep()
    await box.aclose()
    return box.notes()


async def test_a_container_of_an_unseen_process_stays_for_a_day() -> None:
    dead = process_identity().rpartition("@")[0] + "@1"
    with engine(
        listing(
            *(("new", ELSEWHERE, 23), ("old", ELSEWHERE, 25), ("unnamed", "", 25)),
            *(("ours", process_identity(), 99), ("dead", dead, 0)),
        )
    ) as (host, deleted):
        assert await swept(host) == ("3 containers of runs that were killed: removed",)
    assert sorted(deleted) == [f"/containers/{name}?force=1&v=1" for name in ("dead", "old", "unnamed")]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((500, b"[]"), (200, b""), (200, b"<html>"), (200, b"{}"), (200, b"[1, null]"), (200, b'[{"Labels": 3}]')),
        *((200, b"[" * 100_000 + b"]" * 100_000), (200, b"\xff")),
    ],
)
async def test_an_engine_that_refuses_or_talks_nonsense_changes_nothing(status: int, body: bytes) -> None:
    with engine(lambda path: (status, body)) as (host, deleted):
        assert (await swept(host), deleted) == ((), [])


async def test_containers_of_others_that_an_engine_without_filters_lists_stay() -> None:
    others: list[dict[str, object]] = [
        {"Labels": {}},
        {"Labels": None},
        {},
        {"Labels": {"agentctl.run": "detach", "agentctl.owner": ELSEWHERE}},
        {"Labels": {"agentctl.owner": process_identity().rpartition("@")[0] + "@1"}},
    ]
    entries = [{"Id": f"c{at}", "Created": NOW - 99 * HOUR, **entry} for at, entry in enumerate(others)]
    entries.append({"Created": NOW - 99 * HOUR, "Labels": {"agentctl.run": "wait"}})  # without an id
    with engine(lambda path: (200, json.dumps(INFO if path.startswith("/info") else entries).encode())) as (
        host,
        deleted,
    ):
        assert (await swept(host), deleted) == ((), [])


async def test_an_owner_that_is_no_process_hides_no_other_container() -> None:
    place = process_identity().rpartition(" ")[0]
    with engine(listing(("odd", f"{place} pid={'9' * 6000}@1", 99), ("dead", f"{place} pid=1@0", 0))) as (
        host,
        deleted,
    ):
        assert await swept(host) == ("1 container of runs that were killed: removed",)
    assert deleted == ["/containers/dead?force=1&v=1"]


async def test_an_engine_that_says_nothing_is_not_waited_for() -> None:
    over = threading.Event()

    def silent(path: str) -> tuple[int, bytes]:
        assert over.wait(60)
        return 500, b""

    with engine(silent) as (host, deleted):
        assert (await swept(host), deleted) == ((), [])
        over.set()


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "unix:///nowhere/docker.sock", "ssh://far", "nonsense"])
async def test_an_engine_that_is_not_there_is_no_matter(host: str) -> None:
    assert await swept(host) == ()


async def test_a_socket_that_cannot_be_looked_at_is_no_matter() -> None:
    assert await swept(f"unix:///{'a' * 300}/docker.sock") == ()


async def test_a_machine_without_more_threads_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with engine(listing()) as (host, _):
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert await swept(host) == ()
        monkeypatch.undo()
