"""Prune a conversation that does not fit. Pure; token counts are estimates.

A message of tool calls and its answers are one group and stay together. Kept always: system messages, the first user
message (the task), the last user and assistant messages, the newest group. Of the rest the least relevant goes first;
a few lines behind the task tell what was cut. Cuts are rare and deep, so that between two of them each request is a
prefix of the next: the caller goes on with what ``prune`` returned.
"""

from __future__ import annotations

from collections.abc import Iterable

from agentctl.context.message_cache import MessageCache
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Message


def prune(
    messages: tuple[Message, ...],
    *,
    max_tokens: int,
    keep_user: int,
    keep_assistant: int,
    tools_tokens: int = 0,
    cut_to_percent: int = 50,
    measure: Measure = PLAIN,
    summary: str = "",
    cache: MessageCache | None = None,
) -> tuple[Message, ...]:
    """Prune messages to fit ``max_tokens`` together with ``tools_tokens``; all of them are returned if all fit.

    What does not fit is cut to about ``cut_to_percent`` of the room. First goes what no provider takes (an answer
    without its call, calls without their answers), then a tool's answer larger than half of the room loses its middle,
    then the least relevant groups go, then what must be kept loses middles: tools' answers first, then the assistant's
    texts. The user's own words are never cut. Cutting may bring two user messages together; providers take them as one.
    ``summary`` is what stands behind the task in place of the lines about what was cut, where there is one. ``cache``
    remembers what was computed, for whoever goes on with a conversation; the result is the same without.

    Raises:
        ContextOverflow: not even that fits; the hint names the setting to raise.
    """
    room = max_tokens - tools_tokens
    sizes = cache.sizes(messages, measure) if cache else list(map(measure.message, messages))
    if (tokens := sum(sizes)) <= room:
        if cache and 2 * tokens > room:
            cache.features(messages)  # so that the cut to come need not read all of them
        return messages
    from agentctl.context.cut import cut  # noqa: PLC0415 - most runs never fill their context

    found = cut(
        messages,
        room,
        keep_user=keep_user,
        keep_assistant=keep_assistant,
        cut_to_percent=cut_to_percent,
        measure=measure,
        summary=summary,
        cache=cache,
        sizes=sizes,
    )
    if (needed := found.tokens + tools_tokens) > max_tokens:
        fewer = would_fewer_fit(found.kept, room, max(keep_user, keep_assistant), measure)
        less = "lower KEEP_LAST_N_USER_MESSAGES and KEEP_LAST_N_ASSISTANT_MESSAGES" if fewer else "shorten the task"
        raise ContextOverflow(
            f"the conversation needs about {needed:,} tokens even when cut; max_context_tokens is {max_tokens:,}",
            hint=f"raise it: MAX_CONTEXT_TOKENS={suggest_limit(needed)}, or {less}",
            billed="no",
        )
    kept = tuple(message for _, message in found.kept)
    if cache:
        cache.retain(kept)
    return kept


def would_fewer_fit(kept: Iterable[tuple[int, Message]], room: int, keep: int, measure: Measure) -> bool:
    """Return whether what does not fit ``room`` is more than the opening, so that to keep fewer messages would help."""
    messages = [message for _, message in kept]
    systems = [message for message in messages if message.role == "system"]
    users = [message for message in messages if message.role == "user"]
    return keep > 1 and measure.conversation([*systems, *users[:1], *messages[-1:]]) <= room


def suggest_limit(tokens: int) -> int:
    """Return the limit to set so that a conversation that needs ``tokens`` fits twice: whole thousands."""
    return -(-2 * tokens // 1000) * 1000


def count_shortened(before: tuple[Message, ...], after: tuple[Message, ...]) -> int:
    """Count the messages of ``after``, pruned from ``before``, that lost their middles."""
    whole = {id(message) for message in before}
    return sum(id(message) not in whole and message.role in ("assistant", "tool") for message in after)
