"""A TCP proxy before PostgreSQL that cuts a connection at a chosen point of a transaction, and can hold all bytes back.

A transaction is what a client sends from a BEGIN to a COMMIT, or a group of messages without either, which the server
commits by itself at their end (Sync). Its points:

- ``before begin``: nothing of it reaches the server.
- ``after begin``: the server has begun it, and gets no more. Of a group that the server commits by itself: the
  statement has been parsed and bound, and is not executed.
- ``before commit``: all its statements have been executed, and their answers read here; COMMIT, or Sync, does not
  reach the server.
- ``after commit``: the server has committed and said so; the client gets nothing of the answer.
- ``mid-answer``: it has committed; the client gets the first half of the answer's bytes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal, Self

from tests.support.postgres.messages import (
    BIND,
    BIND_COMPLETE,
    COMMAND_COMPLETE,
    ERROR,
    EXECUTE,
    FLUSH,
    QUERY,
    READY,
    TERMINATE,
    Message,
    first_message,
    groups,
    messages,
)

Point = Literal["before begin", "after begin", "before commit", "after commit", "mid-answer"]
POINTS: tuple[Point, ...] = ("before begin", "after begin", "before commit", "after commit", "mid-answer")
_BEGIN = Message(QUERY, b"BEGIN\0")
_RESET = struct.pack("ii", 1, 0)  # linger for no time: close with a reset


class Proxy:
    """Passes connections on to 127.0.0.1:``server_port``; use it as a context manager, and ``port`` in addresses."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.flowing = threading.Event()
        self.flowing.set()
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._armed: tuple[Point, str] | None = None
        self.cuts: list[str] = []
        """The first statement of each transaction that was cut."""
        self.opened = 0
        self.round_trips = 0
        """How often a client has sent statements and waited for the answer."""
        self.is_refusing = False
        self.before_answer: Callable[[], None] | None = None
        """Called when the server has ended a transaction, before the client gets the end of its answer."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            # It wakes the thread, which would go on to take the connections of another listener.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.cut_all()
        self.flowing.set()

    def arm(self, point: Point, matching: str = "") -> None:
        """Cut the next transaction whose first group of messages has ``matching`` in a statement, once."""
        with self._lock:
            self._armed = (point, matching)

    def disarm(self) -> bool:
        """Cut nothing more; return whether a cut was still to come."""
        with self._lock:
            left, self._armed = self._armed, None
        return left is not None

    def take(self, group: list[Message]) -> Point | None:
        """Return the point to cut a transaction at that begins with ``group``."""
        with self._lock:
            if self._armed is None or not any(self._armed[1] in message.sql for message in group if message.sql):
                return None
            (point, _), self._armed = self._armed, None
            self.cuts.append(next(message.sql for message in group if message.sql))
            return point

    def pause(self) -> None:
        """Hold all bytes back, as a partition does: connections stay open, and new ones are not answered."""
        self.flowing.clear()

    def resume(self) -> None:
        """Let what was held back go on."""
        self.flowing.set()

    def cut_all(self) -> None:
        """Reset every connection."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.opened += 1
                if self.is_refusing:
                    client.close()
                    continue
                link = _Link(self, client)
                with self._lock:
                    self._links = [*(one for one in self._links if not one.is_over), link]
                threading.Thread(target=link.pass_up, daemon=True).start()


class _Link:
    """One connection and its state: in which transaction it is, and what of the answer is awaited before a cut."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy, self._client = proxy, client
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server: socket.socket | None = None
        self._is_idle = True
        self._point: Point | None = None
        self._awaited: dict[bytes, int] = {}
        self._kept: bytes | None = None
        self.is_over = False

    def cut(self) -> None:
        """End it: the client sees a reset, the server an end of file."""
        self.is_over = True
        ends = [(self._client, socket.SHUT_RD)] + ([(self._server, socket.SHUT_RDWR)] if self._server else [])
        with contextlib.suppress(OSError):
            if self._point != "mid-answer":
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for sock, side in ends:
            with contextlib.suppress(OSError):
                sock.shutdown(side)  # wakes the thread that reads: until then the kernel keeps it open
            sock.close()

    def pass_up(self) -> None:
        """Pass on what the client sends, a group of messages at a time."""
        try:
            start = first_message(self._client)
            self._proxy.flowing.wait()
            self._server = socket.create_connection(("127.0.0.1", self._proxy.server_port))
            self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass_down, args=(self._server,), daemon=True).start()
            self._server.sendall(start.whole)
            for group in groups(self._client):
                self._proxy.flowing.wait()
                self._proxy.round_trips += any(message.kind in (QUERY, EXECUTE) for message in group)
                if group[0].kind in (TERMINATE, b"p") or not self._reach(group):
                    self._send(group)
        except (EOFError, OSError):
            pass
        finally:
            self.cut()

    def _send(self, group: list[Message]) -> None:
        assert self._server is not None
        self._server.sendall(b"".join(message.whole for message in group))

    def _reach(self, group: list[Message]) -> bool:
        """Act on a group if its transaction is to be cut; return whether nothing else is to be sent of it."""
        if self._kept is not None and self._point in ("after begin", "before commit"):
            return True  # the cut comes with the server's answer
        if all(message.kind == FLUSH for message in group):
            return False  # it begins nothing: the end of a pipeline may send one after the last answer
        begins, self._is_idle = self._is_idle, False
        if begins:
            self._point = self._proxy.take(group)
        point = self._point
        by_itself = begins and not any(message.is_begin for message in group)
        commits = by_itself or any(message.is_commit for message in group)
        match point:
            case "before begin":
                self.cut()
                return True
            case "after begin":
                self._send_first(group, by_itself=by_itself)
                return True
            case "before commit" if commits:
                self._send_uncommitted(group)
                return True
            case "after commit" | "mid-answer" if commits:
                self._awaited, self._kept = {READY: 1}, b""
        return False

    def _send_first(self, group: list[Message], *, by_itself: bool) -> None:
        """Send so much of a transaction that it has begun, and await the server's word of that."""
        last, done = (BIND, BIND_COMPLETE) if by_itself else (EXECUTE, COMMAND_COMPLETE)
        if group[0].kind == QUERY:
            self._await({READY: 1}, [_BEGIN] if by_itself else group)
            return
        end = next(n for n, message in enumerate(group) if message.kind == last)
        self._await({done: 1}, [*group[: end + 1], Message(FLUSH, b"")])

    def _send_uncommitted(self, group: list[Message]) -> None:
        """Send all but what commits, and await the answers."""
        end = next((n for n, message in enumerate(group) if message.is_commit), len(group) - 1)
        if group[end].kind == QUERY and not group[end].is_commit:
            self._await({READY: 2}, [_BEGIN, *group])  # without it the server would commit at the end of the text
        elif executed := sum(message.kind == EXECUTE for message in group[:end]):
            self._await({COMMAND_COMPLETE: executed}, [*group[:end], Message(FLUSH, b"")])
        else:
            self.cut()

    def _await(self, awaited: dict[bytes, int], group: list[Message]) -> None:
        self._awaited, self._kept = awaited, b""
        self._send(group)

    def _pass_down(self, server: socket.socket) -> None:
        """Pass on what the server answers."""
        try:
            for message in messages(server):
                self._proxy.flowing.wait()
                if message.kind == READY:
                    self._is_idle = message.body == b"I"
                    if self._is_idle and self._proxy.before_answer is not None:
                        self._proxy.before_answer()
                if self._kept is None:
                    self._client.sendall(message.whole)
                elif self._is_last(message):
                    break
        except OSError:
            pass
        finally:
            self.cut()

    def _is_last(self, message: Message) -> bool:
        """Keep a message back; return whether it is the one to cut after."""
        assert self._kept is not None
        self._kept += message.whole
        if message.kind in self._awaited:
            self._awaited[message.kind] -= 1
        if self._awaited.get(message.kind) != 0 and not (message.kind == ERROR and READY not in self._awaited):
            return False
        if self._point == "mid-answer":
            with contextlib.suppress(OSError):
                self._client.sendall(self._kept[: len(self._kept) // 2])
                self._client.shutdown(socket.SHUT_WR)  # and no reset, which would take back what was sent
        return True
