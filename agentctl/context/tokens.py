"""Count tokens: two rough estimates, and ``Measure``, one way of counting. Pure.

A ``Measure`` counts texts, messages, schemas and requests, and cuts a text to a size.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple

from agentctl.context.truncation import find_mark
from agentctl.core.messages import Message, RunningTotal, Thought, ToolSpec

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode  # made once, as making it costs as much as using it
LEAST_LEFT = 32  # the fewest tokens of a cut text, its mark included
_CUT = re.compile(r"\n\[\.\.\. ([0-9,]{1,20}) characters: the middle is cut here")
_MOST_TOOLS, _MOST_WAYS = 64, 4  # that are remembered with their counts
_SEALED = 4  # tokens of a signature for each of the thought in it: base64 is dense
_ROUNDS = 8  # attempts to cut a text to a size

_LETTERS, _CAPITALS = b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KINDS = (  # tokens per thousand bytes of a kind: about right for dense text (hex, base64, tables of numbers)
    (_LETTERS, 280),
    (_CAPITALS, 900),
    (b" \t\r\n", 150),
    (b"0123456789", 850),
    (bytes(byte for byte in range(33, 127) if not chr(byte).isalnum()), 650),
    (bytes(range(128, 256)), 500),
)
_OTHER = 1000
_HUNDREDTHS = bytes(next((each for kind, each in _KINDS if byte in kind), _OTHER) // 10 for byte in range(256))
_SHORT = 300  # bytes: adding up is faster than removing kind after kind


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of ``text`` as its UTF-8 bytes / 4, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def rough_tokens(text: str) -> int:
    """Estimate the tokens of ``text`` by the kinds of its characters: too high for prose, too low for random data.

    This takes a hundredth of the time of a vocabulary, and nothing needs to be loaded.
    """
    data = text.encode("utf-8", "surrogatepass")
    left, thousandths = len(data), 0
    if left < _SHORT:
        return -(-sum(data.translate(_HUNDREDTHS)) // 100)
    for kind, each in _KINDS:
        if not left:
            break
        data = data.translate(None, kind)
        thousandths += (left - len(data)) * each
        left = len(data)
    return -(-(thousandths + left * _OTHER) // 1000)


def json_text(value: object) -> str:
    """Return ``value`` as JSON for counting and showing; a value that JSON cannot write becomes its ``str()``."""
    return _encode(value)


# What was counted once, by each way of counting. An id identifies an object only while that is alive: a message's
# entry goes with the message, and a tool's entry holds the tool.
_messages: dict[int, tuple[weakref.ref[Message], dict[Callable[[str], int], int]]] = {}
_tools: dict[int, tuple[ToolSpec, dict[Callable[[str], int], int]]] = {}
_totals: dict[Callable[[str], int], RunningTotal] = {}


def _counted_once(message: Message, count: Callable[[str], int]) -> int:
    """Return the tokens of a message by ``count``, its tool calls and frame included."""
    key = id(message)
    entry = _messages.get(key)
    if entry is None or entry[0]() is not message:
        entry = _messages[key] = weakref.ref(message, lambda _: _messages.pop(key, None)), {}
    ways = entry[1]
    if (known := ways.get(count)) is None:
        if len(ways) >= _MOST_WAYS:
            ways.clear()
        calls = (f"{call.id}{call.name}{json_text(call.arguments)}" for call in message.tool_calls)
        texts = (message.text, message.tool_call_id or "", *calls)
        thoughts = sum(_thought_tokens(thought, count) for thought in message.thoughts)
        known = ways[count] = PER_MESSAGE * (1 + len(message.tool_calls)) + sum(map(count, texts)) + thoughts
    return known


def _thought_tokens(thought: Thought, count: Callable[[str], int]) -> int:
    """Return the tokens of a thought; a signature holds the whole of it, encrypted, even if its text is left out."""
    said = count(thought.text) + count(thought.data)
    return max(said, -(-count(thought.signature) // _SEALED)) if thought.signature else said


def _tool_counted_once(tool: ToolSpec, count: Callable[[str], int]) -> int:
    if (entry := _tools.get(id(tool))) is None:
        if len(_tools) >= _MOST_TOOLS:
            _tools.clear()
        entry = _tools[id(tool)] = tool, {}
    ways = entry[1]
    if (known := ways.get(count)) is None:
        if len(ways) >= _MOST_WAYS:
            ways.clear()
        text = f"{tool.name}{tool.description}{json_text(tool.parameters)}"
        known = ways[count] = PER_MESSAGE + count(text)
    return known


class Measure(NamedTuple):
    """Counts tokens by ``count``, times ``factor``, rounded up; ``way`` is the name of this way for people.

    ``fixed`` tokens are added to each request that offers tools, for a provider's own text about tools (below 0: it
    writes schemas shorter than we count them). ``factor`` and ``fixed`` may be learned from a model's reports.
    ``margin`` is the part of this count by which a provider's own count may exceed it. ``image`` are the tokens of each
    image, file or recording in dicts: providers count them by their size, from 85 to several thousand.

    >>> words = Measure(count=lambda text: len(text.split()), way="words")
    >>> words.text("one two three"), words.scaled(1.5).text("one two three")
    (3, 5)
    """

    count: Callable[[str], int] = rough_tokens
    way: str = "kinds of characters"
    factor: float = 1.0
    margin: float = 0.6
    fixed: int = 0
    image: int = 2000

    @property
    def is_estimate(self) -> bool:
        """Whether this is one of agentctl's own estimates as they are, so that a model's own count is better.

        >>> Measure(image=85).is_estimate, Measure(count=len).is_estimate
        (True, False)
        """
        return (self.factor, self.fixed) == (1.0, 0) and self.count in (estimate_tokens, rough_tokens)

    def scaled(self, factor: float) -> Measure:
        """Return this way of counting with another factor.

        >>> Measure().scaled(2).text("twelve bytes")
        8
        """
        return self._replace(factor=factor)

    def text(self, text: str) -> int:
        """Return the tokens of ``text``.

        >>> Measure().text("twelve bytes")
        4
        """
        return self._times(self.count(text))

    def message(self, message: Message) -> int:
        """Return the tokens of one message, its tool calls and frame included.

        >>> from agentctl.core.messages import Message
        >>> Measure().message(Message("user", "twelve bytes"))
        8
        """
        return self._times(_counted_once(message, self.count))

    def conversation(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a whole conversation.

        >>> from agentctl.core.messages import Message
        >>> Measure().conversation([Message("user", "twelve bytes")] * 2)
        16
        """
        if self.factor != 1:
            return sum(map(self.message, messages))
        if (total := _totals.get(self.count)) is None:
            if len(_totals) >= _MOST_WAYS:
                _totals.clear()
            total = _totals[self.count] = RunningTotal(partial(_counted_once, count=self.count))
        return total(messages)

    def schemas(self, tools: Sequence[ToolSpec]) -> int:
        """Return the tokens of the tools' schemas.

        >>> from agentctl.core.messages import ToolSpec
        >>> Measure().schemas([ToolSpec("ls", "Lists files.", {"type": "object"})])
        17
        """
        return self._times(sum(_tool_counted_once(tool, self.count) for tool in tools))

    def beside(self, tools: Sequence[ToolSpec]) -> int:
        """Return the tokens of a request besides its messages.

        >>> from agentctl.core.messages import ToolSpec
        >>> ls = ToolSpec("ls", "Lists files.", {"type": "object"})
        >>> Measure(fixed=100).beside([ls]), Measure(fixed=100).beside([])
        (117, 0)
        """
        return max(0, self.fixed + self.schemas(tools)) if tools else 0

    def request(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Return the tokens of a whole request.

        >>> from agentctl.core.messages import Message, Thought, ToolSpec
        >>> ls = ToolSpec("ls", "Lists files.", {"type": "object"})
        >>> Measure().request([Message("user", "twelve bytes")], [ls])
        25
        """
        return self.conversation(messages) + self.beside(tools)

    def cut_middle(self, text: str, max_tokens: int, *, how: str = "ask for less") -> str:
        """Return ``text``, or its head and tail around a mark, in at most ``max_tokens`` (at least 32).

        The mark says how long the text was before anything was cut, also if it is cut again. A mark that names the file
        with the full text keeps that name.

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
            if self.count is not estimate_tokens:  # it may be denser at its ends: cut more in each round
                most = most * max_tokens * 2 // (left * (2 + tried))
            most = most * 7 // 8
        return cut

    def _times(self, tokens: int) -> int:
        return tokens if self.factor == 1 else ceil(tokens * self.factor)


PLAIN = Measure(count=estimate_tokens, way="UTF-8 bytes / 4", margin=0.5)
"""UTF-8 bytes / 4: nothing to load, right for English prose, too low for dense text."""

ROUGH = Measure()
"""By kinds of characters: nothing to load, and seldom far too low."""
