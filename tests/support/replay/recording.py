"""Long conversations, made by the real loop and real tools in a workspace of made-up files; always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from agentctl.context.tokens import PLAIN
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec, Usage
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.permissions.guards import LoopLimits
from agentctl.protocols import RunTools
from agentctl.providers.scripted import ScriptedProvider
from agentctl.runner.agent_spec import load_agents
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.plan import Plan
from agentctl.tools.toolbox import toolbox
from tests.support.loop import Diary

Size = Literal["small", "large"]
TASK = "Requests to /items time out since noon. Find out which service is at fault, and since which deploy."
NAMES = ("read_file", "search_files", "list_files")
_FILES = 40
_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
_WORDS = ("pool", "retry", "upstream", "items", "cache", "deadline", "queue", "replica", "lease", "shard")


class Recording(NamedTuple):
    """What was said: the head (system, task), then what each turn added; ``tools`` are read with every request."""

    tools: tuple[ToolSpec, ...]
    head: tuple[Message, ...]
    turns: tuple[tuple[Message, ...], ...]


def workspace(folder: Path) -> None:
    """Write a small configuration and a long log for each service."""
    for number in range(_FILES):
        word, other = _WORDS[number % 10], _WORDS[(number * 7 + 3) % 10]
        rows = "".join(f"{other}_{n} = {number * n % 97}  # {word} of web-{n % 5}\n" for n in range(8 + number % 9))
        (folder / f"svc-{number}.conf").write_text(f"[{word}]\nport = {8000 + number}\n{rows}")
        lines = (
            f"2026-11-24 12:{n // 60 % 60:02d}:{n % 60:02d} svc-{number} {_WORDS[(n * n + number) % 10]} "
            f"request {n * 31 % 9973} path /items/{n} status {500 if n % 17 == number % 17 else 200} in {n % 400} ms\n"
            for n in range(600)
        )
        (folder / f"svc-{number}.log").write_text("".join(lines))


def calls_of(turn: int, size: Size) -> tuple[ToolCall, ...]:
    """Return what is asked for in a turn: now and then two things at once, now and then what is not there."""
    number, words = turn * 11 % _FILES, {"text": f"{_WORDS[turn % 10]}_{turn % 7}", "limit": 4 + turn % 5}
    if size == "large":
        last = {"path": f"svc-{number}.log", "last": 60 + turn * 37 % 340}
        one = ToolCall(f"call_{turn}_1", "read_file", last if turn % 5 else {"path": f"svc-{number}.log", "first": 30})
    elif turn % 3 == 1:
        one = ToolCall(f"call_{turn}_1", "search_files", words)
    else:
        one = ToolCall(f"call_{turn}_1", "read_file", {"path": f"svc-{number}{'x' if turn % 11 == 5 else ''}.conf"})
    two = ToolCall(f"call_{turn}_2", "read_file", {"path": f"svc-{(number + 1) % _FILES}.conf"})
    return (one, two) if turn % 4 == 2 else (one,)


async def record(folder: Path, turns: int, size: Size) -> Recording:
    """Run it once without a binding limit, and return the recording."""
    workspace(folder)

    def step(turn: int, request: Request) -> Completion:
        read = PLAIN.conversation(request.messages) + PLAIN.schemas(request.tools)
        said = f"Step {turn}: {_WORDS[turn % 10]} of svc-{turn * 11 % _FILES} comes next, because of what I read."
        return Completion(said if turn % 3 else "", calls_of(turn, size), Usage(read, 50), stop="tool_calls")

    model = ModelFacts("scripted", "scripted", price=FREE)

    def close(said: Completion, request: Request) -> Completion:
        return replace(said, usage=Usage(PLAIN.conversation(request.messages), 50))

    last = Completion("svc-7, since 11:58.")
    script = [*(partial(step, turn) for turn in range(turns - 1)), partial(close, last)]
    provider, diary = ScriptedProvider(script, facts=model), Diary()
    ledger = SqliteLedger(folder / "ledger.db")

    async def equip(names: Sequence[str] | None, most: int, task: str = "") -> RunTools:
        return RunTools(toolbox(workspace=folder, names=NAMES))

    orchestrator = Orchestrator(
        plan=Plan(
            agent="system",
            limits=CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None),
            max_context_tokens=10**9,
            loop=LoopLimits(max_turns=turns, identical_calls=turns),  # it reads files again and again
        ),
        agents=load_agents(),
        provider=provider,
        ledger=ledger,
        make_tools=equip,
        observers=(diary,),
        now=lambda: _AT,
        new_id=lambda: "7f3a",
    )
    result = await orchestrator.run(TASK)
    await ledger.aclose()
    if result.status != "done":
        raise RuntimeError(f"the recording ended with {result.status}: {result.error}")
    return _recorded(provider.heard, last)


def _recorded(heard: Sequence[Request], last: Completion) -> Recording:
    """Return the head, and what each request added to the one before."""
    sent = [request.messages for request in heard]
    added = [after[len(before) :] for before, after in pairwise(sent)]
    return Recording(heard[0].tools, sent[0], (*added, (last.as_message(),)))
