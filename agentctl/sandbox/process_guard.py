"""Guard a command by a process beside or above it, which ends the command if agentctl is killed or interrupted.

``SiblingGuard`` knows the command by its process group and by the marker in the environment. That is enough if the
command has its own process namespace, and the only way on systems other than Linux. One guard can serve several
commands, one after the other. ``SubreaperGuard`` starts the command and stays the ancestor of all its processes
(``guard_program``).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from agentctl.sandbox import guard_program
from agentctl.sandbox.process_tree import MARKER, Leader

_START_S = 20.0  # seconds for the guard to report that the command is started, on a loaded machine
_LEAVE_S = 2.0  # seconds for a dismissed guard to end
_NAME = "agentctl-guard"
_GUARD_LOOKS = 24  # searches, at most; 20 ms and more apart

_EXPECTED = "expected"  # what the guard is told before a command is started: its group is not known yet
# If the guard was not killed, its stdin ends only when agentctl is gone. Then it does what agentctl no longer can,
# unless the last line was empty: no command was running.
_SCRIPT = f"""
started() {{ said=0; read -r said 2>/dev/null <"$1/stat" || :; set -- ${{said##*) }}; ticks=${{20:-0}}; }}
group={_EXPECTED}
while read -r said; do group=$said; done
[ -n "$group" ] || exit 0
[ "$group" = {_EXPECTED} ] || kill -s KILL -- "-$group"
started /proc/$$
since=$ticks empty=0 round=0
while [ $((round += 1)) -le {_GUARD_LOOKS} ]; do
    left=$(grep -lsF -- "$1" /proc/[0-9]*/environ)
    for file in $left; do pid=${{file#/proc/}}; kill -s KILL "${{pid%/environ}}"; done
    [ -z "$left" ] || {{ empty=0; continue; }}
    empty=$((empty + 1)) unclear=
    for file in $(grep -Lsz . /proc/[0-9]*/environ); do
        started "${{file%/environ}}"
        [ "$ticks" -lt "$since" ] || [ ! -e "${{file%environ}}exe" ] || unclear=yes # an ended process has no program
    done
    [ $empty -lt 3 ] || [ -n "$unclear" ] || exit 0
    sleep 0.02 || sleep 1 # a process in the middle of exec shows no environment: look again
done
"""


class SiblingGuard:
    """A guard beside commands that agentctl starts itself; it expects the first one from its beginning.

    ``marker`` is in the environment of each command. ``is_idle``: no process is left to end.

    Raises:
        OSError: no process can be started.
    """

    pid = None
    has_ended_all = has_left_some = False  # this guard does not know

    def __init__(self, marker: str) -> None:
        self.marker, self.is_idle = marker, False
        reader, self._writer = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a constant
                ["/bin/sh", "-c", _SCRIPT, _NAME, f"{MARKER}={marker}"],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)

    @property
    def is_alive(self) -> bool:
        """Whether the guard is still there."""
        return self._process.poll() is None

    def expect(self) -> None:
        """Tell the guard that a command is about to be started."""
        self.is_idle = False
        self._say(_EXPECTED)

    def watch(self, group: int) -> None:
        """Tell the guard which process group to kill; from then on it can do so at any time."""
        self._say(str(group))

    def dismiss(self) -> None:
        """Tell the guard that no process is left to end."""
        self.is_idle = True
        self._say("")

    def _say(self, line: str) -> None:
        with suppress(OSError):  # the guard was killed; the command goes on without it
            os.write(self._writer, f"{line}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A collected sandbox may be closed in a launching thread, which Landlock forbids signals: then the guard ends
        # by itself, as its input ends.
        with suppress(PermissionError):
            if self.is_idle:
                self._process.kill()
        os.close(self._writer)  # a guard that is not idle starts to kill now
        with suppress(PermissionError):
            self._process.send_signal(signal.SIGCONT)  # it may have been stopped
        self._process.wait()


class GuardedLeader:
    """A command's own process, started by its guard, which reports on it."""

    def __init__(self, pid: int, control: socket.socket, guard: int) -> None:
        self.pid, self.returncode, self.is_code_known = pid, None, True
        self._control, self._guard, self._said = control, guard, b""

    pid: int
    returncode: int | None
    is_code_known: bool
    """Whether ``returncode`` is from the guard; if the guard was killed first, it is that of SIGKILL."""

    def poll(self) -> int | None:
        """Return the exit code once the guard has reported it, else None, without waiting."""
        if self.returncode is None:
            try:
                self._said += (said := self._control.recv(64))
            except BlockingIOError:
                with suppress(OSError):
                    os.kill(self._guard, signal.SIGCONT)  # the command can stop its guard, but not for long
                return None
            except OSError:
                said = b""
            if self._said.startswith(b"ended ") and self._said.endswith(b"\n"):
                self.returncode = int(self._said[6:])
            elif not said:
                self.returncode, self.is_code_known = -signal.SIGKILL, False
        return self.returncode


class SubreaperGuard:
    """A guard that starts the command and stays the ancestor of all its processes (Linux).

    ``stdin`` is the descriptor that the command reads; None: nothing. ``stdout`` is the one that it writes to; None: a
    pipe.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, stdin: int | None = None, stdout: int | None = None) -> None:
        self._control, theirs = socket.socketpair()
        program, passed = os.path.realpath(guard_program.__file__), () if stdin is None else (stdin,)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own file
                [sys.executable, "-I", "-S", program, str(os.getpid()), _NAME, *map(str, passed)],
                stdin=theirs.fileno(),
                pass_fds=passed,
                stdout=subprocess.PIPE if stdout is None else stdout,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={},  # none of our variables can be read from it
                start_new_session=True,
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def process(self) -> Leader:
        """The guard's own process."""
        return self._process

    @property
    def pid(self) -> int:
        """The ancestor of all the command's processes."""
        return self.process.pid

    @property
    def has_ended_all(self) -> bool:
        """Whether the kernel reports that no process of the command is left; known once the guard has ended itself."""
        return self._process.returncode == guard_program.ALL_ENDED

    @property
    def has_left_some(self) -> bool:
        """Whether it could not end every process; known once the guard has ended itself."""
        return self._process.returncode == guard_program.NOT_ALL_ENDED

    @property
    def pipes(self) -> list[IO[bytes]]:
        """The command's output: stdout, unless it was given, and stderr."""
        return [pipe for pipe in (self._process.stdout, self._process.stderr) if pipe is not None]

    def start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> GuardedLeader:
        """Start the command in a session of its own. Takes some milliseconds.

        Raises:
            OSError: it could not be started, with the errno that ``subprocess`` would give.
        """
        request = guard_program.request(list(argv), dict(env), "" if cwd is None else os.fspath(cwd))
        self._control.settimeout(_START_S)
        said = b""
        try:
            self._control.sendall(request)
            while not said.endswith(b"\n") and (part := self._control.recv(1)):  # reads no byte of the next line
                said += part
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
        except ConnectionError:  # the guard has ended, as below
            said = b""
        self._control.setblocking(False)
        word, _, number = said.strip().partition(b" ")
        if word == b"failed":
            raise OSError(int(number), os.strerror(int(number)))
        if word != b"started":
            raise OSError(errno.ESRCH, "the process that guards it has ended")
        return GuardedLeader(int(number), self._control, self._process.pid)

    def dismiss(self) -> None:
        """Let the guard reap the command and exit; first it ends the processes that agentctl's own search has
        missed.
        """
        with suppress(OSError):
            self._control.settimeout(_LEAVE_S)
            self._control.sendall(guard_program.DISMISSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()  # a guard that was not dismissed starts to kill now
        while True:
            with suppress(OSError):
                self._process.send_signal(signal.SIGCONT)  # the command may have stopped the guard
            try:
                self._process.wait(_LEAVE_S)
                return
            except subprocess.TimeoutExpired:
                continue


def has_subreaper() -> bool:
    """Return whether commands can have a guard above them here: on Linux, if this user can start this Python."""
    able = bool(sys.executable) and os.access(sys.executable, os.X_OK)
    return sys.platform == "linux" and able and os.access(guard_program.__file__, os.R_OK)
