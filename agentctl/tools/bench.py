"""What tools work with: the folder, the engine, the clock, the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.tools.engine import Engine

if TYPE_CHECKING:
    from agentctl.protocols import Sandbox


class Bench(NamedTuple):
    """Handed to every tool; without a ``sandbox`` no command of a shell can be run. ``private`` is agentctl's own.

    ``kept`` is the folder of the run's files.
    """

    workspace: Path
    engine: Engine
    now: Callable[[], datetime]
    sandbox: Sandbox | None = None
    private: tuple[Path, ...] = ()
    kept: Path | None = None
