"""One way of counting tokens, handed to whoever counts: texts, messages, schemas, and texts cut to a size. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from agentctl.mark import marked
from agentctl.messages import Message, ToolSpec
from agentctl.tokens import BYTES_PER_TOKEN, PER_MESSAGE, as_json, estimate_tokens

_CUT = re.compile(r"\n\[\.\.\. ([0-9,]{1,20}) characters: the middle is cut here")
_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Counts texts by ``count`` and all of it times ``factor``, rounded up; ``way`` names this for people.

    ``factor`` is what a model's reports have taught. ``margin`` is the part of its own count by which a provider may
    be above this one.
    """

    count: Callable[[str], int] = estimate_tokens
    way: str = "UTF-8 bytes / 4"
    factor: float = 1.0
    margin: float = 0.5

    def scaled(self, factor: float) -> Measure:
        """Return this way of counting with another factor."""
        return replace(self, factor=factor)

    def text(self, text: str) -> int:
        """Return how many tokens ``text`` is."""
        return self._times(self.count(text))

    def message(self, message: Message) -> int:
        """Return how many tokens one message is, its tool calls and frame included."""
        count = self.count
        calls = (f"{call.id}{call.name}{as_json(call.arguments)}" for call in message.tool_calls)
        frames = PER_MESSAGE * (1 + len(message.tool_calls))
        return self._times(count(message.text) + frames + sum(map(count, calls)) + count(message.tool_call_id or ""))

    def conversation(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a whole conversation is."""
        return sum(map(self.message, messages))

    def schemas(self, tools: Sequence[ToolSpec]) -> int:
        """Return how many tokens a model reads about its tools."""
        return self._times(
            sum(PER_MESSAGE + self.count(f"{tool.name}{tool.description}{as_json(tool.parameters)}") for tool in tools)
        )

    def cut_middle(self, text: str, max_tokens: int, *, how: str = "ask for less") -> str:
        """Return ``text``, or its head and tail around a mark, in at most ``max_tokens`` (from 32 on).

        The mark says how long the text was before anything was cut, also when it is cut again; one that names the
        file where the whole is goes on doing so.
        """
        size = self.text(text)
        if size <= max_tokens:
            return text
        data = text.encode("utf-8", "replace")
        found = _CUT.search(text)
        whole = found[1] if found else f"{len(text):,}"
        mark = f"\n[... {whole} characters: the middle is cut here; {how} ...]\n"
        if self.count is estimate_tokens:
            most = int(max_tokens * BYTES_PER_TOKEN / self.factor)
        else:
            most = len(data) * max_tokens // size
        kept = marked(text)
        for _ in range(_ROUNDS):
            side = max(0, most - len(mark)) // 2
            head, tail = data[:side], data[len(data) - side :]
            if kept is not None:
                cut = kept.cut(most)
            else:
                cut = head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")
            if self.text(cut) <= max_tokens or not side:
                break
            most = most * 7 // 8
        return cut

    def _times(self, tokens: int) -> int:
        return tokens if self.factor == 1 else ceil(tokens * self.factor)


PLAIN = Measure()
"""Bytes by four: needs nothing, is right for English prose and too low for dense text."""
