"""How a real small model fares at ten tasks: ``python -m tests.benchmarks.small_model URL|FILE [-- WORDS]``.

URL is a server that speaks OpenAI's format (``http://127.0.0.1:8080/v1``). FILE is a GGUF: llama.cpp's server starts
with it, by the interpreter that has ``xllamacpp`` (``--python``). WORDS go to ``agentctl run``. The containers, their
engine (root) and the files are real. A task is right if its fact stands in the answer, the exit code is as it should
be, at most 4 turns were needed, and no change was attempted twice. A model's answers vary: nothing here asserts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.engine import PrivateEngine

ROOT = Path(__file__).parents[2]
TURNS = 4
CONTAINERS = {
    "web": "trap 'exit 0' TERM; while :; do echo tick; sleep 5 & wait $!; done",
    "cache": "dd if=/dev/zero of=/dev/shm/kept bs=1M count=48; sleep 86400",
    "worker": "echo 'starting'; echo 'fatal: cannot read /etc/worker.conf: no such file' >&2; exit 3",
    "backup": "echo 'backup written'; exit 0",
}
APP_LOG = [f"2026-11-29 10:{at:02}:00 request {at} served in {at * 7 % 50 + 3} ms" for at in range(1, 41)]
ERRORS = {120: "payment 5512 refused", 233: "connection to db2 lost", 377: "disk of db2 is full"}
BIG_LOG = [f"ERROR {ERRORS[at]}" if at in ERRORS else f"INFO request {at} served" for at in range(1, 401)]
NOTES = """Meeting of 12 November
The nightly backup failed twice because the disk of db2 was full.
Ana orders a larger disk. Until it is there, Ben deletes the old dumps every Friday.
"""
SERVER = """
import ctypes, os, sys, xllamacpp
os.nice(10)
ctypes.CDLL(None).prctl(15, b"llama-server")
told = xllamacpp.CommonParams()
told.model.path, told.model_alias, told.n_ctx = sys.argv[1], {"small"}, 8192
told.cpuparams.n_threads = told.cpuparams_batch.n_threads = int(sys.argv[2])
if len(sys.argv) > 3:
    told.chat_template = open(sys.argv[3]).read()
server = xllamacpp.Server(told)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""


class Task(NamedTuple):
    """What is asked, whether an answer has the fact, and how the run should end."""

    words: str
    is_right: Callable[[str], bool]
    code: int = 0


class Outcome(NamedTuple):
    """How a run ended; ``first`` and ``cached`` are the tokens of its first request."""

    code: int
    turns: int
    right: bool
    twice: bool
    first: int
    cached: int
    seconds: float
    run_id: str


def names_all(*words: str) -> Callable[[str], bool]:
    return lambda answer: all(word in answer for word in words)


def names_first(word: str) -> Callable[[str], bool]:
    """Return whether an answer names this container before any other."""
    return lambda answer: re.findall(rf"\b(?:{'|'.join(CONTAINERS)})\b", answer)[:1] == [word]


def tells_free_disk(answer: str) -> bool:
    free = shutil.disk_usage("/").free
    told = [float(number) for number in re.findall(r"(\d+(?:\.\d+)?) ?G", answer)]
    return any(abs(number - free / unit) < 0.03 * number for number in told for unit in (1e9, 2**30))


def names_largest_process(answer: str) -> bool:
    import psutil

    largest = max(psutil.process_iter(["memory_info"]), key=lambda process: process.info["memory_info"].rss)
    return re.search(rf"\b({largest.pid}|{re.escape(largest.name())})\b", answer) is not None


TASKS = (
    Task("List all containers", names_all(*CONTAINERS)),
    Task("Which container uses the most memory?", names_first("cache")),
    Task("Stop the container web", lambda _: True, code=5),
    Task("Why did the container worker fail?", names_all("worker.conf")),
    Task("How much disk is free?", tells_free_disk),
    Task("How many lines does app.log have?", lambda answer: re.search(r"\b40\b", answer) is not None),
    Task(
        "What are the ERROR lines in big.log?",
        lambda answer: names_all(*ERRORS.values())(answer) and "INFO request" not in answer,
    ),
    Task("Summarise notes.txt", names_all("backup", "disk")),
    Task(
        "Show the last 3 lines of app.log",
        lambda answer: names_all(*APP_LOG[-3:])(answer) and APP_LOG[-4] not in answer,
    ),
    Task("Which process uses the most memory?", names_largest_process),
)


@contextmanager
def model_server(gguf: Path, python: str, threads: int, template: Path | None) -> Iterator[str]:
    """Start llama.cpp's server; give its address."""
    words = [python, "-c", SERVER, str(gguf), str(threads), *([str(template)] if template else [])]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip() + "/v1"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def containers() -> Iterator[str]:
    """Start an engine with the containers; give its address."""
    engine = PrivateEngine(Path("/tmp/agentctl-small-model"), samples=False)
    engine.start()
    try:
        for name, script in CONTAINERS.items():
            words = ["docker", "run", "-d", "--network", "none", "--name", name, "busybox:local", "sh", "-c", script]
            subprocess.run(words, env={**os.environ, "DOCKER_HOST": engine.host}, check=True, capture_output=True)
        yield engine.host
    finally:
        engine.stop()


def attempt(task: Task, environ: dict[str, str], workspace: Path, words: Sequence[str], changes: set[str]) -> Outcome:
    """Run a task in a process of its own and judge it."""
    began = time.monotonic()
    line = [sys.executable, "-m", "agentctl", "run", "-o", "jsonl", "--llm-timeout", "300s", *words, task.words]
    done = subprocess.run(line, cwd=workspace, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    events: list[dict[str, Any]] = [json.loads(text) for text in done.stdout.splitlines()]
    if not events:
        sys.exit(done.stderr.decode())
    calls = [call for event in events if event["event"] == "model_answered" for call in event["tool_calls"]]
    changed = Counter(json.dumps([call["name"], call["arguments"]]) for call in calls if call["name"] in changes)
    usages = [event["usage"] for event in events if event["event"] == "call_settled"]
    first = usages[0] if usages else {"input_tokens": 0, "cached_input_tokens": 0}
    end = events[-1]
    twice = any(count > 1 for count in changed.values())
    ended_well = done.returncode == task.code and end["turns"] <= TURNS and not twice
    return Outcome(
        code=done.returncode,
        turns=end["turns"],
        right=ended_well and task.is_right(end["answer"] or ""),
        twice=twice,
        first=first["input_tokens"],
        cached=first["cached_input_tokens"],
        seconds=time.monotonic() - began,
        run_id=end["run_id"],
    )


def run_all(url: str, folder: Path, tasks: Sequence[Task], words: Sequence[str]) -> None:
    """Run the tasks one after another and print a table."""
    workspace = folder / "work"
    for path in (workspace, folder / "config"):
        path.mkdir(exist_ok=True)
    for name, text in {"app.log": "\n".join(APP_LOG), "big.log": "\n".join(BIG_LOG), "notes.txt": NOTES}.items():
        (workspace / name).write_text(text.rstrip() + "\n")
    with urllib.request.urlopen(f"{url}/models", timeout=60) as answer:  # noqa: S310 - the address is the caller's
        model = json.load(answer)["data"][0]["id"]
    (folder / "config" / "config.toml").write_text(f'[prices]\n"openai/{model}" = {{ input = 0, output = 0 }}\n')
    with containers() as docker_host:
        environ = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DOCKER_HOST": docker_host,
            "OPENAI_BASE_URL": url,
            **{f"AGENTCTL_{kind.upper()}_DIR": str(folder / kind) for kind in ("state", "config", "cache")},
        }
        listing = [sys.executable, "-m", "agentctl", "tools", "list", "--json"]
        listed = json.loads(subprocess.run(listing, env=environ, capture_output=True, check=True).stdout)
        changes = {tool["name"] for tool in listed["tools"] if tool["effect"] != "read"}
        print(f"{'task':38} exit  turns  right  first request (cached)  seconds  run")
        outcomes = []
        for task in tasks:
            done = attempt(task, environ, workspace, ["--model", f"openai/{model}", *words], changes)
            verdict = "yes" if done.right else "twice" if done.twice else "no"
            print(
                f"{task.words:38} {done.code:4}  {done.turns:5}  {verdict:5}  {done.first:13} ({done.cached:6}) "
                f"{done.seconds:8.0f}  {done.run_id}",
                flush=True,
            )
            outcomes.append(done)
    right, twice = sum(done.right for done in outcomes), sum(done.twice for done in outcomes)
    print(f"{right} of {len(outcomes)} done and right in at most {TURNS} turns; a change attempted twice in {twice}")


def main() -> None:
    """Read the command line and run the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a server's address, up to /v1, or a GGUF file")
    parser.add_argument("words", nargs="*", help="words for `agentctl run`, after --")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has xllamacpp")
    parser.add_argument("--threads", type=int, default=1, help="threads of llama.cpp (default 1)")
    parser.add_argument("--template", type=Path, help="its chat template (default: the one in the file)")
    parser.add_argument("--folder", type=Path, help="keep state and files here, for `agentctl runs show`")
    parser.add_argument("--only", help="the numbers of the tasks, such as 3,7")
    told = parser.parse_args()
    tasks = [TASKS[int(number) - 1] for number in told.only.split(",")] if told.only else TASKS
    with tempfile.TemporaryDirectory() as temporary:
        folder = told.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if told.model.startswith(("http://", "https://")):
            run_all(told.model, folder, tasks, told.words)
            return
        with model_server(Path(told.model), told.python, told.threads, told.template) as url:
            run_all(url, folder, tasks, told.words)


if __name__ == "__main__":
    main()
