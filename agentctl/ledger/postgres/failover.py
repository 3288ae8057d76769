"""Notice that a server was promoted, restored or replaced since this machine has seen it.

What was seen is kept in a file of this machine for each address, ``ledger-ADDRESS.seen``: the ledger's own id, the
timeline of the server and the number of its latest entry. A promoted standby has a higher timeline, and may lack the
last commits. A restored backup may lack any number of commits. A ledger can have several addresses, so the files of all
addresses are compared; an address that leads to another ledger is refused.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import LedgerGone, StateError
from agentctl.core.files import make_folder
from agentctl.core.ledger_address import PostgresAddress

_EVERY_S = 5.0  # between two writes of the file
_ACCEPT = "agentctl config set accept_lost_holds true"


class ServerState(NamedTuple):
    """What a server says within a transaction that has locked the ledger.

    ``replicas`` counts the standbys that are attached, or noted; ``synchronous_names`` are those that COMMIT waits for.
    """

    now_us: int
    wall_us: int
    version: int
    timeline: str
    replicas: int
    synchronous_names: str
    last_entry: int
    ledger_id: str

    @property
    def can_lose_commits(self) -> bool:
        """Whether a fail-over can lose a transaction that was committed."""
        return self.replicas > 0 and not self.synchronous_names.strip()


class SeenServer(NamedTuple):
    """How far a ledger was seen."""

    ledger_id: str
    timeline: str
    entry: int


class ServerFence:
    """Refuses a server that is behind what this machine has seen, or is another ledger."""

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self._path = address.beside.with_suffix(".seen")
        self._seen: SeenServer | None = None
        self._was_read = False
        self._found: dict[Path, SeenServer] = {}
        self._written_s = -_EVERY_S

    @property
    def seen(self) -> SeenServer | None:
        """How far the server was seen, None if this machine has not seen it yet."""
        return self._seen if self._was_read else None

    def check(self, state: ServerState) -> bool:
        """Return whether the server was promoted since this machine has seen it.

        Raises:
            LedgerGone: it is another ledger than the one that this address led to.
            StateError: it is an old primary, or its entries end before those that were seen.
        """
        before = self._read(state.ledger_id)
        if before is None:
            return False
        if before.ledger_id != state.ledger_id:
            raise LedgerGone(
                f"{self._address} is another ledger than before: a new one, or one on another server",
                hint=f"correct AGENTCTL_LEDGER; to spend from this one, which knows nothing of it: {_rm([self._path])}",
            )
        if state.timeline < before.timeline:
            raise StateError(
                f"{self._address} was primary before a fail-over (timeline {state.timeline}, seen {before.timeline})",
                hint=f"name the new primary in AGENTCTL_LEDGER, and stop the old one; if this is the new one: "
                f"{self._forgetting(state)}",
            )
        is_promoted = state.timeline > before.timeline
        if state.last_entry < before.entry and not (is_promoted and self._address.accept_lost_holds):
            missing = f"it ends at entry {state.last_entry:,}, but entry {before.entry:,} was seen"
            raise StateError(
                f"{self._address} has lost entries: {missing}; a backup was restored, or a fail-over lost them",
                hint=f"to go on without what is lost: {self._forgetting(state)}",
            )
        return is_promoted

    def refuse_lossy(self, state: ServerState) -> None:
        """Refuse to spend where a fail-over can lose a hold.

        Raises:
            StateError: a standby is attached, and COMMIT does not wait for it.
        """
        if state.can_lose_commits and not self._address.accept_lost_holds:
            raise StateError(
                f"a fail-over of {self._address} can lose holds: COMMIT does not wait for the standby",
                hint=f"set synchronous_standby_names on the server, or accept the loss: {_ACCEPT}",
            )

    def note(self, state: ServerState, *, at_once: bool = False) -> None:
        """Note how far the server is; the file is written at most every few seconds, or ``at_once``."""
        is_new = self._seen is None or self._seen[:2] != (state.ledger_id, state.timeline)
        self._seen, self._was_read = SeenServer(state.ledger_id, state.timeline, state.last_entry), True
        if is_new or at_once or time.monotonic() - self._written_s >= _EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the file; a failure is ignored: the server is checked by what is in memory."""
        if self._seen is None:
            return
        self._written_s = time.monotonic()
        fresh = self._path.with_suffix(f".seen-{os.getpid()}")
        with suppress(OSError):
            make_folder(self._path.parent)
            before = _load(self._path)
            if before is not None and before[:2] == self._seen[:2] and before.entry >= self._seen.entry:
                return  # another process has seen more
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, json.dumps(self._seen._asdict()).encode())
            finally:
                os.close(file)
            fresh.replace(self._path)

    def _read(self, ledger_id: str) -> SeenServer | None:
        """Return how far this ledger was seen at any address, or another ledger that was seen at this address."""
        if not self._was_read:
            self.look()
            here, found = self._found.get(self._path), self._found.values()
            furthest = max((one for one in found if one.ledger_id == ledger_id), default=None, key=lambda one: one[1:])
            self._seen = here if here is not None and here.ledger_id != ledger_id else furthest
            self._was_read = True
        return self._seen

    def look(self) -> None:
        """Read the files. What is read after a view has begun may be further than that view."""
        if not self._found and not self._was_read:
            found = ((path, _load(path)) for path in sorted(self._path.parent.glob("ledger-*.seen")))
            self._found = {path: seen for path, seen in found if seen is not None}

    def _forgetting(self, state: ServerState) -> str:
        """Return the command that forgets how far a ledger was seen."""
        return _rm([path for path, seen in self._found.items() if seen.ledger_id == state.ledger_id] or [self._path])


def _load(path: Path) -> SeenServer | None:
    try:
        found = json.loads(path.read_bytes())
        return SeenServer(str(found["ledger_id"]), str(found["timeline"]), int(found["entry"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _rm(files: list[Path]) -> str:
    return f"rm {' '.join(shlex.quote(str(path)) for path in files)}"
