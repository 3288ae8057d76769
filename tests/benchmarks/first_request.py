"""How long until the first request reaches the provider: a run by the lean client beside a bare httpx script, and a run
by litellm beside a plain litellm script. Ratios, in turns, no limits.

``python tests/benchmarks/first_request.py [ROUNDS]`` with byte code on disk, as a user has it. All four processes take
their turn in each round, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.wire.server import Answer, WireRequest, WireServer  # noqa: E402 - the tests are no package of the path

BARE = """
import json, sys, httpx
body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "List all containers"}], "max_tokens": 100,
        "stream": True, "stream_options": {"include_usage": True}}
with httpx.Client() as client, client.stream("POST", sys.argv[1] + "/chat/completions", json=body,
                                             headers={"authorization": "Bearer sk-plain"}) as answer:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                print(choice["delta"].get("content") or "", end="")
print()
"""
PLAIN = """
import sys, litellm
litellm.completion(model="openai/gpt-4o-mini", api_base=sys.argv[1], api_key="sk-plain", max_tokens=100,
                   messages=[{"role": "user", "content": "List all containers"}])
"""
RUN = ("-m", "agentctl", "run", "-q", "--agent", "system", "--provider", "openai", "List all containers", "--via")
WAYS = {
    "bare httpx": ("-c", BARE, "URL"),
    "agentctl, lean": (*RUN, "lean"),
    "plain litellm": ("-c", PLAIN, "URL"),
    "agentctl, litellm": (*RUN, "litellm"),
}
#: What is compared with what, and the reach of the ratio: wall clock and CPU.
PAIRS = (("agentctl, lean", "bare httpx", 3.0), ("agentctl, litellm", "plain litellm", 0.7))
_TICKS = os.sysconf("SC_CLK_TCK")


class Took(NamedTuple):
    """What one process took: seconds and CPU seconds up to its first request, both in all, and its peak in MB."""

    first_s: float
    first_cpu_s: float
    whole_s: float
    whole_cpu_s: float
    peak_mb: float


def run(arguments: tuple[str, ...], environ: dict[str, str]) -> Took:
    """Start a process and wait for its end."""
    used: list[float] = []

    def answer(_: WireRequest) -> Answer:
        used.append(_cpu_of(process.pid))
        return Answer("none")

    with WireServer(answer) as server:
        own = {**environ, "OPENAI_BASE_URL": server.openai_url}
        words = (sys.executable, *(server.openai_url if word == "URL" else word for word in arguments))
        began = time.monotonic()
        process = subprocess.Popen(
            words, cwd=ROOT, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.monotonic()
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, words
        first = server.books.chat_requests[0].at - began
    return Took(first, used[0], ended - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as home:
        environ = {
            "HOME": home,
            "PATH": os.environ["PATH"],
            "OPENAI_API_KEY": "sk-benchmark-0123456789",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the plain script waits for a network as well
            **{f"AGENTCTL_{kind}_DIR": f"{home}/{kind}" for kind in ("STATE", "CONFIG", "CACHE")},
        }
        for arguments in WAYS.values():
            run(arguments, environ)
        took: dict[str, list[Took]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, arguments in WAYS.items():
                took[way].append(run(arguments, environ))
    for way, all_of_them in took.items():
        first, first_cpu, whole, whole_cpu, peak = (median(values) for values in zip(*all_of_them, strict=True))
        print(
            f"{way:18} first request {first:.2f} s, {first_cpu:.2f} CPU s;"
            f" whole process {whole:.2f} s, {whole_cpu:.2f} CPU s; peak {peak:.0f} MB"
        )
    for ours, theirs, reach in PAIRS:
        ratios = [
            median(one / other for one, other in zip(mine, other_way, strict=True))
            for mine, other_way in zip(zip(*took[ours], strict=True), zip(*took[theirs], strict=True), strict=True)
        ]
        print(
            f"{ours} / {theirs}: first request {ratios[0]:.2f} (wall), {ratios[1]:.2f} (CPU);"
            f" whole process {ratios[2]:.2f} (wall), {ratios[3]:.2f} (CPU)   reach {reach}"
        )


if __name__ == "__main__":
    main()
