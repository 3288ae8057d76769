"""Parts of the ledger's tests: a clock turned by hand, and a model whose prices are easy to read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from agentctl.budget.rules import Ask
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger.clock import ClockReading
from tests.support import machine

DOLLAR = 1_000_000_000
FACTS = ModelFacts("p", "m", Price(Decimal(0), Decimal(1_000)), context_window=100_000, output_ceiling=10_000)
"""One output token costs a thousandth of a dollar, input nothing: 256 tokens are $0.256."""


@dataclass
class HandClock:
    """Wall and boot clock, set by hand, in seconds."""

    wall_s: float = 1_800_000_000.0
    boot_s: float = 100.0
    boot_id: str = "boot-1"

    def __call__(self) -> ClockReading:
        return ClockReading(int(self.wall_s * 1_000_000), int(self.boot_s * 1_000_000), self.boot_id)

    def pass_by(self, seconds: float) -> None:
        """Let both clocks run."""
        self.wall_s += seconds
        self.boot_s += seconds


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only: by its mode, or for root by a read-only mount."""
    if os.geteuid():
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    machine.need("mounts")
    for options in (("--bind", folder), ("-o", "remount,ro,bind")):
        subprocess.run(["mount", *options, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def ask(name: str, run: str = "run", *, tokens: int = 256, hour: Decimal | None = None, **changes: object) -> Ask:
    """Ask for exactly ``tokens`` of output."""
    hour_nano = None if hour is None else int(hour * DOLLAR)
    asked = Ask(name, run, FACTS, input_bound=10, least=tokens, most=tokens, hour_limit_nano=hour_nano)
    return Ask(**{**{f: getattr(asked, f) for f in Ask._fields}, **changes})
