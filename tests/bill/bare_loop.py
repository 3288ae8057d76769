"""A plain budget script, for comparison: read a counter, call litellm, add the cost. It is not part of agentctl.

``python -m tests.bill.bare_loop COUNTER.json LIMIT MODEL [PROCESSES [nested]]``: the counter is shared by all
processes. ``nested``: after its first answer it starts such a script with $5 of its own, and waits for it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

TASK = "How much memory is used?"
TURNS = 30


def spent(counter: Path) -> float:
    """Return what the counter says, in dollars."""
    return float(json.loads(counter.read_text())["spent"]) if counter.exists() else 0.0


def add(counter: Path, cost: float) -> None:
    """Read, add, write."""
    own = counter.with_suffix(f".{os.getpid()}")
    own.write_text(json.dumps({"spent": spent(counter) + cost}))
    own.replace(counter)


def loop(counter: Path, limit: float, model: str, *, nested: bool = False) -> None:
    """Ask again and again until the limit is reached."""
    import litellm

    messages: list[dict[str, object]] = [{"role": "user", "content": TASK}]
    for _ in range(TURNS):
        if spent(counter) >= limit:
            return
        response = litellm.completion(model=model, messages=messages, num_retries=3)
        add(counter, litellm.completion_cost(response))
        answer = response.choices[0].message.content
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "Go on."}]
        if nested and len(messages) == 3:
            own = str(counter.with_name("nested.json"))
            subprocess.run([sys.executable, "-m", "tests.bill.bare_loop", own, "5", model], check=True)


def main(words: list[str]) -> None:
    """Run the loop, in so many processes at once."""
    counter, limit, model = Path(words[0]), float(words[1]), words[2]
    processes = int(words[3]) if len(words) > 3 else 1
    if processes == 1:
        loop(counter, limit, model, nested="nested" in words[4:])
        return
    import litellm  # noqa: F401 - once for all of them

    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=loop, args=(counter, limit, model)) for _ in range(processes)]
    for one in started:
        one.start()
    for one in started:
        one.join()


if __name__ == "__main__":
    main(sys.argv[1:])
