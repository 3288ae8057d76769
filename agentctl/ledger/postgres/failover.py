"""Notice that a server is not the one, or not as far, as this machine has seen it: promoted, behind, or restored.

What was seen is kept in a file of this machine, ``ledger-ID.seen``: the ledger's own id, the timeline of the server and
the number of its latest entry. A promoted standby has a higher timeline. One that had not received everything lacks the
last commits; so has a backup, which may lack any number of them.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from contextlib import suppress
from typing import NamedTuple

from agentctl.core.errors import StateError
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
    """Refuses a server that is behind what this machine has seen."""

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self._path = address.beside.with_suffix(".seen")
        self._seen: SeenServer | None = None
        self._was_read = False
        self._written_s = -_EVERY_S

    def check(self, state: ServerState) -> bool:
        """Return whether the server was promoted since this machine has seen it.

        Raises:
            StateError: it is an old primary, or its entries end before those that were seen.
        """
        before = self._read()
        if before is None or before.ledger_id != state.ledger_id:
            return False
        if state.timeline < before.timeline:
            raise StateError(
                f"{self._address} was primary before a fail-over (timeline {state.timeline}, seen {before.timeline})",
                hint="name the new primary in AGENTCTL_LEDGER, and stop the old one",
            )
        is_promoted = state.timeline > before.timeline
        if state.last_entry < before.entry and not (is_promoted and self._address.accept_lost_holds):
            missing = f"it ends at entry {state.last_entry:,}, but entry {before.entry:,} was seen"
            raise StateError(
                f"{self._address} has lost entries: {missing}; a backup was restored, or a fail-over lost them",
                hint=f"to go on without what is lost: rm {shlex.quote(str(self._path))}",
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
            before = self._load()
            if before is not None and before[:2] == self._seen[:2] and before.entry >= self._seen.entry:
                return  # another process has seen more
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, json.dumps(self._seen._asdict()).encode())
            finally:
                os.close(file)
            fresh.replace(self._path)

    def _read(self) -> SeenServer | None:
        if not self._was_read:
            self._seen, self._was_read = self._load(), True
        return self._seen

    def _load(self) -> SeenServer | None:
        try:
            found = json.loads(self._path.read_bytes())
            return SeenServer(str(found["ledger_id"]), str(found["timeline"]), int(found["entry"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None
