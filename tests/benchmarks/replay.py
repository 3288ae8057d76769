"""What long runs cost under three ways to make them fit: ``python tests/benchmarks/replay.py [TURNS...]``.

Conversations of 30, 100 and 200 turns, made by the real loop and real tools, are replayed under no pruning, under a
sliding window, and under ours, at three price tables with exact caches. Dollars, answers included.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402 - the tests are no package of the path

from agentctl.core.pricing import Price  # noqa: E402
from agentctl.providers.catalog import load_catalog  # noqa: E402
from tests.support.replay.recording import Size, record  # noqa: E402
from tests.support.replay.replaying import LIMIT, Bill, no_pruning, ours, sliding_window  # noqa: E402

MODELS = (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4-turbo"))
SIZES: tuple[Size, ...] = ("small", "large")


def shown(bill: Bill) -> str:
    """Return a bill as dollars, with its longest request where that is above the limit."""
    over = f" ({bill.longest // 1000}k)" if bill.longest > LIMIT else ""
    return f"${bill.nano / 10**9:.4f}{over}"


async def main(lengths: Sequence[int]) -> None:
    """Print a row for each conversation and price."""
    catalog = load_catalog({})
    print("| turns, results | prices | no pruning | sliding window | ours | cuts, broken prefixes | summaries |")
    print("|---|---|---|---|---|---|---|")
    for turns in lengths:
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                recording = await record(Path(folder), turns, size)
            for provider, model in MODELS:
                price = catalog.price_of(provider, model)
                assert isinstance(price, Price)
                whole, window = no_pruning(recording, price), sliding_window(recording, price)
                own = await ours(recording, price)
                print(
                    f"| {turns}, {size} | {model} | {shown(whole)} | {shown(window)} | {shown(own)} |"
                    f" {own.cuts}, {own.breaks} against {window.cuts} | {own.summaries} |"
                )


if __name__ == "__main__":
    anyio.run(main, [int(word) for word in sys.argv[1:]] or [30, 100, 200])
