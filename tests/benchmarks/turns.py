"""What a turn costs: 50 turns of ``true`` in the sandbox, and 50 that read a file, against a server without latency.

``python tests/benchmarks/turns.py [TURNS] [WAY...]`` runs each way with one turn and with 50 more, and prints the
difference a turn: CPU of agentctl with its command, the peak of memory, and the CPU of a turn that starts no process:
that is what agentctl needs beside the tool. A bare httpx loop of as many requests stands beside, without any tool.
Where agentctl's own CPU goes is told by cProfile in each thread, by the thread's own clock: the time inside the
functions of a package, and inside what they call that is not Python, as a share of the CPU without the profiler.
``WAY long`` runs 200 turns of a conversation that is not cut, and prints what the 20th and the 200th need: the medians
of the turns around them, by agentctl's own clock at each request.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.wire.server import Answer, Call, WireRequest, WireServer  # noqa: E402 - the tests are no package

PROFILED = """
import cProfile, json, sys, threading, time
from collections import Counter
profiles, begin = [], threading.Thread._bootstrap_inner
def profiled():
    profiles.append(cProfile.Profile(time.thread_time))
    profiles[-1].enable()
def begin_profiled(self):
    profiled()
    begin(self)
threading.Thread._bootstrap_inner = begin_profiled
profiled()
from agentctl.cli.app import main
code = main(sys.argv[2:])
used = Counter()
for profile in profiles:
    for entry in profile.getstats():
        if not isinstance(entry.code, str):
            inside = [call.inlinetime for call in entry.calls or () if isinstance(call.code, str)]
            used[entry.code.co_filename] += entry.inlinetime + sum(inside)
with open(sys.argv[1], "w") as file:
    json.dump(used, file)
sys.exit(code)
"""
TIMED = """
import json, sys, time
import agentctl.providers.lean_client as client
marks, send = [], client.LeanClient.send
def timed(self, *given):
    marks.append(time.process_time())
    return send(self, *given)
client.LeanClient.send = timed
from agentctl.cli.app import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(marks, file)
sys.exit(code)
"""
BARE = """
import json, sys, httpx
said = [{"role": "user", "content": "Run true again and again"}]
with httpx.Client(headers={"authorization": "Bearer sk-plain"}) as client:
    for turn in range(int(sys.argv[2])):
        body = {"model": "gpt-4o-mini", "messages": said, "max_tokens": 100, "stream": True,
                "tools": [{"type": "function", "function": {"name": "run_shell", "parameters": {"type": "object"}}}]}
        arguments, name = "", ""
        with client.stream("POST", sys.argv[1] + "/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        for call in choice["delta"].get("tool_calls") or ():
                            name = call.get("id") or name
                            arguments += call["function"].get("arguments") or ""
        call = {"id": name, "type": "function", "function": {"name": "run_shell", "arguments": arguments}}
        said += [{"role": "assistant", "content": None, "tool_calls": [call]},
                 {"role": "tool", "tool_call_id": name, "content": "done"}]
"""
FREE = ("--max-cost", "none", "--max-cost-per-hour", "none", "--max-tokens", "none", "--max-turns", "1000")
PARTS: Mapping[str, str] = {
    **{"providers": "client", "httpx": "client", "httpcore": "client", "h11": "client", "cli": "screen"},
    **{"budget": "bound", "context": "bound", "json": "JSON", "tools": "sandbox", "subprocess.py": "sandbox"},
    **dict.fromkeys(("ledger", "journal", "sandbox", "runner", "permissions", "core"), ""),
    **dict.fromkeys(
        ("asyncio", "anyio", "sniffio", "selectors.py", "threading.py", "queue.py", "concurrent", "contextlib.py"),
        "event loop and threads",
    ),
}


class Used(NamedTuple):
    """What a run used: CPU seconds in all, the peak in MB, and what its program has written."""

    cpu_s: float
    peak_mb: float
    found: Any


def run(turns: int, via: str, *, tool: str = "run_shell", program: str = "", **environ: str) -> Used:
    """Run so many turns; ``via`` is a client, or "bare" for the loop; ``program`` starts agentctl and writes a file."""

    def answer(asked: WireRequest) -> Answer:
        if asked.number >= turns:
            return Answer("Done.")
        what = {"command": f"true {asked.number}"} if tool == "run_shell" else {"path": f"{asked.number}.txt"}
        return Answer("", (Call(tool, what),))

    with tempfile.TemporaryDirectory() as home, WireServer(answer) as server:
        state, found, work = Path(home, "home"), Path(home, "found.json"), Path(home, "work")
        for folder in (state, work):
            folder.mkdir()
        for number in range(1, turns if tool == "read_file" else 1):
            Path(work, f"{number}.txt").write_text(f"This is file {number}.\n")
        environ |= {
            "HOME": str(state),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "OPENAI_API_KEY": "sk-benchmark-0123456789",
            "OPENAI_BASE_URL": server.openai_url,
        }
        task = ("run", "-q", "--agent", "system", "--tools", tool, *FREE, "--provider", "openai", "--via", via)
        start = ("-c", program, str(found)) if program else ("-m", "agentctl")
        words = ("-c", BARE, server.openai_url, str(turns)) if via == "bare" else (*start, *task, "Run it again.")
        process = subprocess.Popen(
            (sys.executable, *words), cwd=work, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, words
        assert len(server.books.chat_requests) == turns
        written = json.loads(found.read_text()) if program else None
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, written)


def measure_growth() -> None:
    """Print what the 20th and the 200th turn of a conversation need."""
    for tool in ("run_shell", "read_file"):
        marks = run(201, "lean", tool=tool, program=TIMED, MAX_CONTEXT_TOKENS="1000000").found
        each = [(after - before) * 1000 for before, after in pairwise(marks)]
        early, late = median(each[10:30]), median(each[-20:])
        print(f"{tool:9} {early:.1f} ms of agentctl's own CPU at turn 20, {late:.1f} ms at turn 200")


def measure(via: str, turns: int) -> None:
    """Print what a turn needs this way."""
    first, all_of_them = run(1, via), run(1 + turns, via)
    each = (all_of_them.cpu_s - first.cpu_s) * 1000 / turns
    print(f"{via:8} {each:6.1f} ms of CPU a turn, its command included; peak {all_of_them.peak_mb:.0f} MB")
    if via == "bare":
        return
    first, all_of_them = run(1, via, tool="read_file"), run(1 + turns, via, tool="read_file")
    each = (all_of_them.cpu_s - first.cpu_s) * 1000 / turns
    print(f"         {each:6.1f} ms of CPU a turn that reads a file; peak {all_of_them.peak_mb:.0f} MB")
    if via != "lean":
        return
    marks = run(1 + turns, via, program=TIMED).found
    own = (marks[-1] - marks[0]) * 1000 / turns
    before, after = run(1, via, program=PROFILED).found, run(1 + turns, via, program=PROFILED).found
    parts = Counter[str]()
    for file in after.keys() | before.keys():
        parts[part_of(file)] += max(0.0, after.get(file, 0.0) - before.get(file, 0.0))
    scale = own / parts.total()
    print(f"         {own:6.1f} ms of a turn with its command in agentctl itself:", end=" ")
    print(", ".join(f"{name} {used * scale:.1f}" for name, used in parts.most_common()))


def part_of(file: str) -> str:
    """Return the part of the program that a source file belongs to, or is mostly used by."""
    folders = file.rpartition("/agentctl/")[2].split("/")
    return next((PARTS[folder] or folder for folder in folders if folder in PARTS), "other")


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    for way in sys.argv[2:] or ("bare", "lean", "litellm", "long"):
        if way == "long":
            measure_growth()
        else:
            measure(way, turns)


if __name__ == "__main__":
    main()
