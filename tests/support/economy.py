"""Long runs at a server on the wire: a model that keeps calling tools, tools of several kinds, and the requests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from agentctl.core.errors import ToolError
from agentctl.core.events import CallSent, ContextPruned
from agentctl.core.limits import CostLimit
from agentctl.core.results import RunResult
from agentctl.ledger import SqliteLedger
from agentctl.permissions.guards import LoopLimits
from agentctl.protocols import LLMProvider, RunTools
from agentctl.providers.remote import RemoteProvider
from agentctl.runner.agent_spec import load_agents
from agentctl.runner.orchestrator import Orchestrator
from agentctl.runner.plan import Plan
from tests.support.formats import KEY, provider_at
from tests.support.loop import Box, Deed, Diary
from tests.support.wire.server import Answer, Call, WireRequest, WireServer

NO_DOLLARS = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LINE = "2026-11-24 12:00:{n:02d} web-{n} naïve 日本 \u2028 status 200 took 12 ms\n"
MARK = re.compile(r',\s*"cache_control":\s*\{"type":\s*"ephemeral"\}')
TEXTS = ("", " I look\n", "次は ログ 👩🏽‍🚀 ", "\t", 'Then:\n\n- a\n- b \\ "c"')


def provider_of(server: WireServer, name: str) -> RemoteProvider:
    """Return a provider that speaks to the server; groq stands for those in the chat format."""
    if name == "groq":
        return RemoteProvider("groq", "llama-3.3-70b-versatile", api_key=KEY, base_url=server.openai_url)
    return provider_at(server, name)


def turn_of(asked: WireRequest) -> int:
    """Return which turn a request is, from 0 on; as the answers in it say, whatever was cut."""
    told = [said.text.rpartition("turn=")[2] for said in asked.messages if said.role == "tool" and "turn=" in said.text]
    return max((int(text.split()[0]) for text in told), default=-1) + 1


def looking(
    turns: int, *, input_tokens: int | None = None, output_tokens: int | None = None
) -> Callable[[WireRequest], Answer]:
    """Return a mind that looks for so many turns, sometimes at three things at once, and then answers."""

    said = partial(Answer, input_tokens=input_tokens, output_tokens=output_tokens)

    def mind(asked: WireRequest) -> Answer:
        turn = turn_of(asked)
        if turn >= turns:
            return said("All is well.")
        odd = {"turn": turn, "zeta": 1.0, "alpha": [1, {"y": "日本\u2028", "b": None}], "é": 1e21}
        calls = (Call("log", odd), Call("fails", {"turn": turn}), Call("empty", {"turn": turn}))
        text = "" if asked.format == "anthropic" and not TEXTS[turn % 5].strip() else TEXTS[turn % 5]
        return said(text, calls[: 3 if turn % 4 == 1 else 1])

    return mind


def tools(lines: int) -> Box:
    """Return a tool that answers in so many lines, one that fails and one that has nothing to say."""

    def log(given: Mapping[str, object]) -> str:
        return f"turn={given['turn']} \n" + "".join(LINE.format(n=n) for n in range(lines))

    def fails(_: Mapping[str, object]) -> str:
        raise ToolError("no such container: wéb", hint="docker_ps lists them")

    schema = {"type": "object", "properties": {"turn": {"type": "integer"}}, "required": ("turn",)}
    return Box(Deed("log", log, parameters=schema), Deed("fails", fails), Deed("empty", lambda _: ""))


async def run_of(
    ledger: SqliteLedger, provider: LLMProvider, box: Box, *, task: str = "Is the web well?", **plan: object
) -> tuple[RunResult, Diary]:
    """Run a task with the real loop; return how it went and all that was told of it."""
    diary = Diary()

    async def equip(names: Sequence[str] | None, most: int, task: str = "") -> RunTools:
        return RunTools(box)

    usual = {"agent": "system", "limits": NO_DOLLARS, "loop": LoopLimits(max_turns=60), "retries": 0}
    orchestrator = Orchestrator(
        plan=Plan(**{**usual, **plan}),  # type: ignore[arg-type]
        agents=load_agents(),
        provider=provider,
        ledger=ledger,
        make_tools=equip,
        observers=(diary,),
        now=lambda: AT,
        new_id=lambda: "7f3a",
    )
    return await orchestrator.run(task), diary


def written(raw: bytes, name: str) -> str:
    """Return one value of a request as its bytes wrote it, the marks for a cache left out."""
    text = raw.decode()
    at = text.index(f'"{name}":') + len(name) + 3
    at += len(text[at:]) - len(text[at:].lstrip())
    return MARK.sub("", text[at : json.JSONDecoder().raw_decode(text, at)[1]])


def marks_in(raw: bytes) -> int:
    """Return how many marks for a cache a request has."""
    return raw.decode().count('"cache_control"')


def cuts_of(diary: Diary) -> list[bool]:
    """Return for each request that was sent whether a cut was told of since the one before."""
    found, cut = list[bool](), False
    for event in diary.events:
        if isinstance(event, ContextPruned):
            cut = True
        elif isinstance(event, CallSent):
            found.append(cut)
            cut = False
    return found
