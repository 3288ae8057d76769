"""What of a conversation is sent when not all of it fits. Pure; token counts are estimates.

A message of tool calls and its answers are one unit, never parted. Kept always: system messages, the first user
message (the task), the last user and assistant messages, the newest unit. Cuts are rare and deep, so that between
two of them each request is a prefix of the next: the caller goes on with what ``prune`` returned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from agentctl.errors import ContextOverflow
from agentctl.messages import Message, ToolSpec

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
_LEAST_LEFT = 32  # tokens that a cut message keeps at least, its mark included


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: its UTF-8 bytes by four, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def message_tokens(message: Message) -> int:
    """Return the estimate for one message, its tool calls and frame included."""
    return estimate_tokens(message.text) + _frame_tokens(message)


def conversation_tokens(messages: Sequence[Message]) -> int:
    """Return the estimate for a whole conversation."""
    return sum(map(message_tokens, messages))


def schema_tokens(tools: Sequence[ToolSpec]) -> int:
    """Return the estimate for what a model reads about its tools."""
    return sum(
        PER_MESSAGE + estimate_tokens(f"{tool.name}{tool.description}{_json(tool.parameters)}") for tool in tools
    )


def prune(
    messages: tuple[Message, ...],
    *,
    max_tokens: int,
    keep_user: int,
    keep_assistant: int,
    tools_tokens: int = 0,
) -> tuple[Message, ...]:
    """Return the messages that fit ``max_tokens`` together with ``tools_tokens``, in their order; all if all fit.

    First a tool's answer larger than half of the room alone loses its middle, then the oldest units go until half
    of the room is used, then what must be kept loses middles: tools' answers first, then the assistant's texts.

    Raises:
        ContextOverflow: not even that fits; the hint names the setting to raise.
    """
    room = max_tokens - tools_tokens
    if conversation_tokens(messages) <= room:
        return messages
    half = room // 2
    fitted = _level(messages, ("tool",), half) if half >= _LEAST_LEFT else messages
    if conversation_tokens(fitted) > room:
        fitted = _without_oldest(fitted, half, keep_user, keep_assistant)
    for roles in (("tool",), ("tool", "assistant")):
        for goal in (half, room):
            if conversation_tokens(fitted) > room:
                fitted = _squeezed(fitted, roles, goal)
    if (needed := conversation_tokens(fitted)) > room:
        raise ContextOverflow(
            f"the conversation needs about {needed + tools_tokens:,} tokens even when cut; "
            f"max_context_tokens is {max_tokens:,}",
            hint=f"raise it: MAX_CONTEXT_TOKENS={-(-2 * (needed + tools_tokens) // 1000) * 1000}, or shorten the task",
            billed="no",
        )
    return fitted


def cut_middle(text: str, max_tokens: int) -> str:
    """Return ``text``, or its head and tail around a mark, in at most ``max_tokens`` (from 32 on)."""
    if estimate_tokens(text) <= max_tokens:
        return text
    data = text.encode("utf-8", "replace")
    mark = f"\n[... {len(text):,} characters: the middle is cut here; ask for less ...]\n"
    side = max(0, max_tokens * BYTES_PER_TOKEN - len(mark)) // 2
    head, tail = data[:side], data[len(data) - side :]
    return head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")


def _frame_tokens(message: Message) -> int:
    calls = sum(
        PER_MESSAGE + estimate_tokens(f"{call.id}{call.name}{_json(call.arguments)}") for call in message.tool_calls
    )
    return PER_MESSAGE + calls + estimate_tokens(message.tool_call_id or "")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _units(messages: tuple[Message, ...]) -> list[range]:
    """Return the places of each unit: one message, or tool calls with the answers right behind them."""
    units: list[range] = []
    for place, message in enumerate(messages):
        if units and message.role == "tool" and messages[units[-1].start].role in ("assistant", "tool"):
            units[-1] = range(units[-1].start, place + 1)
        else:
            units.append(range(place, place + 1))
    return units


def _must_stay(messages: tuple[Message, ...], keep_user: int, keep_assistant: int) -> set[int]:
    def places(role: str) -> list[int]:
        return [place for place, message in enumerate(messages) if message.role == role]

    users, assistants = places("user"), places("assistant")
    last_users = users[len(users) - keep_user :] if keep_user < len(users) else users
    last_assistants = assistants[len(assistants) - keep_assistant :] if keep_assistant < len(assistants) else assistants
    return {*places("system"), *users[:1], *last_users, *last_assistants, len(messages) - 1}


def _without_oldest(
    messages: tuple[Message, ...], goal: int, keep_user: int, keep_assistant: int
) -> tuple[Message, ...]:
    stay = _must_stay(messages, keep_user, keep_assistant)
    over = conversation_tokens(messages) - goal
    gone: set[int] = set()
    for unit in _units(messages):
        if over <= 0:
            break
        if stay.isdisjoint(unit):
            gone.update(unit)
            over -= conversation_tokens(messages[unit.start : unit.stop])
    return tuple(message for place, message in enumerate(messages) if place not in gone)


def _level(messages: tuple[Message, ...], roles: tuple[str, ...], most: int) -> tuple[Message, ...]:
    """Cut every text of ``roles`` down to ``most`` tokens."""
    return tuple(
        replace(message, text=cut_middle(message.text, most)) if message.role in roles else message
        for message in messages
    )


def _squeezed(messages: tuple[Message, ...], roles: tuple[str, ...], goal: int) -> tuple[Message, ...]:
    """Cut the longest texts of ``roles`` to one common length, so that all together reach ``goal`` if they can."""
    sizes = sorted(estimate_tokens(message.text) for message in messages if message.role in roles)
    left = goal - (conversation_tokens(messages) - sum(sizes))
    for place, size in enumerate(sizes):
        share = left // (len(sizes) - place)
        if size > share:
            return _level(messages, roles, max(share, _LEAST_LEFT))
        left -= size
    return messages
