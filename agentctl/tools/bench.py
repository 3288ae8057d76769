"""What tools work with: the folder, the engine, the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agentctl.tools.engine import Engine


@dataclass(frozen=True, slots=True)
class Bench:
    """Handed to every tool."""

    workspace: Path
    engine: Engine
    now: Callable[[], datetime]
