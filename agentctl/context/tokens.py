"""Count tokens: two rough estimates, and ``Measure``, one way of counting that is handed to whoever counts. Pure.

A ``Measure`` counts texts, messages, schemas and requests, and cuts a text to a size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

from agentctl.context.truncation import find_mark
from agentctl.core.messages import Message, ToolSpec

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode  # made once: that costs as much as writing
LEAST_LEFT = 32  # tokens that a cut text keeps at least, its mark included
_CUT = re.compile(r"\n\[\.\.\. ([0-9,]{1,20}) characters: the middle is cut here")
_ROUNDS = 8  # tries to cut a text to a size

_LETTERS, _CAPITALS = b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KINDS = (  # tokens in a thousand bytes of a kind: dense text (hex, base64, tables of numbers) comes out about right
    (_LETTERS, 280),
    (_CAPITALS, 900),
    (b" \t\r\n", 150),
    (b"0123456789", 850),
    (bytes(byte for byte in range(33, 127) if not chr(byte).isalnum()), 650),
    (bytes(range(128, 256)), 500),
)
_OTHER = 1000


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: its UTF-8 bytes by four, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def rough_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is by the kinds of its characters: for prose too many, for noise too few.

    It takes a hundredth of the time that a vocabulary takes, and none to load.
    """
    data = text.encode("utf-8", "surrogatepass")
    left, thousandths = len(data), 0
    for kind, each in _KINDS:
        if not left:
            break
        data = data.translate(None, kind)
        thousandths += (left - len(data)) * each
        left = len(data)
    return -(-(thousandths + left * _OTHER) // 1000)


def json_text(value: object) -> str:
    """Return ``value`` as JSON for counting and showing; what JSON cannot write stands as its ``str()``."""
    return _encode(value)


class Measure(NamedTuple):
    """Counts texts by ``count`` and all of it times ``factor``, rounded up; ``way`` names this for people.

    ``fixed`` tokens are in each request that offers tools, beside its messages and schemas (a provider's own words
    about tools; below 0: it writes schemas shorter than we count them). Both may be what a model's reports have taught.
    ``margin`` is the part of this count by which a provider's own may be above it.

    >>> words = Measure(count=lambda text: len(text.split()), way="words")
    >>> words.text("one two three"), words.scaled(1.5).text("one two three")
    (3, 5)
    """

    count: Callable[[str], int] = estimate_tokens
    way: str = "UTF-8 bytes / 4"
    factor: float = 1.0
    margin: float = 0.5
    fixed: int = 0

    def scaled(self, factor: float) -> Measure:
        """Return this way of counting with another factor.

        >>> Measure().scaled(2).text("twelve bytes")
        6
        """
        return self._replace(factor=factor)

    def text(self, text: str) -> int:
        """Return how many tokens ``text`` is.

        >>> Measure().text("twelve bytes")
        3
        """
        return self._times(self.count(text))

    def message(self, message: Message) -> int:
        """Return how many tokens one message is, its tool calls and frame included.

        >>> from agentctl.core.messages import Message
        >>> Measure().message(Message("user", "twelve bytes"))
        7
        """
        count = self.count
        calls = (f"{call.id}{call.name}{json_text(call.arguments)}" for call in message.tool_calls)
        frames = PER_MESSAGE * (1 + len(message.tool_calls))
        return self._times(count(message.text) + frames + sum(map(count, calls)) + count(message.tool_call_id or ""))

    def conversation(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a whole conversation is.

        >>> from agentctl.core.messages import Message
        >>> Measure().conversation([Message("user", "twelve bytes")] * 2)
        14
        """
        return sum(map(self.message, messages))

    def schemas(self, tools: Sequence[ToolSpec]) -> int:
        """Return how many tokens a model reads about its tools.

        >>> from agentctl.core.messages import ToolSpec
        >>> Measure().schemas([ToolSpec("ls", "Lists files.", {"type": "object"})])
        12
        """
        return self._times(
            sum(
                PER_MESSAGE + self.count(f"{tool.name}{tool.description}{json_text(tool.parameters)}") for tool in tools
            )
        )

    def beside(self, tools: Sequence[ToolSpec]) -> int:
        """Return how many tokens a request has beside its messages.

        >>> from agentctl.core.messages import ToolSpec
        >>> ls = ToolSpec("ls", "Lists files.", {"type": "object"})
        >>> Measure(fixed=100).beside([ls]), Measure(fixed=100).beside([])
        (112, 0)
        """
        return max(0, self.fixed + self.schemas(tools)) if tools else 0

    def request(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Return how many tokens a whole request is.

        >>> from agentctl.core.messages import Message, ToolSpec
        >>> ls = ToolSpec("ls", "Lists files.", {"type": "object"})
        >>> Measure().request([Message("user", "twelve bytes")], [ls])
        19
        """
        return self.conversation(messages) + self.beside(tools)

    def cut_middle(self, text: str, max_tokens: int, *, how: str = "ask for less") -> str:
        """Return ``text``, or its head and tail around a mark, in at most ``max_tokens`` (from 32 on).

        The mark says how long the text was before anything was cut, also when it is cut again; one that names the
        file where the whole is goes on doing so.

        >>> Measure().text(Measure().cut_middle("x" * 4000, 32)) <= 32
        True
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
        kept = find_mark(text)
        for tried in range(_ROUNDS):
            side = max(0, most - len(mark)) // 2
            head, tail = data[:side], data[len(data) - side :]
            if kept is not None:
                cut = kept.cut(most)
            else:
                cut = head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")
            left = self.text(cut)
            if left <= max_tokens or not side:
                break
            if self.count is not estimate_tokens:  # it may be denser at its ends: faster from round to round
                most = most * max_tokens * 2 // (left * (2 + tried))
            most = most * 7 // 8
        return cut

    def _times(self, tokens: int) -> int:
        return tokens if self.factor == 1 else ceil(tokens * self.factor)


PLAIN = Measure()
"""Bytes by four: needs nothing, is right for English prose and too low for dense text."""

ROUGH = Measure(count=rough_tokens, way="kinds of characters", margin=0.6)
"""By what kinds of characters a text has: needs nothing, and is seldom far too low."""
