"""What counting costs and how far bytes by four are off: ``python tests/benchmarks/counting.py [ROUNDS]``.

A turn may cost 15 ms beside model and tool, at turn 200 as at the first (DESIGN.md section 8). Ratios within one run;
no test asserts a time.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import anyio

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.context.tokens import PLAIN, ROUGH, Measure  # noqa: E402
from agentctl.core.events import Event  # noqa: E402
from agentctl.core.messages import Completion, Message, ToolCall, Usage  # noqa: E402
from agentctl.core.pricing import ModelFacts  # noqa: E402
from agentctl.providers.tokenizers import counter_for, measure_for  # noqa: E402
from agentctl.runner.conversation import Conversation  # noqa: E402 - the tests are no package of the path
from agentctl.runner.plan import Plan  # noqa: E402
from tests.support.counting import TEXTS, TOOLS, turns  # noqa: E402

FACTS = ModelFacts("openai", "gpt-4o", context_window=1_000_000)
MODELS = ("gpt-4o", "claude-opus-4-7", "llama3.1", "qwen2.5")
ENDED, AGO = 200, 20


async def unheard(event: Event) -> None:
    """Take an event and keep nothing."""


async def each_turn(limit: int) -> list[float]:
    """Return the seconds that each of 200 turns spends on counting, fitting and learning."""
    plan, counter = Plan(max_context_tokens=limit), counter_for("openai", "gpt-4o")
    talk = Conversation(prune=partial(plan.fit, FACTS), emit=unheard, limit=limit, counter=counter)
    truth, kinds, taken = measure_for("openai", "gpt-4o"), list(TEXTS), []
    await talk.add(Message("system", "You look after containers."))
    await talk.add(Message("user", "Why is web slow?"))
    for number in range(ENDED):
        began = time.perf_counter()
        said = await talk.prepare(TOOLS)
        spent = time.perf_counter() - began
        answer = Completion(usage=Usage(truth.request(said, TOOLS), 20))
        began = time.perf_counter()
        await talk.learn(answer, TOOLS)
        taken.append(spent + time.perf_counter() - began)
        await talk.add(Message("assistant", "", (ToolCall(f"c{number}", "docker_logs", {"tail": number}),)))
        text = TEXTS[kinds[number % len(kinds)]][:1500]
        await talk.add(Message("tool", f"{number} {text}", tool_call_id=f"c{number}"))
    return taken


def main(rounds: int) -> None:
    """Print loading, the counts of a conversation of 100 messages by each way, and what turns cost."""
    kinds = list(TEXTS)
    said = turns([TEXTS[kinds[n % len(kinds)]][:1500] for n in range(49)])
    plain = PLAIN.request(said, TOOLS)
    rough = ROUGH.request(said, TOOLS) / plain
    print(f"100 messages: bytes by four {plain:,} tokens; by kinds of characters {rough:.2f} of it")
    for model in MODELS:
        began = time.perf_counter()
        measure = measure_for("anywhere", model)
        loaded = time.perf_counter() - began
        bare = Measure(count=measure.count).request(said, TOOLS)
        began = time.perf_counter()
        again = measure.request(said, TOOLS)
        seen = time.perf_counter() - began
        print(
            f"  {model:16} loaded in {1000 * loaded:4.0f} ms; vocabulary {bare / plain:.2f}, as counted "
            f"{again / plain:.2f} of bytes by four; counted again in {1000 * seen:.2f} ms"
        )
    for limit in (8_000, 128_000):
        runs = [anyio.run(each_turn, limit) for _ in range(rounds)]
        early = median(median(run[AGO : 2 * AGO]) for run in runs)
        late = median(median(run[-AGO:]) for run in runs)
        dearest = median(max(run) for run in runs)
        print(
            f"limit {limit:>7,}: a turn from {AGO} on {1000 * early:.2f} ms, of the last {AGO} {1000 * late:.2f} ms, "
            f"ratio {late / early:.1f}; the dearest {1000 * dearest:.1f} ms (it cuts, or the vocabulary comes)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
