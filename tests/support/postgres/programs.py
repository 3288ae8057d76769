"""The programs of PostgreSQL that are installed here, and the user that they run as."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.support.ledger.process import IN_MEMORY
from tests.support.machine import NOBODY


def _newest() -> Path:
    found = (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return max(found, key=lambda path: int(path.parent.name), default=Path("/usr/lib/postgresql/bin"))


#: The folder of the newest PostgreSQL, or of the one that PG_BIN names.
PROGRAMS = Path(os.environ.get("PG_BIN") or _newest())
SERVER = PROGRAMS / "postgres"


def as_server_user(home: Path) -> list[str]:
    """Return the words before a command that run it as the servers' user; it ends when this process does."""
    drop = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig", "QUIT", *drop, "--", "env", f"HOME={home}", "LC_ALL=C"]


def own_folder(*, durable: bool = False) -> Path:
    """Make a folder that the servers' user may enter, in memory unless what is in it must reach a disk."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=None if durable else IN_MEMORY))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder
