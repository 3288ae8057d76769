"""What is left of commands: each behaviour, ended in each way, in each tier, and the survivors counted.

``python -m tests.integration.sandbox.matrix`` runs the whole and prints a table for each tier; takes minutes.
``--tier``, ``--way`` and ``--behaviour`` (repeatable) take a part of it, ``--user nobody`` runs it as that user. Exit 1
if a process, a guard, a folder, a mount or a control group is left that ``EXEMPTIONS`` does not name, a terminal is not
as before, or a flood fills the memory. A tier that is not available here is named.

The ends within a process go through the sandbox's socket, one process for a tier. A signal is sent to a real
``agentctl run`` at a terminal of its own, and Ctrl-C is typed there. ``tests/support/survivors`` says how a survivor is
found. After SIGKILL one more command runs in the workspace: it removes the control groups and the empty placeholders of
a killed run.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

from agentctl.sandbox import tiers
from agentctl.settings.model import Settings
from tests.integration.sandbox.behaviours import BEHAVIOURS, FLOODS, HIDES, IN_PROCESS, STORM, are_ready, command_of
from tests.integration.sandbox.matrix_process import GUARD, peak_kb
from tests.support import fork_server, machine
from tests.support.screen.terminals import Person
from tests.support.survivors import PATIENCE_S, Box, Mark, why_no_box

_ACCEPTED = get_args(Settings.model_fields["sandbox"].annotation)
#: The tiers that a user can choose, the strongest first.
TIERS = (*(tier.name for tier in tiers.TIERS if tier.name in _ACCEPTED), "none")
#: What a machine must have for each, and what for another user than the one who runs the matrix.
NEEDS = {
    "bwrap": (("sandbox",), ("sandbox for others", "Python for others")),
    "landlock": (("landlock",), ("landlock for others",)),
    "none": (("Linux",), ("Python for others",)),
}
SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP, "SIGKILL": signal.SIGKILL}
WAYS = (*IN_PROCESS, *SIGNALS)
MOST_PROCESSES = 80  # of a box, agentctl and its threads included
MOST_MEMORY_KB = 150_000
_MODULE = "tests.integration.sandbox.matrix_process"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


@dataclass
class Outcome:
    """What was left after one or more behaviours were ended in one way."""

    tier: str
    way: str
    names: tuple[str, ...]
    survivors: list[str]
    guards: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    """Folders, files, mounts, control groups, and how the terminal differs."""
    wrong: list[str] = field(default_factory=list)
    """Another end than this way has: then the cell says nothing."""
    peak_kb: int = 0

    @property
    def faults(self) -> list[str]:
        """Everything that must not be, in words."""
        said = [f"survivor: {line}" for line in self.survivors] + [f"guard: {line}" for line in self.guards]
        said += [f"left: {thing}" for thing in self.left_behind] + self.wrong
        if self.peak_kb > MOST_MEMORY_KB and set(self.names) & set(FLOODS):
            said.append(f"agentctl had {self.peak_kb // 1024} MiB of memory")
        return said


@dataclass
class Ground:
    """The folders of one process of the matrix, its user, its mark and its box."""

    folder: Path
    uid: int
    box: Box | None
    mark: Mark
    token: str

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def environ(self) -> dict[str, str]:
        home = self.folder / "home"
        folders = {f"AGENTCTL_{kind}_DIR": str(home / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE")}
        return {**folders, "HOME": str(home), "TMPDIR": str(self.folder / "tmp"), "LLM_PROVIDER": "builtin"}

    def asked(self, tier: str, **more: object) -> str:
        box = "" if self.box is None else str(self.box.folder)
        given = {"tier": tier, "uid": self.uid, "box": box, "mark": self.mark.value, "token": self.token, "command": ""}
        return json.dumps(given | more)

    def left_behind(self, pid: int) -> list[str]:
        """Return the folders, mounts and control groups that an ended process of agentctl has left."""
        there = (*self.work.iterdir(), *(self.folder / "tmp").iterdir())
        found = [str(path) for path in there if not path.name.startswith("ready-")]
        found += map(str, Path("/tmp").glob(f"agentctl-*-{pid}-*"))
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.folder) in line]
        return found + [str(folder) for folder in groups_of(pid)]

    def processes(self, *, patience_s: float = 0.0) -> list[str]:
        """Return the survivors, after some patience; the box counts what no search has found."""
        found = [line or "?" for line in self.mark.left(patience_s=patience_s).values()]
        if not found and self.box is not None and (number := self.box.count_left()):
            found = [f"{number} in the control group"]
        return found


def groups_of(pid: int) -> list[Path]:
    """Return the control groups that a process of agentctl has made."""
    folders = (Path(above, name) for above, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return [folder for folder in folders if folder.name.startswith(f"agentctl-{pid}-")]  # others come and go meanwhile


@contextmanager
def ground(uid: int | None = None) -> Iterator[Ground]:
    """Give new folders of a user, in a box if one can be made here; nothing is left of them, nor of the processes."""
    user = os.geteuid() if uid is None else uid
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="matrix-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        for name in ("work", "home", "tmp"):
            (folder / name).mkdir()
            os.chown(folder / name, user, user if user != os.geteuid() else -1)
        box = stack.enter_context(Box(MOST_PROCESSES)) if why_no_box() is None else None
        mark = Mark()
        stack.callback(mark.kill, {os.getpid()})
        yield Ground(folder, user, box, mark, str(random.randrange(10**11, 10**12)))


def end_in_process(tier: str, cells: Sequence[tuple[str, Sequence[str]]], on: Ground) -> Iterator[Outcome]:
    """Run ways and behaviours one after the other in one process, and yield what was left of each."""
    words = ["-m", _MODULE, on.asked(tier, cells=cells)]
    environ = {**os.environ, **fork_server.ENVIRON, **on.environ}
    process = fork_server.Forked(words, cwd=on.work, env=environ, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        for way, names in cells:
            line = process.stdout.readline()
            assert line, f"the process of the matrix has failed at {way}: {', '.join(names)}"
            said: dict[str, Any] = json.loads(line)
            outcome = Outcome(tier, way, tuple(names), said["survivors"], said["guards"], peak_kb=said["peak_kb"])
            if said["tier"] != tier:
                outcome.wrong.append(f"the sandbox was {said['tier']}")
            if said["timed_out"] != (way == "timeout"):
                outcome.wrong.append(f"timed_out is {said['timed_out']}")
            yield outcome
        code = process.wait()
    last = Outcome(tier, "its process ended", (), on.processes(), [], on.left_behind(process.pid))
    last.wrong += [f"exit code {code}"] if code else []
    yield last


def end_by_signal(tier: str, way: str, names: Sequence[str], on: Ground) -> Outcome:
    """End a real run at a terminal, while its command behaves in all these ways; return what was left."""
    words = ("-m", _MODULE, on.asked(tier, command=command_of(names, on.token)))
    person = Person(on.work, *words, environ=on.environ)
    try:
        before = termios.tcgetattr(person.terminal)
        person.waits(lambda: are_ready(on.work, names), "all behaviours")
        peak = peak_kb(person.process.pid)
        if way == "Ctrl-C":
            person.types("\x03")
        else:
            person.process.send_signal(SIGNALS[way])
        code, _ = person.leaves()
        # Whoever ends in an orderly way has ended everything before; the guard of a killed one does it afterwards.
        survivors = on.processes(patience_s=PATIENCE_S if way == "SIGKILL" else 0.0)
        if way == "SIGKILL":
            for _ in end_in_process(tier, [("end", ["plain"])], on):
                pass
        outcome = Outcome(tier, way, tuple(names), [], [], on.left_behind(person.process.pid), peak_kb=peak)
        outcome.survivors = [line for line in survivors if GUARD not in line]
        outcome.guards = [line for line in survivors if GUARD in line]
        if termios.tcgetattr(person.terminal) != before:
            outcome.left_behind.append("other settings of the terminal")
        if way != "SIGKILL" and person.raw.count(_HIDE) != person.raw.count(_SHOW):
            outcome.left_behind.append("a hidden cursor")
    finally:
        person.close()
    expected = -signal.SIGKILL if way == "SIGKILL" else 128 + SIGNALS[way]
    outcome.wrong += [f"exit code {code}: {person.raw[-500:]}"] if code != expected else []
    return outcome


class Exemption(NamedTuple):
    """A process that a tier cannot end, and why, in the words of docs/permissions-and-sandbox.md."""

    tier: str
    process: str
    reason: str


#: All that may be left. ``test_matrix`` compares it with the table in the docs.
EXEMPTIONS = (
    Exemption("none", "a process of another user (`sudo`)", "agentctl may not end it"),
    Exemption(
        "none",
        "work that is handed to a daemon (`at`, `docker run -d`, `systemd-run`)",
        "the daemon starts it, not the command",
    ),
    Exemption(
        "none",
        "background processes, if the command kills its guard process and then agentctl (with landlock, too, before "
        "Linux 6.12)",
        "nothing is left that could end them",
    ),
    Exemption(
        "none",
        "a background process that clears its environment and leaves its session, where your user cannot start "
        "agentctl's Python",
        "the command has no guard process above it",
    ),
)


def is_exempt(tier: str, uid: int, names: Sequence[str]) -> bool:
    """Return whether the last of ``EXEMPTIONS`` applies, the only one that a behaviour of the matrix can meet."""
    is_hidden = tier == EXEMPTIONS[-1].tier and HIDES in names
    return is_hidden and uid != os.geteuid() and machine.missing("Python for others") is not None


def why_not(tier: str, uid: int) -> str | None:
    """Return why a tier is not available here for a user, or None."""
    return next(filter(None, map(machine.missing, NEEDS[tier][uid != os.geteuid()])), None)


def run_tier(tier: str, ways: Sequence[str], names: Sequence[str], uid: int) -> Iterator[Outcome]:
    """Run the cells of a tier, each behaviour alone, and yield the outcomes."""
    cells = [(way, [name]) for way in ways if way in IN_PROCESS for name in names]
    if cells:
        with ground(uid) as on:
            yield from end_in_process(tier, cells, on)
    for way in ways:
        if way in SIGNALS:
            for name in names:
                with ground(uid) as on:
                    yield end_by_signal(tier, way, [name], on)


def table(tier: str, outcomes: Sequence[Outcome], ways: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the lines of a tier's table, and its sums."""
    counts = {(outcome.names, outcome.way): outcome for outcome in outcomes}
    lines = [f"{tier:<24}" + "".join(f"{way:>9}" for way in ways)]
    for name in names:
        found = [counts.get(((name,), way)) for way in ways]
        told = ["-" if one is None else "?" if one.wrong else str(len(one.survivors)) for one in found]
        lines.append(f"{name:<24}" + "".join(f"{word:>9}" for word in told))
    peak = max((one.peak_kb for one in outcomes if set(one.names) & set(FLOODS)), default=0)
    sums = {
        "cells": sum(bool(one.names) for one in outcomes),
        "survivors": sum(len(one.survivors) for one in outcomes),
        "guards": sum(len(one.guards) for one in outcomes),
        "folders, mounts, groups, terminal settings left": sum(len(one.left_behind) for one in outcomes),
        "cells that say nothing": sum(bool(one.wrong) for one in outcomes),
        "most memory of agentctl in a flood": f"{peak // 1024} MiB",
    }
    lines.append("; ".join(f"{name}: {value}" for name, value in sums.items()))
    return lines


def main() -> int:
    """Run what the command line asks for; return 1 if anything was left."""
    parser = argparse.ArgumentParser(description="Count what is left of commands.")
    parser.add_argument("--tier", action="append", choices=TIERS, help="one tier (default: each)")
    parser.add_argument("--way", action="append", choices=WAYS, help="one way to end a command (default: each)")
    parser.add_argument("--behaviour", action="append", choices=BEHAVIOURS, help="one behaviour (default: each)")
    parser.add_argument("--user", help="run agentctl as this user, which only root can")
    given = parser.parse_args()
    ways, names = given.way or WAYS, given.behaviour or tuple(BEHAVIOURS)
    uid = os.geteuid() if given.user is None else pwd.getpwnam(given.user).pw_uid
    for name in ("CI", *(name for name in os.environ if name.endswith("_API_KEY"))):
        os.environ.pop(name, None)
    if (why := why_no_box()) is not None and STORM in names:
        print(f"{STORM}: not started, as no control group bounds it: {why}")
        names = [name for name in names if name != STORM]
    is_wrong = False
    for one in tiers.TIERS:
        if one.name not in TIERS:
            print(f"\n{one.name}: --sandbox does not accept it")
    for tier in given.tier or TIERS:
        if (why := why_not(tier, uid)) is not None:
            print(f"\n{tier}: not available here: {why}")
            continue
        outcomes = list(run_tier(tier, ways, names, uid))
        print("", *table(tier, outcomes, ways, names), sep="\n")
        for outcome in outcomes:
            expected = is_exempt(tier, uid, outcome.names or names)
            for fault in outcome.faults:
                is_wrong = is_wrong or not expected
                print(f"  {outcome.way}, {', '.join(outcome.names) or 'all'}: {fault}{' (as the docs say)' * expected}")
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
