"""Invariants of every cut: of any conversation, any way of counting, with or without a summary, and many in a row."""

from __future__ import annotations

import random
import weakref
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.context.digest import split_digest
from agentctl.context.manager import ContextManager
from agentctl.context.message_cache import MessageCache, group_turns
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Message, ToolCall
from agentctl.providers import litellm_loader
from agentctl.providers.chat_format import as_messages
from tests.support.context.needles import KINDS, talk
from tests.support.context.parts import ANY_TEXT, BROKEN, SYSTEM, TEXTS, bare, conversations, taken_by_a_provider, turn
from tests.support.context.rules import broken_for_anthropic, broken_for_ollama, broken_for_openai

Talk = tuple[Message, ...]
MEASURES = st.sampled_from([PLAIN, PLAIN.scaled(1.7), PLAIN.scaled(0.6), Measure(count=len, way="characters")])
LIMITS, KEPT = st.integers(0, 3_000), st.integers(0, 4) | st.just(99)
SUMMARIES = (
    st.just("") | ANY_TEXT | st.sampled_from(["done\n- so far", "> quoted\n]", "long " * 900, "\n\n[Cut here to save"])
)


@settings(max_examples=400)
@given(conversations() | BROKEN, LIMITS, KEPT, KEPT, st.integers(0, 100), MEASURES, SUMMARIES, st.integers(1, 100))
def test_a_cut_keeps_its_promises_however_it_is_counted(
    messages: Talk, limit: int, user: int, assistant: int, tools: int, measure: Measure, summary: str, percent: int
) -> None:
    def pruned(given: Talk, known: MessageCache | None = None) -> Talk:
        return prune(
            given,
            max_tokens=limit,
            keep_user=user,
            keep_assistant=assistant,
            tools_tokens=tools,
            cut_to_percent=percent,
            measure=measure,
            summary=summary,
            cache=known,
        )

    known = MessageCache()
    try:
        kept = pruned(messages)
    except ContextOverflow:
        with pytest.raises(ContextOverflow):
            pruned(messages, known)
        return
    assert measure.conversation(kept) + tools <= limit, "it fits"
    assert pruned(kept) is kept, "what was cut is not cut again"
    assert pruned(messages, known) == pruned(messages, known) == kept, "the same, whatever is remembered"
    if kept is messages:
        return
    assert taken_by_a_provider(kept), "no answer without its call, no call in the middle without its answers"
    shapes = iter([(m.role, m.tool_calls, m.tool_call_id) for m in messages])
    assert all((m.role, m.tool_calls, m.tool_call_id) in shapes for m in kept), "the order is kept"
    assert [m for m in kept if m.role == "system"] == [m for m in messages if m.role == "system"]
    own = [m.text for m in bare(messages) if m.role == "user"]
    left = [m.text for m in bare(kept) if m.role == "user"]
    assert left[:1] == own[:1], "the task, to its last word"
    last = zip(left[max(0, len(left) - user) :], own[max(0, len(own) - user) :], strict=True)
    assert all(now == given or ("cut here" in now and len(now) < len(given)) for now, given in last), "the user's last"
    sound = [messages[place] for unit in group_turns(messages) if unit.sound for place in unit.places]
    asked = [m.tool_calls for m in sound if m.role == "assistant"]
    still = [m.tool_calls for m in kept if m.role == "assistant"]
    assert still[max(0, len(still) - assistant) :] == asked[max(0, len(asked) - assistant) :], (
        "the last of the assistant"
    )


TURNS = st.lists(
    st.tuples(st.sampled_from(["tools", "plain", "user"]), TEXTS, st.integers(1, 3)), min_size=50, max_size=50
)


def grown(messages: Talk, number: int, kind: str, text: str, calls: int) -> Talk:
    if kind != "tools":
        return (*messages, Message("user" if kind == "user" else "assistant", text[:40]))
    asked = tuple(ToolCall(f"{number}.{n}", "read_file", {"path": text[:20]}) for n in range(calls))
    return (*messages, Message("assistant", "", asked), *(Message("tool", text, tool_call_id=c.id) for c in asked))


@settings(max_examples=25)
@given(TURNS, ANY_TEXT, SUMMARIES, MEASURES)
def test_a_conversation_cut_many_times_keeps_them_all_and_its_task(
    turns: list[tuple[str, str, int]], task: str, summary: str, measure: Measure
) -> None:
    messages: Talk = (SYSTEM, Message("user", task))
    cold, known, cuts = messages, MessageCache(), 0
    for number, (kind, text, calls) in enumerate(turns):
        messages, cold = (grown(one, number, kind, text, calls) for one in (messages, cold))
        before = messages
        try:
            messages = prune(
                messages, max_tokens=2_500, keep_user=2, keep_assistant=2, measure=measure, summary=summary, cache=known
            )
        except ContextOverflow:
            return
        cold = prune(cold, max_tokens=2_500, keep_user=2, keep_assistant=2, measure=measure, summary=summary)
        assert messages == cold, "the same, whatever is remembered"
        assert measure.conversation(messages) <= 2_500
        assert taken_by_a_provider(messages)
        assert split_digest(messages[1].text)[0] == split_digest(task)[0], "the task, to its last word"
        if messages is not before:
            cuts += 1
            assert messages[1].text.count("[Cut here to save room:") <= 1 + task.count("[Cut here") + summary.count(
                "[Cut"
            )
        assert not broken_for_openai(as_messages(messages))
    assert broken_for_ollama(as_messages(messages)) == []


def anthropic(messages: Talk) -> list[dict[str, object]]:
    """Write a conversation as Anthropic takes it: answers are the user's."""
    said: list[dict[str, object]] = []
    for message in messages:
        text = [{"type": "text", "text": message.text}] if message.text or not message.tool_calls else []
        uses = [
            {"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.arguments)} for c in message.tool_calls
        ]
        if message.role == "tool":
            answer = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.text}
            if said and said[-1]["role"] == "user" and isinstance(behind := said[-1]["content"], list):
                behind.append(answer)
            else:
                said.append({"role": "user", "content": [answer]})
        elif message.role != "system":
            said.append({"role": message.role, "content": [*text, *uses]})
    return said


def ollama(messages: Talk) -> list[dict[str, object]]:
    """Write a conversation as Ollama takes it: calls have no ids, and answers go by their order."""
    said: list[dict[str, object]] = []
    for message in messages:
        calls = [{"function": {"name": call.name, "arguments": dict(call.arguments)}} for call in message.tool_calls]
        said.append({"role": message.role, "content": message.text} | ({"tool_calls": calls} if calls else {}))
    return said


def finished(messages: Talk) -> Talk:
    """Return a conversation without calls that still wait for answers: nobody would send those."""
    last = group_turns(messages)[-1].places
    whole = len(last) == 1 + len(messages[last[0]].tool_calls)
    return messages if whole else messages[: last[0]]


@given(conversations().map(finished), st.integers(60, 1_500), st.integers(0, 3))
def test_valid_conversation_stays_valid_for_each_provider_after_a_cut(messages: Talk, limit: int, keep: int) -> None:
    manager = ContextManager(limit, keep, keep, warn=lambda _: None)
    try:
        ours = as_messages(manager.prune(messages))
        theirs, local = manager.prune(anthropic(messages)), manager.prune(ollama(messages))
    except ContextOverflow:
        return
    assert broken_for_openai(ours) == broken_for_ollama(ours) == []
    assert broken_for_anthropic(theirs) == []
    assert broken_for_ollama(local) == []


async def test_litellms_conversion_for_anthropic_is_valid() -> None:
    await litellm_loader.wait_for_litellm()
    from litellm.litellm_core_utils.prompt_templates import factory

    for kind in KINDS.values():
        told = talk(kind, 3)
        said = told.opening + tuple(message for turn in told.turns for message in turn)
        words = tuple(Message("user", f"and {n}?") for n in range(3))
        for messages in (said, (*said[:40], *words, *said[40:], *words)):
            kept = prune(messages, max_tokens=3_000, keep_user=2, keep_assistant=2)
            assert kept is not messages
            chat = [message for message in as_messages(kept) if message["role"] != "system"]
            assert broken_for_anthropic(factory.anthropic_messages_pt(chat, "claude-sonnet-4-5", "anthropic")) == []


def test_validity_rules_find_broken_conversations() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "{}"}}],
    }
    answer: Any = {"role": "tool", "tool_call_id": "a", "content": ""}
    words: Any = {"role": "user", "content": "x"}
    for good in ([words, call, answer], [words, words], [words, call]):
        assert broken_for_openai(good) == broken_for_ollama(good) == []
    for bad in ([words, answer], [words, call, words], [words, call, answer, answer], [{"role": "bot", "content": ""}]):
        assert broken_for_openai(bad)
        assert broken_for_ollama(bad)
    use: Any = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "x", "input": {}}]}
    told: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": ""}]}
    assert broken_for_anthropic([words, words, use, told, words]) == []
    for bad in ([use, told], [words, told], [words, use, words], [words, use, words, told], [words, use, use, told]):
        assert broken_for_anthropic(bad)


def test_newer_of_equal_relevance_stays() -> None:
    said = [Message("assistant", f"note {n} " + "alike " * 60) for n in range(40)]
    random.Random(3).shuffle(said)
    kept = prune((SYSTEM, Message("user", "go on"), *said), max_tokens=2_000, keep_user=1, keep_assistant=1)
    assert list(kept[2:]) == said[-(len(kept) - 2) :]


def test_a_message_that_was_replaced_is_looked_at_again() -> None:
    def fit(messages: Talk, known: MessageCache | None) -> Talk:
        return prune(messages, max_tokens=1_000, keep_user=1, keep_assistant=1, cache=known)

    known = MessageCache()
    messages: Talk = (SYSTEM, Message("user", "why?"), *(Message("assistant", "x" * 300) for _ in range(9)))
    assert fit(messages, known) is messages
    longer = (*messages[:-1], replace(messages[-1], text="x" * 3_000))
    assert fit(longer, known) == fit(longer, None) != longer


def test_shared_cache_does_not_mix_up_two_conversations() -> None:
    known = MessageCache()
    sent: list[Talk] = [(SYSTEM, Message("user", task)) for task in ("why is web slow?", "is the disk full?")]
    cold = list(sent)
    for number in range(40):
        for which, words in enumerate(("web is slow ", "disk error: full ")):
            sent[which], cold[which] = (
                grown(one, number, "tools" if (number + which) % 3 else "plain", words * (9 + number), 2)
                for one in (sent[which], cold[which])
            )
            sent[which] = prune(sent[which], max_tokens=1_500, keep_user=1, keep_assistant=1, cache=known)
            cold[which] = prune(cold[which], max_tokens=1_500, keep_user=1, keep_assistant=1)
            assert sent[which] == cold[which]


def test_cache_is_not_used_for_another_conversation_of_the_same_length() -> None:
    def fit(messages: Talk, max_tokens: int, known: MessageCache | None = None) -> Talk:
        return prune(messages, max_tokens=max_tokens, keep_user=0, keep_assistant=0, cache=known)

    known, opening = MessageCache(), (SYSTEM, Message("user", "why do logins fail?"))
    one = (*opening, *(Message("assistant", f"logins {n} fail " + "x " * 160) for n in range(8)))
    other = (*opening, *(m for n in range(4) for m in turn(n, f"note {n} " + "y " * 160)), *turn(9, "logins fail"))
    assert fit(one, 1_000, known) is one
    assert fit(other, 600, known) == fit(other, 600)


def test_a_factor_that_is_learned_counts_no_text_again() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    known, measure = MessageCache(), Measure(count=count)
    messages: Talk = (SYSTEM, Message("user", "why?"), *turn(1, "x" * 99), *turn(2, "y" * 100, calls=3))
    assert known.sizes(messages, measure) == list(map(measure.message, messages))
    for factor in (1.37, 0.6, 1.0, 2.5):
        scaled, before = measure.scaled(factor), len(counted)
        sizes = known.sizes(messages, scaled)
        assert len(counted) == before
        assert sizes == list(map(scaled.message, messages))


class Text(str):
    """A text that can be watched."""


def test_cache_releases_messages_that_were_cut() -> None:
    known, texts = MessageCache(), [Text(f"{n} " + "x" * 400) for n in range(30)]
    watched = [weakref.ref(text) for text in texts]
    messages: Talk = (SYSTEM, Message("user", "why?"), *(Message("assistant", text) for text in texts))
    prune(messages[:20], max_tokens=3_000, keep_user=1, keep_assistant=1, cache=known)
    messages = prune(messages, max_tokens=3_000, keep_user=1, keep_assistant=1, cache=known)
    prune(messages, max_tokens=3_000, keep_user=1, keep_assistant=1, cache=known)
    texts.clear()
    assert sum(text() is not None for text in watched) == len(messages) - 2 < 20


@pytest.mark.parametrize("most", [0, 1, 7])
def test_small_cache_changes_no_result(most: int) -> None:
    known = MessageCache(most)
    messages: Talk = (SYSTEM, Message("user", "why is web slow?"))
    cold = messages
    for number in range(60):
        messages, cold = (grown(one, number, "tools", f"web {number} " * 40, 2) for one in (messages, cold))
        messages = prune(messages, max_tokens=3_000, keep_user=1, keep_assistant=1, cache=known)
        cold = prune(cold, max_tokens=3_000, keep_user=1, keep_assistant=1)
        assert messages == cold
