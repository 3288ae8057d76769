"""What the guarantee costs: ``python tests/benchmarks/guarantee.py [--runs N] [--limits 0.05,0.50] [--json]``.

A hold is the worst case of a request, so it is larger than the charge that follows, and what is held cannot be used
for anything else. This measures by how much, for three models with the default settings: the real loop asks a scripted
model over a real SQLite ledger in a temporary folder. Nothing is sent to anybody.

The scripted model reports usage as its provider would: OpenAI's models count by their own vocabulary, without cache
hits; Claude by the project's own estimate (its older vocabulary times the published factor), with the cache reads and
writes that its marks ask for. It keeps to its clamp: what does not fit is cut.

A conversation is 10 to 20 turns of one or two tool calls each, with results of 0.2 to 4 kB (prose, JSON, source code,
or a mixture), answered at the end in 60 to 500 words. One call in twenty has an argument of 1 to 3 kB. The tools are
the docker agent's. All of it comes from a seed: two runs under one version of Python print the same figures.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import anyio

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.context.counter import Count  # noqa: E402
from agentctl.context.tokens import Measure  # noqa: E402
from agentctl.core.events import CallHeld, CallSettled, ContextPruned, Event, MessageAdded, RunFinished  # noqa: E402
from agentctl.core.limits import CostLimit  # noqa: E402
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec, Usage  # noqa: E402
from agentctl.core.pricing import ModelFacts, charge_nano, to_nano, to_usd, worst_nano  # noqa: E402
from agentctl.core.results import RunResult  # noqa: E402
from agentctl.ledger import SqliteLedger  # noqa: E402
from agentctl.protocols import RunTools  # noqa: E402
from agentctl.providers.catalog import load_catalog  # noqa: E402
from agentctl.providers.scripted import ScriptedProvider  # noqa: E402
from agentctl.providers.tokenizers import (  # noqa: E402
    counter_for,
    load_vocabulary,
    measure_for,
    published_vocabulary,
)
from agentctl.runner.agent_spec import find_agent, load_agents  # noqa: E402 - the tests are no package of the path
from agentctl.runner.orchestrator import Orchestrator  # noqa: E402
from agentctl.runner.plan import Plan  # noqa: E402
from agentctl.runner.routing import ranked_tools  # noqa: E402
from agentctl.tools.toolbox import toolbox  # noqa: E402
from tests.support.loop import Box, Deed, Diary  # noqa: E402

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TASK = "Why does the web container restart every night, and what has to change so that it stops? Look at all of it."
KINDS = ("prose", "JSON", "code", "mixed")
SAID = (
    "the container was restarted by the kernel because its memory limit of the group had been reached after a backup "
    "job started at night and read every file of the volume while the service kept old sessions in a cache that is "
    "never emptied so the process grew until it was killed and came back with another address which the proxy did not "
    "notice for some minutes users saw errors and retried requests that made the load worse than before however "
    "nothing in its configuration limits how many connections one client may hold open at once"
)
WORDS = SAID.split()
CODE = inspect.getsource(argparse)
LEAST_CACHED = 1024
NOTES = (
    "Medians. Least: of holds that know the real tokens, but not what of them a cache sells cheaper. Used: of the runs"
    " that the\ndollars stopped, with the least and the most. Usable: the limit less what the refused request was held"
    " above its real cost."
)
HEAD = (
    "limit  model              hold/charge (least)  first bound/real  after a cut  stopped by $ / tokens"
    "    used of limit  usable  cut answers  over"
)


class Model(NamedTuple):
    """One model of the table. ``thoughts``: tokens of reasoning in the median answer; ``caches``: as its marks ask."""

    provider: str
    name: str
    thoughts: int = 0
    caches: bool = False


MODELS = (
    Model("openai", "gpt-4o"),
    Model("anthropic", "claude-sonnet-4-5", caches=True),
    Model("openai", "gpt-5", 320),
)


class Turn(NamedTuple):
    """What a model says and what its tools answer. ``thoughts`` are tokens; without calls it is the final answer."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    results: tuple[str, ...] = ()
    thoughts: int = 0


def text_of(dice: random.Random, kind: str, size: int) -> str:
    """Return about ``size`` characters of a kind."""
    if kind == "JSON":
        rows = [
            {
                "Id": f"{dice.getrandbits(48):012x}",
                "Name": f"web-{dice.randrange(50)}",
                "State": dice.choice(("running", "exited", "restarting")),
                "RestartCount": dice.randrange(40),
                "Memory": dice.randrange(2**30),
                "Ports": [dice.randrange(1024, 65536)],
            }
            for _ in range(size // 130 + 1)
        ]
        return json.dumps(rows, indent=1)[:size]
    if kind == "code":
        at = dice.randrange(len(CODE) - size)
        return CODE[at : at + size]
    said, length = list[str](), 0
    while length < size:
        sentence = " ".join(dice.choices(WORDS, k=dice.randint(6, 18))).capitalize() + dice.choice((". ", ".\n"))
        said.append(sentence)
        length += len(sentence)
    return "".join(said)[:size]


def story(kind: str, number: int, tools: Sequence[ToolSpec], thoughts: int) -> tuple[Turn, ...]:
    """Return the turns of one conversation, the same each time."""
    dice, turns = random.Random(f"{kind} {number}"), list[Turn]()
    for turn in range(dice.randint(10, 20)):
        calls = tuple(_call(dice, tools, f"call_{turn}_{place}") for place in range(dice.choice((1, 1, 1, 2))))
        results = tuple(
            text_of(dice, dice.choice(KINDS[:3]) if kind == "mixed" else kind, dice.randint(200, 4000)) for _ in calls
        )
        words = text_of(dice, "prose", dice.choice((0, 40, 120, 300)))
        turns.append(Turn(words, calls, results, _thoughts(dice, thoughts)))
    turns.append(Turn(text_of(dice, "prose", _between(dice, 360, 3000)), thoughts=_thoughts(dice, thoughts)))
    return tuple(turns)


def _between(dice: random.Random, least: int, most: int) -> int:
    return round(math.exp(dice.uniform(math.log(least), math.log(most))))


def _thoughts(dice: random.Random, usual: int) -> int:
    """Return tokens in steps of 64, as OpenAI reports them: half below ``usual``, one in 20 above four times that."""
    return round(usual * math.exp(dice.gauss(0, 0.85)) / 64) * 64 if usual else 0


def _call(dice: random.Random, tools: Sequence[ToolSpec], call_id: str) -> ToolCall:
    given: dict[str, object] = {"container": f"web-{dice.randrange(50)}"}
    chance = dice.random()
    if chance < 0.05:
        given["content"] = text_of(dice, "code", dice.randint(1000, 3000))
    elif chance < 0.3:
        given["pattern"] = text_of(dice, "prose", dice.randint(40, 160))
    else:
        given["tail"] = dice.randrange(20, 400)
    return ToolCall(call_id, dice.choice(tools).name, given)


class Played(Deed):
    """A tool with a real schema whose results come from the story."""

    def __init__(self, spec: ToolSpec, results: Mapping[str, str]) -> None:
        super().__init__(spec.name, lambda given: results[json.dumps(dict(given), sort_keys=True)])
        self._spec = spec

    @property
    def spec(self) -> ToolSpec:
        return self._spec


@dataclass(slots=True)
class Mind:
    """Plays a story for whatever is asked of it, within the clamp, and reports what that comes to.

    ``real`` are the input tokens of each request by its attempt.
    """

    model: Model
    turns: Sequence[Turn]
    measure: Measure
    real: dict[str, int] = field(default_factory=dict)
    cut: list[Usage] = field(default_factory=list)
    before: tuple[Message, ...] = ()
    at: int = 0

    def __call__(self, request: Request) -> Completion:
        total = self.real[request.attempt_id] = self.measure.request(request.messages, request.tools)
        turn = self._said(request)
        output = self.output(turn)
        clamp = request.max_output_tokens or output
        usage = self.usage(request, total, min(output, clamp), min(turn.thoughts, clamp))
        self.before = request.messages
        if output > clamp:
            self.cut.append(usage)
            share = max(0, clamp - turn.thoughts) / max(1, output - turn.thoughts)
            return Completion(turn.text[: int(share * len(turn.text))], (), usage, self.model.name, "length")
        if request.tools and turn is self.turns[self.at]:
            self.at += 1
        return Completion(turn.text, turn.calls, usage, self.model.name, "tool_calls" if turn.calls else "stop")

    def _said(self, request: Request) -> Turn:
        """Return the next turn, or what is said where a last answer or a summary is asked for."""
        if request.tools and not request.messages[-1].text.startswith("Stop here"):
            return self.turns[self.at]
        return Turn(text_of(random.Random(len(request.messages)), "prose", 700), thoughts=self.model.thoughts)

    def output(self, turn: Turn) -> int:
        """Return the output tokens of a turn."""
        return turn.thoughts + self.measure.text(turn.text) + sum(map(self._size, turn.calls)) + 3

    def _size(self, call: ToolCall) -> int:
        return 12 + self.measure.text(call.name + json.dumps(dict(call.arguments)))

    def usage(self, request: Request, total: int, output: int, thoughts: int) -> Usage:
        """Return what a request is reported as, beside the one before it."""
        if not self.model.caches:
            return Usage(total, output, reasoning_tokens=thoughts)
        pairs = zip(self.before, request.messages, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        cached = self.measure.request(request.messages[:same], request.tools) if same and request.tools else 0
        cached = cached if cached >= LEAST_CACHED else 0
        last = len(request.messages) - (not request.followed)
        written = self.measure.request(request.messages[:last], request.tools) - cached if request.tools else 0
        return Usage(total, output, cached, max(0, written), thoughts)


class Seen(NamedTuple):
    """One run: its holds with their charges and real inputs, the first and those behind a cut, and what was used.

    ``floors`` are the ratios of holds that know the real tokens, but not what of them a cache sells cheaper.
    ``lost_nano`` is what the request that a limit refused would have been held above its real cost.
    """

    result: RunResult
    ratios: tuple[float, ...]
    floors: tuple[float, ...]
    first: float
    after_cuts: tuple[float, ...]
    cut_nano: int
    spent_nano: int
    lost_nano: int

    def stopped_by(self, limit: str) -> bool:
        return self.result.breaker is not None and self.result.breaker.limit == limit


def load_count(name: str | None) -> Count | None:
    """Return how a run may bound its input where bytes are in the way: for OpenAI's models, as at their own address."""
    found = None if name is None else load_vocabulary(name)
    return None if found is None else found.at_most


async def one_run(folder: Path, facts: ModelFacts, model: Model, kind: str, number: int, limit: Decimal) -> Seen:
    """Play one story to its end, or to its limit."""
    agents = load_agents()
    names = ranked_tools(find_agent("docker", agents), TASK)[:8]
    box = toolbox(workspace=folder, names=names)
    specs = [box.get(name).spec for name in names]
    turns = story(kind, number, specs, model.thoughts)
    results = {
        json.dumps(dict(call.arguments), sort_keys=True): result
        for turn in turns
        for call, result in zip(turn.calls, turn.results, strict=True)
    }
    tools = Box(*(Played(spec, results) for spec in specs))
    mind, diary = Mind(model, turns, measure_for(model.provider, model.name)), Diary()
    ledger = SqliteLedger(folder / f"{kind}-{number}.db")

    async def equip(_: Sequence[str] | None, most: int, task: str = "") -> RunTools:
        return RunTools(tools)

    orchestrator = Orchestrator(
        plan=Plan(limits=CostLimit(max_cost_per_task=limit), agent="docker", retries=0),
        agents=agents,
        provider=ScriptedProvider([mind] * 200, facts=facts),
        ledger=ledger,
        make_tools=equip,
        observers=(diary,),
        now=lambda: AT,
        new_id=lambda: "7f3a",
        counter=counter_for(model.provider, model.name),
        load_count=partial(load_count, published_vocabulary(model.name)),
        closing=(ledger.aclose,),
    )
    result = await orchestrator.run(TASK)
    return _seen(result, diary.events, mind, facts, specs)


def _lost(result: RunResult, events: Sequence[Event], mind: Mind, facts: ModelFacts, specs: Sequence[ToolSpec]) -> int:
    """Return the least hold of the refused request less its real cost, in nano-dollars; nothing was cut before."""
    breaker, price = result.breaker, facts.price
    if breaker is None or breaker.limit != "max_cost_per_task" or price is None:
        return 0
    said = tuple(event.message for event in events if isinstance(event, MessageAdded))
    request = Request(facts.model, said, tuple(specs))
    usage = mind.usage(request, mind.measure.request(said, specs), mind.output(mind.turns[mind.at]), 0)
    return breaker.would_be - breaker.spent - breaker.held - charge_nano(price, usage)


def _seen(result: RunResult, events: Sequence[Event], mind: Mind, facts: ModelFacts, specs: Sequence[ToolSpec]) -> Seen:
    held = {event.attempt_id: event for event in events if isinstance(event, CallHeld)}
    settled = [event for event in events if isinstance(event, CallSettled)]
    bounds = {name: hold.input_bound / mind.real[name] for name, hold in held.items() if name in mind.real}
    after_cuts, is_behind = list[float](), False
    for event in events:
        if isinstance(event, ContextPruned):
            is_behind = True
        elif isinstance(event, CallHeld) and is_behind and event.attempt_id in bounds:
            after_cuts.append(bounds[event.attempt_id])
            is_behind = False
    assert isinstance(events[-1], RunFinished)
    assert facts.price is not None
    return Seen(
        result,
        tuple((held[one.attempt_id].hold_nano or 0) / (one.cost_nano or 1) for one in settled),
        tuple(
            worst_nano(facts.price, input_tokens=one.usage.input_tokens, output_tokens=one.usage.output_tokens)
            / (one.cost_nano or 1)
            for one in settled
        ),
        next(iter(bounds.values())),
        tuple(after_cuts),
        sum(charge_nano(facts.price, usage) for usage in mind.cut),
        (result.cost_nano or 0) + (result.in_doubt_nano or 0),
        _lost(result, events, mind, facts, specs),
    )


class Row(NamedTuple):
    """One model under one limit. Of runs that the dollars stopped: ``used`` is how much of the limit they spent, least,
    median and most. ``usable`` is the median of the limit less what the refused request was held above its real cost:
    the rest of what is not used is less than one more request costs, which no bound can help.

    ``cut_answers`` is the share of all money that went to answers which the clamp cut.
    """

    model: str
    limit: str
    runs: int
    hold_to_charge: float
    least_hold_to_charge: float
    first_bound_to_real: float
    cut_bound_to_real: float | None
    stopped: int
    stopped_by_tokens: int
    used: tuple[float, float, float] | None
    usable: float | None
    cut_answers: float
    most_over_usd: str


def row(model: Model, limit: Decimal, seen: Sequence[Seen]) -> Row:
    shares = sorted(float(to_usd(one.spent_nano) / limit) for one in seen if one.stopped_by("max_cost_per_task"))
    usable = [1 - float(to_usd(one.lost_nano) / limit) for one in seen if one.stopped_by("max_cost_per_task")]
    behind = [ratio for one in seen for ratio in one.after_cuts]
    return Row(
        model.name,
        f"{limit}",
        len(seen),
        median(ratio for one in seen for ratio in one.ratios),
        median(ratio for one in seen for ratio in one.floors),
        median(one.first for one in seen),
        median(behind) if behind else None,
        len(shares),
        sum(one.stopped_by("max_tokens_per_task") for one in seen),
        (shares[0], median(shares), shares[-1]) if shares else None,
        median(usable) if usable else None,
        sum(one.cut_nano for one in seen) / sum(one.spent_nano for one in seen),
        f"{to_usd(max(0, *(one.spent_nano - to_nano(limit) for one in seen))):f}",
    )


def rows_of(limits: Sequence[Decimal], runs: int) -> list[Row]:
    """Play every story with every model under every limit."""
    catalog, found = load_catalog(), list[Row]()
    for limit in limits:
        for model in MODELS:
            facts = catalog.facts(model.provider, model.name)
            with tempfile.TemporaryDirectory() as name:
                seen = [
                    anyio.run(one_run, Path(name), facts, model, kind, number, limit)
                    for kind in KINDS
                    for number in range(runs)
                ]
            found.append(row(model, limit, seen))
    return found


def main() -> None:
    """Print the table, or the same as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=6, help="conversations of each kind (default 6)")
    parser.add_argument("--limits", default="0.05,0.50", help="dollars a run may spend (default 0.05,0.50)")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    began = time.perf_counter()
    found = rows_of([Decimal(limit) for limit in asked.limits.split(",")], asked.runs)
    took = time.perf_counter() - began
    if asked.json:
        print(json.dumps([one._asdict() for one in found], indent=1))
        return
    print(HEAD)
    for one in found:
        cut = "-" if one.cut_bound_to_real is None else f"{one.cut_bound_to_real:.1f}"
        used = "-" if one.used is None else f"{one.used[1]:.0%} ({one.used[0]:.0%} to {one.used[2]:.0%})"
        usable = "-" if one.usable is None else f"{one.usable:.0%}"
        print(
            f"${one.limit:<5} {one.model:<18}{one.hold_to_charge:>12.1f}{f'({one.least_hold_to_charge:.1f})':>8}"
            f"{one.first_bound_to_real:>18.1f}{cut:>13}{one.stopped:>6} / {one.stopped_by_tokens:<3} of {one.runs:<3}"
            f"{used:>21}{usable:>8}{one.cut_answers:>13.1%}{one.most_over_usd:>6}"
        )
    print(f"{NOTES}\nTook {took:.0f} s.")


if __name__ == "__main__":
    main()
