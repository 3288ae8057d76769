"""The text of an answer within its clamp, cut into pieces for a wire. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from tests.support.wire.books import Tokens
from tests.support.wire.script import Answer, CutAt, Format, Json, Reported, WireRequest

ABSURD = Tokens(10**15, 10**15)


class SaidCall(NamedTuple):
    """A tool call on the wire: ``text`` is its arguments' JSON, cut short if not ``whole``."""

    id: str
    name: str
    text: str
    whole: bool

    @property
    def arguments(self) -> Json:
        """The parsed arguments; of a call cut short, none."""
        return dict(json.loads(self.text)) if self.whole else {}


class Speech(NamedTuple):
    """The answer as sent; ``stop`` is stop, length, tool_calls, or a word of the test's own."""

    model: str
    text: str
    calls: tuple[SaidCall, ...]
    stop: str
    tokens: Tokens
    usage: Reported
    searches: int = 0


class Piece(NamedTuple):
    """One piece of a stream; ``finishes`` if it says why it ended, ``counts`` if it carries the last usage."""

    data: bytes
    finishes: bool = False
    counts: bool = False


class House(NamedTuple):
    """A server's configuration: the keys and models it accepts (None: any), and the abilities of its models.

    ``like`` is the local server whose list and refusals it has: llama.cpp, vllm or lm_studio.
    """

    keys: tuple[str, ...] | None
    models: tuple[str, ...] | None
    context_length: int
    capabilities: tuple[str, ...]
    like: str = ""


class Reply(NamedTuple):
    """One whole HTTP answer."""

    status: int
    body: bytes
    type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(NamedTuple):
    """Why a request is refused; ``about`` is the model or key that it names, ``words`` a message of its own."""

    status: int | None
    code: str | None
    about: str = ""
    words: str = ""


class Wire(Protocol):
    """One provider's format; each of the four modules is one."""

    FORMAT: Format
    STREAM_TYPE: str
    TYPE: str
    PREFIX: str
    HEADERS: tuple[tuple[str, str], ...]

    def read(self, path: str, body: Json, size: int) -> WireRequest:
        """Understand a chat request."""
        ...

    def refused(self, headers: dict[str, str], asked: WireRequest | None, house: House) -> Refusal | None:
        """Return why the real one would refuse this at the door."""
        ...

    def pieces(self, asked: WireRequest, speech: Speech) -> list[Piece]:
        """Return the answer as a stream."""
        ...

    def whole(self, asked: WireRequest, speech: Speech) -> bytes:
        """Return the answer as one document."""
        ...

    def refusal(self, why: Refusal) -> Reply:
        """Return the real error document."""
        ...

    def broken_off(self, why: Refusal) -> bytes:
        """Return the error as an event in mid-stream."""
        ...

    def lookup(self, method: str, path: str, body: Json, house: House) -> Reply | None:
        """Answer what is not a chat request, or None if there is no such place."""
        ...


def compact(document: object) -> str:
    """Write JSON as the providers do: no spaces, letters as they are."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def listed(value: object) -> list[Json]:
    """Return the objects of what should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def plain(value: object) -> str:
    """Return a content that is a string, or a list of text blocks, as text."""
    if isinstance(value, str):
        return value
    return "".join(str(part["text"]) for part in listed(value) if isinstance(part.get("text"), str))


def whole_number(value: object) -> int | None:
    """Return a clamp that is one, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def identity(prefix: str, *parts: int, length: int = 24) -> str:
    """Return an id of the provider's shape, the same in every run."""
    return prefix + hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


def slices(text: str, most: int = 40) -> Iterator[str]:
    """Cut a text into at most ``most`` pieces of a few letters."""
    step = max(5, -(-len(text) // most))
    yield from (text[at : at + step] for at in range(0, len(text), step))


def speak(answer: Answer, asked: WireRequest, prefix: str) -> Speech:
    """Return what is said: all of the answer, or as much as the clamp leaves of it."""
    written = [compact(dict(call.arguments)) for call in answer.calls]
    spoken = len(answer.text) + sum(map(len, written))
    given = max(asked.size // 4, answer.cached + answer.cache_write) if answer.input_tokens is None else None
    count = spoken // 4 + 1 + answer.reasoning if answer.output_tokens is None else answer.output_tokens
    classes = (answer.cached, answer.cache_write, answer.reasoning, answer.cache_hour)
    tokens = Tokens(answer.input_tokens or given or 0, count, *classes)
    cached = answer.cached + answer.cache_write
    parts = (cached, tokens.input), (answer.reasoning, count), (answer.cache_hour, answer.cache_write)
    if any(part > whole for part, whole in parts):
        raise ValueError(f"a part is more than its whole in {tokens}")
    left, stop = spoken, "tool_calls" if answer.calls else "stop"
    if answer.obeys and asked.clamp is not None and tokens.output > asked.clamp:
        thought = min(tokens.reasoning, asked.clamp)
        left = spoken * (asked.clamp - thought) // max(1, tokens.output - tokens.reasoning)
        tokens, stop = tokens._replace(output=asked.clamp, reasoning=thought), "length"
    text, left = answer.text[:left], left - len(answer.text)
    calls = []
    for at, (call, arguments) in enumerate(zip(answer.calls, written, strict=True)):
        if left <= 0:
            break
        name = call.id or identity(prefix, asked.number, at)
        calls.append(SaidCall(name, call.name, arguments[:left], left >= len(arguments)))
        left -= len(arguments)
    model = answer.model or asked.model
    return Speech(model, text, tuple(calls), answer.stop or stop, tokens, answer.usage, answer.searches)


def reported(speech: Speech) -> Tokens | None:
    """Return what the last usage block says; None if there is none."""
    if speech.usage in ("omit", "early"):
        return None
    odd = {"zero": Tokens(), "negative": Tokens(-1000, -20), "absurd": ABSURD}
    return odd.get(speech.usage, speech.tokens)


def reported_early(speech: Speech) -> Tokens | None:
    """Return what a block in the middle of the stream says; None if there is none."""
    half = max(1, speech.tokens.output // 2)
    early = speech.tokens._replace(output=half, reasoning=min(half, speech.tokens.reasoning))
    return early if speech.usage in ("twice", "early") else None


def reported_late(speech: Speech) -> Tokens | None:
    """Return what a block after the last one says; None if there is none."""
    if speech.usage != "falls":
        return None
    return Tokens(max(1, speech.tokens.input // 100), max(1, speech.tokens.output // 10))


def garbled(document: Json) -> Json:
    """Return a usage block that no reader should believe."""
    odd = ("many", -7, 2.5, True, None)
    return {
        key: garbled(value) if isinstance(value, dict) else odd[at % len(odd)]
        for at, (key, value) in enumerate(document.items())
    }


def cut_place(pieces: list[Piece], cut_at: CutAt) -> int:
    """Return how many pieces are sent before the cut."""
    last = len(pieces) - 1
    finish = next((at for at, piece in enumerate(pieces) if piece.finishes), last)
    places: dict[CutAt, int] = {
        "headers": 0,
        "first": 1,
        "middle": max(1, finish // 2),
        "before_finish": finish,
        "before_usage": next((at for at, piece in reversed(list(enumerate(pieces))) if piece.counts), last),
        "before_end": last,
    }
    return places[cut_at]
