"""Start a server that talks over stdin and stdout, in the sandbox of a run, and leave no process of it behind.

It runs beside the run's commands and other servers: each has its own guard, namespaces or Landlock domain. Its pipes
are the kernel's, so what it writes and nobody reads waits there and fills no memory of agentctl.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import anyio

from agentctl.core.errors import ToolError
from agentctl.core.results import FileNotice
from agentctl.core.text import safe_text
from agentctl.protocols import CommandResult, Sandbox
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.output import Output
from agentctl.sandbox.process import Streams, child_environment
from agentctl.sandbox.process_tree import run_aside
from agentctl.sandbox.server_access import ServerAccess, WrittenFiles, server_access
from agentctl.sandbox.server_program import ServerProgram, find_program
from agentctl.sandbox.unsandboxed import Unsandboxed
from agentctl.settings.names import CHILD_MARK, PARENT_CAPABILITY, PARENT_RUN

_PIECE_BYTES = 64 * 1024
_STDERR_BYTES = 4 * 1024
_MOST_REASON = 300  # characters
_GRACE_S = 2.0  # to end by itself when its stdin is closed; then come SIGTERM and SIGKILL
_UNSANDBOXED = "it runs without a sandbox: it can change what your user can, and use the network"
_SHORT_GRACE_S = 0.5  # the same, if the run is being ended
#: Never a server's: the mark by which its processes are found, and what lets a run within a run spend.
_OURS = frozenset({CHILD_MARK, PARENT_RUN, PARENT_CAPABILITY})
#: They work before a program begins, so the shell that sets the limits must not see them.
_OF_LOADERS = frozenset({"BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS4", "GLIBC_TUNABLES", "GCONV_PATH"})


class ServerHost(Protocol):
    """What one server runs in."""

    tier: str

    async def serve(self, argv: Sequence[str], environment: Mapping[str, str], streams: Streams) -> CommandResult:
        """Run a server until it ends or this is cancelled.

        Raises:
            ToolError: it could not be started.
        """
        ...

    def close(self) -> None:
        """End what it has shared with its server."""
        ...


@runtime_checkable
class ServerSandbox(Protocol):
    """A sandbox of commands beside which servers can run."""

    @property
    def tier(self) -> str:
        """The name of its tier."""
        ...

    @property
    def server_base(self) -> tuple[SandboxConfig, Path | None]:
        """What its commands reach, and the folder of the run's files."""
        ...

    def for_server(self, access: ServerAccess) -> ServerHost:
        """Return a sandbox for one server."""
        ...

    def report(self, notices: Sequence[FileNotice]) -> None:
        """Keep the notices of a server for ``unreported``."""
        ...


class _Pipes(NamedTuple):
    """Both pipes of a server, ours and its own ends."""

    stdin: int
    stdout: int
    its_stdin: int
    its_stdout: int

    @classmethod
    def make(cls, opened: ExitStack) -> _Pipes:
        its_stdin, stdin = os.pipe()
        opened.callback(os.close, its_stdin)
        try:
            stdout, its_stdout = os.pipe()
        except OSError:
            os.close(stdin)
            raise
        opened.callback(os.close, its_stdout)
        for ours in (stdin, stdout):
            os.set_blocking(ours, False)
        return cls(stdin, stdout, its_stdin, its_stdout)


class ServerProcess:
    """A running server; ``tier`` is what it runs in."""

    def __init__(self, tier: str, stdin: int, stdout: int, notes: Sequence[str] = ()) -> None:
        self.tier = tier
        self._stdin, self._stdout = stdin, stdout
        self._unsent = b""  # the rest of a message whose sending was cancelled: without it no later one is understood
        self._sending = anyio.Lock()
        self._is_closed = False
        self._stderr = Output(0, _STDERR_BYTES)
        self._ready, self._ended = anyio.Event(), anyio.Event()
        self._result: CommandResult | None = None
        self._failure: ToolError | None = None
        self._notes = list(notes)

    async def send(self, data: bytes) -> None:
        """Write to its stdin, as soon as it reads.

        If this is cancelled within a message, the rest of that message goes out before the next one.

        Raises:
            anyio.BrokenResourceError: it has ended.
            anyio.ClosedResourceError: it is being ended by us.
        """
        async with self._sending:
            rest = memoryview(self._unsent + data)
            try:
                while rest:
                    if self._is_closed:
                        raise anyio.ClosedResourceError
                    if self._ended.is_set():
                        raise anyio.BrokenResourceError
                    await anyio.wait_writable(self._stdin)
                    with suppress(BlockingIOError):
                        rest = rest[os.write(self._stdin, rest) :]
            except OSError as error:
                raise anyio.BrokenResourceError from error
            finally:
                begun = len(rest) < len(data)
                self._unsent = bytes(rest if begun else rest[: len(rest) - len(data)])

    async def receive(self) -> bytes:
        """Return the next piece of its stdout, 64 KiB at most, or b"" at the end.

        Raises:
            anyio.ClosedResourceError: it is being ended by us.
        """
        while True:
            if self._is_closed:
                raise anyio.ClosedResourceError
            await anyio.wait_readable(self._stdout)
            with suppress(BlockingIOError):
                return os.read(self._stdout, _PIECE_BYTES)

    @property
    def stderr_tail(self) -> str:
        """The last 4 KiB of its stderr; not yet safe to print."""
        return self._stderr.end_text()

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs, and if we ended it by force."""
        return None if self._result is None else self._result.exit_code

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what it may not do, and on what was found when it had ended."""
        return tuple(self._notes)

    @property
    def why_ended(self) -> str:
        """How it ended by itself, in one line, with the last line of its stderr; else ""."""
        if self._failure is not None:
            return safe_text(self._failure.message)
        if self._result is None:
            return ""
        code = self._result.exit_code
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        said = next((line.strip() for line in reversed(self.stderr_tail.splitlines()) if line.strip()), "")
        return how + (f": {safe_text(said)[:_MOST_REASON]}" if said else "")

    async def _run(self, prepared: _Prepared, pipes: _Pipes, its_ends: ExitStack, scope: anyio.CancelScope) -> None:
        """Run it to its end. ``its_ends`` are open until then, since a sandbox may need a second try."""
        streams = Streams(pipes.its_stdin, pipes.its_stdout, self._stderr, self._ready.set)
        try:
            with scope, its_ends:
                self._result = await prepared.host.serve(prepared.argv, prepared.environment, streams)
                self._notes += (note for note in self._result.notes if note not in self._notes)
        except ToolError as error:
            self._failure = error
        finally:
            self._ready.set()
            self._ended.set()

    async def _end(self, scope: anyio.CancelScope, grace_s: float) -> None:
        """Close its stdin, let it end for a while, then end it by force; shielded by the caller."""
        self._is_closed = True
        for ours in (self._stdin, self._stdout):
            anyio.notify_closing(ours)
        os.close(self._stdin)
        with anyio.move_on_after(grace_s):
            await self._drain()
            await self._ended.wait()
        scope.cancel()
        await self._ended.wait()
        os.close(self._stdout)

    async def _drain(self) -> None:
        """Read what it still writes: a full pipe would keep it from ending."""
        while True:
            await anyio.wait_readable(self._stdout)
            with suppress(BlockingIOError):
                if not os.read(self._stdout, _PIECE_BYTES):
                    return


@asynccontextmanager
async def start_server(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    workspace: Path,
    write: Sequence[Path] = (),
    network: bool = False,
    sandbox: Sandbox | None,
    tier: Literal["run", "none"] = "run",
) -> AsyncIterator[ServerProcess]:
    """Start a program in the workspace, and end it with all its processes when the context is left.

    ``env`` is its own environment, over the fixed one of commands; nothing else is passed on. It reads what commands
    may read, writes only to ``write`` (relative to the workspace) and has no network unless ``network``. ``sandbox`` is
    that of the run's commands, which go on beside it; ``tier`` "none" runs it without one. The context is entered and
    left in the same task. Leaving it closes the server's stdin, waits two seconds (half a second after an error or a
    cancellation), and then ends what is left; that is not cancelled.

    Raises:
        ToolError: it could not be started, or it may not write where it is to.
    """
    preparing = partial(_prepare, sandbox, argv, env, workspace, write, network=network, tier=tier)
    prepared = await run_aside(preparing)
    caught: BaseException | None = None
    server: ServerProcess | None = None
    its_ends = ExitStack()
    try:
        pipes = _Pipes.make(its_ends)
        server = ServerProcess(prepared.host.tier, pipes.stdin, pipes.stdout, prepared.notes)
        async with anyio.create_task_group() as tasks:
            scope, grace_s = anyio.CancelScope(shield=True), _SHORT_GRACE_S
            tasks.start_soon(server._run, prepared, pipes, its_ends, scope)
            try:
                await server._ready.wait()
                if server._failure is not None:
                    raise server._failure
                yield server
                grace_s = _GRACE_S
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - raised below: a task group would put it into another one
                caught = error
            finally:
                with anyio.CancelScope(shield=True):
                    await server._end(scope, grace_s)
    except OSError as error:
        raise ToolError(f"{argv[0]} could not be started: {(error.strerror or str(error)).lower()}") from error
    finally:
        its_ends.close()
        with anyio.CancelScope(shield=True):
            await run_aside(prepared.host.close)
            if prepared.written is not None:
                notes, notices = await run_aside(prepared.written.settle)
                if server is not None:
                    server._notes += notes
                if (hosting := _hosting(sandbox)) is not None:
                    hosting.report(notices)
    if caught is not None:
        raise caught


def _hosting(sandbox: object) -> ServerSandbox | None:
    return sandbox if isinstance(sandbox, ServerSandbox) else None


class _Prepared(NamedTuple):
    """What a server runs in, how it is started, who looks after what it writes, and notes."""

    host: ServerHost
    argv: list[str]
    environment: dict[str, str]
    written: WrittenFiles | None
    notes: tuple[str, ...]


def _prepare(
    sandbox: Sandbox | None,
    argv: Sequence[str],
    env: Mapping[str, str],
    workspace: Path,
    write: Sequence[Path],
    *,
    network: bool,
    tier: Literal["run", "none"],
) -> _Prepared:
    own = _own_environment(argv, env)
    hosting = _hosting(sandbox)
    if tier == "none" or isinstance(sandbox, Unsandboxed):
        kind: Literal["none", "external"] = "none"
        if tier == "run" and sandbox is not None and sandbox.tier == "external":
            kind = "external"
        program = find_program(argv, own, str(workspace))
        if not isinstance(sandbox, Unsandboxed):  # the run's commands have a sandbox, or there are none
            changed = () if hosting is None else hosting.server_base[0].writable
            program.refuse_changeable((str(workspace), *changed))
            if "-m" in argv:  # Python would take the workspace for the first place of its modules
                own.setdefault("PYTHONSAFEPATH", "1")
        return _Prepared(Unsandboxed(workspace, tier=kind), *_started_by(program, own), None, (_UNSANDBOXED,))
    if hosting is None:
        raise ToolError("there is no sandbox for a server here", hint="run it without one, if you trust it")
    config, files = hosting.server_base
    program = find_program(argv, own, config.workspace).shown_in(config, write)
    access = server_access(config, write, network=network, files=files, has_mounts=hosting.tier == "bwrap")
    access = access._replace(config=access.config._replace(readable=(*access.config.readable, *program.shown)))
    notes = (*access.notes, *program.notes)
    return _Prepared(hosting.for_server(access), *_started_by(program, own), access.written, notes)


def _own_environment(argv: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a server gets.

    Raises:
        ToolError: one of them, or a word of ``argv``, cannot be given to a program.
    """
    own = {name: value for name, value in env.items() if name not in _OURS}
    for text in (*argv, *own, *own.values()):
        if "\0" in text:
            raise ToolError(f"{safe_text(text)} has a NUL character in it, which no program can be given")
    for name in own:
        if not name or "=" in name:
            raise ToolError(f"{safe_text(name) or 'an empty name'} is no name of an environment variable")
    return own


def _started_by(program: ServerProgram, own: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the argv of a server and its variables, without those that only itself may see."""
    early = {name: value for name, value in own.items() if not (name.startswith("LD_") or name in _OF_LOADERS)}
    late = [f"{name}={value}" for name, value in own.items() if name not in early]
    fixed = child_environment()["PATH"].split(":")
    if program.folder and program.folder not in fixed and "PATH" not in own:
        early["PATH"] = ":".join((program.folder, *fixed))
    return [*(["env", *late] if late else []), *program.argv], early
