"""The prompt caches of two providers: Anthropic's reads and writes at marks, OpenAI's reads whatever came before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from tests.support.wire.script import Json
from tests.support.wire.speech import listed

MOST_MARKS = 4
LOOK_BACK = 20  # blocks before a mark at which an earlier end is looked for
STEP, LEAST = 128, 1024  # OpenAI's: whole steps, from so many tokens on


class Block(NamedTuple):
    """A piece of a prompt in its order, without its mark."""

    data: bytes
    tokens: int
    marked: bool = False


class Split(NamedTuple):
    """What of a prompt's tokens came from the cache, and what went there."""

    total: int
    cached: int
    written: int


def blocks_of(body: Json, bytes_per_token: int = 4) -> list[Block]:
    """Return the prompt of a request at Anthropic: tools, system, and the blocks of its messages."""
    return [
        Block(data, -(-len(data) // bytes_per_token), marked)
        for block, frame in _frames(body)
        for marked in ["cache_control" in block]
        for data in [_written({**{name: value for name, value in block.items() if name != "cache_control"}, **frame})]
    ]


def _frames(body: Json) -> Iterator[tuple[Json, Json]]:
    yield from ((tool, {}) for tool in listed(body.get("tools")))
    yield from ((block, {}) for block in _content(body.get("system")))
    for message in listed(body.get("messages")):
        yield from ((block, {"role": message.get("role")}) for block in _content(message.get("content")))


def _content(content: object) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else listed(content)


def _written(block: Json) -> bytes:
    return json.dumps(block, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class MarkedCache:
    """Reads a prompt only up to where a mark once was, and writes it up to its last mark, from ``least`` tokens on."""

    def __init__(self, least: int = LEAST, *, bytes_per_token: int = 4) -> None:
        self.bytes_per_token = bytes_per_token
        self._least = least
        self._ends: set[bytes] = set()

    def take(self, blocks: Sequence[Block]) -> Split:
        """Return how a prompt is billed, and remember what it wrote."""
        sizes = list(accumulate(block.tokens for block in blocks))
        names = list(_names(blocks))
        marks = [at for at, block in enumerate(blocks) if block.marked and sizes[at] >= self._least]
        looked = (back for at in marks for back in range(at, max(-1, at - LOOK_BACK - 1), -1))
        cached = max((sizes[at] for at in looked if names[at] in self._ends), default=0)
        self._ends.update(names[at] for at in marks)
        written = max(0, sizes[marks[-1]] - cached) if marks else 0
        return Split(sizes[-1] if sizes else 0, cached, written)


class PlainCache:
    """Reads as much as any earlier prompt had in common, in whole steps; a write costs nothing more."""

    def __init__(self, step: int = STEP, least: int = LEAST) -> None:
        self._step, self._least = step, least
        self._seen: set[bytes] = set()

    def take(self, blocks: Sequence[Block]) -> Split:
        """Return how a prompt is billed, and remember it."""
        sizes = list(accumulate(block.tokens for block in blocks))
        names = list(_names(blocks))
        common = max((size for size, name in zip(sizes, names, strict=True) if name in self._seen), default=0)
        self._seen.update(names)
        cached = common // self._step * self._step if common >= self._least else 0
        return Split(sizes[-1] if sizes else 0, cached, 0)


def _names(blocks: Sequence[Block]) -> Iterator[bytes]:
    """Yield a name for the prompt up to each block."""
    chain = hashlib.sha256()
    for block in blocks:
        chain.update(len(block.data).to_bytes(8, "big") + block.data)
        yield chain.digest()
