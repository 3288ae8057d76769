"""Open the first connection of a run while the rest of the run is loaded: name lookup and TCP, not a byte is sent.

A thread opens it as soon as a request will surely be wanted. The first request to that address takes it, if it is there
in time, fresh, and nothing waits on it to be read; else it opens its own, which also says what is wrong. A connection
that is not taken is closed when it would be too old.
"""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import anyio.to_thread

from agentctl.providers.endpoints import is_own_host
from agentctl.settings.host import proxy_for

IDLE_S = 3.0  # as between two turns
PATIENCE_S = 0.25  # for one that is on its way, when the request is ready
_CONNECT_S = 15.0
_PORTS = {"http": 80, "https": 443}

Place = tuple[str, int]


class EarlyConnection:
    """One connection, opened in a thread, which ``take`` gives away once; it is kept for ``idle_s`` seconds."""

    def __init__(self, place: Place, *, idle_s: float = IDLE_S) -> None:
        self.place, self._idle_s = place, idle_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_wanted = True
        self._opened, self._taken = threading.Event(), threading.Event()
        threading.Thread(target=self._keep, name="first connection", daemon=True).start()

    def _keep(self) -> None:
        """Open it, keep it until it is taken or too old, and close it then."""
        try:
            found = socket.create_connection(self.place, timeout=_CONNECT_S)
        except (OSError, ValueError):  # the request meets the same, and says so
            self._opened.set()
            return
        with self._lock:
            self._socket = found
        self._opened.set()
        self._taken.wait(self._idle_s if self._is_wanted else 0)
        if (left := self._release()) is not None:
            left.close()

    def _release(self) -> socket.socket | None:
        with self._lock:
            self._is_wanted = False
            found, self._socket = self._socket, None
        self._taken.set()
        return found

    async def take(self, place: Place) -> socket.socket | None:
        """Return the connection, None if there is none that can be used; afterwards there is none.

        Bytes that wait on it, or its end, are the server's goodbye.
        """
        if place != self.place or not self._is_wanted:
            return None
        if not self._opened.is_set():
            await anyio.to_thread.run_sync(self._opened.wait, PATIENCE_S, abandon_on_cancel=True)
        found = self._release()
        if found is not None and not _is_silent(found):
            found.close()
            return None
        return found


def _is_silent(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


_STARTED: dict[Place, EarlyConnection] = {}


def place_of(url: str) -> Place | None:
    """Return the host and the port that a request to ``url`` goes to, None if it is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def open_early(url: str) -> None:
    """Open a connection to ``url`` in a thread: not to this host, where it takes no time, and not through a proxy."""
    place = place_of(url)
    if place is not None and not is_own_host(url) and proxy_for(url) is None:
        _STARTED[place] = EarlyConnection(place)


def find(url: str) -> EarlyConnection | None:
    """Return the connection that was opened for ``url``, once."""
    place = place_of(url)
    return None if place is None else _STARTED.pop(place, None)
