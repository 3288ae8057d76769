"""What a cut costs, beside what a turn may cost, and what it keeps: ``python tests/benchmarks/pruning.py [ROUNDS]``.

A turn may cost 15 ms beside model and tool (DESIGN.md section 8). Ratios to that, and growth, within one run; no test
asserts a time. Of what is kept: in how many conversations a fact of turn two is still sent at turn sixty.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.context.manager import ContextManager  # noqa: E402
from agentctl.context.message_cache import MessageCache  # noqa: E402
from agentctl.context.pruning import prune  # noqa: E402 - the tests are no package of the path
from agentctl.core.messages import Message, ToolCall  # noqa: E402
from agentctl.providers.chat_format import as_messages  # noqa: E402
from tests.support.context.needles import KINDS, by_age, by_relevance, shares  # noqa: E402

TURN = 0.015
ROOM = 3_000
LENGTHS = (100, 1_000, 10_000)
LOG = "2026-11-24 web request {n} took {m} ms, status 200, path /items/{n}\n"
Talk = tuple[Message, ...]


def conversation(messages: int) -> Talk:
    """Return a task and turns of a call and a result of three lines."""
    said = [Message("system", "be brief"), Message("user", "Why is the web container slow on /items?")]
    for n in range(messages // 2 - 1):
        said.append(Message("assistant", "", (ToolCall(f"c{n}", "docker_logs", {"name": "web", "tail": n}),)))
        said.append(Message("tool", LOG.format(n=n, m=n * 7919 % 997) * 3, tool_call_id=f"c{n}"))
    return tuple(said)


def fit(messages: Talk, max_tokens: int, known: MessageCache | None = None) -> Talk:
    """Cut as a run does."""
    return prune(messages, max_tokens=max_tokens, keep_user=3, keep_assistant=3, cache=known)


def seconds(act: Callable[[Any], object], rounds: int, given: Callable[[], object] = lambda: None) -> float:
    """Return the median time of the processor for ``act``, each time with what ``given`` returns."""
    taken = []
    for _ in range(rounds):
        what = given()
        began = time.process_time()
        act(what)
        taken.append(time.process_time() - began)
    return median(taken)


def grown(messages: Talk) -> MessageCache:
    """Return what is known after a turn of a run that has not come to its limit yet."""
    known = MessageCache()
    fit(messages[:-2], 10**7, known)
    known.prepare(messages[:-2])
    return known


def managed(talk: list[dict[str, object]]) -> ContextManager:
    """Return a manager that has seen all but the last turn."""
    manager = ContextManager(ROOM, warn=lambda _: None)
    manager.get_context_stats(talk[:-2])
    return manager


def rows(rounds: int) -> dict[str, list[float]]:
    """Return the time of each kind of cut for each length."""
    found: dict[str, list[float]] = {}
    for length in LENGTHS:
        messages = conversation(length)
        talk: list[dict[str, object]] = as_messages(messages)

        def known(said: Talk = messages) -> MessageCache:
            return grown(said)

        def manager(said: list[dict[str, object]] = talk) -> ContextManager:
            return managed(said)

        def cold(_: object, said: Talk = messages) -> object:
            return fit(said, ROOM)

        def warm(known: MessageCache, said: Talk = messages) -> object:
            return fit(said, ROOM, known)

        def fits(known: MessageCache, said: Talk = messages) -> object:
            return fit(said, 10**7, known)

        def dicts(manager: ContextManager, said: list[dict[str, object]] = talk) -> object:
            return manager.prune(said)

        found.setdefault("cut, all new", []).append(seconds(cold, rounds))
        found.setdefault("cut, known but the last turn", []).append(seconds(warm, rounds, known))
        found.setdefault("looked at, known, and it fits", []).append(seconds(fits, rounds, known))
        found.setdefault("dicts cut by a ContextManager that counted them", []).append(seconds(dicts, rounds, manager))
    return found


def main(rounds: int) -> None:
    """Print each time as a ratio to what a turn may cost, and what ten times as many messages cost."""
    print(f"{'ratio to a turn of 15 ms, at':48}" + "".join(f"{length:>9,}" for length in LENGTHS) + "   growth")
    for name, times in rows(rounds).items():
        ratios = "".join(f"{taken / TURN:9.2f}" for taken in times)
        growth = ", ".join(f"{later / sooner:.1f}" for sooner, later in pairwise(times))
        print(f"{name:48}{ratios}   {growth} for ten times as many")
    result = Message("tool", "x" * 50_000_000, tool_call_id="c0")
    large = (*conversation(4)[:3], result)
    print(f"{'50 MB in one result':48}{seconds(lambda _: fit(large, ROOM), rounds) / TURN:9.2f}")
    seeds = range(12)
    for max_tokens in (8_000, 4_000, 2_000, 1_000):
        kept, aged = (sum(shares(max_tokens, seeds, cut).values()) for cut in (by_relevance, by_age))
        of = len(seeds) * len(KINDS)
        print(f"a fact of turn 2 at turn 60, {max_tokens:,} tokens: by relevance {kept} of {of}, by age {aged} of {of}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
