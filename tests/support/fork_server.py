"""Processes that start at once: each is forked from one that has imported agentctl, or litellm too.

A command costs 0.3 s of imports, and 1.5 s with litellm, which loads and builds more with its first call; forked it
costs 20 ms, a run that asks a model a tenth of a second. It is a process like any other: its
own arguments, environment, folder, descriptors, session and end, and ``kill -9`` ends it. What a start does by itself
is not seen here, so that tests of it (what is loaded, PYTHON* variables but PYTHONUNBUFFERED, ``sys.path``, closed
descriptors) start cold.

``Forked(words, ...)`` is a ``subprocess.Popen`` whose words follow the interpreter's name: ``-m MODULE ...``,
``-c TEXT ...`` or ``SCRIPT ...``. ``can_fork`` says whether an environment is one that a forked process can have.
``command`` is the beginning of a shell's line that starts agentctl in the same way.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import pickle
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[2]
LIMIT = 150_000
#: Variables of a forked process and of the server at its start.
ENVIRON = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
_AT_IMPORT = {**os.environ, **ENVIRON}  # before any test changes it
#: Read when an interpreter or a library starts: another value than the server's needs a cold start.
_AT_START = ("PYTHON", "LC_", "LANG", "LITELLM", "SSL_", "LD_", "MALLOC_", "OPENSSL")
#: Set by our own loader, with the values that the server has, too; and what a forked process does itself.
_OURS = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_MODE", "PYTHONUNBUFFERED")


def of_start(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read when an interpreter or a library starts."""
    return {name: value for name, value in environ.items() if name.startswith(_AT_START) and name not in _OURS}


class _Server:
    """One server: a process that forks when it is told to."""

    def __init__(self, loads: str) -> None:
        self.of_start, self.user = of_start(_AT_IMPORT), os.geteuid()
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for line in (self._line, theirs):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LIMIT)
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
        self.door = Path(self._folder.name, "door")
        entrance = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        entrance.bind(str(self.door))
        entrance.listen(64)
        numbers = [theirs.fileno(), entrance.fileno()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", loads, *map(str, numbers)],
            cwd=ROOT,
            env=_AT_IMPORT,
            stdin=subprocess.DEVNULL,
            pass_fds=numbers,
            start_new_session=True,
        )
        entrance.close()
        theirs.close()
        atexit.register(self._stop)

    def fork(self, request: Mapping[str, object], descriptors: Sequence[int]) -> None:
        said = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._line, [said], list(descriptors))

    def _stop(self) -> None:
        self._line.close()
        self._process.wait()
        self._folder.cleanup()


_SERVERS: dict[str, _Server] = {}


def _server(loads: str) -> _Server:
    if loads not in _SERVERS:
        _SERVERS[loads] = _Server(loads)
    return _SERVERS[loads]


def can_fork(words: Sequence[str], environ: Mapping[str, str], *, loads: str = "agentctl") -> bool:
    """Say whether a process with this environment can be forked: nothing in it says how an interpreter starts."""
    if sys.platform != "linux" or len(json.dumps([list(words), dict(environ)])) > LIMIT:
        return False
    server = _server(loads)
    return server.of_start == of_start(environ) and server.user == os.geteuid()


class Forked(subprocess.Popen[Any]):
    """A forked process: only what is done when it starts and when it ends is not as in ``Popen``."""

    def __init__(  # it starts no program, so that nothing of the base class's is needed
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        start_new_session: bool = False,
        terminal: bool = False,
        loads: str = "agentctl",
        user: int | None = None,
    ) -> None:
        self.args, self.returncode, self._child_created = list(words), None, False
        self.text_mode, self.encoding, self.errors = text, None, None
        self._communication_started, self._input, self._sigint_wait_secs = False, None, 0.25
        mine: list[IO[Any] | None] = []
        given: list[int] = []
        close: list[int] = []
        for number, wanted in enumerate((stdin, stdout, stderr)):
            own: IO[Any] | None = None
            if wanted == subprocess.PIPE:
                reading, writing = os.pipe()
                ours, theirs = (writing, reading) if number == 0 else (reading, writing)
                own = open(ours, "wb" if number == 0 else "rb", -1)  # noqa: PTH123, SIM115 - a descriptor
                own = io.TextIOWrapper(own, write_through=True) if text else own
                close.append(theirs)
            elif wanted == subprocess.DEVNULL:
                theirs = os.open(os.devnull, os.O_RDWR)
                close.append(theirs)
            elif wanted == subprocess.STDOUT:
                theirs = given[1]
            else:
                theirs = number if wanted is None else wanted if isinstance(wanted, int) else wanted.fileno()
            mine.append(own)
            given.append(theirs)
        self.stdin, self.stdout, self.stderr = mine
        self._status, status = os.pipe()
        umask = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask"))
        request = {
            "words": list(words),
            "cwd": str(cwd),
            "env": dict(env),
            "session": start_new_session or terminal,
            "terminal": terminal,
            "user": user,
            "umask": int(umask.split()[1], 8),
        }
        _server(loads).fork(request, [*given, status])
        for one in (*close, status):
            os.close(one)
        self._told = b""
        while b"\n" not in self._told:
            said = os.read(self._status, 100)
            assert said, "the fork server is gone"
            self._told += said
        first, _, self._told = self._told.partition(b"\n")
        self.pid = int(first)

    def _hear(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._status, select.POLLIN | select.POLLHUP)
            while waiting.poll(None if timeout is None else max(0, timeout) * 1000):
                said = os.read(self._status, 100)
                self._told += said
                if not said:
                    os.close(self._status)
                    self.returncode = os.waitstatus_to_exitcode(int(self._told or b"9"))
                    break
        return self.returncode

    def poll(self) -> int | None:
        """Return how it ended, if it has."""
        return self._hear(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended, when it has."""
        ended = self._hear(timeout)
        if ended is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return ended

    def __exit__(self, kind: type[BaseException] | None, *more: Any) -> None:  # noqa: ANN401
        if kind is not None:
            self.kill()  # a test that failed may have left it stopped, and would wait for it for ever
        super().__exit__(kind, *more)

    def __del__(self, *_: object) -> None:
        if self.returncode is None and hasattr(self, "_status"):
            os.close(self._status)


CLIENT = """
import json, os, socket, sys
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 600000)
line.connect(sys.argv[1])
heard, status = os.pipe()
umask = os.umask(0)
asked = {"words": sys.argv[2:], "cwd": os.getcwd(), "env": dict(os.environ), "umask": umask}
socket.send_fds(line, [json.dumps(asked).encode()], [0, 1, 2, status])
os.close(status)
told = b""
while said := os.read(heard, 100):
    told += said
code = os.waitstatus_to_exitcode(int(told.split()[1]))
os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)
"""


def command(*, loads: str = "agentctl") -> str:
    """Return the beginning of a shell's line that runs agentctl by the server: what follows are its own words."""
    door = _server(loads).door
    return shlex.join([sys.executable, "-IS", "-c", CLIENT, str(door), "-m", "agentctl"])


def stop(pid: int) -> None:
    """Stop a process and wait until it stands: ``waitpid`` sees only children, and a server may be its parent."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


def run(words: Sequence[str], *, timeout: float = 60, **more: Any) -> subprocess.CompletedProcess[Any]:  # noqa: ANN401
    """Fork a process, wait for its end, and return what it said."""
    with Forked(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **more) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


# --- the server -----------------------------------------------------------------------------------------------------


def _load(loads: str) -> dict[str, str]:
    """Import what every process would import; return the variables that this has set."""
    import gc
    import pkgutil
    from importlib import import_module

    before = dict(os.environ)
    gc.disable()
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    import anyio
    import anyio._backends._asyncio
    import psutil  # noqa: F401

    import agentctl

    if loads == "litellm":
        import aiodocker  # noqa: F401

        from agentctl.providers import litellm_loader
        from agentctl.providers.tokenizers import load_vocabulary

        anyio.run(litellm_loader.wait_for_litellm)
        for name in ("cl100k_base", "o200k_base", "older Claude"):
            load_vocabulary(name)
    skipped = {"agentctl.__main__", "agentctl.providers.http_gate"}
    for module in pkgutil.walk_packages(agentctl.__path__, "agentctl."):
        if module.name not in skipped or (loads == "litellm" and module.name != "agentctl.__main__"):
            import_module(module.name)
    from agentctl.cli.app import _parser
    from agentctl.providers.installed_prices import read_own_prices, read_table
    from agentctl.tools.tool import Arguments, schema_of
    from tests.support import machine_walk, scripted_cli  # noqa: F401

    if loads == "agentctl":
        machine_walk.begin()
    for only_run in (False, True):
        _parser(only_run=only_run)
    read_table()
    read_own_prices()
    for model in Arguments.__subclasses__():
        schema_of(model)
    anyio.run(anyio.sleep, 0)
    if loads == "litellm":
        _load_what_runs_load()
    gc.collect()
    gc.freeze()
    gc.enable()
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def _load_what_runs_load() -> None:
    """Load what litellm loads, builds and compiles only when a model is asked, as seen in a process that asks some."""
    import importlib
    import re

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, pickle.dumps(_seen_in_runs()))
            status = 0
        except BaseException:  # noqa: BLE001 - this process is not to live on
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as told:  # noqa: PTH123 - a descriptor
        said = told.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the run that shows what runs load has failed"
    seen = pickle.loads(said)  # noqa: S301 - from a child of its own
    for name in seen["modules"]:
        with contextlib.suppress(ImportError):  # a part of litellm's that it does without
            importlib.import_module(name)
    for module, name in seen["models"]:
        getattr(importlib.import_module(module), name).model_rebuild()
    for pattern, flags in seen["patterns"]:
        re.compile(pattern, flags)


def _seen_in_runs() -> dict[str, list[Any]]:
    """Ask a model in each format; return the modules that this has loaded, the models built, the patterns compiled."""
    import re

    import anyio
    from pydantic import BaseModel

    from tests.support.bill.parts import PAID, Here, reaching
    from tests.support.wire.server import WireServer

    def models() -> dict[tuple[str, str], bool]:
        found, waiting = {}, [BaseModel]
        while waiting:
            one = waiting.pop()
            waiting += one.__subclasses__()
            found[one.__module__, one.__qualname__] = one.__pydantic_complete__
        return found

    modules, before, patterns = set(sys.modules), models(), set(re._cache)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        for number, paid in enumerate(PAID.values()):
            with WireServer([paid.brief] * 2, rates=paid.rates) as server:
                here = Here(Path(folder, str(number)))
                document = anyio.run(lambda: here.run(reaching(server, paid.format)))  # noqa: B023 - at once
            assert document["exit_code"] == 0, document["error"]
    after = models()
    return {
        "modules": [name for name in sys.modules if name not in modules],
        "models": [one for one, complete in after.items() if complete and not before.get(one)],
        "patterns": [key[1:] for key in re._cache if key not in patterns],  # type: ignore[attr-defined]
    }


def _serve(loads: str, line: socket.socket, entrance: socket.socket) -> NoReturn:
    added = _load(loads)
    waiting = select.poll()
    waiting.register(line, select.POLLIN | select.POLLHUP)
    waiting.register(entrance, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}
    while True:
        for ready, _ in waiting.poll():
            if ready in children:
                pid, status = children.pop(ready)
                _, code = os.waitpid(pid, 0)
                waiting.unregister(ready)
                os.close(ready)
                with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
                    os.write(status, str(code).encode())
                os.close(status)
                continue
            if ready == entrance.fileno():
                with entrance.accept()[0] as guest:
                    said, descriptors, _, _ = socket.recv_fds(guest, 4 * LIMIT, 4)
            else:
                said, descriptors, _, _ = socket.recv_fds(line, 4 * LIMIT, 4)
                if not said:
                    os._exit(0)
            *streams, status = descriptors
            pid = os.fork()
            if pid == 0:
                _become(json.loads(said), streams, added)
            os.write(status, b"%d\n" % pid)
            for one in streams:
                os.close(one)
            pidfd = os.pidfd_open(pid)
            waiting.register(pidfd, select.POLLIN)
            children[pidfd] = (pid, status)


def _become(request: dict[str, Any], streams: Sequence[int], added: Mapping[str, str]) -> NoReturn:
    """Become the requested process, and end as it ends."""
    code = 1
    try:
        _settle(request, streams, added)
        code = _main(request["words"])
    except BaseException:  # noqa: BLE001 - the interpreter's own way to end
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
    raise AssertionError


def _settle(request: dict[str, Any], streams: Sequence[int], added: Mapping[str, str]) -> None:
    import fcntl
    import termios

    if request.get("session"):
        os.setsid()
    for number, one in enumerate(streams):
        os.dup2(one, number)
    os.closerange(3, 256)
    if request.get("terminal"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(request["umask"])
    if request.get("user") is not None:
        _become_user(request["user"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update({**added, **request["env"]})
    time.tzset()
    encoding = sys.stdout.encoding
    sys.stdin = sys.__stdin__ = open(0, encoding=encoding, errors=sys.stdin.errors, closefd=False)  # type: ignore[misc] # noqa: SIM115
    plain = bool(request["env"].get("PYTHONUNBUFFERED"))  # as python -u opens them
    buffering = 0 if plain else -1
    out = open(1, "wb", buffering, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(  # type: ignore[misc]
        out, encoding, sys.stdout.errors, line_buffering=os.isatty(1), write_through=plain
    )
    err = open(2, "wb", buffering, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(  # type: ignore[misc]
        err, encoding, "backslashreplace", line_buffering=True, write_through=plain
    )


def _become_user(user: int) -> None:
    """Become another user, as a process that this user has started: dumpable, with a Python that it may run."""
    import codecs
    import ctypes

    for encoding in ("ascii", "idna", "latin-1"):  # the library may be where the other user cannot read it
        codecs.lookup(encoding)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
    if not os.access(sys.executable, os.X_OK):
        sys.executable = "/usr/bin/python3"


def _main(words: list[str]) -> int:
    import runpy

    code: Any = None
    try:
        if words[0] == "-m":
            sys.argv = [words[1], *words[2:]]
            if words[1] == "agentctl":
                from agentctl.__main__ import main

                sys.argv[0] = str(ROOT / "agentctl" / "__main__.py")
                main()
            else:
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            sys.path.insert(0, "")
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(words[1], "<string>", "exec"), vars(sys.modules["__main__"]))  # noqa: S102 - as python -c
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:  # noqa: BLE001
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    number = 0 if code is None else code if isinstance(code, int) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            number = 120
    return number & 0xFF


if __name__ == "__main__":
    _serve(sys.argv[1], *(socket.socket(fileno=int(number)) for number in sys.argv[2:4]))
