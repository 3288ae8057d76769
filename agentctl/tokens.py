"""About how many tokens things are, and texts cut to a size. Pure; counts are estimates."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from agentctl.messages import Message, ToolSpec

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
LEAST_LEFT = 32  # tokens that a cut text keeps at least, its mark included


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: its UTF-8 bytes by four, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def message_tokens(message: Message) -> int:
    """Return the estimate for one message, its tool calls and frame included."""
    calls = sum(
        PER_MESSAGE + estimate_tokens(f"{call.id}{call.name}{as_json(call.arguments)}") for call in message.tool_calls
    )
    return estimate_tokens(message.text) + PER_MESSAGE + calls + estimate_tokens(message.tool_call_id or "")


def conversation_tokens(messages: Sequence[Message]) -> int:
    """Return the estimate for a whole conversation."""
    return sum(map(message_tokens, messages))


def schema_tokens(tools: Sequence[ToolSpec]) -> int:
    """Return the estimate for what a model reads about its tools."""
    return sum(
        PER_MESSAGE + estimate_tokens(f"{tool.name}{tool.description}{as_json(tool.parameters)}") for tool in tools
    )


def cut_middle(text: str, max_tokens: int) -> str:
    """Return ``text``, or its head and tail around a mark, in at most ``max_tokens`` (from 32 on).

    The mark says how long the text was before anything was cut, also when it is cut again.
    """
    if estimate_tokens(text) <= max_tokens:
        return text
    data = text.encode("utf-8", "replace")
    found = re.search(r"\n\[\.\.\. ([0-9,]{1,20}) characters: the middle is cut here", text)
    whole = found[1] if found else f"{len(text):,}"
    mark = f"\n[... {whole} characters: the middle is cut here; ask for less ...]\n"
    side = max(0, max_tokens * BYTES_PER_TOKEN - len(mark)) // 2
    head, tail = data[:side], data[len(data) - side :]
    return head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")


def as_json(value: object) -> str:
    """Return ``value`` as JSON for counting and showing; what JSON cannot write stands as its ``str()``."""
    return json.dumps(value, ensure_ascii=False, default=str)
