"""What commands do to outlive their end, alone and all at once, and the ways to end one within a process."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import anyio

from agentctl.protocols import CommandResult, Sandbox
from tests.integration.sandbox.parts import COMMANDS

# Each process of it starts another one every 20 ms, in a session of its own and with nothing in its environment. Before
# the fifth generation there are some 30; what bounds it is the box in which it runs.
_STORM = """[ $1 -lt 4 ] || : >"$2"; while :; do sleep 0.02; env -i setsid sh -c "$0" "$0" $(($1 + 1)) "$2" & done"""
#: Each makes the file $READY once it is on its way: of the floods, 64 MiB have been read by then.
BEHAVIOURS = {
    "plain": COMMANDS["plain"],
    "setsid": COMMANDS["setsid"],
    "double fork": COMMANDS["double fork"],
    "nohup": COMMANDS["nohup"],
    "pipe holder": COMMANDS["pipe holder"],
    "ignores SIGTERM": COMMANDS["ignores SIGTERM"],
    "stopped": """sh -c 'kill -STOP $$' & touch "$READY"; kill -STOP $$""",
    "fork storm": f'sh -c {shlex.quote(_STORM)} {shlex.quote(_STORM)} 0 "$READY" & exec sleep $N',
    "yes": 'yes $N | head -c 64M; touch "$READY"; exec yes $N',
    "1 GB without newline": r"""head -c 64M /dev/zero | tr '\0' x; touch "$READY"
        head -c 1G /dev/zero | tr '\0' x; exec sleep $N""",
    "reads the terminal": """sh -c 'stty raw -echo; read -r x' </dev/tty; touch "$READY"; exec sleep $N""",
    "clears its environment": COMMANDS["hides as a daemon"],
}
STORM, HIDES = "fork storm", "clears its environment"
LARGE = "1 GB without newline"
FLOODS = ("yes", LARGE)
#: Those that need no box around them.
UNBOXED = tuple(name for name in BEHAVIOURS if name != STORM)

InProcess = Literal["end", "timeout", "cancel"]
IN_PROCESS: tuple[InProcess, ...] = get_args(InProcess)


def command_of(names: Iterable[str], token: str, *, ends: bool = False) -> str:
    """Return one command that behaves in all these ways at once; a file ``ready-NUMBER`` for each says so.

    ``token`` is a number of seconds to sleep that names the test. ``ends``: the command ends as soon as all are on
    their way; the large output alone comes whole.
    """
    names = tuple(names)
    if ends and names == (LARGE,):
        return r"head -c 1G /dev/zero | tr '\0' x; touch ready-0"
    numbers = [list(BEHAVIOURS).index(name) for name in names]
    lines = [f"rm -f ready-*; export N={token}.5"]
    lines += [f"READY=ready-{number} sh -c {shlex.quote([*BEHAVIOURS.values()][number])} &" for number in numbers]
    files = " && ".join(f"[ -e ready-{number} ]" for number in numbers)
    return "\n".join([*lines, f"until {files}; do sleep 0.02; done; exit 0" if ends else "wait; sleep $N"])


def are_ready(folder: Path, names: Iterable[str]) -> bool:
    """Return whether the command in ``folder`` does all that it is to do."""
    return len(list(folder.glob("ready-*"))) == len(list(names))


async def end_by(
    way: InProcess, sandbox: Sandbox, folder: Path, names: tuple[str, ...], token: str
) -> CommandResult | None:
    """Run a command that behaves so, and end it in one way; None: it was cancelled."""
    command = command_of(names, token, ends=way == "end")
    for old in folder.glob("ready-*"):
        old.unlink()
    if way == "cancel":
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(sandbox.run, command, timeout=60))
                while not are_ready(folder, names):  # noqa: ASYNC110 - other processes make them
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
        return None
    timeout = 60.0 if way == "end" else 0.5
    while True:  # a loaded machine may need longer until all are on their way
        result = await sandbox.run(command, timeout=timeout)
        if way == "end" or are_ready(folder, names):
            return result
        timeout *= 2
