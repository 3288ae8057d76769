"""Parts of the tests of the Python API: priced answers, a journal read back, a call that hangs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio

from agentctl.core.messages import Completion, Request, Usage
from agentctl.core.pricing import ModelFacts, Price

USED = Usage(input_tokens=1000, output_tokens=100)
PRICED = ModelFacts(
    provider="scripted",
    model="priced",
    price=Price(Decimal(10), Decimal(30), source="script"),  # an answer of USED costs 13,000,000 nano-dollars
    context_window=128_000,
    output_ceiling=16_384,
)
COST = 13_000_000


def says(text: str) -> Completion:
    """An answer that costs ``COST`` with ``PRICED``."""
    return Completion(text, usage=USED)


def hanging(reached: anyio.Event) -> Callable[[Request], object]:
    """A call that says when it is under way, and never ends."""

    async def step(request: Request) -> None:
        reached.set()
        await anyio.sleep_forever()

    return step


def journal_of(run_id: str) -> list[dict[str, Any]]:
    """Return the lines of a run's journal."""
    path = Path(os.environ["AGENTCTL_STATE_DIR"]) / "runs" / f"{run_id}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def journals() -> list[list[dict[str, Any]]]:
    """Return every journal there is."""
    folder = Path(os.environ["AGENTCTL_STATE_DIR"]) / "runs"
    return [journal_of(path.stem) for path in sorted(folder.glob("*.jsonl"))]
