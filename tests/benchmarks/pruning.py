"""What a cut costs as a conversation grows, and beside one turn: ``python tests/benchmarks/pruning.py [ROUNDS]``.

What a turn may cost beside model and tool is 15 ms (DESIGN.md section 8). Ratios within one run; no test asserts a
time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.context import conversation_tokens, prune  # noqa: E402 - the tests are no package of the path
from agentctl.context_manager import ContextManager  # noqa: E402
from agentctl.messages import Message, ToolCall  # noqa: E402

LOG = "2026-11-24 web request {n} took 12 ms, status 200, path /items/{n}\n"


def conversation(messages: int) -> tuple[Message, ...]:
    """Return a task and turns of a call and a result of three lines."""
    said = [Message("system", "be brief"), Message("user", "Why is the web container slow on /items?")]
    for n in range(messages // 2 - 1):
        said.append(Message("assistant", "", (ToolCall(f"c{n}", "docker_logs", {"name": "web", "tail": n}),)))
        said.append(Message("tool", LOG.format(n=n) * 3, tool_call_id=f"c{n}"))
    return tuple(said)


def seconds(act: Callable[[], object], rounds: int) -> float:
    """Return the median time of ``act``."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return median(taken)


def main(rounds: int) -> None:
    """Print the time of a cut for each length, per message, and what a request that fits pays for being looked at."""
    first = 0.0
    for length in (100, 1_000, 10_000):
        messages = conversation(length)
        taken = seconds(lambda said=messages: prune(said, max_tokens=3_000, keep_user=3, keep_assistant=3), rounds)  # type: ignore[misc]
        each = taken / length
        first = first or each
        print(
            f"{length:>6} messages cut in {1000 * taken:7.1f} ms, {1e6 * each:5.1f} us each, ratio {each / first:.2f}"
        )
    messages = conversation(100)
    fits = conversation_tokens(messages)
    manager = ContextManager(2 * fits)
    looked = seconds(lambda: prune(messages, max_tokens=fits, keep_user=3, keep_assistant=3), 10 * rounds)
    stats = seconds(lambda: manager.get_context_stats(messages), 10 * rounds)
    print(f"   100 messages that fit: {1000 * looked:.2f} ms; with stats {stats / looked:.1f} times that")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
