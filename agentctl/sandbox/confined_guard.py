"""Start the commands of the Landlock tier below one guard process, which confines each (``confined_program``)."""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Self

from agentctl.sandbox import confined_program, guard_program
from agentctl.sandbox.process_guard import GuardedLeader
from agentctl.sandbox.process_tree import Leader

_START_S = 20.0  # seconds for the guard to report that the command is started, on a loaded machine
_OVER_S = 15.0  # seconds for a dismissed guard to report that everything has ended: it kills for ten
_LEAVE_S = 2.0
_REPORT_MS = 50
_CLOSE_ON_EXEC = 0x40000000  # MSG_CMSG_CLOEXEC
_NAME = "agentctl-guard"
_NUMBERS = {
    "x86_64": {"capset": 126, "prctl": 157, "setgroups": 116, "setresuid": 117, "setresgid": 119, "seccomp": 317}
    | {"keyctl": 250, "socket": 41},
    "aarch64": {"capset": 91, "prctl": 167, "setgroups": 159, "setresuid": 147, "setresgid": 149, "seccomp": 277}
    | {"keyctl": 219, "socket": 198},
}


class Confinement(NamedTuple):
    """What a command may do: an open ruleset of Landlock, a seccomp filter that allows the ``network`` or not, and the
    user to become (None: stay).

    ``notified`` gets the filter's listener; whoever has it answers the calls that the filter passes on, and closes it.
    """

    machine: str
    ruleset: int
    filter: bytes
    user: tuple[int, int] | None
    notified: Callable[[int], object]
    network: bool = False


class ConfinedGuard:
    """The process above all commands of a run, which run one after the other; a context manager that ends it.

    ``afterwards`` is the argv of a program that undoes what a command left, if agentctl is killed during it.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        program = os.path.realpath(confined_program.__file__)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own file
                [sys.executable, "-I", "-S", program, str(os.getpid()), _NAME],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},  # none of our variables can be read from it
                start_new_session=True,
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()
        self._owner = os.getpid()
        self._confinement: Confinement | None = None
        self.afterwards: tuple[str, ...] = ()
        self.has_keyring = True
        self.has_ended_all = self.has_left_some = False
        self.is_fit = True
        self.pipes: list[IO[bytes]] = []

    @property
    def process(self) -> Leader:
        """The guard's own process."""
        return self._process

    @property
    def pid(self) -> int:
        """The ancestor of all the commands' processes."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can serve a further command."""
        return self.is_fit and self._process.poll() is None

    def confine(self, confinement: Confinement) -> None:
        """Set what the next command may do."""
        self._confinement = confinement

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> GuardedLeader:
        """Start a command in a session of its own. Takes some milliseconds.

        ``stdin`` and ``stdout`` are open files of the caller's; None: nothing, and a pipe.

        Raises:
            OSError: it could not be started.
        """
        given = self._confinement
        if given is None:
            raise OSError(errno.EINVAL, "it is not confined")
        self.has_ended_all = self.has_left_some = False
        self._control.settimeout(_START_S)
        self.is_fit = False  # until it is over
        made = [os.pipe() for _ in range(1 if stdout is not None else 2)]
        self.pipes = [os.fdopen(reader, "rb", buffering=0) for reader, _ in made]
        try:
            writers = [*([] if stdout is None else [stdout]), *(writer for _, writer in made)]
            request = self._request(given, argv, env, cwd)
            self._send(request, [*writers, given.ruleset, *([] if stdin is None else [stdin])])
        finally:
            for _, writer in made:
                os.close(writer)
        try:
            word, rest, listener = self._answer()
            if word == b"failed":
                self.is_fit = True
                raise OSError(int(rest), os.strerror(int(rest)))
            if word != b"started" or listener is None:
                raise OSError(errno.ESRCH, "the process that guards it has ended")
        except BaseException:
            for pipe in self.pipes:
                pipe.close()
            raise
        given.notified(listener)
        pid, has_keyring = map(int, rest.split())
        self.has_keyring = bool(has_keyring)
        self._control.setblocking(False)
        return GuardedLeader(pid, self._control, self._process.pid)

    def has_ended(self) -> bool:
        """Return whether the command has ended and nothing of it is left, as far as the kernel lists it; what it does
        not list is ended at the dismissal.
        """
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", "rb") as file:  # noqa: PTH123 - quicker
                has_others = len(file.read().split()) > 1
        except OSError:
            return False
        if has_others:
            return False
        waiting = select.poll()  # the report comes a moment after the exit
        waiting.register(self._control, select.POLLIN)
        return bool(waiting.poll(_REPORT_MS))

    def dismiss(self) -> None:
        """Let the guard reap the command, and end the processes that agentctl's own search has missed."""
        try:
            self._control.settimeout(_OVER_S)
            self._control.sendall(guard_program.DISMISSED)
            word, rest, _ = self._answer()
            while word == b"ended":  # nobody asked for it
                word, rest, _ = self._answer()
        except OSError:
            return
        if word == b"over":
            self.has_ended_all = int(rest) == guard_program.ALL_ENDED
            self.has_left_some = int(rest) == guard_program.NOT_ALL_ENDED
            self.is_fit = self.has_ended_all

    def _request(self, given: Confinement, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> bytes:
        words = [os.fsencode(word) for word in argv]
        pairs = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        if any(b"\0" in word for word in (*words, *pairs, *pairs.values())):
            raise ValueError("embedded null byte")
        uid, gid = (-1, -1) if given.user is None else given.user
        numbers = {
            **_NUMBERS[given.machine],
            "uid": uid,
            "gid": gid,
            "filter": given.filter,
            "network": int(given.network),
        }
        folder = os.fsencode("/" if cwd is None else cwd)
        return marshal.dumps((words, pairs, folder, numbers, [os.fsencode(word) for word in self.afterwards]))

    def _send(self, body: bytes, handles: Sequence[int]) -> None:
        length = b"%012d" % len(body)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", handles))]
        try:
            sent = self._control.sendmsg([length], rights)
            self._control.sendall(length[sent:] + body)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
        except ConnectionError:  # the guard has ended, which the answer shows
            return

    def _answer(self) -> tuple[bytes, bytes, int | None]:
        """Return the next line, in two parts, and the open file that it brings."""
        said, listener = b"", None
        while not said.endswith(b"\n"):
            try:
                part, handles, _, _ = socket.recv_fds(self._control, 1, 1, _CLOSE_ON_EXEC)
            except TimeoutError as error:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
            except ConnectionError:
                part, handles = b"", []
            if handles:
                listener = handles[0]
            if not part:
                break
            said += part
        word, _, rest = said.strip().partition(b" ")
        return word, rest, listener

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._owner:
            return  # the copy of a fork: the parent still uses it
        self._control.close()  # a guard that was not dismissed starts to kill now
        while True:
            with suppress(OSError):
                self._process.send_signal(signal.SIGCONT)  # a command may have stopped it
            try:
                self._process.wait(_LEAVE_S)
                return
            except subprocess.TimeoutExpired:
                continue
