"""Prune a conversation that does not fit. Pure; token counts are estimates.

A message of tool calls and its results are one group and stay together. Always kept: system messages, the first user
message (the task), the last user and assistant messages, the newest group. Of the rest the least relevant is removed
first; a few lines after the task say what was cut. Cuts are rare and deep, so that between two of them each request is
a prefix of the next: the caller continues with what ``prune`` returned.
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
    answer_tokens: int = 0,
    cut_to_percent: int = 50,
    measure: Measure = PLAIN,
    summary: str = "",
    cache: MessageCache | None = None,
) -> tuple[Message, ...]:
    """Return ``messages``, pruned to fit ``max_tokens`` together with ``tools_tokens`` if they do not.

    Messages that do not fit are cut to about ``cut_to_percent`` of the room. First, those that no provider accepts (a
    result without its call, calls without their results) are removed. Then a tool result larger than half of the room
    loses its middle, the least relevant groups are removed, and messages to keep lose their middles: tool results
    first, then the assistant's texts and, as the last resort, the user's messages after the task, as some agents' tools
    answer in these. The task is never cut. Two user messages may become adjacent; providers read them as one.
    ``summary``, if given, is put after the task instead of the lines about what was cut. ``answer_tokens``, included in
    ``tools_tokens``, are those of the answer's schema, which an error names. ``cache`` saves time for a conversation
    that continues; the result is the same without it.

    Raises:
        ContextOverflow: not even the shortened messages fit; the hint names the setting to raise.
    """
    room = max_tokens - tools_tokens
    sizes = cache.sizes(messages, measure) if cache else list(map(measure.message, messages))
    if (tokens := sum(sizes)) <= room:
        if cache and 2 * tokens > room:
            cache.prepare(messages)  # so that the next cut takes less time
        return messages
    from agentctl.context.cut import cut, name_the_large  # noqa: PLC0415 - most runs never fill their context

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
        large, less = name_the_large(
            [(one, measure.message(one)) for _, one in found.kept], tools_tokens, answer_tokens
        )
        less = "lower KEEP_LAST_N_USER_MESSAGES and KEEP_LAST_N_ASSISTANT_MESSAGES" if fewer else less
        said = f"the conversation needs about {needed:,} tokens even when cut; max_context_tokens is {max_tokens:,}"
        raise ContextOverflow(
            f"{said} ({large})",
            hint=f"raise it: MAX_CONTEXT_TOKENS={suggest_limit(needed)}, or {less}",
            billed="no",
            prompt=needed,
        )
    kept = tuple(message for _, message in found.kept)
    if cache:
        cache.retain(kept)
    return kept


def would_fewer_fit(kept: Iterable[tuple[int, Message]], room: int, keep: int, measure: Measure) -> bool:
    """Return whether keeping fewer messages would help, as more than the opening does not fit ``room``."""
    messages = [message for _, message in kept]
    systems = [message for message in messages if message.role == "system"]
    users = [message for message in messages if message.role == "user"]
    return keep > 1 and measure.conversation([*systems, *users[:1], *messages[-1:]]) <= room


def too_small(
    messages: Iterable[Message], tools_tokens: int, max_tokens: int, measure: Measure, *, has_answer: bool = False
) -> str:
    """Return a sentence if system messages and schemas alone take more than two fifths of ``max_tokens``, else "".

    ``has_answer``: the schema of the answer is among the schemas.
    """
    system = measure.conversation([message for message in messages if message.role == "system"])
    always = system + tools_tokens
    if 5 * always <= 2 * max_tokens:
        return ""
    schemas = "the schemas of the tools and the answer" if has_answer else "the schemas of the tools"
    return (
        f"a context of {max_tokens:,} tokens is small: the instructions ({system:,}) and {schemas}"
        f" ({tools_tokens:,}) leave {max(0, max_tokens - always):,} of it, so cuts will come often;"
        f" MAX_CONTEXT_TOKENS={-(-5 * always // 2000) * 1000} would do"
    )


def suggest_limit(tokens: int) -> int:
    """Return a limit in whole thousands into which a conversation that needs ``tokens`` fits twice."""
    return -(-2 * tokens // 1000) * 1000


def count_shortened(before: tuple[Message, ...], after: tuple[Message, ...]) -> int:
    """Return how many messages of ``after``, pruned from ``before``, lost their middles."""
    whole = {id(message) for message in before}
    task = next((message for message in after if message.role == "user"), None)  # it gets notes
    return sum(id(message) not in whole and message is not task for message in after)
