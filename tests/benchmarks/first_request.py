"""How long until the first request reaches the provider, beside a plain litellm script: ratios, in turns, no limits.

``python tests/benchmarks/first_request.py [PAIRS]`` with byte code on disk, as a user has it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.wire.server import Answer, WireServer  # noqa: E402 - the tests are no package of the path

PLAIN = """
import sys, litellm
litellm.completion(model="openai/gpt-4o-mini", api_base=sys.argv[1], api_key="sk-plain", max_tokens=100,
                   messages=[{"role": "user", "content": "List all containers"}])
"""
OURS = ("-m", "agentctl", "run", "-q", "--agent", "system", "--provider", "openai", "List all containers")
REACH = 0.7


def until_first_request(arguments: tuple[str, ...], folder: Path, **environment: str) -> tuple[float, float]:
    """Return the seconds from the start of a process to its first chat request, and its whole time."""
    with WireServer(Answer("none")) as server:
        own = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "OPENAI_API_KEY": "sk-benchmark-0123456789",
            "OPENAI_BASE_URL": server.openai_url,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the plain script waits for a network as well
            **environment,
        }
        words = (sys.executable, *(server.openai_url if word == "URL" else word for word in arguments))
        began = time.monotonic()
        subprocess.run(words, cwd=ROOT, env=own, capture_output=True, check=True, timeout=120)
        return server.books.chat_requests[0].at - began, time.monotonic() - began


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        state = {f"AGENTCTL_{kind}_DIR": str(folder / kind) for kind in ("STATE", "CONFIG", "CACHE")}
        until_first_request(OURS, folder, **state)
        until_first_request(("-c", PLAIN, "URL"), folder)
        plain, ours = [], []
        for _ in range(pairs):
            plain.append(until_first_request(("-c", PLAIN, "URL"), folder))
            ours.append(until_first_request(OURS, folder, **state))
    for place, what in ((0, "first request"), (1, "whole process")):
        a, b = median(x[place] for x in plain), median(x[place] for x in ours)
        ratio = median(o[place] / p[place] for o, p in zip(ours, plain, strict=True))
        print(f"{what:14} plain litellm {a:.2f} s  agentctl {b:.2f} s  ratio {ratio:.2f}  (reach {REACH})")


if __name__ == "__main__":
    main()
