"""What tools work with: the folder, the engine, the clock, the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.tools.docker.engine import DockerEngine

if TYPE_CHECKING:
    from agentctl.core.text import Redactor
    from agentctl.core.tool_rules import Rule
    from agentctl.protocols import Sandbox
    from agentctl.sandbox.denied_paths import DeniedPaths


MOST_BYTES = 64 * 1024
MOST_KEPT_BYTES = 16 * 1024 * 1024


class ToolContext(NamedTuple):
    """Handed to every tool; without a ``sandbox`` no command of a shell can be run. ``private`` is agentctl's own.

    ``kept`` is the folder of the run's files. ``restricting`` are the deny and ask rules, for tools that show several
    things in one call; ``denied`` is what those about paths hide. ``redactor`` made the marks that a model reads in
    place of secrets.
    """

    workspace: Path
    engine: DockerEngine
    now: Callable[[], datetime]
    sandbox: Sandbox | None = None
    private: tuple[Path, ...] = ()
    kept: Path | None = None
    restricting: tuple[Rule, ...] = ()
    denied: DeniedPaths | None = None
    redactor: Redactor | None = None

    @property
    def most_bytes(self) -> int:
        """How long a tool's text may be: longer where a run cuts it for the model and keeps it."""
        return MOST_BYTES if self.kept is None else MOST_KEPT_BYTES
