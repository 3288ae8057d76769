"""What a turn costs beside model and tool: 50 turns of ``true`` in the sandbox, against a server without latency.

``python tests/benchmarks/turns.py [TURNS]`` runs each way with one turn and with 50 more, and prints the difference a
turn: CPU of agentctl itself, CPU of its commands, the peak of memory, and where the CPU went. A bare httpx loop of as
many requests stands beside, without any command. Which part of the program used the CPU is sampled: every two
milliseconds the time that each thread has used is added to the innermost package on its stack.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.wire.server import Answer, Call, WireRequest, WireServer  # noqa: E402 - the tests are no package

SAMPLED = """
import json, os, resource, sys, threading, time
from collections import Counter
used, before, done = Counter(), {}, threading.Event()

def cpu_of(thread):
    try:
        with open(f"/proc/self/task/{thread}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:
        return None

def part_of(frame):
    while frame is not None:
        _, found, path = frame.f_code.co_filename.rpartition("/agentctl/")
        if found:
            return path.split("/")[0] if "/" in path else "start"
        if frame.f_code.co_name == "_run_once":  # of asyncio: beyond it is only what started the loop
            break
        frame = frame.f_back
    return "event loop and threads"

def sample():
    own = threading.get_native_id()
    while not done.wait(0.002):
        frames = sys._current_frames()
        for thread in threading.enumerate():
            number, frame = thread.native_id, frames.get(thread.ident)
            if number not in (None, own) and (now := cpu_of(number)) is not None:
                used[part_of(frame)] += now - before.get(number, 0.0)
                before[number] = now

threading.Thread(target=sample, daemon=True).start()
from agentctl.cli.app import main
code = main(sys.argv[2:])
done.set()
with open(sys.argv[1], "w") as file:
    json.dump(used, file)
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
PARTS: Mapping[str, str] = {"providers": "client", "budget": "bound", "cli": "screen", "tools": "sandbox"}


class Used(NamedTuple):
    """What a run used: CPU seconds in all and of each part, and the peak in MB."""

    cpu_s: float
    peak_mb: float
    parts: Mapping[str, float]


def run(turns: int, via: str, *, sampled: bool = False) -> Used:
    """Run so many turns; ``via`` is a client, or "bare" for the loop."""

    def answer(asked: WireRequest) -> Answer:
        if asked.number >= turns:
            return Answer("Done.")
        return Answer("", (Call("run_shell", {"command": f"true {asked.number}"}),))

    with tempfile.TemporaryDirectory() as home, WireServer(answer) as server:
        state, found, work = Path(home, "home"), Path(home, "used.json"), Path(home, "work")
        for folder in (state, work):
            folder.mkdir()
        environ = {
            "HOME": str(state),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "OPENAI_API_KEY": "sk-benchmark-0123456789",
            "OPENAI_BASE_URL": server.openai_url,
        }
        task = ("run", "-q", "--agent", "system", "--tools", "run_shell", *FREE, "--provider", "openai", "--via", via)
        start = ("-c", SAMPLED, str(found)) if sampled else ("-m", "agentctl")
        words = ("-c", BARE, server.openai_url, str(turns)) if via == "bare" else (*start, *task, "Run it again.")
        process = subprocess.Popen(
            (sys.executable, *words), cwd=work, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, words
        assert len(server.books.chat_requests) == turns
        parts = json.loads(found.read_text()) if sampled else {}
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, parts)


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    for via in sys.argv[2:] or ("bare", "lean", "litellm"):
        first, all_of_them = run(1, via), run(1 + turns, via)
        each = (all_of_them.cpu_s - first.cpu_s) * 1000 / turns
        print(f"{via:8} {each:6.1f} ms of CPU a turn, its command included; peak {all_of_them.peak_mb:.0f} MB")
        if via == "bare":
            continue
        before, after = run(1, via, sampled=True), run(1 + turns, via, sampled=True)
        own: dict[str, float] = {}
        for part in after.parts.keys() | before.parts.keys():
            more = (after.parts.get(part, 0.0) - before.parts.get(part, 0.0)) * 1000 / turns
            name = PARTS.get(part, part)
            own[name] = own.get(name, 0.0) + more
        inside = sum(own.values())
        rest = inside - own.get("sandbox", 0.0)
        print(f"         {inside:6.1f} ms of it in agentctl, {rest:.1f} ms without the sandbox")
        print("         " + ", ".join(f"{name} {ms:.1f}" for name, ms in sorted(own.items(), key=lambda one: -one[1])))


if __name__ == "__main__":
    main()
