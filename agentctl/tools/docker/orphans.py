"""The containers that a killed docker_run left: who made a container, whether that process lives, and their removal."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from agentctl.core.errors import EngineUnavailable
from agentctl.tools.docker.client import MOST_ANSWER, Address, DockerEngine
from agentctl.tools.docker.responses import Doc, document, documents, number, text

RUN = "agentctl.run"
OWNER = "agentctl.owner"
_CHOSEN = json.dumps({"label": [f"{RUN}=wait"]})  # not those that were to stay (detach=true)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_LONGEST_PID = 10  # characters
_ABANDONED_S = 24 * 3600  # a call waits ten minutes at most
_LISTED_S = 5.0
_REMOVED_S = 15.0
_LIST_PATIENCE_S = 0.25  # at the end of a run, for an engine that is slower than the run
_REMOVAL_PATIENCE_S = 4.0


def process_identity() -> str:
    """Return a text that identifies this process on this machine: boot, PID namespace, pid, start time; or ""."""
    place, (_, started) = _place(), _stat(os.getpid())
    return f"{place} pid={os.getpid()}@{started}" if place and started else ""


def is_gone(label: str) -> bool:
    """Return whether the process that ``label`` identifies has certainly ended; in doubt it lives.

    Nothing is known about processes of another machine, boot or PID namespace.
    """
    place, _, process = label.rpartition(" pid=")
    pid, _, started = process.partition("@")
    if not place or place != _place() or not pid.isdecimal() or len(pid) > _LONGEST_PID:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    state, began = _stat(int(pid))
    return began != "" and (began != started or state in ("Z", "X"))


def is_here(label: str) -> bool:
    """Return whether ``label`` identifies a process that this one could see."""
    return label.rpartition(" pid=")[0] == _place() != ""


class OrphanSweep:
    """Remove, in a thread, the containers of agentctl processes that were killed during a docker_run.

    Containers of living processes stay, whoever owns them; those of a process that cannot be seen from here (another
    machine, boot or PID namespace) stay for a day by the engine's clock, which is longer than any call lasts. A run
    neither waits for this nor fails with it; the standard library's sockets do, since the engine's client loads slowly.
    """

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        self._found = threading.Event()
        self.removed = 0
        self._thread = threading.Thread(target=self._sweep, name="orphans", daemon=True)
        self._thread.start()

    async def finish(self) -> None:
        """Wait for a removal that has begun."""
        if not self._thread.is_alive():
            return
        import anyio.to_thread  # noqa: PLC0415 - hardly ever

        await anyio.to_thread.run_sync(self._thread.join, _LIST_PATIENCE_S)
        if self._found.is_set():
            await anyio.to_thread.run_sync(self._thread.join, _REMOVAL_PATIENCE_S)

    def _sweep(self) -> None:
        with suppress(Exception):  # whatever an engine answers, it is no matter of the run's
            address = self._engine.address
            listed = documents(_send(address, "GET", f"/containers/json?all=1&filters={quote(_CHOSEN)}", _LISTED_S))
            for identity in self._orphans(address, listed):
                self._found.set()
                with suppress(EngineUnavailable, OSError, ValueError):
                    _send(address, "DELETE", f"/containers/{quote(identity, safe='')}?force=1&v=1", _REMOVED_S)
                    self.removed += 1

    def _orphans(self, address: Address, listed: Sequence[Doc]) -> Iterator[str]:
        unseen: list[Doc] = []
        for entry in listed:
            if text(entry, "Labels", RUN) != "wait" or not text(entry, "Id"):
                continue  # an engine that knows no filters, or a proxy, lists the user's own
            owner = text(entry, "Labels", OWNER)
            if is_gone(owner):
                yield text(entry, "Id")
            elif not is_here(owner):
                unseen.append(entry)
        if unseen:
            info = document(_send(address, "GET", "/info", _LISTED_S))
            now = datetime.fromisoformat(text(info, "SystemTime")).timestamp()
            yield from (text(entry, "Id") for entry in unseen if 0 < number(entry, "Created") < now - _ABANDONED_S)


def _send(address: Address, method: str, target: str, patience_s: float) -> object:
    """Send a request to the engine, and return the parsed answer, None if it is empty.

    Raises:
        OSError: it cannot be reached, or not in time.
        ValueError: it refuses, or its answer is invalid.
    """
    until = time.monotonic() + patience_s
    with _connect(address, patience_s) as sock:
        sock.sendall(f"{method} {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = bytearray()
        while True:
            sock.settimeout(max(0.001, until - time.monotonic()))
            if not (piece := sock.recv(64 * 1024)):
                break
            answer += piece
            if len(answer) > MOST_ANSWER:
                raise ValueError("too long")
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.") or head[9:10] != b"2":
        raise ValueError(head[:40])
    return json.loads(body) if body.strip() else None


def _connect(address: Address, patience_s: float) -> socket.socket:
    if address.path is None:
        parts = urlsplit(address.url or "")
        return socket.create_connection((parts.hostname or "", parts.port or 2375), patience_s)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(patience_s)
        sock.connect(address.path)
    except BaseException:
        sock.close()
        raise
    return sock


def _place() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {_NAMESPACE.readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str]:
    """Return a process's state and start time, both empty if they cannot be read."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return words[0], words[19]
    except (OSError, IndexError):
        return "", ""
