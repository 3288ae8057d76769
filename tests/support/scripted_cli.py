"""The real command line with a scripted model: ``python scripted_cli.py SCRIPT run TASK…``; each script is a story.

``STORY_STDOUT`` names a file for stdout.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio

from agentctl.__main__ import main
from agentctl.core.errors import AuthFailed, ProviderUnavailable
from agentctl.core.messages import Completion, Delta, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.assemble import assemble, plan_of
from agentctl.runner.orchestrator import Orchestrator
from agentctl.settings import Loaded, ProviderChoice

PRICED = ModelFacts(
    provider="scripted",
    model="priced",
    price=Price(Decimal(10), Decimal(30), source="script"),
    context_window=128_000,
    output_ceiling=16_384,
)
USED = Usage(input_tokens=1000, output_tokens=100)


def call(name: str, **arguments: object) -> Completion:
    return Completion(
        text=f"Looking with {name}.", tool_calls=(ToolCall("1", name, arguments),), usage=USED, stop="tool_calls"
    )


def indirect(name: str, arguments: dict[str, object]) -> Completion:
    """Call a tool that is not offered."""
    found = ToolCall("1", "call_tool", {"name": name, "arguments": arguments})
    return Completion("", (found,), USED, "tool_calls")


def noisy(number: int) -> Completion:
    """Give long answers that fill the context; the provider counts a hundred tokens more at each turn."""
    name = ("system_memory", "system_info", "system_load", "system_disks")[number % 4]
    used = Usage(input_tokens=1000 + 100 * number, cached_input_tokens=500 if number else 0, output_tokens=100)
    return Completion(f"Look {number}: " + "word " * 300, (ToolCall(f"c{number}", name, {}),), used, "tool_calls")


def answer(text: str) -> Completion:
    return Completion(text=text, usage=USED)


async def hang(request: Request) -> None:
    """Report that the call is under way, and never end."""
    Path("reached").touch()
    await anyio.sleep_forever()


async def stand_fast(request: Request) -> None:
    """Report the cancellation, and go on."""
    Path("reached").touch()
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        Path("unmoved").touch()
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
        raise


async def stop_slowly(request: Request) -> None:
    """Be told to stop, say so, and stop once a file is there."""
    try:
        await hang(request)
    except anyio.get_cancelled_exc_class():
        Path("unmoved").touch()
        with anyio.CancelScope(shield=True):
            while not Path("go").exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.01)
        raise


async def until_released(request: Request) -> Completion:
    """Say that the call is under way, and answer when released."""
    Path("reached").touch()
    await anyio.to_thread.run_sync(_until_there, Path("released"))
    return answer("it is over")


def _until_there(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def echo(request: Request) -> Completion:
    """Answer with the task and its data, without the line behind them."""
    return answer(re.sub(r"\n\n\[It is [^\n]*\]\Z", "", request.messages[-1].text))


LOCKER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2])) if len(sys.argv) > 2 else sys.stdin.read()
"""
LOCKERS: list[subprocess.Popen[bytes]] = []
WAIT_S = {"locked for good": 1.0}


def locked(*seconds: str) -> list[Any]:
    """Answer while another program has the ledger locked: for so many seconds, or as long as this process lives."""

    def lock(request: Request) -> None:
        ledger = Path(os.environ["AGENTCTL_STATE_DIR"], "ledger.db")
        line = [sys.executable, "-c", LOCKER, str(ledger), *seconds]
        other = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        Path("reached").touch()
        LOCKERS.append(other)

    return [lock, answer("the answer")]


async def until_told(request: Request) -> None:
    """Say that the call is under way, and go on when the test says so."""
    Path("reached").touch()
    await anyio.to_thread.run_sync(_until_there, Path("go"))


def refuse(request: Request) -> None:
    raise RuntimeError("a bug in the provider")


SCRIPTS: dict[str, list[Any]] = {
    "answer": [answer("42 containers\nof which 7 run")],
    "newline": [answer("ends with a newline\n")],
    "escapes": [answer("red \x1b[31mtext\x1b[0m and a bell \x07")],
    "heading": [answer("--- a/x\n+++ b/x")],
    "unicode": [answer("naïve café, 日本語")],
    "long": [answer("x" * 100_000)],
    "long, when told": [(until_told, answer("x" * 100_000))],
    "refused when told": [(until_told, AuthFailed("the key was rejected", hint="set another", billed="no"))],
    "cut when told": [(until_told, ProviderUnavailable("the answer broke off"))] * 9,
    "a tool when told": [(until_told, call("system_memory")), answer("never said")],
    "tools": [call("system_memory"), call("nosuch_tool"), answer("done looking")],
    "mid-call": [(Delta("so far so good"), hang)],
    "mid-tool": [call("git_status"), answer("never said")],
    "docker_run": [call("docker_run", image="busybox:local", command="sleep 300", timeout=300), answer("never said")],
    "stubborn": [(stand_fast,)],
    "slow to stop": [(stop_slowly,)],
    "huge": [answer("x" * 1_000_000)],
    "later-call": [call("system_memory"), hang],
    "costly": [*map(call, ("system_memory", "system_info", "system_load", "system_disks"))] * 10,
    "filling": [*map(noisy, range(8)), answer("enough is known")],
    "killed": [*map(noisy, range(2)), hang],
    "echo": [echo],
    "until released": [until_released],
    "begun when released": [echo],
    "dot file": [call("write_file", path=".envrc", text="x"), answer("not written")],
    "repository": [call("git__git_log", repo_path=".", max_count=1), answer("The first commit.")],
    "repository, found": [
        call("find_tools", query="show the history of commits"),
        indirect("git__git_log", {"repo_path": ".", "max_count": 1}),
        answer("The first commit."),
    ],
    "branch": [
        indirect("git__git_create_branch", {"repo_path": ".", "branch_name": "b"}),
        answer("Not made."),
    ],
    "three servers": [
        indirect("time__get_current_time", {"timezone": "Etc/UTC"}),
        indirect("everything__get-sum", {"a": 19, "b": 23}),
        indirect("files__write_file", {"path": "made", "content": "x"}),
        indirect("fetch__fetch", {"url": "https://example.com/"}),
        answer("Looked."),
    ],
    "hostile": [indirect("h__echo", {"text": "hi"}), answer("It says hi.")],
    "hostile, directly": [call("h__echo", text="hi"), answer("It says hi.")],
    "large": [indirect("h__large", {}), answer("Large.")],
    "daemon": [indirect("h__daemon", {}), answer("Started.")],
    "daemon, then hang": [indirect("h__daemon", {}), hang],
    "auth": [AuthFailed("the key was rejected", hint="set another", billed="no")],
    "cut": [ProviderUnavailable("the answer broke off")] * 9,
    "bug": [refuse],
    "locked for a while": [locked("7")],
    "locked for good": [locked()],
    "locked": [locked()],
}


def scripted(name: str) -> Any:  # noqa: ANN401 - the shape of assemble, which wiring owns
    def parts(loaded: Loaded, choice: ProviderChoice, **named: Any) -> Orchestrator:  # noqa: ANN401
        plan = plan_of(loaded, choice, labels=named["labels"])
        if name == "begun when released":
            Path("reached").touch()
            _until_there(Path("released"))
        plan = plan._replace(settle_wait_s=WAIT_S.get(name, plan.settle_wait_s))
        provider = ScriptedProvider(SCRIPTS[name], facts=PRICED)
        return assemble(loaded, choice, provider=provider, plan=plan, **named)

    return parts


if __name__ == "__main__":
    script = sys.argv.pop(1)
    if "STORY_STDOUT" in os.environ:
        os.dup2(os.open(os.environ["STORY_STDOUT"], os.O_WRONLY | os.O_CREAT, 0o600), 1)
    main(assemble=scripted(script))
