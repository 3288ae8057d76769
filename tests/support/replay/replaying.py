"""The cost of a recorded conversation under three pruning strategies, with the caches of three kinds of providers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from agentctl.context.digest import replace_notes
from agentctl.context.economics import CacheEconomics, cut_size
from agentctl.context.message_cache import group_turns
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.events import ContextPruned, Event
from agentctl.core.messages import Completion, Message, ToolSpec, Usage
from agentctl.core.pricing import ModelFacts, Price, charge_nano
from agentctl.providers.chat_format import add_cache_marks, as_messages
from agentctl.runner.conversation import Conversation
from agentctl.runner.plan import Plan
from tests.support.replay.recording import Recording
from tests.support.wire.prompt_cache import Block, MarkedCache, PlainCache, Split

LIMIT = 8_000
SHARE = 8  # of the limit: the most that one result may be
SUMMARY, REQUEST = 500, 150  # tokens: what a model writes of what was cut, and what asks for it
_SUMMARY_TEXT = "- the pool of svc-7 was halved at 11:58, and its retries pile up\n" * 30

Marks = Callable[[tuple[Message, ...], bool], frozenset[int]]


class Bill(NamedTuple):
    """The result of a replay: nano-dollars, longest request in tokens, cuts, summaries of a model, broken prefixes."""

    nano: int
    longest: int
    cuts: int = 0
    summaries: int = 0
    breaks: int = 0


class Till:
    """Bills requests at a price, by an exact cache of prefixes."""

    def __init__(self, price: Price, tools: tuple[ToolSpec, ...], marks: Marks | None = None) -> None:
        self._price, self._marks = price, marks
        self._tools = Block(repr(tools).encode(), PLAIN.schemas(tools))
        self._blocks: dict[int, tuple[Message, Block]] = {}
        self._cache = MarkedCache() if price.cache_write is not None else PlainCache()
        self._last: tuple[Message, ...] = ()
        self.nano = self.longest = self.breaks = 0

    def take(self, messages: tuple[Message, ...], output: int, *, followed: bool = True) -> Usage:
        """Bill one request and its answer; return what a provider would report."""
        marks = self._marks(messages, followed) if self._marks else frozenset()
        blocks = [self._tools, *(self._block(one, at in marks) for at, one in enumerate(messages))]
        split = self._cache.take(blocks)
        if self._price.cached_input is None:
            split = Split(split.total, 0, 0)
        usage = Usage(split.total, output, cached_input_tokens=split.cached, cache_write_tokens=split.written)
        self.nano += charge_nano(self._price, usage)
        self.longest = max(self.longest, split.total)
        self.breaks += messages[: len(self._last)] != self._last
        if followed:
            self._last = messages
        return usage

    def _block(self, message: Message, is_marked: bool) -> Block:
        kept = self._blocks.get(id(message))
        if kept is None:  # the message is kept too, so that no other one gets its id
            data = hash((message.role, message.text, message.tool_call_id)).to_bytes(8, "big", signed=True)
            kept = self._blocks[id(message)] = (message, Block(data, PLAIN.message(message)))
        return kept[1]._replace(marked=is_marked)


def as_we_mark(messages: tuple[Message, ...], followed: bool) -> frozenset[int]:
    """Return the places of our own marks."""
    written = add_cache_marks(as_messages(messages), followed=followed)
    return frozenset(at for at, one in enumerate(written) if "cache_control" in one)


def at_the_system(messages: tuple[Message, ...], followed: bool) -> frozenset[int]:
    """Return the place of a mark that outlives every window."""
    return frozenset((0,))


def no_pruning(recording: Recording, price: Price) -> Bill:
    """Send everything, always."""
    till, said = Till(price, recording.tools, as_we_mark), recording.head
    for added in recording.turns:
        till.take(said, _output(added))
        said = (*said, *added)
    return Bill(till.nano, till.longest)


def sliding_window(recording: Recording, price: Price, limit: int = LIMIT) -> Bill:
    """Drop the oldest until it just fits, each turn, with whatever marks are cheapest."""
    ways: tuple[Marks | None, ...] = (None, at_the_system, as_we_mark)
    return min(_windowed(recording, price, limit, way) for way in ways)


def _windowed(recording: Recording, price: Price, limit: int, marks: Marks | None) -> Bill:
    till, said, cuts = Till(price, recording.tools, marks), recording.head, 0
    room = limit - PLAIN.schemas(recording.tools)
    for added in recording.turns:
        before = len(said)
        while PLAIN.conversation(said) > room:
            oldest = group_turns(said)[len(recording.head)]
            said = tuple(one for at, one in enumerate(said) if at not in oldest.places)
        cuts += len(said) != before
        till.take(said, _output(added))
        said = (*said, *_shared(added, limit))
    return Bill(till.nano, till.longest, cuts)


async def ours(recording: Recording, price: Price, limit: int = LIMIT, *, summaries: bool = True, **plan: int) -> Bill:
    """Send what the conversation of a run sends, results cut to their share, summaries where they pay."""
    till = Till(price, recording.tools, as_we_mark)
    facts = ModelFacts("recorded", "recorded", price=price)
    fit = partial(Plan(max_context_tokens=limit, **plan).fit, facts)  # type: ignore[arg-type]
    fit_spared = partial(Plan(max_context_tokens=limit - SUMMARY - REQUEST, **plan).fit, facts)  # type: ignore[arg-type]
    economy = CacheEconomics(price=price, most_turns=len(recording.turns))
    sent: tuple[Message, ...] = ()
    asked = 0
    events: list[Event] = []

    def prune(
        messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], *, measure: Measure, **_: object
    ) -> tuple[Message, ...]:
        nonlocal asked, economy
        fitted = fit_spared(messages, tools, measure=measure)  # so that a summary can be asked for behind any request
        if fitted is messages:
            return messages
        size = cut_size(messages, fitted, sent=len(sent), measure=measure, tools_tokens=measure.schemas(tools))
        has_room = measure.request(sent, tools) + REQUEST <= limit  # behind the last request, as a run asks
        if summaries and sent and has_room and economy.summary_pays(size._replace(written=SUMMARY)):
            till.take((*sent, Message("user", "x" * 4 * REQUEST)), SUMMARY, followed=False)
            asked += 1
            room = limit - SUMMARY - REQUEST - measure.beside(tools)
            fitted = replace_notes(fitted, _SUMMARY_TEXT, room=room, measure=measure) or fitted
        else:  # where none pays, nothing is spared for one
            fitted = fit(messages, tools, measure=measure)
            if fitted is messages:
                return messages
            size = cut_size(messages, fitted, sent=len(sent), measure=measure, tools_tokens=measure.schemas(tools))
        economy = economy.after_cut(size.after)
        return fitted

    async def emit(event: Event) -> None:
        events.append(event)

    talk = Conversation(prune=prune, emit=emit, limit=limit, economics=economy)
    for message in recording.head:
        await talk.add(message)
    for added in recording.turns:
        sent = await talk.prepare(recording.tools)
        usage = till.take(sent, _output(added))
        await talk.learn(Completion(usage=usage), recording.tools)
        economy = economy.after_answer(usage)
        for message in _shared(added, limit):
            await talk.add(message)
    cuts = sum(isinstance(event, ContextPruned) for event in events)
    return Bill(till.nano, till.longest, cuts, asked, till.breaks)


def _shared(added: tuple[Message, ...], limit: int) -> tuple[Message, ...]:
    return tuple(
        replace(one, text=PLAIN.cut_middle(one.text, limit // SHARE)) if one.role == "tool" else one for one in added
    )


def _output(added: tuple[Message, ...]) -> int:
    return PLAIN.message(added[0])
