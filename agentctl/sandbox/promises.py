"""What each tier of the sandbox promises of a command: the table that ``doctor`` and the documentation show."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Degree = Literal["yes", "partly", "no"]


class Promise(NamedTuple):
    """How far a tier keeps a promise, and what is left of it or needed for it."""

    degree: Degree
    note: str = ""

    def __str__(self) -> str:
        return f"{self.degree}: {self.note}" if self.note else self.degree


YES, NO = Promise("yes"), Promise("no")


def _partly(note: str) -> Promise:
    return Promise("partly", note)


#: What a tier needs, by its name.
NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "bwrap": "bubblewrap and user namespaces",
        "landlock": "Linux 5.19 on x86_64 or aarch64; neither namespaces nor mounts",
        "none": "nothing",
    }
)

#: Each promise about a command, and how far the tiers ``bwrap``, ``landlock`` and ``none`` keep it.
PROMISES: Mapping[str, Mapping[str, Promise]] = MappingProxyType(
    {
        text: MappingProxyType({"bwrap": bwrap, "landlock": landlock, "none": none})
        for text, bwrap, landlock, none in (
            ("changes only the workspace and `[sandbox] write`", YES, YES, NO),
            (
                "cannot read your home, other users' files or agentctl's own",
                YES,
                _partly("names, sizes and times can be seen"),
                NO,
            ),
            (
                "cannot read the rest of the machine",
                _partly("the system, and what your user may read in `/opt`, `/srv`, `/var` and mounts, can be read"),
                _partly("the system (`/usr`, `/etc`, `/proc`, parts of `/sys`) can be read"),
                NO,
            ),
            ("cannot use the network without `--network`", YES, YES, NO),
            (
                "cannot reach sockets of daemons (engine, D-Bus, ssh-agent)",
                Promise("yes", "abstract ones with `--network` from Linux 6.12 on"),
                YES,
                NO,
            ),
            ("cannot see other processes", YES, _partly("names and command lines can be seen, nothing else"), NO),
            ("cannot end other processes", YES, Promise("yes", "from Linux 6.12 on"), NO),
            ("leaves no process running", YES, Promise("yes", "from Linux 6.12 on"), _partly("see Processes")),
            (
                "cannot change what other programs run or obey, such as git's hooks",
                YES,
                _partly("changes are undone when the command has ended, not prevented while it runs"),
                NO,
            ),
            (
                "leaves no program that runs with its owner's rights (setuid)",
                Promise("yes", "with its group's rights (setgid) it can make one in the workspace"),
                YES,
                NO,
            ),
            ("does not see what deny rules on paths name", YES, YES, NO),
            ("has no privileges, and no system calls that reach past the sandbox", YES, YES, NO),
            (
                "is limited in memory, processes and disk",
                Promise("yes", "without control groups each process by itself"),
                Promise("yes", "without control groups each process by itself"),
                NO,
            ),
        )
    }
)


def lines_for(tier: str) -> tuple[str, ...]:
    """Return a line for each promise: how far the tier keeps it."""
    lines = []
    for text, kept in PROMISES.items():
        degree, note = kept[tier]
        lines.append(f"{degree:6}  {text}{f': {note}' if note else ''}".replace("`", ""))
    return tuple(lines)
