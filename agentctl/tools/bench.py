"""What tools work with: the folder, the engine, the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agentctl.tools.engine import Engine


class Bench(NamedTuple):
    """Handed to every tool."""

    workspace: Path
    engine: Engine
    now: Callable[[], datetime]
